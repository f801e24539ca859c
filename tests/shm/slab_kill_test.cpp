// Two processes make blobs in slabs, give each other the handles, and read. One is killed: at each
// of its stores to shared memory in turn, and at random moments. The test is their agent.
//
//   PINION_SLAB_KILLS=2000  that many random moments instead of 300
//   PINION_KILL_SEED=123    the seed of the first of them

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/shm/channel.hpp>

#include "fail_points.hpp"
#include "kill_numbers.hpp"
#include "shm_host.hpp"
#include "slab_layout.hpp"
#include "slab_link.hpp"

namespace pinion {
namespace {

constexpr std::size_t kSlotCount = 64;
constexpr std::uint64_t kBudget = std::uint64_t{64} << 20;
constexpr std::uint64_t kSlabBytesMax = std::uint64_t{5} << 20;  // Of one process.

// Letters on their way from one process to the other. A slot belongs to its sender while it is
// empty, and to its receiver while it is full, so nobody's death spoils it.
struct Mailbox {
  struct Slot {
    std::atomic<std::uint32_t> full = 0;
    Letter letter;
  };
  std::array<Slot, kSlotCount> slots = {};

  void offer(std::size_t index, const Letter& letter) {
    Slot& slot = slots[index % kSlotCount];
    if (slot.full.load(std::memory_order_acquire) == 0) {
      slot.letter = letter;
      slot.full.store(1, std::memory_order_release);
    }
  }
  std::optional<Letter> take(std::size_t index) {
    Slot& slot = slots[index % kSlotCount];
    if (slot.full.load(std::memory_order_acquire) == 0) {
      return {};
    }
    const Letter letter = slot.letter;
    slot.full.store(0, std::memory_order_release);
    return letter;
  }
};

// What the processes of one round share beside the store.
struct Board {
  std::array<Mailbox, 2> to = {};                  // By receiver.
  std::atomic<std::uint64_t> operation_count = 0;  // Of the victim.
  std::atomic<std::uint64_t> read_count = 0;
  std::atomic<std::uint64_t> wrong_count = 0;
  std::atomic<std::uint64_t> odd_error_count = 0;
  std::atomic<std::uint32_t> alone = 0;  // The victim is dead and everything of it is settled.
  FailPointLog passed;                   // By the victim.
};

// What a process does: makes blobs, keeps some for a while, reads what the other made.
class Worker {
 public:
  Worker(Board& board, std::size_t self, SlabLink& link, IBlobStore& store, std::uint64_t seed)
      : board_(board), self_(self), link_(link), store_(store), random_(seed) {}

  void work_once() {
    make();
    for (int i = 0; i < 2; ++i) {
      if (const std::optional<Letter> letter = board_.to[self_].take(random_())) {
        read(*letter);
      }
    }
    while (held_.size() > 12) {
      const std::size_t index = random_() % held_.size();
      look_at(held_[index]);
      held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(index));
    }
  }

  void drop_all() {
    std::for_each(held_.begin(), held_.end(), [this](const Held& held) { look_at(held); });
    held_.clear();
  }

 private:
  struct Held {
    Blob blob;
    std::uint64_t tag = 0;
  };

  void make() {
    Result<BlobWriter> writer = store_.create(1 + random_() % 30000, kTestPlace);
    const std::uint64_t tag = random_();
    if (!writer || tag % 8 == 0) {
      return;
    }
    fill_with_bytes_of(writer->bytes(), tag);
    const Result<Blob> sealed = writer->seal();
    if (!sealed) {
      return;
    }
    const Letter letter = {sealed->handle(), tag};
    if (random_() % 16 == 0) {
      link_.keep(letter);
    }
    board_.to[1 - self_].offer(random_(), letter);
    held_.push_back({*sealed, tag});
  }

