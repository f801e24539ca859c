#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include <pinion/core/job_context.hpp>
#include <pinion/core/status.hpp>
#include <pinion/gpu/kernel_registry.hpp>
#include <pinion/shard/map_reduce.hpp>

namespace pinion {

/// A rank's membership in its job. The first thing a program makes, on its main thread:
///
///     auto job = pinion::Job::create(argc, argv);
///     auto sum = pinion::map_reduce(job, pinion::indices(1000), pinion::by_index_range(10),
///         [](const pinion::Shard& s, auto& emit) { emit(0, s.end() - s.begin()); },
///         pinion::sum_vector<std::uint64_t>(1));
///     job->once([&] { std::printf("%lu\n", sum->values()[0]); }).ok();
///
/// Started by `pinion run`, by `mpirun` or by `srun --mpi=pmix`, the program is one of several
/// ranks, each of which runs all of main(); started alone, it is a job of one rank and needs
/// nothing running.
///
/// Thread safety: as IJobContext. Steps are taken by one thread.
/// Lifetime: the destructor waits for the workers and tells the agent that this rank is done. The
///   rank of mpirun or srun that has started the agent of its host waits for the end of it, which
///   comes when the last rank there is done or dead.
class Job final : public IJobContext {
 public:
  /// Joins the job that started this process, or makes one of its own. Takes the arguments of the
  /// form --pinion-NAME=VALUE out of `argc` and `argv`. Ignores SIGXFSZ, unless the program handles
  /// it, so that a limit on the size of files is an error.
  /// Blocks: for the agent's answer, and under mpirun and srun until all ranks are there.
  /// Errors: kInvalidArgument for a setting that does not fit, or that is given to a rank of
  ///   `pinion run`; kFailedPrecondition when a rank makes a second Job; kUnavailable when the
  ///   agent is gone; under mpirun and srun kDeadlineExceeded when other ranks do not come, and
  ///   kUnimplemented when this build or this system has no PMIx; kResourceExhausted when the
  ///   memory budget does not do for its workers; those of finding and binding the machine's CPUs.
  [[nodiscard]] static Result<Job> create(int& argc, char** argv);
  ~Job() override;

  Job(Job&&) noexcept;
  Job& operator=(Job&&) noexcept;

  /// 0 to rank_count() - 1.
  [[nodiscard]] std::uint32_t rank() const noexcept { return info().rank; }
  [[nodiscard]] std::uint32_t rank_count() const noexcept { return info().rank_count; }

  /// A step that one rank runs: printing, writing a file. At-least-once: when that rank dies before
  /// the step is known to be done, another runs `body` again. What `body` has printed, by stdio
  /// or iostream, is flushed.
  /// Blocks: until it is done, on every rank.
  /// Errors: those of run_step(); on the rank that ran it those of writing to standard output.
  [[nodiscard]] Status once(const std::function<void()>& body,
                            CallSite where = CallSite::current());

  /// Lets this rank end its work in good order, for as long as the process lives: it finishes and
  /// hands in what it holds, and is given nothing more, in no step. The program goes on and has the
  /// answers of all steps; others do the work. When every rank was drained, a step that is not done
  /// ends the job with kUnavailable.
  /// Thread safety: any thread, also from a body.
  /// Errors: kUnavailable when the agent is gone.
  [[nodiscard]] Status drain(std::string reason);

  /// The kernels of the program: add the CPU twins of its own before the first step that has one.
  /// Those of Pinion (pinion/gpu/kernels.hpp) are there. Emulated devices run these; GPUs run what
  /// the program has registered under the same names.
  /// Thread safety: from the thread that takes steps.
  [[nodiscard]] KernelRegistry& kernels() noexcept;

  /// Where each worker of this rank runs, in words.
  [[nodiscard]] std::string placement();

  [[nodiscard]] const JobInfo& info() const noexcept override;
  [[nodiscard]] Executor& executor() noexcept override;
  [[nodiscard]] IBlobStore& store() noexcept override;
  [[nodiscard]] IControlLink& control() noexcept override;
  [[nodiscard]] Trace& trace() noexcept override;
  [[nodiscard]] MemoryLedger& memory() noexcept override;
  [[nodiscard]] PagePool& pages() noexcept override;

  /// Its gauges of memory (MemoryGauges) are those of the moment of the call, and so are, once a
  /// step has used devices, "device shards", "device nanoseconds" (while one had at least a shard),
  /// "device input bytes", "device output bytes" and "device memory peak bytes".
  [[nodiscard]] Metrics& metrics() noexcept override;

  /// Those of the setting `devices`. What hinders them from being opened is said on standard error,
  /// and the rank does without.
  [[nodiscard]] IShardDevices* devices() override;
  [[nodiscard]] std::uint64_t begin_step() noexcept override;

 private:
  struct State;
  explicit Job(std::unique_ptr<State> state) noexcept;

  std::unique_ptr<State> state_;
};

/// map_reduce (pinion/shard/map_reduce.hpp) on a job that may have failed to come up: its error is
/// then the answer.
template <class Body, class Aggregator>
[[nodiscard]] Result<typename Aggregator::Result> map_reduce(Result<Job>& job, Input input,
                                                             Partitioning partitioning, Body body,
                                                             Aggregator aggregator,
                                                             CallSite where = CallSite::current()) {
  if (!job) {
    return job.error();
  }
  IJobContext& context = *job;
  return map_reduce(context, std::move(input), std::move(partitioning), std::move(body),
                    std::move(aggregator), where);
}

}  // namespace pinion
