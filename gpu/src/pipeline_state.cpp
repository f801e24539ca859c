#include "pipeline_state.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "run_body.hpp"

namespace pinion {
namespace {

// Kernels may read whole vectors from where a buffer begins.
constexpr std::uint64_t kAlignment = 256;

std::uint64_t aligned(std::uint64_t size_bytes) {
  return (size_bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// What the time of work is measured by; at least 1.
std::uint64_t byte_count(const DeviceWork& work) {
  return work.input.size() + work.output_bytes + 1;
}

constexpr double kLongest = 1e18;  // Of a Duration, in nanoseconds; some years.

}  // namespace

Pipeline::State::Layout::Layout(const DeviceWork& work) noexcept
    : output_offset(aligned(work.input.size())),
      scratch_offset(output_offset + aligned(work.output_bytes)),
      size_bytes(std::max(scratch_offset + aligned(work.scratch_bytes), kAlignment)) {}

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
        begin(std::move(step.work), step.slot);
        break;
      case Step::Kind::kHost:
        run_on_host(std::move(step.work));
        break;
      case Step::Kind::kRefuse:
        tell(step.work, {.status = step.error});
        close_one();
        break;
    }
  }
}

Pipeline::State::Step Pipeline::State::next() {
  const MutexLock lock(mutex_);
  if (!waiting_.empty()) {
    Step step;
    step.error = reason_to_refuse();
    if (!step.error.ok()) {
      step.kind = Step::Kind::kRefuse;
    } else if (refused_kernels_.contains(waiting_.front().kernel)) {
      step.kind = Step::Kind::kHost;
    } else if (!stalled_ && busy_count_ < usage_.depth) {
      step.kind = Step::Kind::kBegin;
      const auto free =
          std::find_if(slots_.begin(), slots_.end(), [](const Slot& slot) { return !slot.busy; });
      free->busy = true;
      ++busy_count_;
      step.slot = static_cast<std::size_t>(free - slots_.begin());
    }
    if (step.kind != Step::Kind::kNothing) {
      step.work = std::move(waiting_.front());
      waiting_.pop_front();
      return step;
    }
  }
  feeding_ = false;
  quiet_.notify_all();
  return {};
}

Status Pipeline::State::reason_to_refuse() const {
  if (closing_ || options_.cancel.cancelled()) {
    return Status(ErrorCode::kCancelled, "the work was cancelled before it began");
  }
  return device_error_;
}

