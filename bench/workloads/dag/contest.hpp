#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <pinion/core/clock.hpp>

#include "line_round_trip.hpp"
#include "shapes.hpp"

namespace pinion::bench {

/// What a contender is asked for.
struct Contest {
  std::string shape = "layered";
  std::uint32_t step_count = 0;  ///< The work of each body: see compute().
  std::uint32_t spacing = 1;  ///< Words from that of a task to the next: 16 is a line of the cache.
  std::size_t workers = 1;
  std::size_t repetition_count = 9;
};

inline Contest parse_contest(int argc, char** argv) {
  Contest contest;
  const auto number = [](std::string_view text) {
    std::size_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) {
      std::fprintf(stderr, "'%s' is not a number\n", text.data());
      std::exit(64);
    }
    return value;
  };
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view option = argv[i];
    if (option == "--shape") {
      contest.shape = argv[i + 1];
    } else if (option == "--steps") {
      contest.step_count = static_cast<std::uint32_t>(number(argv[i + 1]));
    } else if (option == "--spacing") {
      contest.spacing = static_cast<std::uint32_t>(std::max<std::size_t>(number(argv[i + 1]), 1));
    } else if (option == "--workers") {
      contest.workers = std::max<std::size_t>(number(argv[i + 1]), 1);
    } else if (option == "--repetitions") {
      contest.repetition_count = std::max<std::size_t>(number(argv[i + 1]), 1);
    } else {
      std::fprintf(stderr,
                   "expected --shape NAME, --steps N, --spacing N, --workers N, --repetitions N\n");
      std::exit(64);
    }
  }
  const auto* const known =
      std::find(std::begin(kShapeNames), std::end(kShapeNames), contest.shape);
  if (known == std::end(kShapeNames)) {
    std::fprintf(stderr, "unknown shape '%s'\n", contest.shape.c_str());
    std::exit(64);
  }
  return contest;
}

/// How far the first two CPUs are from each other: see line_round_trip.hpp. JSON.
inline std::string round_trip_in_words(const Contest& contest) {
  const double nanoseconds = contest.workers > 1 ? line_round_trip_nanoseconds(0, 1) : std::nan("");
  char words[32] = "null";
  if (!std::isnan(nanoseconds)) {
    std::snprintf(words, sizeof(words), "%.1f", nanoseconds);
  }
  return words;
}

/// The body of main(). `Contender` is made of (shape, contest, words) and has run(), which runs
/// every task once. Prints the median time of a task in one line of JSON, with the round trip of a
/// cache line before and after the runs, while no thread of the contender is there. Refuses a
/// contender whose tasks did not run once in each run.
template <class Contender>
int run_contest(std::string_view name, int argc, char** argv) {
  constexpr std::size_t kWarmUps = 2;
  const Contest contest = parse_contest(argc, argv);
  const Shape shape = make_shape(contest.shape);
  std::vector<std::uint32_t> words(std::size_t{shape.task_count} * contest.spacing);
  std::vector<double> nanoseconds;
  const std::string line_before = round_trip_in_words(contest);
  {
    Contender contender(shape, contest, words);
    const SystemClock clock;
    for (std::size_t i = 0; i < kWarmUps + contest.repetition_count; ++i) {
      const Instant begin = clock.now();
      contender.run();
      const Duration time = clock.now() - begin;
      if (i >= kWarmUps) {
        nanoseconds.push_back(static_cast<double>(time.count()) / shape.task_count);
      }
    }
  }
  const std::string line_after = round_trip_in_words(contest);
  std::uint32_t expected = 0;
  for (std::size_t i = 0; i < kWarmUps + contest.repetition_count; ++i) {
    compute(expected, contest.step_count);
  }
  for (std::size_t i = 0; i < words.size(); i += contest.spacing) {
    if (words[i] != expected) {
      std::fprintf(stderr, "%s did not run every task once\n", name.data());
      return 1;
    }
  }
  std::sort(nanoseconds.begin(), nanoseconds.end());
  std::printf(
      "{\"workload\": \"dag\", \"contender\": \"%s\", \"shape\": \"%s\", \"steps\": %u, "
      "\"spacing\": %u, \"workers\": %zu, \"nanoseconds\": %.2f, \"line_before\": %s, "
      "\"line_after\": %s}\n",
      name.data(), contest.shape.c_str(), contest.step_count, contest.spacing, contest.workers,
      nanoseconds[nanoseconds.size() / 2], line_before.c_str(), line_after.c_str());
  return 0;
}

}  // namespace pinion::bench
