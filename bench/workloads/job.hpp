#pragma once

#include <cstddef>
#include <cstdio>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

#include <pinion/pinion.hpp>

#include "harness.hpp"

namespace pinion::bench {

/// A job of one rank with as many workers as asked for, started and pinned; or this rank of one
/// that was launched. Ends the program with the error's words when it cannot be had.
[[nodiscard]] inline Job make_job(const Options& options) {
  std::string program = "workload";
  std::string option = "--pinion-workers=" + std::to_string(options.workers);
  int count = options.is_launched ? 1 : 2;
  char* arguments[] = {program.data(), options.is_launched ? nullptr : option.data(), nullptr};
  Result<Job> job = Job::create(count, arguments);
  return std::move(job).value();
}

/// run_program() for a program of Pinion: its job starts before the first repetition is measured,
/// and all of them are steps of it. Of several ranks the first one prints.
inline int run_job(const Program& program, int argc, char** argv,
                   const std::function<Repetition(Job&, const Options&)>& run) {
  return run_prepared(program, argc, argv, [&run](const Options& options) {
    auto job = std::make_shared<Job>(make_job(options));
    if (job->info().rank != 0 && std::freopen("/dev/null", "w", stdout) == nullptr) {
      throw std::runtime_error("opening /dev/null");  // One rank prints for all of them.
    }
    return [job, &run](const Options& asked) { return run(*job, asked); };
  });
}

}  // namespace pinion::bench
