#pragma once

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <pinion/shm/channel.hpp>

#include "fail_points.hpp"
#include "reference_row.hpp"
#include "shm_host.hpp"
#include "slab_layout.hpp"
#include "slab_link.hpp"

namespace pinion {

inline constexpr std::uint32_t kSegmentCount = 1 << 16;
inline constexpr std::uint64_t kBudget = std::uint64_t{64} << 20;
// The first slab of a client and one more.
inline constexpr std::uint64_t kSlabBytesMax = std::uint64_t{5} << 20;
inline constexpr std::uint64_t kBlobBytes = 20'000;
inline constexpr int kPieceCount = 60;         // Of that size: more than a first slab has room for.
inline constexpr std::size_t kManyCount = 18;  // Of the largest size: they fill both slabs.

/// The leaver dies on the way, as an ordinary rank may; the other two outlive the agent.
enum LedRole : std::uint32_t { kWriter, kReader, kLeaver, kRoleCount };

/// What the blobs are there for.
enum LedBlob : std::size_t {
  kKept,
  kReleased,  // Kept, then released while the reader has it.
  kBusy,      // Dropped by its writer while the reader has it.
  kLeft,      // The same with the leaver.
  kClosing,   // Retired while the agent is about to keep it.
  kOfLeaverKept,
  kOfLeaver,
  kOfReader,
  kRestored,     // Of an earlier epoch: the agent has written it.
  kFirstOfMany,  // Nobody looks at their bytes.
  kBlobCount = kFirstOfMany + kManyCount
};

inline std::uint64_t tag_of(std::size_t name) {
  return (name + 1) * 0x9e3779b97f4a7c15;
}

inline constexpr BlobHandle kRestoredHandle = {.job = kTestIdentity.job,
                                               .generation = 1,
                                               .length_bytes = kBlobBytes,
                                               .epoch = kTestIdentity.epoch - 1,
                                               .host = kTestIdentity.host,
                                               .segment = 5};

/// What the processes of a round share beside the store.
struct LedBoard {
  std::array<BlobHandle, kBlobCount> handles = {};  // Of generation 0: it was not to be made.
  std::atomic<std::uint64_t> refused_count = 0;     // What was asked for in vain.
  FailPointLog passed;                              // By the agent.
};

/// The agent. It answers until no client is left.
class LedAgent {
 public:
  explicit LedAgent(std::array<std::optional<Channel>, kRoleCount> clients)
      : clients_(std::move(clients)) {}

  /// Returns whether nothing is left in its table.
  bool run() {
    std::vector<std::byte> restored(kBlobBytes);
    fill_with_bytes_of(restored, tag_of(kRestored));
    bool is_right = table_.restore(kRestoredHandle, kTestPlace, restored).ok();
    for (std::uint32_t client = 0; client < kRoleCount; ++client) {
      const Result<int> row = table_.admit(client);
      is_right = is_right && row.has_value();
      answer(*clients_[client], row ? SlabView{.descriptor = *row} : Result<SlabView>(row.error()));
    }
    while (std::ranges::any_of(clients_, [](const auto& client) { return client.has_value(); })) {
      serve();
    }
    // Nobody is there any more to whom its death could matter.
    fail_point_plan.log = nullptr;
    fail_point_plan.left = -1;
    for (std::uint32_t client = 0; client < kRoleCount; ++client) {
      table_.client_gone(client);
    }
    std::ranges::for_each(kept_, [this](const BlobHandle& handle) { table_.release(handle); });
    table_.release(kRestoredHandle);
    return is_right && table_.snapshot().empty() && table_.usage().memory_bytes == 0 &&
           table_.usage().blob_count == 0;
  }

 private:
  void serve() {
    std::array<pollfd, kRoleCount> watched = {};
    for (std::size_t i = 0; i < watched.size(); ++i) {
      watched[i] = {
          .fd = clients_[i] ? clients_[i]->descriptor() : -1, .events = POLLIN, .revents = 0};
    }
    ::poll(watched.data(), watched.size(), -1);
    for (std::uint32_t i = 0; i < watched.size(); ++i) {
      while (watched[i].revents != 0 && clients_[i]) {
        Result<std::optional<Frame>> frame = clients_[i]->try_receive();
        if (!frame) {
          clients_[i].reset();
        } else if (!frame->has_value()) {
          break;
        } else if (!serve_slabs(table_, i, *clients_[i], **frame)) {
          answer(*clients_[i], handle(i, **frame));
        }
      }
    }
  }