  void read(const Letter& letter) {
    const Result<Blob> opened = store_.open(letter.handle);
    if (opened) {
      board_.read_count.fetch_add(1);
      held_.push_back({*opened, letter.tag});
      look_at(held_.back());
    } else if (opened.error().code() != ErrorCode::kNotFound &&
               opened.error().code() != ErrorCode::kFailedPrecondition &&
               opened.error().code() != ErrorCode::kUnavailable) {
      board_.odd_error_count.fetch_add(1);
    }
  }

  void look_at(const Held& held) {
    if (!has_bytes_of(held.blob, held.tag)) {
      board_.wrong_count.fetch_add(1);
    }
  }

  Board& board_;
  std::size_t self_;
  SlabLink& link_;
  IBlobStore& store_;
  std::mt19937_64 random_;
  std::vector<Held> held_;
};

struct Child {
  std::uint32_t client = 0;
  pid_t pid = -1;
  std::optional<Channel> channel = {};
  bool done = false;
};

// One round: a victim and a survivor, from their first breath until nothing is left of them.
class Round {
 public:
  explicit Round(std::uint64_t seed) : seed_(seed) {
    void* const memory =
        ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(memory, MAP_FAILED);
    board_ = new (memory) Board();
  }
  ~Round() { ::munmap(board_, sizeof(Board)); }
  Round(const Round&) = delete;
  Round& operator=(const Round&) = delete;

  // Returns whether the victim passed that many fail points, or operations, before it was killed.
  void run(std::int64_t fail_point_count, std::uint64_t operation_count) {
    start(0, [&](Worker& worker, SlabLink&, IBlobStore&) {
      constexpr std::uint64_t kMoreThanItLives = 1'000'000'000;
      const bool works = fail_point_count >= 0 || operation_count > 0;
      fail_point_plan.log = &board_->passed;
      fail_point_plan.left = fail_point_count;
      for (std::uint64_t i = 0; i < (works ? kMoreThanItLives : 0); ++i) {
        worker.work_once();
        board_->operation_count.store(i + 1);
      }
    });
    start(1,
          [&](Worker& worker, SlabLink& link, IBlobStore& store) { survive(worker, link, store); });
    while (!has_ended(0)) {
      serve(1);
      if (fail_point_count < 0 && board_->operation_count.load() >= operation_count) {
        ::kill(children_[0].pid, SIGKILL);
      }
    }
    settle();
  }

  std::uint64_t read_count() const { return board_->read_count.load(); }
  std::vector<FailPoint> passed() const { return board_->passed.to_vector(); }

 private:
  void start(std::size_t self, const std::function<void(Worker&, SlabLink&, IBlobStore&)>& body) {
    Child& child = children_[self];
    child.client = static_cast<std::uint32_t>(self);
    const int row = *table_.admit(child.client);
    auto [ours, theirs] = *Channel::create_pair();
    child.pid = ::fork();
    ASSERT_GE(child.pid, 0);
    if (child.pid == 0) {
      { const Channel closed = std::move(ours); }
      SlabLink link(std::move(theirs));
      SegmentExchange exchange = {
          .publish = [](const BlobHandle&, Place,
                        int) { return Status(ErrorCode::kUnimplemented, "slabs only"); },
          .fetch = [](const BlobHandle&) -> Result<std::pair<UniqueFd, Place>> {
            return Status(ErrorCode::kNotFound, "slabs only");
          },
          .slabs = link.slabs()};
      const auto store =
          make_shared_blob_store({.identity = kTestIdentity,
                                  .first_segment = table_.first_segment(child.client),
                                  .segment_count = 1 << 16,
                                  .memory = MemoryLedger({.budget_bytes = kBudget}),
                                  .row_descriptor = row},
                                 exchange);
      Worker worker(*board_, self, link, *store, seed_ * 2 + self);
      body(worker, link, *store);
      ::_exit(0);
    }
    child.channel.emplace(std::move(ours));
  }