void Pipeline::State::begin(DeviceWork work, std::size_t index) {
  Slot& slot = slots_[index];
  const Layout layout(work);
  if (layout.size_bytes > device_.usage().budget_bytes) {
    free_slot(index);
    split_or_run_on_host(std::move(work));
    return;
  }
  slot.error = find_memory(slot, layout);
  if (device_fault(slot.error.code()) == DeviceFault::kOutOfMemory) {
    do_without_memory(std::move(work), index);
    return;
  }
  slot.work = std::move(work);
  if (slot.error.ok()) {
    const std::span<const std::byte> input = slot.work.input;
    const bool zero_copy = !input.empty() && device_.is_registered(input);
    const Found staging = find_staging(slot, zero_copy);
    if (staging != Found::kYes) {
      do_without_staging(index, staging);
      return;
    }
    note_that_memory_does();
    slot.error = put(slot, layout, zero_copy);
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

Status Pipeline::State::find_memory(Slot& slot, const Layout& layout) {
  if (slot.memory.size_bytes() >= layout.size_bytes) {
    return {};
  }
  slot.memory = {};
  Result<DeviceBuffer> memory = device_.allocate(layout.size_bytes);
  if (!memory) {
    return std::move(memory).error();
  }
  slot.memory = *std::move(memory);
  return {};
}

// First the same again, when other work has given back its memory; then with less work at once;
// then less work, or another device.
void Pipeline::State::do_without_memory(DeviceWork work, std::size_t index) {
  drop_idle_memory(slots_[index]);
  {
    const MutexLock lock(mutex_);
    ++lack_count_;
    if (lack_count_ == 1 || usage_.depth > 1) {
      if (lack_count_ > 1) {
        usage_.depth /= 2;
      }
      ++usage_.retried_count;
      stalled_ = busy_count_ > 1;
      put_back(std::move(work), index);
      return;
    }
    lack_count_ = 0;
  }
  free_slot(index);
  split_or_run_on_host(std::move(work));
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
  const DeviceWork& work = slot.work;
  const std::uint64_t input_bytes = zero_copy ? 0 : aligned(work.input.size());
  const std::uint64_t size_bytes = input_bytes + work.output_bytes;
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
                                     static_cast<std::size_t>(work.output_bytes));
  return Found::kYes;
}

bool Pipeline::State::alone() const {
  const MutexLock lock(mutex_);
  return busy_count_ == 1;
}

// Other work on the device gives its staging back when it ends. If it has ended just now, this is
// tried again at once.
void Pipeline::State::do_without_staging(std::size_t index, Found staging) {
  DeviceWork work = std::move(slots_[index].work);
  if (staging == Found::kLater) {
    const MutexLock lock(mutex_);
    stalled_ = busy_count_ > 1;
    put_back(std::move(work), index);
    return;
  }
  free_slot(index);
  split_or_run_on_host(std::move(work));
}

Status Pipeline::State::put(Slot& slot, const Layout& layout, bool zero_copy) {
  const DeviceWork& work = slot.work;
  const bool pageable = !slot.staging.empty() && !device_.is_registered(slot.staging);
  {
    const MutexLock lock(mutex_);
    usage_.zero_copy_count += zero_copy ? 1 : 0;
    usage_.pageable_count += pageable ? 1 : 0;
  }
  std::span<const std::byte> source = work.input;
  if (!zero_copy && !work.input.empty()) {
    std::memcpy(slot.staging.data(), work.input.data(), work.input.size());
    source = slot.staging.first(work.input.size());
  }
  const DeviceSpan memory = slot.memory.span();
  const std::array<DeviceSpan, 3> buffers = {
      memory.part(0, work.input.size()), memory.part(layout.output_offset, work.output_bytes),
      memory.part(layout.scratch_offset, work.scratch_bytes)};
  const auto since = options_.on_stage ? std::make_shared<Instant>(timer_.clock().now()) : nullptr;
  PINION_RETURN_IF_ERROR(in_->copy_in(buffers[0], source));
  watch_stage(*in_, WorkStage::kCopyIn, work.id, since);
  PINION_RETURN_IF_ERROR(execute_->wait_for(*in_));
  PINION_RETURN_IF_ERROR(execute_->launch(work.kernel, work.arguments, buffers));
  watch_stage(*execute_, WorkStage::kKernel, work.id, since);
  PINION_RETURN_IF_ERROR(out_->wait_for(*execute_));
  PINION_RETURN_IF_ERROR(out_->copy_out(slot.output, buffers[1]));
  watch_stage(*out_, WorkStage::kCopyOut, work.id, since);
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
    self->close_one();
  });
}

void Pipeline::State::put_back(DeviceWork work, std::size_t index) {
  waiting_.push_front(std::move(work));
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
  const DeviceWork work = std::move(slot.work);
  tell(work, {.path = WorkPath::kDevice, .result = slot.output});
  release(slot);
  free_slot(index);
  close_one();
  feed();
}

void Pipeline::State::leave_device(std::size_t index, const Status& error) {
  DeviceWork work = std::move(slots_[index].work);
  release(slots_[index]);
  const bool ended = ends_device(device_fault(error.code()));
  {
    const MutexLock lock(mutex_);
    if (ended) {
      device_error_ = error;
    } else {
      refused_kernels_.insert(work.kernel);
    }
  }
  free_slot(index);
  if (ended) {
    tell(work, {.status = error});
    close_one();
  } else {
    run_on_host(std::move(work));
  }
  feed();
}

void Pipeline::State::release(Slot& slot) {
  slot.staging = {};
  slot.output = {};
  slot.slab = {};
  slot.pages.reset();
}

void Pipeline::State::split_or_run_on_host(DeviceWork work) {
  std::vector<DeviceWork> pieces;
  if (work.split) {
    pieces = work.split();
  }
  if (pieces.size() < 2) {
    run_on_host(std::move(work));
    return;
  }
  const MutexLock lock(mutex_);
  ++usage_.split_count;
  open_count_ += pieces.size() - 1;
  for (std::size_t left = pieces.size(); left > 0; --left) {
    PINION_ASSERT(pieces[left - 1].on_done);
    waiting_.push_front(std::move(pieces[left - 1]));
  }
}

