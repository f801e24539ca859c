// A rank that has joined its job by hand, and what it does with the ring to its agent:
//
//   agent_ring_program misuse WAY   Writes what it may not, and waits for its end.
//   agent_ring_program noise SEED   Says a lot that means nothing, and then leaves in good order.
//   agent_ring_program order        Lets go of blobs and asks for them at once, which must fail.
//   agent_ring_program die          Each life ends itself at the next point of those that a push
//   has,
//                                   after a look whether anything is left of the one before.
//   agent_ring_program ask          Asks without end what segments hold.
//   agent_ring_program join         Joins and leaves.

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <pinion/runtime/version.hpp>
#include <pinion/shm/channel.hpp>
#include <pinion/shm/shared_blob_store.hpp>

#include "agent_link.hpp"
#include "frames.hpp"
#include "ring_connection.hpp"
#include "shm/doomed_memory.hpp"

namespace pinion {
namespace {

void require(bool holds, const char* what) {
  if (!holds) {
    std::fprintf(stderr, "agent_ring_program: %s\n", what);
    std::_Exit(3);
  }
}

UniqueFd duplicate(int descriptor) {
  return UniqueFd(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
}

class Rank {
 public:
  explicit Rank(int socket) : channel_(*Channel::adopt(UniqueFd(socket))) {
    const Frame welcome =
        request(FrameKind::kHello, encode_hello({std::string(version()), ::getpid()}));
    require(welcome.kind == static_cast<std::uint16_t>(FrameKind::kWelcome), "no welcome");
    welcome_ = *decode_welcome(welcome.payload);
    Frame ticket_frame = receive();
    RingTicket ticket{.address = *decode_ring_address(ticket_frame.payload), .descriptors = {}};
    std::move(ticket_frame.descriptors.begin(), ticket_frame.descriptors.end(),
              ticket.descriptors.begin());
    segment_ = duplicate(ticket.descriptors[0].get());
    ring_.emplace(*open_ring_parts(std::move(ticket), duplicate(channel_.descriptor())),
                  RingOptions{});
  }

  Frame request(FrameKind kind, const std::vector<std::byte>& payload, int descriptor = -1) {
    const std::vector<int> descriptors(descriptor >= 0 ? 1 : 0, descriptor);
    const std::uint64_t id = ++request_count_;
    require(channel_.send(static_cast<std::uint16_t>(kind), id, payload, descriptors).ok(),
            "the agent is gone");
    while (true) {
      Frame frame = receive();
      if (frame.request == id) {
        return frame;
      }
    }
  }

  void push(const RingMessage& message) {
    while (ring_->push({&message, 1}) == 0) {
      require(ring_->wait_for_space(in_a_minute()).ok(), "the ring stays full");
    }
  }

  RingMessage pop() {
    RingMessage message;
    while (ring_->pop({&message, 1}) == 0) {
      require(ring_->wait_for_message(in_a_minute()).ok(), "no answer comes through the ring");
    }
    return message;
  }

  std::uint64_t ask_held() {
    push(make_ask_held(1));
    return *read_held(pop());
  }

  // Whose large blobs are let go of through this ring.
  std::unique_ptr<IBlobStore> make_store() {
    return make_shared_blob_store(
        {.identity = {welcome_.info.job, welcome_.info.epoch, welcome_.info.host},
         .first_segment = welcome_.first_segment,
         .segment_count = welcome_.segment_count,
         .memory = MemoryLedger({.budget_bytes = std::uint64_t{1} << 30}),
         .held_bytes_max = std::uint64_t{1} << 30},
        {.publish =
             [this](const BlobHandle& handle, Place home, int descriptor) {
               const Frame answer =
                   request(FrameKind::kPublish, encode_reference({handle, home}), descriptor);
               return answer.kind == static_cast<std::uint16_t>(FrameKind::kPublished)
                          ? Status()
                          : decode_status(answer.payload);
             },
         .fetch = [](const BlobHandle&) -> Result<std::pair<UniqueFd, Place>> {
           return Status(ErrorCode::kUnimplemented, "this program opens nothing");
         },
         .let_go = [this](const BlobHandle& handle) { push(make_let_go(handle)); }});
  }

  // The bytes of what this end writes of the ring.
  [[nodiscard]] std::byte* map_segment() const {
    const std::size_t size = ring_segment_bytes(ring_->address().capacity);
    void* const memory =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, segment_.get(), 0);
    require(memory != MAP_FAILED, "cannot map the ring");
    return static_cast<std::byte*>(memory);
  }

  void leave() { request(FrameKind::kGoodbye, encode_reference({})); }

  // Until the agent ends this process; it makes the agent look at the ring.
  [[noreturn]] void await_end() {
    request(FrameKind::kFetchRow, encode_reference({}));
    while (true) {
      receive();
    }
  }

  [[nodiscard]] const Welcome& welcome() const { return welcome_; }

 private:
  static Instant in_a_minute() { return SystemClock().now() + std::chrono::minutes(1); }

  Frame receive() {
    Result<std::optional<Frame>> frame = channel_.receive();
    require(frame.has_value() && frame->has_value(), "the agent has closed the socket");
    return *std::move(*frame);
  }

  Channel channel_;
  UniqueFd segment_;
  std::optional<RingConnection<DoomedMemory>> ring_;
  Welcome welcome_;
  std::uint64_t request_count_ = 0;
};

Blob make_blob(IBlobStore& store) {
  BlobWriter writer = *store.create(std::size_t{1} << 20, {});
  writer.bytes()[0] = std::byte{42};
  return *writer.seal();
}

RingMessage message_of(std::uint32_t kind, std::uint32_t length_bytes) {
  return {.kind = kind, .length_bytes = length_bytes};
}

// The cell of the first message.
RingCellOf& first_cell(const Rank& rank) {
  return *reinterpret_cast<RingCellOf*>(rank.map_segment() + sizeof(RingHeader) +
                                        sizeof(RingLinesOf));
}

void misuse(Rank& rank, const std::string& way) {
  const auto let_go = static_cast<std::uint32_t>(FrameKind::kLetGo);
  const std::map<std::string, RingMessage> messages = {
      {"kind-0", message_of(0, 0)},
      {"kind-4711", message_of(4711, 40)},
      {"kind-of-a-frame", message_of(static_cast<std::uint32_t>(FrameKind::kControl), 8)},
      {"kind-of-an-answer", make_held(1, 2)},
      {"kind-beyond-16-bits", message_of(0x10000 + let_go, 40)},
      {"half-a-handle", message_of(let_go, 20)},
      {"no-handle", message_of(let_go, 0)},
      {"long-segment", message_of(static_cast<std::uint32_t>(FrameKind::kGiveBackSlab), 8)},
      {"question-with-words", message_of(static_cast<std::uint32_t>(FrameKind::kAskHeld), 1)},
  };
  if (const auto message = messages.find(way); message != messages.end()) {
    rank.push(message->second);
  } else if (way == "damaged-turn") {
    first_cell(rank).turn.store(99);
  } else if (way == "damaged-length") {
    RingCellOf& cell = first_cell(rank);
    cell.words[0].store(std::uint64_t{41} << 32);
    cell.turn.store(1);
  } else {
    require(way == "takes-no-answer", "unknown way");
    while (true) {  // Until the agent has no room for the next answer.
      rank.push(make_ask_held(1));
    }
  }
  rank.await_end();
}

// Whatever it names is not there, or not its own.
void make_noise(Rank& rank, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uint64_t answer_count = 0;
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t way = random() % 4;
    BlobHandle handle = {.job = rank.welcome().info.job,
                         .generation = random() % 3,
                         .length_bytes = random() % 3 << (random() % 60),
                         .epoch = rank.welcome().info.epoch,
                         .host = static_cast<std::uint32_t>(random() % 2),
                         .segment = static_cast<std::uint32_t>(random()) >> (random() % 32),
                         .index = static_cast<std::uint32_t>(random()) >> (random() % 32)};
    if (way == 0) {
      rank.push(make_let_go(handle));
    } else if (way == 1) {
      std::uint64_t words[sizeof(BlobHandle) / sizeof(std::uint64_t)];
      for (std::uint64_t& word : words) {
        word = random();
      }
      std::memcpy(&handle, words, sizeof(words));
      rank.push(make_let_go(handle));
    } else if (way == 2) {
      rank.push(make_give_back_slab(handle.segment));
    } else {
      rank.push(make_ask_held(random()));
      answer_count += *read_held(rank.pop()) == 0 ? 1 : 0;
    }
  }
  const std::unique_ptr<IBlobStore> store = rank.make_store();
  const Blob blob = make_blob(*store);
  const bool holds = rank.ask_held() >= blob.bytes().size();
  std::printf("%s\n", answer_count > 0 && holds ? "well" : "wrong");
}

void test_order(Rank& rank) {
  const std::unique_ptr<IBlobStore> store = rank.make_store();
  for (int round = 0; round < 500; ++round) {
    const BlobHandle handle = make_blob(*store).handle();  // Let go of at once.
    const Frame answer = rank.request(FrameKind::kFetch, encode_reference({handle, {}}));
    require(answer.kind == static_cast<std::uint16_t>(FrameKind::kDone),
            "a frame was handled before the message that was sent before it");
  }
  std::puts("500 rounds in order");
}

// All points of a push, for messages that come one after the other.
std::vector<Doom> dooms() {
  std::vector<Doom> all;
  for (const RingStore store : {RingStore::kWord, RingStore::kTurn, RingStore::kWake}) {
    for (const bool is_before : {true, false}) {
      for (const int occurrence : {1, 2, 3, 7, 8, 21}) {
        all.push_back({store, is_before, occurrence});
      }
    }
  }
  return all;
}

void die_at_each(Rank& rank) {
  const std::uint64_t held_bytes = rank.ask_held();
  require(held_bytes == 0, "something is left of the life before");
  const std::vector<Doom> all = dooms();
  const std::size_t life = rank.welcome().info.incarnation - 1;
  if (life == all.size()) {
    std::printf("%zu lives, nothing left\n", life);
    return;
  }
  const std::unique_ptr<IBlobStore> store = rank.make_store();
  const Blob kept = make_blob(*store);
  doom = all[life];
  while (true) {
    static_cast<void>(make_blob(*store));
  }
}

int run(int argc, char** argv) {
  const char* const socket = std::getenv("PINION_AGENT_FD");
  if (argc < 2 || socket == nullptr) {
    std::fputs("usage: pinion run -n 1 agent_ring_program WHAT [HOW]\n", stderr);
    return 64;
  }
  const std::string what = argv[1];
  const std::string how = argc > 2 ? argv[2] : "";
  if (what == "join" || what == "ask") {
    const auto joined =
        AgentLink::join(UniqueFd(std::atoi(socket)), {std::string(version()), ::getpid()});
    AgentLink& link = *joined->first;
    while (what == "ask") {
      static_cast<void>(link.ask_held_bytes());
    }
    link.leave(joined->second.info.rank);
    return 0;
  }
  Rank rank(std::atoi(socket));
  if (what == "misuse") {
    misuse(rank, how);
  } else if (what == "noise") {
    make_noise(rank, std::strtoull(how.c_str(), nullptr, 10));
  } else if (what == "order") {
    test_order(rank);
  } else {
    require(what == "die", "unknown task");
    die_at_each(rank);
  }
  std::fflush(stdout);
  rank.leave();
  return 0;
}

}  // namespace
}  // namespace pinion

int main(int argc, char** argv) {
  return pinion::run(argc, argv);
}