  // Works until the other is dead, then asks for more than its slabs may have: it looks at all that
  // it ever made, and nothing must hold it any more.
  void survive(Worker& worker, SlabLink& link, IBlobStore& store) {
    while (board_->alone.load() == 0) {
      worker.work_once();
    }
    worker.drop_all();
    link.say_done();
    link.wait_for_a_word();  // From here on the job keeps nothing.
    for (std::vector<BlobWriter> all; all.size() < 24;) {
      all.push_back(store.create(kSlabBlobBytesMax, kTestPlace).value());
    }
    link.say_done();
    link.wait_for_a_word();
  }

  bool has_ended(std::size_t self) {
    int status = 0;
    if (::waitpid(children_[self].pid, &status, WNOHANG) != children_[self].pid) {
      return false;
    }
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "status " << status;
    return true;
  }

  // Waits a moment for requests and answers them.
  void serve(int patience_ms) {
    std::array<pollfd, 2> watched = {};
    for (std::size_t i = 0; i < watched.size(); ++i) {
      watched[i] = {.fd = children_[i].channel ? children_[i].channel->descriptor() : -1,
                    .events = POLLIN,
                    .revents = 0};
    }
    ::poll(watched.data(), watched.size(), patience_ms);
    for (std::size_t i = 0; i < watched.size(); ++i) {
      if (watched[i].revents != 0) {
        serve_all(children_[i]);
      }
    }
    if (kept_.size() > 8) {
      table_.release(kept_.front().handle);
      kept_.erase(kept_.begin());
    }
  }

  void serve_all(Child& child) {
    while (child.channel) {
      Result<std::optional<Frame>> frame = child.channel->try_receive();
      if (!frame) {
        child.channel.reset();
      } else if (!frame->has_value()) {
        return;
      } else {
        handle(child, **frame);
      }
    }
  }

  void handle(Child& child, const Frame& frame) {
    if (frame.kind == kDone) {
      child.done = true;
      return;
    }
    if (serve_slabs(table_, child.client, *child.channel, frame)) {
      return;
    }
    const Letter letter = message_of(frame).letter;
    const Result<Blob> copied = table_.view(letter.handle);  // As for another host.
    EXPECT_TRUE(copied && has_bytes_of(*copied, letter.tag));
    const Status kept = table_.keep(letter.handle);
    EXPECT_TRUE(kept.ok()) << kept.to_string();
    kept_.push_back(letter);
    answer(*child.channel, SlabView());
  }

  void settle() {
    serve(0);
    table_.client_gone(0);
    children_[0].channel.reset();
    board_->alone = 1;
    wait_for_survivor();
    read_kept();
    for (const SegmentState& state : table_.snapshot()) {
      EXPECT_EQ(state.reference_count, 0u) << "slab " << state.segment;
      EXPECT_TRUE(!state.owner_gone || state.kept_count > 0) << "slab " << state.segment;
    }
    for (const Letter& letter : std::exchange(kept_, {})) {
      table_.release(letter.handle);
    }
    ASSERT_TRUE(children_[1].channel->send(kAnswer, 0, {}).ok());
    wait_for_survivor();
    EXPECT_EQ(board_->wrong_count.load(), 0u);
    EXPECT_EQ(board_->odd_error_count.load(), 0u);
    for (const SegmentState& state : table_.snapshot()) {
      EXPECT_EQ(state.blob_count + state.retired_count, 0u) << "slab " << state.segment;
    }
    ::kill(children_[1].pid, SIGKILL);
    EXPECT_EQ(::waitpid(children_[1].pid, nullptr, 0), children_[1].pid);
    table_.client_gone(1);
    EXPECT_TRUE(table_.snapshot().empty());
    EXPECT_EQ(table_.usage().memory_bytes, 0u);
    EXPECT_EQ(table_.usage().blob_count, 0u);
  }

  void wait_for_survivor() {
    Child& survivor = children_[1];
    survivor.done = false;
    while (!survivor.done && survivor.channel) {
      serve(1);
    }
    ASSERT_TRUE(survivor.done);
  }

