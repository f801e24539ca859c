#include "worker_binding.hpp"

#include <string>
#include <system_error>
#include <utility>

#include <pinion/core/detail/cpu_list.hpp>

#include "worker_thread.hpp"

namespace pinion {

thread_local constinit detail::WorkerThread detail::this_thread;

namespace {

// Without an errno the system has taken what was asked for, and does something else: it leaves out
// the CPUs that the process may not use any more.
Status misbound(const WorkerBinding& binding, const CpuMask& wanted, int error) {
  std::string words = "worker " + std::to_string(binding.worker) + " is to run on CPUs " +
                      detail::to_cpu_list(wanted.cpus()) + " and ";
  if (error != 0) {
    words += "cannot be bound to them: " + std::generic_category().message(error);
  } else if (binding.cpus.empty()) {
    words += "the system does not say where it runs";
  } else {
    words += "the system has it run on " + detail::to_cpu_list(binding.cpus);
  }
  words += "; look at what this process may use by now (taskset, the cgroup's cpuset)";
  return error == 0 ? Status(ErrorCode::kFailedPrecondition, std::move(words))
                    : Status::from_native(ErrorOrigin::kErrno, error,
                                          ErrorCode::kFailedPrecondition, std::move(words));
}

}  // namespace

void BindingTable::set(WorkerBinding binding) {
  const MutexLock lock(mutex_);
  WorkerBinding& row = bindings_[binding.worker];
  if (!binding.status.ok()) {
    misbound_count_.fetch_add(1, std::memory_order_relaxed);
  }
  if (!row.status.ok()) {
    binding.status = std::move(row.status);
  }
  row = std::move(binding);
}

std::vector<WorkerBinding> BindingTable::bindings() {
  const MutexLock lock(mutex_);
  return bindings_;
}

Status BindingTable::status() {
  const MutexLock lock(mutex_);
  for (const WorkerBinding& binding : bindings_) {
    if (!binding.status.ok()) {
      return binding.status;
    }
  }
  return {};
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
  table_.set(bind(worker, site_.masks[slot % site_.masks.size()]));
  ends.give();
}

WorkerBinding Binder::bind(std::size_t worker, const CpuMask& wanted) const {
  WorkerBinding binding{.worker = worker, .place = site_.place};
  const int error = wanted.bind_calling_thread();
  const Result<CpuMask> seen = CpuMask::of_calling_thread();
  if (seen) {
    binding.cpus = seen->cpus();
  }
  if (site_.is_bound && (error != 0 || !seen || *seen != wanted)) {
    binding.status = misbound(binding, wanted, error);
  }
  return binding;
}

void Binder::on_scheduler_exit(bool) noexcept {
  begins.take();
  detail::this_thread = {};
  ends.give();
}

}  // namespace pinion
