// What the host does of a pipeline's work, and tells of all of it.

#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "pipeline_state.hpp"
#include "run_body.hpp"

namespace pinion {

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
    self->close(1);
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
  WorkLayout layout;
  layout.assign(std::span(&work, 1));
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
      part(0, work.input.size()), part(layout.outputs_offset, work.output_bytes),
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

// The last thing that is done for pieces of work: afterwards the pipeline may end.
void Pipeline::State::close(std::size_t count) {
  const MutexLock lock(mutex_);
  open_count_ -= count;
  quiet_.notify_all();
}

}  // namespace pinion
