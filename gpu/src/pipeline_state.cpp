#include "pipeline_state.hpp"

#include <algorithm>
#include <utility>

namespace pinion {

Pipeline::State::State(StagingPool& staging, const KernelRegistry& kernels, ITimer& timer,
                       PipelineOptions options)
    : staging_(staging),
      device_(staging.device()),
      kernels_(kernels),
      timer_(timer),
      options_(std::move(options)),
      slots_(options_.depth) {
  usage_.depth = options_.depth;
}

Status Pipeline::State::open_streams() {
  for (std::unique_ptr<IDeviceStream>* stream : {&in_, &execute_, &out_}) {
    Result<std::unique_ptr<IDeviceStream>> made = device_.create_stream();
    if (!made) {
      return std::move(made).error();
    }
    *stream = *std::move(made);
  }
  return {};
}

Status Pipeline::State::submit(DeviceWork work) {
  if (!work.on_done) {
    return Status(ErrorCode::kInvalidArgument, "work needs an on_done");
  }
  {
    const MutexLock lock(mutex_);
    if (waiting_.size() >= options_.waiting_max) {
      return Status(
          ErrorCode::kResourceExhausted,
          std::to_string(waiting_.size()) + " pieces of work wait for the device already");
    }
    waiting_.push_back(std::move(work));
    ++open_count_;
  }
  feed();
  return {};
}

PipelineUsage Pipeline::State::usage() const {
  const MutexLock lock(mutex_);
  return usage_;
}

void Pipeline::State::close() {
  {
    const MutexLock lock(mutex_);
    closing_ = true;
  }
  feed();
  {
    const MutexLock lock(mutex_);
    while (feeding_) {
      quiet_.wait(mutex_);
    }
  }
  // Nothing begins any more, so the streams are ours. Their ends wait for the work in them.
  in_.reset();
  execute_.reset();
  out_.reset();
  std::vector<Slot> slots;
  const MutexLock lock(mutex_);
  while (open_count_ > 0) {
    quiet_.wait(mutex_);
  }
  slots.swap(slots_);
}

void Pipeline::State::feed() {
  {
    const MutexLock lock(mutex_);
    if (feeding_) {
      return;
    }
    feeding_ = true;
  }
  for (;;) {
    Step step = next();
    switch (step.kind) {
      case Step::Kind::kNothing:
        return;
      case Step::Kind::kBegin:
        begin(step.slot);
        break;
      case Step::Kind::kHost:
        run_on_host(std::move(step.work));
        break;
      case Step::Kind::kRefuse:
        tell(step.work, {.status = step.error});
        close(1);
        break;
    }
  }
}

Pipeline::State::Step Pipeline::State::next() {
  const MutexLock lock(mutex_);
  if (!waiting_.empty()) {
    Step step;
    step.error = reason_to_refuse(waiting_.front());
    if (!step.error.ok()) {
      step.kind = Step::Kind::kRefuse;
    } else if (refused_kernels_.contains(waiting_.front().kernel)) {
      step.kind = Step::Kind::kHost;
    } else if (!stalled_ && busy_count_ < usage_.depth) {
      step.kind = Step::Kind::kBegin;
      const auto free =
          std::find_if(slots_.begin(), slots_.end(), [](const Slot& slot) { return !slot.busy; });
      take_batch(free->batch);
      free->busy = true;
      ++busy_count_;
      step.slot = static_cast<std::size_t>(free - slots_.begin());
    }
    if (step.kind == Step::Kind::kHost || step.kind == Step::Kind::kRefuse) {
      step.work = std::move(waiting_.front());
      waiting_.pop_front();
    }
    if (step.kind != Step::Kind::kNothing) {
      return step;
    }
  }
  feeding_ = false;
  quiet_.notify_all();
  return {};
}

// The first that waits, with those like it behind it that are worth a launch together. What waits
// is shared between the slots that are free.
void Pipeline::State::take_batch(Batch& batch) {
  batch.push_back(std::move(waiting_.front()));
  waiting_.pop_front();
  if (!batch.front().takes_batches || options_.batch_count_max == 1) {
    return;
  }
  const std::size_t free_count = usage_.depth - busy_count_;
  const std::size_t share = (waiting_.size() + free_count) / free_count;
  const std::size_t count_max = std::min(share, options_.batch_count_max);
  std::uint64_t bytes = byte_count(batch.front());
  const std::uint64_t best =
      batch_sizes_[batch.front().kernel].best(bytes, options_.batch_bytes_max);
  while (batch.size() < count_max && !waiting_.empty()) {
    const DeviceWork& next = waiting_.front();
    bytes += byte_count(next);
    if (bytes > best || !next.takes_batches || next.kernel != batch.front().kernel ||
        next.arguments != batch.front().arguments || next.cancel.cancelled()) {
      break;
    }
    batch.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
  if (batch.size() > 1) {
    ++usage_.batch_count;
  }
}

Status Pipeline::State::reason_to_refuse(const DeviceWork& work) const {
  if (closing_ || options_.cancel.cancelled() || work.cancel.cancelled()) {
    return Status(ErrorCode::kCancelled, "the work was cancelled before it began");
  }
  return device_error_;
}

void Pipeline::State::begin(std::size_t index) {
  Slot& slot = slots_[index];
  slot.layout.assign(slot.batch);
  if (slot.layout.size_bytes > device_.usage().budget_bytes) {
    Batch batch = std::exchange(slot.batch, {});
    free_slot(index);
    give_up(std::move(batch));
    return;
  }
  slot.error = find_memory(slot);
  if (device_fault(slot.error.code()) == DeviceFault::kOutOfMemory) {
    do_without_memory(std::exchange(slot.batch, {}), index);
    return;
  }
  if (slot.error.ok()) {
    const std::span<const std::byte> input = slot.batch.front().input;
    // Inputs of a batch lie here and there, and are small.
    const bool zero_copy = slot.batch.size() == 1 && !input.empty() && device_.is_registered(input);
    const Found staging = find_staging(slot, zero_copy);
    if (staging != Found::kYes) {
      do_without_staging(index, staging);
      return;
    }
    note_that_memory_does();
    begin_ranges(slot);
    slot.error = put(slot, zero_copy);
  }
  if (!slot.error.ok()) {
    // What was put before the error still uses the slot. A device that takes not even this has
    // ended, which the completion says.
    Status status = out_->wait_for(*in_);
    status = out_->wait_for(*execute_);
  }
  const Completion done = out_->reached();
  watch(slot);
  done.on_ready(
      [self = shared_from_this(), index](const Status& status) { self->complete(index, status); });
}

// With as much on the device as may be, nothing lacks.
void Pipeline::State::note_that_memory_does() {
  const MutexLock lock(mutex_);
  if (busy_count_ == usage_.depth) {
    lack_count_ = 0;
  }
}

Status Pipeline::State::find_memory(Slot& slot) {
  if (slot.memory.size_bytes() >= slot.layout.size_bytes) {
    return {};
  }
  slot.memory = {};
  Result<DeviceBuffer> memory = device_.allocate(slot.layout.size_bytes);
  if (!memory) {
    return std::move(memory).error();
  }
  slot.memory = *std::move(memory);
  return {};
}

// A batch one by one. Else first the same again, when other work has given back its memory; then
// with less work at once; then less work, or another device.
void Pipeline::State::do_without_memory(Batch batch, std::size_t index) {
  drop_idle_memory(slots_[index]);
  if (batch.size() > 1) {
    free_slot(index);
    give_up(std::move(batch));
    return;
  }
  {
    const MutexLock lock(mutex_);
    ++lack_count_;
    if (lack_count_ == 1 || usage_.depth > 1) {
      if (lack_count_ > 1) {
        usage_.depth /= 2;
      }
      ++usage_.retried_count;
      stalled_ = busy_count_ > 1;
      put_back(std::move(batch), index);
      return;
    }
    lack_count_ = 0;
  }
  free_slot(index);
  give_up(std::move(batch));
}

// What cannot be done together is done one by one, and what cannot be done so is less at a time, or
// the twin's.
void Pipeline::State::give_up(Batch batch) {
  if (batch.size() == 1) {
    split_or_run_on_host(std::move(batch.front()));
    return;
  }
  const MutexLock lock(mutex_);
  ++usage_.cut_batch_count;
  for (std::size_t left = batch.size(); left > 0; --left) {
    batch[left - 1].takes_batches = false;
    waiting_.push_front(std::move(batch[left - 1]));
  }
}

// A slot that is not busy becomes so by the feeder only, which is us.
void Pipeline::State::drop_idle_memory(Slot& own) {
  std::vector<DeviceBuffer> dropped;
  const MutexLock lock(mutex_);
  for (Slot& slot : slots_) {
    if (!slot.busy || &slot == &own) {
      dropped.push_back(std::move(slot.memory));
      slot.memory = {};
    }
  }
}

Pipeline::State::Found Pipeline::State::find_staging(Slot& slot, bool zero_copy) {
  const std::uint64_t input_bytes = zero_copy ? 0 : aligned_to_buffer(slot.layout.inputs_bytes);
  const std::uint64_t size_bytes = input_bytes + slot.layout.outputs_bytes;
  if (size_bytes == 0) {
    return Found::kYes;
  }
  Result<StagingSlab> slab = staging_.take(size_bytes);
  if (slab) {
    slot.slab = *std::move(slab);
    slot.staging = slot.slab.bytes();
  } else {
    const bool others = slab.error().code() == ErrorCode::kResourceExhausted;
    if (others && !alone()) {
      return Found::kLater;
    }
    Result<Pages> pages = staging_.take_pageable(size_bytes);
    if (!pages) {
      return alone() ? Found::kNo : Found::kLater;
    }
    slot.pages = *std::move(pages);
    slot.staging = slot.pages->bytes();
  }
  slot.output = slot.staging.subspan(static_cast<std::size_t>(input_bytes),
                                     static_cast<std::size_t>(slot.layout.outputs_bytes));
  return Found::kYes;
}

bool Pipeline::State::alone() const {
  const MutexLock lock(mutex_);
  return busy_count_ == 1;
}

// Other work on the device gives its staging back when it ends. If it has ended just now, this is
// tried again at once.
void Pipeline::State::do_without_staging(std::size_t index, Found staging) {
  Batch batch = std::exchange(slots_[index].batch, {});
  if (staging == Found::kLater) {
    const MutexLock lock(mutex_);
    stalled_ = busy_count_ > 1;
    put_back(std::move(batch), index);
    return;
  }
  free_slot(index);
  give_up(std::move(batch));
}

Status Pipeline::State::put(Slot& slot, bool zero_copy) {
  const WorkLayout& layout = slot.layout;
  const DeviceWork& first = slot.batch.front();
  const bool pageable = !slot.staging.empty() && !device_.is_registered(slot.staging);
  {
    const MutexLock lock(mutex_);
    usage_.zero_copy_count += zero_copy ? 1 : 0;
    usage_.staged_bytes += zero_copy ? 0 : layout.inputs_bytes;
    usage_.pageable_count += pageable ? 1 : 0;
  }
  std::span<const std::byte> source = first.input;
  if (!zero_copy && layout.inputs_bytes > 0) {
    for (std::size_t i = 0; i < slot.batch.size(); ++i) {
      const std::span<const std::byte> input = slot.batch[i].input;
      const auto target = slot.staging.subspan(
          static_cast<std::size_t>(layout.parts[i].input_offset), input.size());
      std::copy(input.begin(), input.end(), target.begin());
    }
    source = slot.staging.first(static_cast<std::size_t>(layout.inputs_bytes));
  }
  const DeviceSpan memory = slot.memory.span();
  layout.put_buffers(memory, slot.buffers);
  const auto since = options_.on_stage ? std::make_shared<Instant>(timer_.clock().now()) : nullptr;
  PINION_RETURN_IF_ERROR(in_->copy_in(memory.part(0, layout.inputs_bytes), source));
  watch_stage(*in_, WorkStage::kCopyIn, first.id, since);
  PINION_RETURN_IF_ERROR(execute_->wait_for(*in_));
  PINION_RETURN_IF_ERROR(execute_->launch(first.kernel, first.arguments, slot.buffers));
  watch_stage(*execute_, WorkStage::kKernel, first.id, since);
  PINION_RETURN_IF_ERROR(out_->wait_for(*execute_));
  PINION_RETURN_IF_ERROR(
      out_->copy_out(slot.output, memory.part(layout.outputs_offset, layout.outputs_bytes)));
  watch_stage(*out_, WorkStage::kCopyOut, first.id, since);
  return {};
}

// `since` is when the stage before this one of the same work ended.
void Pipeline::State::watch_stage(IDeviceStream& stream, WorkStage stage, std::uint64_t id,
                                  const std::shared_ptr<Instant>& since) {
  if (since == nullptr) {
    return;
  }
  {
    const MutexLock lock(mutex_);
    ++open_count_;  // The pipeline stays until this is over.
  }
  stream.reached().on_ready([self = shared_from_this(), stage, id, since](const Status& status) {
    if (status.ok()) {
      StageSpan span{.stage = stage, .id = id, .end = self->timer_.clock().now()};
      {
        const MutexLock lock(self->mutex_);
        Instant& last = self->stage_ends_[static_cast<std::size_t>(stage)];
        span.begin = std::max(*since, last);
        last = span.end;
      }
      *since = span.end;
      self->options_.on_stage(span);
    }
    self->close(1);
  });
}

void Pipeline::State::put_back(Batch batch, std::size_t index) {
  for (std::size_t left = batch.size(); left > 0; --left) {
    waiting_.push_front(std::move(batch[left - 1]));
  }
  slots_[index].busy = false;
  --busy_count_;
}

void Pipeline::State::free_slot(std::size_t index) {
  const MutexLock lock(mutex_);
  slots_[index].busy = false;
  slots_[index].deadline.reset();
  --busy_count_;
  stalled_ = false;
}

void Pipeline::State::complete(std::size_t index, const Status& status) {
  Slot& slot = slots_[index];
  end_ranges(slot);
  Status error = status;
  if (error.ok()) {
    error = std::move(slot.error);
  }
  if (!error.ok()) {
    leave_device(index, error);
    return;
  }
  {
    const MutexLock lock(mutex_);
    measure(slot);
  }
  const std::size_t count = slot.batch.size();
  for (std::size_t i = 0; i < count; ++i) {
    const WorkLayout::Part& part = slot.layout.parts[i];
    tell(slot.batch[i],
         {.path = WorkPath::kDevice,
          .result = slot.output.subspan(static_cast<std::size_t>(part.output_offset),
                                        static_cast<std::size_t>(part.output_bytes))});
  }
  slot.batch.clear();
  release(slot);
  free_slot(index);
  close(count);
  feed();
}

void Pipeline::State::leave_device(std::size_t index, const Status& error) {
  Batch batch = std::exchange(slots_[index].batch, {});
  release(slots_[index]);
  const bool ended = ends_device(device_fault(error.code()));
  {
    const MutexLock lock(mutex_);
    if (ended) {
      device_error_ = error;
    } else if (batch.size() == 1) {
      refused_kernels_.insert(batch.front().kernel);
    }
  }
  free_slot(index);
  if (ended) {
    for (const DeviceWork& work : batch) {
      tell(work, {.status = error});
    }
    close(batch.size());
  } else if (batch.size() == 1) {
    run_on_host(std::move(batch.front()));
  } else {
    give_up(std::move(batch));
  }
  feed();
}

void Pipeline::State::begin_ranges(Slot& slot) {
  for (const DeviceWork& work : slot.batch) {
    if (const std::uint64_t range = device_.begin_range(work.id); range != 0) {
      slot.ranges.push_back(range);
    }
  }
}

void Pipeline::State::end_ranges(Slot& slot) {
  for (const std::uint64_t range : slot.ranges) {
    device_.end_range(range);
  }
  slot.ranges.clear();
}

void Pipeline::State::release(Slot& slot) {
  slot.staging = {};
  slot.output = {};
  slot.slab = {};
  slot.pages.reset();
}

}  // namespace pinion