  Result<SlabView> handle(std::uint32_t client, const Frame& frame) {
    const SlabMessage message = message_of(frame);
    const BlobHandle& blob = message.letter.handle;
    if (frame.kind == kKeep || frame.kind == kKeepTooLate) {
      return keep(blob, frame.kind == kKeepTooLate);
    }
    if (frame.kind == kFetchSegment) {
      const Result<std::pair<int, Place>> found = table_.fetch(client, blob);
      if (!found) {
        return found.error();
      }
      return SlabView{.descriptor = found->first, .home = found->second};
    }
    if (frame.kind == kView) {
      return view(message.letter);
    }
    if (frame.kind == kRelease) {
      table_.release(blob);
    } else if (frame.kind == kGone) {
      table_.client_gone(message.number);
    }
    return SlabView();
  }

  // As for another host.
  Result<SlabView> view(const Letter& letter) {
    const Result<Blob> copied = table_.view(letter.handle);
    if (!copied) {
      return copied.error();
    }
    return has_bytes_of(*copied, letter.tag)
               ? SlabView()
               : Result<SlabView>(Status(ErrorCode::kDataLoss, "wrong bytes were copied"));
  }

  // Too late: between the two looks of the agent at the blob it is closed, as its writer does it.
  Result<SlabView> keep(const BlobHandle& blob, bool too_late) {
    if (too_late) {
      constexpr int kPointBetween = 2;
      fail_point_plan.action = [this, blob] { table_.release(blob); };
      fail_point_plan.left_to_action = kPointBetween;
    }
    PINION_RETURN_IF_ERROR(table_.keep(blob));
    kept_.push_back(blob);
    return SlabView();
  }

  SegmentTable table_{kTestIdentity, kSegmentCount, kSlabBytesMax};
  std::array<std::optional<Channel>, kRoleCount> clients_;
  std::vector<BlobHandle> kept_;
};

/// A client. What is wrong is said in words at the end of a step.
class LedClient {
 public:
  LedClient(LedBoard& board, LedRole role, Channel agent)
      : board_(board), link_(std::move(agent)), row_(link_.wait_for_answer()) {
    SegmentExchange exchange = {
        .publish = [](const BlobHandle&, Place,
                      int) { return Status(ErrorCode::kUnimplemented, "slabs only"); },
        .fetch = [this](const BlobHandle& handle) -> Result<std::pair<UniqueFd, Place>> {
          Result<SlabGrant> found = link_.ask(kFetchSegment, {.letter = {.handle = handle}});
          if (!found) {
            return std::move(found).error();
          }
          return std::pair(std::move(found->descriptor), found->home);
        },
        .slabs = link_.slabs()};
    if (role == kWriter) {
      // One slab, so that there is less to write over.
      exchange.slabs.make = [has_one = false, make = exchange.slabs.make](
                                std::uint32_t segment, Place home,
                                std::uint64_t size_bytes) mutable -> Result<SlabGrant> {
        if (std::exchange(has_one, true)) {
          return Status(ErrorCode::kResourceExhausted, "it has its slab");
        }
        return make(segment, home, size_bytes);
      };
    }
    store_ = make_shared_blob_store({.identity = kTestIdentity,
                                     .first_segment = role * kSegmentCount,
                                     .segment_count = kSegmentCount,
                                     .memory = MemoryLedger({.budget_bytes = kBudget}),
                                     .row_descriptor = row_ ? row_->descriptor.get() : -1},
                                    std::move(exchange));
  }

  void make(LedBlob name, std::uint64_t size_bytes = kBlobBytes) {
    if (std::optional<Blob> blob = seal(name, size_bytes, true)) {
      held_.emplace(name, *std::move(blob));
    }
  }

  void open(LedBlob name) {
    if (std::optional<Blob> blob = find(name)) {
      held_.emplace(name, *std::move(blob));
      look_at(name);
    }
  }

  void make_many() {
    for (std::size_t i = 0; i < kManyCount; ++i) {
      if (std::optional<Blob> blob = seal(kFirstOfMany + i, kSlabBlobBytesMax, false)) {
        many_.push_back(*std::move(blob));
      }
    }
  }
  void open_many() {
    for (std::size_t i = 0; i < kManyCount; ++i) {
      if (std::optional<Blob> blob = find(kFirstOfMany + i)) {
        many_.push_back(*std::move(blob));
      }
    }
  }
  void drop_many() { many_.clear(); }

