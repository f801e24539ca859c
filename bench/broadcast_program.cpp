// What it takes to open a blob of BYTES that another host has, ROUNDS times by turns: one rank of
// the other host alone, and all ranks of both hosts at once. The time goes from the first that asks
// until the last one has the blob, mapped; the clock is the machine's, which the hosts share, as
// they share FILE, by which the ranks meet. Afterwards each rank looks at every word of what it
// got. Rank 0 prints the seconds as JSON.
//
//   pinion run --host a:4,b:4 broadcast_program BYTES ROUNDS FILE

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <pinion/pinion.hpp>

#include "checksums.hpp"

namespace {

constexpr std::int64_t kNobody = std::numeric_limits<std::int64_t>::max();

struct Meeting {
  pthread_barrier_t barrier;
  std::atomic<std::int64_t> first_asked_at_ns;
  std::atomic<std::int64_t> last_had_at_ns;
};

Meeting& map_meeting(const char* path) {
  const int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0 || ftruncate(file, sizeof(Meeting)) != 0) {
    std::perror(path);
    std::exit(1);
  }
  void* const memory = mmap(nullptr, sizeof(Meeting), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) {
    std::perror(path);
    std::exit(1);
  }
  return *static_cast<Meeting*>(memory);
}

void prepare(Meeting& meeting, std::uint32_t rank_count) {
  pthread_barrierattr_t shared;
  pthread_barrierattr_init(&shared);
  pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
  pthread_barrier_init(&meeting.barrier, &shared, rank_count);
  meeting.first_asked_at_ns = kNobody;
  meeting.last_had_at_ns = 0;
}

std::int64_t now_ns() {
  return std::chrono::nanoseconds(pinion::SystemClock().now().time_since_epoch()).count();
}

std::uint64_t word_of(std::uint64_t round, std::uint64_t index) {
  return pinion::bench::mix64((round << 32) + index);
}

pinion::Blob make_blob(pinion::IBlobStore& store, std::size_t size_bytes, std::uint64_t round) {
  pinion::Result<pinion::BlobWriter> writer = store.create(size_bytes, {});
  if (!writer) {
    throw std::runtime_error(writer.error().to_string());
  }
  std::byte* const bytes = writer->bytes().data();
  for (std::size_t i = 0; i < size_bytes / sizeof(std::uint64_t); ++i) {
    const std::uint64_t word = word_of(round, i);
    std::memcpy(bytes + i * sizeof(word), &word, sizeof(word));
  }
  pinion::Result<pinion::Blob> blob = writer->seal();
  if (!blob) {
    throw std::runtime_error(blob.error().to_string());
  }
  return *std::move(blob);
}

bool is_right(std::span<const std::byte> bytes, std::uint64_t round) {
  for (std::size_t i = 0; i < bytes.size() / sizeof(std::uint64_t); ++i) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i * sizeof(word), sizeof(word));
    if (word != word_of(round, i)) {
      return false;
    }
  }
  return true;
}

void note(Meeting& meeting, std::int64_t asked_at_ns, std::int64_t had_at_ns) {
  std::int64_t first = meeting.first_asked_at_ns;
  while (asked_at_ns < first &&
         !meeting.first_asked_at_ns.compare_exchange_weak(first, asked_at_ns)) {
  }
  std::int64_t last = meeting.last_had_at_ns;
  while (had_at_ns > last && !meeting.last_had_at_ns.compare_exchange_weak(last, had_at_ns)) {
  }
}

class Rounds {
 public:
  Rounds(pinion::Job& job, Meeting& meeting, std::size_t size_bytes)
      : job_(job), meeting_(meeting), size_bytes_(size_bytes) {}

  // The time of one blob, on rank 0; elsewhere what it gives means nothing.
  pinion::Result<double> run(std::uint64_t round, bool all_ask) {
    std::vector<pinion::Blob> made;  // By this rank, and kept while others open them.
    const auto handles = pinion::map_reduce(
        job_, pinion::indices(1), pinion::by_index_range(1),
        [&](const pinion::Shard&, auto& emit) {
          made.push_back(make_blob(job_.store(), size_bytes_, round));
          emit(made.back().handle());
        },
        pinion::collect<pinion::BlobHandle>());
    if (!handles) {
      return handles.error();
    }
    const pinion::BlobHandle handle = *handles->begin();
    pinion::Result<pinion::Blob> blob = pinion::Blob();
    const bool asks = all_ask || job_.rank() == first_rank_elsewhere(handle);
    pthread_barrier_wait(&meeting_.barrier);
    if (asks) {
      const std::int64_t asked_at_ns = now_ns();
      blob = job_.store().open(handle);
      note(meeting_, asked_at_ns, now_ns());
    }
    pthread_barrier_wait(&meeting_.barrier);
    const std::int64_t taken_ns = meeting_.last_had_at_ns - meeting_.first_asked_at_ns;
    if (!blob) {
      return blob.error();
    }
    if (asks && (blob->bytes().size() != size_bytes_ || !is_right(blob->bytes(), round))) {
      return pinion::Status(pinion::ErrorCode::kDataLoss, "a blob has not the bytes it was given");
    }
    pthread_barrier_wait(&meeting_.barrier);
    if (job_.rank() == 0) {
      meeting_.first_asked_at_ns = kNobody;
      meeting_.last_had_at_ns = 0;
    }
    return static_cast<double>(taken_ns) / 1e9;
  }

 private:
  // Of two hosts with as many ranks each.
  [[nodiscard]] std::uint32_t first_rank_elsewhere(const pinion::BlobHandle& handle) const {
    return handle.host == 0 ? job_.rank_count() / 2 : 0;
  }

  pinion::Job& job_;
  Meeting& meeting_;
  std::size_t size_bytes_;
};

std::string list_of(const std::vector<double>& seconds) {
  std::string list;
  for (const double one : seconds) {
    list += (list.empty() ? "" : ", ") + std::to_string(one);
  }
  return "[" + list + "]";
}

}  // namespace

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (argc != 4) {
    std::fputs("usage: pinion run --host a:4,b:4 broadcast_program BYTES ROUNDS FILE\n", stderr);
    return 64;
  }
  if (!job) {
    return pinion::report(job.error());
  }
  Meeting& meeting = map_meeting(argv[3]);
  const pinion::Status met = job->once([&] { prepare(meeting, job->rank_count()); });
  if (!met.ok()) {
    return pinion::report(met);
  }
  Rounds rounds(*job, meeting, std::strtoull(argv[1], nullptr, 10));
  const std::uint64_t round_count = 2 * std::strtoull(argv[2], nullptr, 10);
  std::vector<double> seconds[2];
  for (std::uint64_t round = 0; round < round_count; ++round) {
    // Who comes first changes from one pair to the next.
    const bool all_ask = (round % 2 == 0) == (round / 2 % 2 == 0);
    const pinion::Result<double> taken = rounds.run(round, all_ask);
    if (!taken) {
      return pinion::report(taken.error());
    }
    seconds[all_ask ? 1 : 0].push_back(*taken);
  }
  if (job->rank() == 0) {
    std::printf("{\"one_pull\": %s, \"broadcast\": %s}\n", list_of(seconds[0]).c_str(),
                list_of(seconds[1]).c_str());
  }
  return 0;
}
