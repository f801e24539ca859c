// How many acceptances a journal makes safe in a second, and how long each of them waits, on the
// disk of the current folder and on one that confirms in exactly 100 us. What the disk itself takes
// to confirm is measured beside it.

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <benchmark/benchmark.h>

#include <pinion/core/clock.hpp>
#include <pinion/shard/protocol/checksum.hpp>
#include <pinion/shard/protocol/coordinator.hpp>
#include <pinion/shard/protocol/journal_format.hpp>

#include "journal/journal.hpp"

namespace pinion {
namespace {

using protocol::Record;
using protocol::UnitsAccepted;

Instant now() {
  return SystemClock().now();
}

/// A folder of its own under `parent`, removed at the end.
class BenchFolder {
 public:
  explicit BenchFolder(const char* parent) {
    std::string name = std::string(parent) + "/journal_bench.XXXXXX";
    path_ = ::mkdtemp(name.data()) == nullptr ? "" : name;
  }
  ~BenchFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  BenchFolder(const BenchFolder&) = delete;
  BenchFolder& operator=(const BenchFolder&) = delete;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

void wait_for_100_us() {
  const Instant end = now() + std::chrono::microseconds(100);
  while (now() < end) {
  }
}

std::unique_ptr<Journal> start_journal(const std::string& folder, bool is_simulated) {
  JournalStoreOptions options;
  if (is_simulated) {
    options.at = [](CommitPoint point, std::uint64_t) {
      if (point == CommitPoint::kFrameTorn) {
        wait_for_100_us();
      }
    };
  }
  Result<JournalStore> store = JournalStore::open(folder, 1, {}, 0, std::move(options));
  return store ? *Journal::start(*std::move(store)) : nullptr;
}

Record acceptance_of(std::uint64_t first, std::size_t unit_count) {
  UnitsAccepted accepted{.step = 1,
                         .rank = 1,
                         .incarnation = 1,
                         .report = first,
                         .output = {.job = 1, .generation = 1, .length_bytes = first, .epoch = 1}};
  for (std::size_t index = 0; index < unit_count; ++index) {
    accepted.units.push_back(first + index);
  }
  return accepted;
}

/// Gives a journal what it can take, with a bounded number on the way, and says how long each
/// waited.
class Feed {
 public:
  Feed(Journal& journal, std::size_t on_the_way_max)
      : journal_(journal), on_the_way_max_(on_the_way_max) {}

  void give(Record record) {
    while (begun_.size() - safe_ >= on_the_way_max_) {
      pollfd news{journal_.descriptor(), POLLIN, 0};
      ::poll(&news, 1, -1);
      look();
    }
    begun_.push_back(now());
    journal_.submit({.record = std::move(record)});
  }

  void finish(benchmark::State& state) {
    if (const Status safe = journal_.wait_until_safe(); !safe.ok()) {
      state.SkipWithError(std::string(safe.message()).c_str());
      return;
    }
    look();
    std::sort(waits_.begin(), waits_.end());
    const auto microseconds = [this](double part) {
      const auto index = static_cast<std::size_t>(part * static_cast<double>(waits_.size() - 1));
      return std::chrono::duration<double, std::micro>(waits_[index]).count();
    };
    state.counters["p50_us"] = microseconds(0.5);
    state.counters["p99_us"] = microseconds(0.99);
  }

 private:
  void look() {
    const std::uint64_t safe = journal_.safe_count();
    const Instant time = now();
    for (; safe_ < safe; ++safe_) {
      waits_.push_back(time - begun_[safe_]);
    }
  }