  // What the job keeps is there for a process that comes later, whoever died.
  void read_kept() {
    const std::uint32_t client = next_reader_++;
    const int row = *table_.admit(client);
    SegmentExchange exchange = {
        .publish = [](const BlobHandle&, Place, int) { return Status(); },
        .fetch = [](const BlobHandle&) -> Result<std::pair<UniqueFd, Place>> {
          return Status(ErrorCode::kNotFound, "slabs only");
        }};
    exchange.slabs = {.make = [](std::uint32_t, Place, std::uint64_t) -> Result<SlabGrant> {
                        return Status(ErrorCode::kUnimplemented, "it only reads");
                      },
                      .fetch = [this, client](const BlobHandle& handle) -> Result<SlabGrant> {
                        const Result<SlabView> view = table_.find_slab(client, handle);
                        if (!view) {
                          return view.error();
                        }
                        return SlabGrant{UniqueFd(::fcntl(view->descriptor, F_DUPFD_CLOEXEC, 0)),
                                         view->home, view->slot};
                      }};
    {
      const auto store =
          make_shared_blob_store({.identity = kTestIdentity, .row_descriptor = row}, exchange);
      for (const Letter& letter : kept_) {
        const Result<Blob> blob = store->open(letter.handle);
        ASSERT_TRUE(blob.has_value()) << blob.error().to_string();
        EXPECT_TRUE(has_bytes_of(*blob, letter.tag));
      }
    }
    table_.client_gone(client);
  }

  std::uint64_t seed_;
  Board* board_ = nullptr;
  SegmentTable table_{kTestIdentity, 1 << 16, kSlabBytesMax};
  std::array<Child, 2> children_ = {};
  std::vector<Letter> kept_;
  std::uint32_t next_reader_ = 2;
};

constexpr std::int64_t kFailPointCount = 700;

TEST(KilledProcess, LeavesEverythingRightAtEachOfItsStores) {
  const std::ptrdiff_t descriptors = open_descriptor_count();
  std::set<FailPoint> places;
  for (std::int64_t point = 0; point < kFailPointCount && !testing::Test::HasFailure(); ++point) {
    SCOPED_TRACE(testing::Message() << "killed at store " << point);
    Round round(static_cast<std::uint64_t>(point));
    round.run(point, 0);
    const std::vector<FailPoint> passed = round.passed();
    EXPECT_EQ(passed.size(), static_cast<std::size_t>(point) + 1);
    places.insert(passed.begin(), passed.end());
  }
  // All of a writer, and of a blob's life but for the pins, which are the agent's.
  const std::map<std::string, int> expected = {{"blob_life.hpp", 8}, {"slab_writer.cpp", 12}};
  EXPECT_EQ(place_counts(places), expected);
  EXPECT_EQ(open_descriptor_count(), descriptors);
}

// Every repetition within a process is another sequence.
TEST(KilledProcess, LeavesEverythingRightAtRandomMoments) {
  static std::uint64_t seed = kill_seed(1'000'001);
  constexpr std::uint64_t kKillsThatProve = 100;
  const std::uint64_t kill_count = slab_kill_count(300);
  const std::ptrdiff_t descriptors = open_descriptor_count();
  std::uint64_t read_count = 0;
  for (std::uint64_t i = 0; i < kill_count && !testing::Test::HasFailure(); ++i, ++seed) {
    SCOPED_TRACE(testing::Message() << "again with PINION_KILL_SEED=" << seed);
    Round round(seed);
    round.run(-1, 1 + std::mt19937_64(seed)() % 300);
    read_count += round.read_count();
  }
  EXPECT_EQ(open_descriptor_count(), descriptors);
  if (kill_count >= kKillsThatProve) {
    EXPECT_GT(read_count, kill_count) << "too little was read to prove anything";
  }
}

}  // namespace
}  // namespace pinion
