// One of four kinds of work, slow enough to be disturbed on the way:
//   words    counts the words of the file PATH
//   groups   folds made rows by a key of two columns
//   sort     sorts the lines of the file PATH
//   k-means  four steps, each with the centres that the one before it found
// Each body of words, groups and k-means takes MILLISECONDS besides, and each shard of a sort,
// whose bodies are not ours, when it is reported. Then comes a step that ends once the file
// DIR/gate exists (or a minute has passed), so that the job lasts as long as the test likes, and
// the answer is printed.
//
// In the first step of the work (of a sort, that which sorts):
//   - While the file DIR/hold exists, no report of shard 0 is handed in, so the step does not end.
//     DIR/hold.units says which shards are in such reports, one a line.
//   - Whoever has any other report to hand in, and is the first to take away the file DIR/late,
//     stops itself (SIGSTOP). It has looked at its leases before, so that nothing but the sink
//     keeps the report from counting if they have run out when it goes on.
//
//   disturbed_program KIND MILLISECONDS DIR PATH

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <pinion/pinion.hpp>
#include <pinion/shard/protocol/wire.hpp>

#include "job_with_link.hpp"

namespace {

bool exists(const std::string& path) {
  return access(path.c_str(), F_OK) == 0;
}

// The way to the coordinator, on which reports of one step's shards may be late.
class LateLink final : public pinion::IControlLink {
 public:
  struct Terms {
    std::uint64_t step = 1;
    int milliseconds_of_shard = 0;  // Besides, before a report is handed in.
    std::string hold;
    std::string late;
  };

  LateLink(pinion::IControlLink& link, Terms terms) : link_(link), terms_(std::move(terms)) {}

  pinion::Status send(std::span<const std::byte> message) override {
    const auto decoded = pinion::protocol::decode(message);
    const auto* report =
        decoded ? std::get_if<pinion::protocol::Report>(&decoded->message) : nullptr;
    if (report == nullptr || report->step != terms_.step ||
        report->stage != pinion::protocol::Stage::kMap) {
      return link_.send(message);
    }
    poll(nullptr, 0, terms_.milliseconds_of_shard * static_cast<int>(report->batch.size()));
    if (has_shard_0(*report)) {
      if (exists(terms_.hold)) {
        held_back_.emplace_back(message.begin(), message.end());
        std::ofstream units(terms_.hold + ".units", std::ios::app);
        for (const pinion::protocol::Lease& lease : report->batch) {
          units << lease.unit << '\n';
        }
        return {};
      }
    } else if (std::rename(terms_.late.c_str(), (terms_.late + ".taken").c_str()) == 0) {
      raise(SIGSTOP);
    }
    return link_.send(message);
  }

  pinion::Result<std::vector<std::byte>> receive(pinion::Instant deadline) override {
    if (!held_back_.empty() && exists(terms_.hold)) {
      return link_.receive(
          std::min<pinion::Instant>(deadline, clock_.now() + std::chrono::milliseconds(10)));
    }
    for (const std::vector<std::byte>& message : std::exchange(held_back_, {})) {
      if (pinion::Status sent = link_.send(message); !sent.ok()) {
        return sent;
      }
    }
    return link_.receive(deadline);
  }

  void wake() noexcept override { link_.wake(); }

 private:
  static bool has_shard_0(const pinion::protocol::Report& report) {
    return std::any_of(report.batch.begin(), report.batch.end(),
                       [](const pinion::protocol::Lease& lease) { return lease.unit == 0; });
  }

  pinion::IControlLink& link_;
  const Terms terms_;
  const pinion::SystemClock clock_ = {};
  std::vector<std::vector<std::byte>> held_back_;
};

class Work {
 public:
  Work(pinion::Job& job, char** arguments)
      : kind_(arguments[1]),
        milliseconds_(std::atoi(arguments[2])),
        gate_(std::string(arguments[3]) + "/gate"),
        path_(arguments[4]),
        link_(job.control(), {.step = kind_ == "sort" ? 2U : 1U,
                              .milliseconds_of_shard = kind_ == "sort" ? milliseconds_ : 0,
                              .hold = std::string(arguments[3]) + "/hold",
                              .late = std::string(arguments[3]) + "/late"}),
        job_(job, link_) {}

  // The answer as text.
  std::string run() {
    if (kind_ == "words") {
      return count_words();
    }
    if (kind_ == "groups") {
      return fold_groups();
    }
    return kind_ == "sort" ? sort_lines() : find_centres();
  }

  [[nodiscard]] pinion::Status wait_for_gate() {
    return pinion::for_each_shard(job_, pinion::indices(1), pinion::by_index_range(1),
                                  [this](const pinion::Shard&) {
                                    for (int round = 0; round < 6000 && !exists(gate_); ++round) {
                                      poll(nullptr, 0, 10);
                                    }
                                  });
  }

 private:
  void take_time() const { poll(nullptr, 0, milliseconds_); }