  void look() {
    for (const auto& [name, blob] : held_) {
      look_at(name);
    }
  }

  void drop(LedBlob name) {
    if (held_.count(name) > 0) {
      look_at(name);
      held_.erase(name);
    }
  }

  /// No reference is left behind in the row.
  void drop_all() {
    look();
    held_.clear();
    constexpr std::size_t kMoreThanTheSlabs = 16;
    std::vector<std::byte> marks(kMoreThanTheSlabs * kRowSlabBytes);
    if (row_ && (::pread(row_->descriptor.get(), marks.data(), marks.size(),
                         static_cast<off_t>(row_offset(0))) != std::ssize(marks) ||
                 std::ranges::count(marks, std::byte{}) != std::ssize(marks))) {
      complain("marks are left in the row");
    }
  }

  /// Writes over all memory of its slabs that nobody has. What somebody has must not be among it.
  void write_over() {
    std::vector<BlobWriter> pieces;
    for (int i = 0; i < kPieceCount; ++i) {
      if (Result<BlobWriter> piece = store_->create(kBlobBytes, kTestPlace)) {
        std::memset(piece->bytes().data(), 0xee, piece->bytes().size());
        pieces.push_back(*std::move(piece));
      }
    }
  }

  /// Has the agent copy it.
  void have_copied(LedBlob name) { ask(kView, name); }

  void keep(LedBlob name) { ask(kKeep, name); }
  void release(LedBlob name) { ask(kRelease, name); }

  void keep_in_vain(SlabFrame kind, LedBlob name, std::uint64_t added_bytes) {
    BlobHandle handle = board_.handles[name];
    handle.length_bytes += added_bytes;
    if (link_.ask(kind, {.letter = {.handle = handle}}).has_value()) {
      complain("the job keeps blob " + std::to_string(name));
    }
  }

  void say_gone(LedRole role) { count(link_.ask(kGone, {.number = role}).has_value()); }

  /// The agent has done what it was told by then, also what it does not answer.
  std::string end_step() {
    static_cast<void>(link_.ask(kDone, {}).has_value());
    return std::exchange(complaint_, {});
  }

 private:
  std::optional<Blob> seal(std::size_t name, std::uint64_t size_bytes, bool fill) {
    Result<BlobWriter> writer = store_->create(size_bytes, kTestPlace);
    if (writer && fill) {
      fill_with_bytes_of(writer->bytes(), tag_of(name));
    }
    Result<Blob> blob = writer ? writer->seal() : Result<Blob>(writer.error());
    count(blob.has_value());
    if (!blob) {
      return {};
    }
    board_.handles[name] = blob->handle();
    return *std::move(blob);
  }

  std::optional<Blob> find(std::size_t name) {
    const BlobHandle& handle = board_.handles[name];
    if (handle.generation == 0) {
      return {};  // There was no agent any more.
    }
    Result<Blob> opened = store_->open(handle);
    count(opened.has_value());
    if (opened) {
      return *std::move(opened);
    }
    const ErrorCode code = opened.error().code();
    if (code != ErrorCode::kNotFound && code != ErrorCode::kFailedPrecondition &&
        code != ErrorCode::kUnavailable) {
      complain("blob " + std::to_string(name) + ": " + opened.error().to_string());
    }
    return {};
  }

  void look_at(std::size_t name) {
    const Blob& blob = held_.at(name);
    if (!has_bytes_of(blob, tag_of(name))) {
      complain("wrong bytes in blob " + std::to_string(name));
    }
  }

  void ask(SlabFrame kind, LedBlob name) {
    const Letter letter = {.handle = board_.handles[name], .tag = tag_of(name)};
    count(link_.ask(kind, {.letter = letter}).has_value());
  }

  void count(bool success) { board_.refused_count += success ? 0 : 1; }
  void complain(const std::string& what) { complaint_ += what + "; "; }

  LedBoard& board_;
  SlabLink link_;
  const Result<SlabGrant> row_;
  std::unique_ptr<IBlobStore> store_;
  std::map<std::size_t, Blob> held_;
  std::vector<Blob> many_;
  std::string complaint_;
};

}  // namespace pinion