  Journal& journal_;
  const std::size_t on_the_way_max_;
  std::vector<Instant> begun_;
  std::vector<Duration> waits_;
  std::size_t safe_ = 0;
};

constexpr std::uint64_t kRecordCount = 1'000'000;

// Arguments: whether the disk is simulated, how many may be on the way.
void BM_AcceptancesMadeSafe(benchmark::State& state) {
  const bool is_simulated = state.range(0) == 1;
  const std::uint64_t count = is_simulated ? kRecordCount : kRecordCount / 4;
  for (auto run : state) {
    state.PauseTiming();
    const BenchFolder folder(is_simulated ? "/dev/shm" : ".");
    const std::unique_ptr<Journal> journal = start_journal(folder.path(), is_simulated);
    Feed feed(*journal, static_cast<std::size_t>(state.range(1)));
    state.ResumeTiming();
    for (std::uint64_t number = 0; number < count; ++number) {
      feed.give(acceptance_of(number, 1));
    }
    feed.finish(state);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(count));
}
BENCHMARK(BM_AcceptancesMadeSafe)
    ->ArgNames({"simulated", "on_the_way"})
    ->Args({1, 1024})
    ->Args({1, 768})
    ->Args({1, 512})
    ->Args({1, 384})
    ->Args({1, 256})
    ->Args({1, 1})
    ->Args({0, 4096})
    ->Iterations(1)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

// The same with the coordinator that decides them: each turn is a claim of 16 shards, their grant,
// a heartbeat, and a report. What is counted is shards.
void BM_ShardsGrantedReportedAndMadeSafe(benchmark::State& state) {
  constexpr std::uint64_t kShardCount = 4'000'000;
  constexpr std::uint32_t kBatch = 16;
  for (auto run : state) {
    state.PauseTiming();
    const BenchFolder folder("/dev/shm");
    const std::unique_ptr<Journal> journal = start_journal(folder.path(), true);
    Feed feed(*journal, 1024);
    protocol::Coordinator coordinator({.job = 1, .journaled = true});
    protocol::Effects effects;
    std::vector<protocol::Lease> leases;
    const auto step = [&](const protocol::Message& message) {
      effects.clear();
      coordinator.step(protocol::MessageReceived{{.job = 1, .epoch = 1, .incarnation = 1}, message},
                       Instant(Duration(1)), effects);
      for (protocol::Effect& effect : effects) {
        if (auto* persist = std::get_if<protocol::Persist>(&effect)) {
          feed.give(std::move(persist->record));
        } else if (auto* send = std::get_if<protocol::Send>(&effect)) {
          if (auto* grant = std::get_if<protocol::Grant>(&send->message)) {
            leases = std::move(grant->leases);
          }
        }
      }
    };
    coordinator.step(protocol::RankJoined{}, Instant(Duration(1)), effects);
    step(protocol::EnterStep{.step = 1});
    step(protocol::PlanReady{.step = 1,
                             .plan = {.job = 1, .generation = 1},
                             .shards = std::vector<protocol::ShardEntry>(kShardCount)});
    state.ResumeTiming();
    for (std::uint64_t number = 0; number < kShardCount / kBatch; ++number) {
      step(protocol::Claim{.step = 1, .unit_count = kBatch});
      step(protocol::Heartbeat{.step = 1, .sent_ns = 1, .held = leases});
      step(protocol::Report{.step = 1,
                            .report = number,
                            .output = {.job = 1, .generation = number + 1},
                            .batch = std::exchange(leases, {})});
    }
    feed.finish(state);
    state.PauseTiming();
    state.counters["progress"] = static_cast<double>(coordinator.progress().shard_accepted_count);
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kShardCount));
}
BENCHMARK(BM_ShardsGrantedReportedAndMadeSafe)
    ->Iterations(1)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

// What the disk of the current folder takes to confirm 16 KiB behind what it has.
void BM_Sync(benchmark::State& state) {
  const BenchFolder folder(".");
  const UniqueFd file(::open((folder.path() + "/log").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  const std::vector<std::byte> bytes(16384);
  static_cast<void>(::posix_fallocate(file.get(), 0, 16 << 20));
  std::vector<Duration> waits;
  off_t at = 0;
  for (auto run : state) {
    const Instant begun = now();
    benchmark::DoNotOptimize(::pwrite(file.get(), bytes.data(), bytes.size(), at));
    ::fdatasync(file.get());
    waits.push_back(now() - begun);
    at += static_cast<off_t>(bytes.size());
  }
  std::sort(waits.begin(), waits.end());
  state.counters["p50_us"] =
      std::chrono::duration<double, std::micro>(waits[waits.size() / 2]).count();
  state.counters["p99_us"] =
      std::chrono::duration<double, std::micro>(waits[waits.size() * 99 / 100]).count();
}
BENCHMARK(BM_Sync)->Iterations(500)->UseRealTime()->Unit(benchmark::kMicrosecond);

void BM_EncodeFrame(benchmark::State& state) {
  std::vector<Record> records;
  for (std::uint64_t number = 0; number < 256; ++number) {
    records.push_back(acceptance_of(number, static_cast<std::size_t>(state.range(0))));
  }
  std::vector<std::byte> frame;
  for (auto run : state) {
    frame.clear();
    protocol::append_frame(1, records, frame);
    benchmark::DoNotOptimize(frame.data());
  }
  state.SetItemsProcessed(state.iterations() * 256);
  state.counters["bytes"] = static_cast<double>(frame.size()) / 256;
}
BENCHMARK(BM_EncodeFrame)->ArgName("units")->Arg(1)->Arg(16);

void BM_Restore(benchmark::State& state) {
  std::vector<Record> records = {
      protocol::StepOpened{.step = 1},
      protocol::StepPlanned{
          {.step = 1, .shards = std::vector<protocol::ShardEntry>(kRecordCount)}}};
  for (std::uint64_t first = 0; first < kRecordCount; first += 8) {
    records.push_back(acceptance_of(first, 8));
  }
  std::vector<std::byte> log;
  protocol::append_frame(0, records, log);
  for (auto run : state) {
    const protocol::LogContents contents = protocol::read_log(log, 0);
    benchmark::DoNotOptimize(
        protocol::Coordinator::restore({.job = 1, .epoch = 2, .journaled = true}, contents.records)
            .progress());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRecordCount));
}
BENCHMARK(BM_Restore)->UseRealTime()->Unit(benchmark::kMillisecond);

void BM_Checksum(benchmark::State& state) {
  const std::vector<std::byte> bytes(1 << 20);
  for (auto run : state) {
    benchmark::DoNotOptimize(state.range(0) == 1 ? protocol::crc32c(bytes)
                                                 : protocol::crc32c_by_table(bytes));
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes.size()));
}
BENCHMARK(BM_Checksum)->ArgName("instruction")->Arg(1)->Arg(0);

}  // namespace
}  // namespace pinion
