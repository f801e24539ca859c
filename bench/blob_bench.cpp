// What blobs of one host cost: making and sealing them, references, handing one to another process.
//
// Expected before measuring, on a core of a few GHz: a reference is two locked operations on a line
// that no other core has (2 ns each). 4 KiB are zeroed in 60 ns, and what stands around that are
// three small allocations and as many locks that nobody holds (20 ns each): 0.3 us for making,
// sealing and dropping. A blob of its own segment takes a dozen system calls and page faults:
// 20 to 40 us. 1 GiB costs what its pages cost, as sealing them is one call. A hand-over is one
// transfer of a cache line for the handle, one for the descriptor and one for the first line of the
// bytes, and looking them up: three times the floor of one line.
//
// The hand-over is between two processes, on the first and the last CPU. Repetitions are shuffled:
// run it with --benchmark_repetitions=9, and compare p50 of what ran in the same minute. The other
// process spins: both CPUs should be free.

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include <pinion/core/clock.hpp>
#include <pinion/shm/segment_table.hpp>
#include <pinion/shm/shared_blob_store.hpp>

#include "blob_life.hpp"

namespace pinion {
namespace {

constexpr BlobStoreIdentity kIdentity = {.job = 1, .epoch = 1, .host = 0};
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
constexpr std::uint32_t kWriter = 0;
constexpr std::uint32_t kReader = 1;

UniqueFd duplicate(int descriptor) {
  return UniqueFd(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
}

Result<SlabGrant> grant_of(const Result<SlabView>& view) {
  if (!view) {
    return view.error();
  }
  return SlabGrant{duplicate(view->descriptor), view->home, view->slot};
}

// The agent of a host, in this process, so that no round trip is measured beside what is meant.
class Agent {
 public:
  std::unique_ptr<IBlobStore> make_store(std::uint32_t client, bool with_slabs,
                                         std::shared_ptr<const BlobMemory> blob_memory = {},
                                         ForEachAt for_each_at = {}) {
    SegmentExchange exchange = {
        .publish =
            [this, client](const BlobHandle& handle, Place home, int descriptor) {
              const std::lock_guard lock(mutex_);
              return table_.publish(client, handle, home, duplicate(descriptor));
            },
        .fetch = [this, client](const BlobHandle& handle) -> Result<std::pair<UniqueFd, Place>> {
          const std::lock_guard lock(mutex_);
          const Result<std::pair<int, Place>> found = table_.fetch(client, handle);
          if (!found) {
            return found.error();
          }
          return std::pair(duplicate(found->first), found->second);
        },
        .let_go =
            [this, client](const BlobHandle& handle) {
              const std::lock_guard lock(mutex_);
              table_.let_go(client, handle);
            }};
    if (with_slabs) {
      exchange.slabs = slab_exchange(client);
    }
    const std::lock_guard lock(mutex_);
    return make_shared_blob_store({.identity = kIdentity,
                                   .first_segment = table_.first_segment(client),
                                   .segment_count = kSegmentCount,
                                   .memory = MemoryLedger({.budget_bytes = 4 * kGiB}),
                                   .for_each_at = std::move(for_each_at),
                                   .blob_memory = std::move(blob_memory),
                                   .row_descriptor = with_slabs ? *table_.admit(client) : -1},
                                  exchange);
  }

  void release(const BlobHandle& handle) {
    const std::lock_guard lock(mutex_);
    table_.release(handle);
  }

  // For a process that is forked: what it will ask for.
  Result<SlabGrant> grant(std::uint32_t client, const BlobHandle& handle) {
    return grant_of(table_.find_slab(client, handle));
  }
  int admit(std::uint32_t client) { return *table_.admit(client); }
  int find(const BlobHandle& handle) { return table_.find(handle)->first; }

 private:
  static constexpr std::uint32_t kSegmentCount = 1u << 28;

  SlabExchange slab_exchange(std::uint32_t client) {
    return {.make =
                [this, client](std::uint32_t segment, Place home, std::uint64_t size_bytes) {
                  const std::lock_guard lock(mutex_);
                  return grant_of(table_.make_slab(client, segment, home, size_bytes));
                },
            .fetch =
                [this, client](const BlobHandle& handle) {
                  const std::lock_guard lock(mutex_);
                  return grant_of(table_.find_slab(client, handle));
                },
            .fetch_row = [this](std::uint32_t other) -> Result<UniqueFd> {
              const std::lock_guard lock(mutex_);
              const Result<int> row = table_.find_row(other);
              if (!row) {
                return row.error();
              }
              return duplicate(*row);
            },
            .give_back =
                [this, client](std::uint32_t segment) {
                  const std::lock_guard lock(mutex_);
                  table_.give_back_slab(client, segment);
                }};
  }

  std::mutex mutex_;
  SegmentTable table_{kIdentity, kSegmentCount};
};

Blob seal_one(IBlobStore& store, std::uint64_t size_bytes) {
  BlobWriter writer = store.create(size_bytes, {}).value();
  if (size_bytes > 0) {
    writer.bytes()[0] = std::byte{1};
  }
  return writer.seal().value();
}

void take_and_drop_reference(benchmark::State& state) {
  BlobLife<>::Counter counter = 0;
  const BlobLife<>::Word life = life_of(1, BlobPhase::kSealed);
  for (auto _ : state) {
    benchmark::DoNotOptimize(BlobLife<>::take(counter, life, 1));
    BlobLife<>::drop(counter);
  }
}
BENCHMARK(take_and_drop_reference);

// Another name of a Blob in hand: in a slab, and with a segment of its own.
void copy_and_drop_blob(benchmark::State& state) {
  Agent agent;
  const auto store = agent.make_store(kWriter, true);
  const Blob blob = seal_one(*store, static_cast<std::uint64_t>(state.range(0)));
  std::thread([] {}).join();  // With one thread the library counts without locked operations.
  for (auto _ : state) {
    const Blob copy = blob;
    benchmark::DoNotOptimize(copy.bytes().data());
  }
}
BENCHMARK(copy_and_drop_blob)->ArgName("bytes")->Arg(4096)->Arg(1 << 20);

// By handle, as another process does it whose mapping exists: of a slab it stays, of a larger blob
// it is there while the process has a Blob of it.
void open_and_drop_blob(benchmark::State& state) {
  Agent agent;
  const auto store = agent.make_store(kWriter, true);
  const auto reader = agent.make_store(kReader, true);
  const Blob blob = seal_one(*store, static_cast<std::uint64_t>(state.range(0)));
  const Blob in_hand = state.range(0) > 4096 ? reader->open(blob.handle()).value() : Blob();
  for (auto _ : state) {
    const Result<Blob> opened = reader->open(blob.handle());
    benchmark::DoNotOptimize(opened->bytes().data());
  }
}
BENCHMARK(open_and_drop_blob)->ArgName("bytes")->Arg(4096)->Arg(1 << 20);

// Each is dropped before the next is made, and memory is used again at once.
void create_and_seal(benchmark::State& state) {
  Agent agent;
  const auto store = agent.make_store(kWriter, state.range(1) != 0);
  const auto size_bytes = static_cast<std::uint64_t>(state.range(0));
  for (auto _ : state) {
    const Blob blob = seal_one(*store, size_bytes);
    agent.release(blob.handle());
    benchmark::DoNotOptimize(blob.bytes().data());
  }
}
BENCHMARK(create_and_seal)->ArgNames({"bytes", "slabs"})->ArgsProduct({{64, 4096, 65536}, {1, 0}});

// 2000 of 4 KiB live at any time: memory that is not in the cache.
void create_and_seal_among_many(benchmark::State& state) {
  Agent agent;
  const auto store = agent.make_store(kWriter, true);
  std::vector<Blob> living(2000);
  std::size_t next = 0;
  for (auto _ : state) {
    Blob& blob = living[next++ % living.size()];
    blob = Blob();
    blob = seal_one(*store, 4096);
  }
}
BENCHMARK(create_and_seal_among_many);

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

double milliseconds(Duration time) {
  return static_cast<double>(time.count()) / 1e6;
}

// Of a memfd, or of a file in memory with huge pages, which come when they are reserved.
double touch_fresh_memory(const SystemClock& clock, const BlobMemory* huge) {
  const Instant begin = clock.now();
  const UniqueFd file(
      huge == nullptr ? ::memfd_create("bench", MFD_CLOEXEC)
                      : ::openat(huge->writable.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  const auto size = static_cast<off_t>(kGiB);
  if ((huge == nullptr ? ::ftruncate(file.get(), size) : ::fallocate(file.get(), 0, 0, size)) !=
      0) {
    exit_with(Status::from_errno(errno, "taking memory"));
  }
  void* const memory = ::mmap(nullptr, kGiB, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (memory == MAP_FAILED) {
    exit_with(Status::from_errno(errno, "mmap"));
  }
  std::memset(memory, 1, kGiB);
  const Duration time = clock.now() - begin;
  ::munmap(memory, kGiB);
  return milliseconds(time);
}

void in_two_threads(Place /*place*/, std::size_t count,
                    const std::function<void(std::size_t)>& body) {
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      body(i);
    }
  };
  std::thread other(work);
  work();
  other.join();
}

std::shared_ptr<const BlobMemory> make_huge_memory() {
  Result<BlobMemory> made = make_blob_memory(4 * kGiB);
  return made ? std::make_shared<const BlobMemory>(*std::move(made)) : nullptr;
}

// A blob of 1 GiB that is filled, and the same memory without a store, by turns.
void fill_large(benchmark::State& state) {
  const SystemClock clock;
  Agent agent;
  const std::shared_ptr<const BlobMemory> huge = state.range(0) == 1 ? make_huge_memory() : nullptr;
  if (state.range(0) == 1 && !huge) {
    state.SkipWithError("this system gives no memory with huge pages");
    return;
  }
  const auto store = agent.make_store(
      kWriter, true, huge, state.range(1) == 2 ? ForEachAt(in_two_threads) : ForEachAt());
  std::vector<double> plain;
  std::vector<double> blobs;
  touch_fresh_memory(clock, huge.get());  // The system comes by memory slowly the first time.
  for (auto _ : state) {
    plain.push_back(touch_fresh_memory(clock, huge.get()));
    const Instant begin = clock.now();
    BlobWriter writer = store->create(kGiB, {}).value();
    std::memset(writer.bytes().data(), 1, kGiB);
    const Blob blob = writer.seal().value();
    blobs.push_back(milliseconds(clock.now() - begin));
    agent.release(blob.handle());
  }
  state.counters["first_touch_ms"] = median(plain);
  state.counters["blob_ms"] = median(blobs);
  state.counters["blob_of_first_touch"] = median(blobs) / median(plain);
}
BENCHMARK(fill_large)
    ->ArgNames({"huge", "touchers"})
    ->ArgsProduct({{0, 1}, {1, 2}})
    ->Iterations(7)
    ->Unit(benchmark::kMillisecond);

// Two processes and the words between them, each on a line of its own.
struct Mailbox {
  alignas(64) std::atomic<std::uint64_t> posted = 0;
  BlobHandle handle = {};
  alignas(64) std::atomic<std::uint64_t> answered = 0;
  std::int64_t answered_at_ns = 0;
};

// Takes a line out of the caches, so that reading it is no look at what was read before.
void forget_line(const std::byte* line) {
#if defined(__x86_64__)
  __builtin_ia32_clflush(line);
#else
  benchmark::DoNotOptimize(line);
#endif
}

void stay_on_cpu(unsigned cpu) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(cpu, &cpus);
  ::sched_setaffinity(0, sizeof(cpus), &cpus);
}

std::int64_t now_ns(const SystemClock& clock) {
  return clock.now().time_since_epoch().count();
}

// What a process does with a handle, and then, out of the timing, before the next one.
struct Reader {
  std::function<void()> read = [] {};
  std::function<void()> prepare = [] {};
};

// A process that answers every post.
class Receiver {
 public:
  Receiver(Mailbox& mailbox, const std::function<Reader()>& make_reader) : pid_(::fork()) {
    if (pid_ == 0) {
      stay_on_cpu(std::max(1u, std::thread::hardware_concurrency()) - 1);
      const SystemClock clock;
      const Reader reader = make_reader();
      for (std::uint64_t turn = 1;; ++turn) {
        while (mailbox.posted.load(std::memory_order_acquire) != turn) {
        }
        reader.read();
        mailbox.answered_at_ns = now_ns(clock);
        mailbox.answered.store(turn, std::memory_order_release);
        reader.prepare();
      }
    }
  }
  ~Receiver() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;

 private:
  pid_t pid_;
};

// From the store of the handle until the other process has read the first line of the bytes, which
// this one has just written; that of 1 GiB, made once, comes from memory. With 0 bytes the floor:
// until the other has seen the word.
void hand_over(benchmark::State& state) {
  const auto size_bytes = static_cast<std::uint64_t>(state.range(0));
  stay_on_cpu(0);
  auto& mailbox = *new (::mmap(nullptr, sizeof(Mailbox), PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Mailbox();
  const SystemClock clock;
  Agent agent;
  const auto store = agent.make_store(kWriter, true);
  Blob blob = seal_one(*store, size_bytes);
  const BlobHandle first = blob.handle();
  const bool in_slab = first.index != 0;
  const int row = agent.admit(kReader);
  const int file = in_slab ? agent.grant(kReader, first)->descriptor.release() : agent.find(first);
  const std::uint32_t slot = in_slab ? agent.grant(kReader, first)->slot : 0;

  const Receiver receiver(mailbox, [&]() -> Reader {
    SegmentExchange exchange = {
        .publish = [](const BlobHandle&, Place, int) { return Status(); },
        .fetch = [file](const BlobHandle&) -> Result<std::pair<UniqueFd, Place>> {
          return std::pair(duplicate(file), Place());
        }};
    exchange.slabs = {.make = [](std::uint32_t, Place, std::uint64_t) -> Result<SlabGrant> {
                        return Status(ErrorCode::kUnimplemented, "it only reads");
                      },
                      .fetch = [file, slot](const BlobHandle&) -> Result<SlabGrant> {
                        return SlabGrant{duplicate(file), {}, slot};
                      }};
    std::shared_ptr<IBlobStore> reading =
        make_shared_blob_store({.identity = kIdentity, .row_descriptor = row}, exchange);
    const auto mapped = std::make_shared<Blob>(reading->open(first).value());
    return {.read =
                [reading, mapped, &mailbox, size_bytes] {
                  if (size_bytes > 0) {
                    const Blob opened = reading->open(mailbox.handle).value();
                    const std::byte first_byte = opened.bytes()[0];
                    benchmark::DoNotOptimize(first_byte);
                  }
                },
            .prepare =
                [mapped] {
                  if (!mapped->bytes().empty()) {
                    forget_line(mapped->bytes().data());
                  }
                }};
  });

  std::vector<double> times;
  std::uint64_t turn = 0;
  for (auto _ : state) {
    if (in_slab) {
      blob = seal_one(*store, size_bytes);
    }
    mailbox.handle = blob.handle();
    const std::int64_t begin = now_ns(clock);
    mailbox.posted.store(++turn, std::memory_order_release);
    while (mailbox.answered.load(std::memory_order_acquire) != turn) {
    }
    times.push_back(static_cast<double>(mailbox.answered_at_ns - begin));
  }
  std::sort(times.begin(), times.end());
  state.counters["p50_ns"] = times[times.size() / 2];
  state.counters["p99_ns"] = times[times.size() * 99 / 100];
  ::munmap(&mailbox, sizeof(Mailbox));
}
BENCHMARK(hand_over)->ArgName("bytes")->Arg(0)->Arg(64)->Arg(4096)->Arg(kGiB)->Iterations(20'000);

}  // namespace
}  // namespace pinion

int main(int argc, char** argv) {
  std::vector<char*> arguments(argv, argv + argc);
  std::string shuffled = "--benchmark_enable_random_interleaving=true";
  arguments.insert(arguments.begin() + 1, shuffled.data());
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
