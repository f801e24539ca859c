#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <pinion/core/clock.hpp>

namespace pinion::bench {

/// What a workload program was asked for.
struct Options {
  std::size_t workers = 1;
  bool is_launched = false;             ///< As ranks with one worker each, `workers` of them.
  std::uint64_t size = 0;               ///< For workloads that read nothing.
  std::vector<std::string> paths = {};  ///< What it reads.
};

struct Elapsed {
  Duration wall = {};
  Duration cpu = {};  ///< Of all threads of this process, in it and in the system.
};

/// What a job of Pinion may need beside the files that it maps, its answer and its input buffers.
inline constexpr std::uint64_t kOtherMemoryBytes = std::uint64_t{256} << 20;

/// One repetition: the time from before the input is opened until the answer is complete in memory,
/// and what the answer says. `checksum` is equal for equal answers, in whatever order they lie.
struct Repetition {
  Elapsed time = {};
  std::uint64_t bytes = 0;  ///< Read; 0 where rows count.
  std::uint64_t rows = 0;   ///< Rows, records or samples; 0 where bytes count.
  std::uint64_t checksum = 0;
  std::uint64_t mapped_bytes = 0;      ///< Of files that were mapped: no memory of the program's.
  std::uint64_t memory_bytes_max = 0;  ///< The bound of its peak beside them; 0: it has none.
};

struct Program {
  std::string_view workload;
  std::string_view contender;
  bool reads_files = true;
};

/// Measures from its construction on.
class Stopwatch {
 public:
  Stopwatch();
  [[nodiscard]] Elapsed elapsed() const;

 private:
  SystemClock clock_;
  Duration cpu_begin_;
  Instant begin_;
};

/// The body of main(): reads the arguments, runs as many repetitions as they ask for, and prints
/// one line of JSON for each. An exception of `run` ends the program with its words and status 1.
int run_program(const Program& program, int argc, char** argv,
                const std::function<Repetition(const Options&)>& run);

/// For programs that need something between the arguments and the first repetition that is not
/// measured, such as a job that starts its workers: `prepare` is called once and gives `run`.
int run_prepared(
    const Program& program, int argc, char** argv,
    const std::function<std::function<Repetition(const Options&)>(const Options&)>& prepare);

}  // namespace pinion::bench
