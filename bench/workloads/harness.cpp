#include "harness.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <exception>
#include <fstream>
#include <stdexcept>

namespace pinion::bench {
namespace {

constexpr char kUsage[] =
    "Usage: %.*s.%.*s [--workers N | --ranks N] [--repetitions N] %s\n"
    "Prints one line of JSON for each repetition.\n";

struct Arguments {
  Options options;
  std::uint64_t repetitions = 1;
};

std::uint64_t parse_count(std::string_view name, std::string_view text) {
  std::uint64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || end != text.data() + text.size() || count == 0) {
    throw std::invalid_argument(std::string(name) + " is '" + std::string(text) +
                                "'; it must be a number, at least 1");
  }
  return count;
}

Arguments parse(const Program& program, const std::vector<std::string>& words) {
  Arguments arguments;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word.substr(0, 2) != "--") {
      arguments.options.paths.push_back(word);
      continue;
    }
    const std::string value = i + 1 < words.size() ? words[++i] : "";
    if (word == "--workers") {
      arguments.options.workers = parse_count(word, value);
    } else if (word == "--ranks") {
      arguments.options.workers = parse_count(word, value);
      arguments.options.is_launched = true;
    } else if (word == "--repetitions") {
      arguments.repetitions = parse_count(word, value);
    } else if (word == "--size" && !program.reads_files) {
      arguments.options.size = parse_count(word, value);
    } else {
      throw std::invalid_argument("unknown option " + word);
    }
  }
  if (program.reads_files == arguments.options.paths.empty() ||
      program.reads_files != (arguments.options.size == 0)) {
    throw std::invalid_argument(program.reads_files ? "expected at least one path"
                                                    : "expected --size N and no path");
  }
  return arguments;
}

// Of this program: what getrusage() says begins with the process that started it. 0 where the
// system does not tell.
std::uint64_t peak_rss_bytes() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.rfind("VmHWM:", 0) == 0) {
      return std::stoull(line.substr(6)) * 1024;
    }
  }
  return 0;
}

Duration cpu_time() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto duration = [](const timeval& time) {
    return Duration(std::chrono::seconds(time.tv_sec) + std::chrono::microseconds(time.tv_usec));
  };
  return duration(usage.ru_utime) + duration(usage.ru_stime);
}

double seconds_of(Duration time) {
  return std::chrono::duration<double>(time).count();
}

void print(const Program& program, const Options& options, const Repetition& repetition) {
  std::printf("{\"workload\": \"%.*s\", \"contender\": \"%.*s\", \"workers\": %zu, ",
              static_cast<int>(program.workload.size()), program.workload.data(),
              static_cast<int>(program.contender.size()), program.contender.data(),
              options.workers);
  const std::uint64_t peak = peak_rss_bytes();
  std::printf("\"seconds\": %.6f, \"cpu_seconds\": %.6f, \"bytes\": %" PRIu64 ", \"rows\": %" PRIu64
              ", \"checksum\": \"%016" PRIx64 "\", \"peak_rss_bytes\": %" PRIu64,
              seconds_of(repetition.time.wall), seconds_of(repetition.time.cpu), repetition.bytes,
              repetition.rows, repetition.checksum, peak);
  if (repetition.memory_bytes_max > 0) {
    std::printf(", \"memory_bytes\": %" PRIu64 ", \"memory_bytes_max\": %" PRIu64,
                peak - std::min(peak, repetition.mapped_bytes), repetition.memory_bytes_max);
  }
  std::printf("}\n");
  std::fflush(stdout);
}

}  // namespace

Stopwatch::Stopwatch() : cpu_begin_(cpu_time()), begin_(clock_.now()) {}

Elapsed Stopwatch::elapsed() const {
  return {.wall = clock_.now() - begin_, .cpu = cpu_time() - cpu_begin_};
}

int run_prepared(
    const Program& program, int argc, char** argv,
    const std::function<std::function<Repetition(const Options&)>(const Options&)>& prepare) {
  Arguments arguments;
  try {
    arguments = parse(program, std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::invalid_argument& error) {
    std::fprintf(stderr, "%s\n", error.what());
    std::fprintf(stderr, kUsage, static_cast<int>(program.workload.size()), program.workload.data(),
                 static_cast<int>(program.contender.size()), program.contender.data(),
                 program.reads_files ? "PATH..." : "--size N");
    return 64;
  }
  try {
    const auto run = prepare(arguments.options);
    for (std::uint64_t i = 0; i < arguments.repetitions; ++i) {
      print(program, arguments.options, run(arguments.options));
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%.*s.%.*s: %s\n", static_cast<int>(program.workload.size()),
                 program.workload.data(), static_cast<int>(program.contender.size()),
                 program.contender.data(), error.what());
    return 1;
  }
  return 0;
}

int run_program(const Program& program, int argc, char** argv,
                const std::function<Repetition(const Options&)>& run) {
  return run_prepared(program, argc, argv, [&run](const Options&) { return run; });
}

}  // namespace pinion::bench