void Pipeline::State::run_on_host(DeviceWork work) {
  // Shared, as a std::function is copied.
  std::function<void()> run = [self = shared_from_this(),
                               kept = std::make_shared<const DeviceWork>(std::move(work))] {
    self->run_twin(*kept);
    self->close_one();
  };
  if (options_.run_on_host) {
    options_.run_on_host(std::move(run));
  } else {
    run();
  }
}

void Pipeline::State::run_twin(const DeviceWork& work) {
  const Kernel* const kernel = kernels_.find(work.kernel);
  if (kernel == nullptr) {
    tell(work, {.status = Status(ErrorCode::kNotFound, "there is no kernel '" + work.kernel +
                                                           "'; register it by that name")});
    return;
  }
  const Layout layout(work);
  Result<Pages> memory = staging_.take_pageable(layout.size_bytes);
  if (!memory) {
    tell(work, {.status = std::move(memory).error()});
    return;
  }
  const auto part = [&](std::uint64_t offset, std::uint64_t size_bytes) {
    return memory->bytes().subspan(static_cast<std::size_t>(offset),
                                   static_cast<std::size_t>(size_bytes));
  };
  const std::array<std::span<std::byte>, 3> buffers = {
      part(0, work.input.size()), part(layout.output_offset, work.output_bytes),
      part(layout.scratch_offset, work.scratch_bytes)};
  std::copy(work.input.begin(), work.input.end(), buffers[0].begin());
  Status status = run_body(kernel->body, {.arguments = work.arguments, .buffers = buffers});
  const std::span<const std::byte> result = status.ok() ? buffers[1] : std::span<std::byte>();
  tell(work, {.status = std::move(status), .path = WorkPath::kHost, .result = result});
}

void Pipeline::State::tell(const DeviceWork& work, const WorkOutcome& outcome) {
  {
    const MutexLock lock(mutex_);
    const bool on_device = outcome.path == WorkPath::kDevice;
    ++(!outcome.status.ok() ? usage_.failed_count
       : on_device          ? usage_.device_count
                            : usage_.host_count);
  }
  work.on_done(outcome);
}

// The last thing that is done for a piece of work: afterwards the pipeline may end.
void Pipeline::State::close_one() {
  const MutexLock lock(mutex_);
  --open_count_;
  quiet_.notify_all();
}

void Pipeline::State::watch(Slot& slot) {
  const MutexLock lock(mutex_);
  slot.begun = timer_.clock().now();
  slot.deadline = slot.begun + hang_time(slot);
  if (!watched_ || *slot.deadline < *watched_) {
    call_watchdog(*slot.deadline);
  }
}

void Pipeline::State::call_watchdog(Instant deadline) {
  watched_ = deadline;
  timer_.call_at(deadline, [weak = weak_from_this(), deadline] {
    if (const std::shared_ptr<State> self = weak.lock()) {
      self->look_for_hang(deadline);
    }
  });
}

void Pipeline::State::look_for_hang(Instant due) {
  {
    const MutexLock lock(mutex_);
    if (watched_ != due) {
      return;  // Another call, for an earlier time, took the place of this one.
    }
    watched_.reset();
    std::optional<Instant> first;
    for (const Slot& slot : slots_) {
      if (slot.deadline && (!first || *slot.deadline < *first)) {
        first = slot.deadline;
      }
    }
    if (!first) {
      return;
    }
    if (*first > due) {
      call_watchdog(*first);
      return;
    }
    ++open_count_;  // The device stays until this is over.
  }
  device_.abandon();
  close_one();
}

Duration Pipeline::State::hang_time(const Slot& slot) const {
  if (time_per_byte_ == 0.0) {
    return options_.hang_time_first;
  }
  const auto size_bytes = static_cast<double>(byte_count(slot.work));
  const double expected = time_per_byte_ * size_bytes * options_.hang_factor;
  const double least = static_cast<double>(options_.hang_time_min.count());
  return Duration(static_cast<Duration::rep>(std::clamp(expected, least, kLongest)));
}

void Pipeline::State::measure(const Slot& slot) {
  // A mean in which the last ones count most, so that it follows a device that becomes slower.
  constexpr double kNewShare = 0.25;
  const Duration time = timer_.clock().now() - slot.begun;
  const double measured =
      static_cast<double>(time.count() + 1) / static_cast<double>(byte_count(slot.work));
  time_per_byte_ =
      time_per_byte_ == 0.0 ? measured : (1.0 - kNewShare) * time_per_byte_ + kNewShare * measured;
}

}  // namespace pinion
