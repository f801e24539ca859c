#include "worker_binding.hpp"

#include <string>
#include <utility>

#include "worker_thread.hpp"

namespace pinion {

thread_local constinit detail::WorkerThread detail::this_thread;

void BindingTable::set(WorkerBinding binding, Status status) {
  const MutexLock lock(mutex_);
  if (status_.ok()) {
    status_ = std::move(status);
  }
  bindings_[binding.worker] = std::move(binding);
}

std::vector<WorkerBinding> BindingTable::bindings() {
  const MutexLock lock(mutex_);
  return bindings_;
}

Status BindingTable::status() {
  const MutexLock lock(mutex_);
  return status_;
}

Binder::Binder(tbb::task_arena& arena, const void* place_arena, Site site, BindingTable& table)
    : tbb::task_scheduler_observer(arena),
      place_arena_(place_arena),
      site_(std::move(site)),
      table_(table) {
  begins.give();
  observe(true);
}

Binder::~Binder() {
  observe(false);
  ends.take();
}

void Binder::on_scheduler_entry(bool) noexcept {
  begins.take();
  // No slot is reserved, so the slots of the arena are its workers, each held by one thread. Only
  // the arena of one worker has a second slot, and its one thread may sit in either.
  const auto index = static_cast<std::size_t>(tbb::this_task_arena::current_thread_index());
  const std::size_t slot = site_.worker_count == 1 ? 0 : index;
  PINION_ASSERT(slot < site_.worker_count);
  const std::size_t worker = site_.first_worker + slot;
  detail::this_thread = {.executor = site_.executor, .arena = place_arena_, .worker = worker};
  const int error = site_.masks[slot % site_.masks.size()].bind_calling_thread();
  Result<CpuMask> seen = CpuMask::of_calling_thread();
  Status status;
  if (error != 0) {
    status = Status::from_errno(error, "cannot bind worker " + std::to_string(worker));
  } else if (!seen) {
    status = seen.error();
  }
  table_.set({.worker = worker,
              .place = site_.place,
              .cpus = seen ? seen->cpus() : std::vector<unsigned>()},
             std::move(status));
  ends.give();
}

void Binder::on_scheduler_exit(bool) noexcept {
  begins.take();
  detail::this_thread = {};
  ends.give();
}

}  // namespace pinion