  std::string count_words() {
    auto counts = pinion::map_reduce(
        job_, pinion::files({path_}), pinion::by_bytes(4096, pinion::align_to_line),
        [this](const pinion::Shard& shard, auto& emit) {
          for (const std::string_view word : pinion::words(shard.text())) {
            emit(word, 1);
          }
          take_time();
        },
        pinion::sum_by_key<std::string_view, std::uint64_t>());
    std::map<std::string, std::uint64_t> sorted;
    for (const auto& [word, count] : *counts) {
      sorted.emplace(word, count);
    }
    std::string text;
    for (const auto& [word, count] : sorted) {
      text += word + " " + std::to_string(count) + "\n";
    }
    return text;
  }

  struct Route {
    std::uint32_t from;
    std::uint32_t to;
  };
  struct Rides {
    using Value = std::uint64_t;
    struct State {
      std::uint64_t count = 0;
      std::uint64_t sum = 0;
      std::uint64_t dearest = 0;
    };
    using Answer = State;
    static State first(Value fare) { return {1, fare, fare}; }
    static void add(State& state, Value fare) { join(state, first(fare)); }
    static void join(State& state, const State& other) {
      state.count += other.count;
      state.sum += other.sum;
      state.dearest = std::max(state.dearest, other.dearest);
    }
    static Answer answer(const State& state) { return state; }
  };

  std::string fold_groups() {
    auto rides = pinion::map_reduce(
        job_, pinion::indices(120'000), pinion::by_index_range(1'000),
        [this](const pinion::Shard& shard, auto& emit) {
          for (std::uint64_t ride = shard.begin(); ride < shard.end(); ++ride) {
            const auto from = static_cast<std::uint32_t>(ride * 31 % 17);
            emit({from, static_cast<std::uint32_t>(ride % 5)}, 500 + ride * 7919 % 4000);
          }
          take_time();
        },
        pinion::fold_by_key<Route, Rides>());
    std::string text;
    for (const auto& [route, all] : rides->by_key()) {
      text += std::to_string(route.from) + " to " + std::to_string(route.to) + ": " +
              std::to_string(all.count) + " " + std::to_string(all.sum) + " " +
              std::to_string(all.dearest) + "\n";
    }
    return text;
  }

  std::string sort_lines() {
    auto sorted =
        pinion::sort(job_, pinion::files({path_}), pinion::by_bytes(1024, pinion::align_to_line),
                     pinion::line_records());
    std::uint64_t count = 0;
    std::uint64_t hash = 0;
    std::string last;
    bool in_order = true;
    for (const std::string_view line : *sorted) {
      ++count;
      in_order = in_order && last <= line;
      last = line;
      for (const char c : line) {
        hash = hash * 1'000'003 + static_cast<unsigned char>(c);
      }
    }
    return std::to_string(count) + " lines " + (in_order ? "in" : "out of") + " order, hash " +
           std::to_string(hash) + "\n";
  }

  // On a grid of 1/256, so that sums are exact in any order.
  std::string find_centres() {
    std::vector<double> centres = {0, 1, 2};
    for (int step = 0; step < 4; ++step) {
      auto sums = pinion::map_reduce(
          job_, pinion::indices(8'000), pinion::by_index_range(250),
          [&](const pinion::Shard& shard, auto& emit) {
            for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
              const std::uint64_t random = (i + 1) * 0x9E3779B97F4A7C15u;
              const double x = static_cast<double>(i % 3 * 2000 + (random >> 40 & 511)) / 256;
              const auto nearest = static_cast<std::size_t>(
                  std::min_element(
                      centres.begin(), centres.end(),
                      [x](double a, double b) { return (a - x) * (a - x) < (b - x) * (b - x); }) -
                  centres.begin());
              emit(2 * nearest, x);
              emit(2 * nearest + 1, 1);
            }
            take_time();
          },
          pinion::sum_vector<double>(2 * centres.size()));
      for (std::size_t c = 0; c < centres.size(); ++c) {
        const double count = sums->values()[2 * c + 1];
        centres[c] = count > 0 ? sums->values()[2 * c] / count : centres[c];
      }
    }
    std::string text;
    for (const double centre : centres) {
      char digits[40];
      std::snprintf(digits, sizeof(digits), "%.17g\n", centre);
      text += digits;
    }
    return text;
  }

  std::string kind_;
  int milliseconds_;
  std::string gate_;
  std::string path_;
  LateLink link_;
  pinion::JobWithLink job_;
};

}  // namespace

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (argc != 5) {
    std::fputs("usage: disturbed_program KIND MILLISECONDS DIR PATH\n", stderr);
    return 64;
  }
  Work work(*job, argv);
  const std::string answer = work.run();
  if (const pinion::Status waited = work.wait_for_gate(); !waited.ok()) {
    return pinion::report(waited);
  }
  return pinion::report(job->once([&answer] {
    std::fputs(answer.c_str(), stdout);
    std::fflush(stdout);
  }));
}
