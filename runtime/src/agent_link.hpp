#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <pinion/core/clock.hpp>
#include <pinion/core/job_context.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/thread_annotations.hpp>
#include <pinion/shm/blob_memory.hpp>
#include <pinion/shm/channel.hpp>
#include <pinion/shm/ring.hpp>
#include <pinion/shm/shared_blob_store.hpp>
#include <pinion/shm/unique_fd.hpp>

#include "frames.hpp"

namespace pinion {

/// A rank's end of the socket to its agent, and of their ring. A thread of its own reads the
/// socket, so that the agent's end is noticed whatever the program does: the process then ends, as
/// its work can no longer count. What fits a message of the ring, carries no descriptor and may
/// overtake what the socket carries goes through the ring: it wakes nobody in this process but who
/// asked.
///
/// Thread safety: as IControlLink says; everything else from any thread.
class AgentLink final : public IControlLink {
 public:
  /// Joins the job. Blocks: for the agent's answer.
  /// Errors: kUnavailable when the agent is gone; kFailedPrecondition when it refuses (says why).
  [[nodiscard]] static Result<std::pair<std::unique_ptr<AgentLink>, Welcome>> join(
      UniqueFd socket, const Hello& hello);
  ~AgentLink() override;

  [[nodiscard]] Status send(std::span<const std::byte> message) override;
  [[nodiscard]] Result<std::vector<std::byte>> receive(Instant deadline) override;
  void wake() noexcept override;

  /// Gives a sealed segment to the agent. Blocks: for its answer.
  [[nodiscard]] Status publish(const BlobHandle& handle, Place home, int descriptor);

  /// The memory that the host's segments held when the agent last took one of ours.
  [[nodiscard]] std::uint64_t held_bytes() const noexcept {
    return held_bytes_.load(std::memory_order_relaxed);
  }

  /// The segment behind a handle. Blocks: for the agent's answer.
  [[nodiscard]] Result<std::pair<UniqueFd, Place>> fetch(const BlobHandle& handle);

  /// The same as of now; where the agent is gone, what it said last. Blocks: for the agent's
  /// answer.
  std::uint64_t ask_held_bytes() PINION_EXCLUDES(asking_);

  /// See SegmentExchange::fetch_parts. What is returned must not outlive this object.
  [[nodiscard]] std::function<Status()> fetch_parts(std::span<const BlobPart> parts, int room);

  /// This rank has no more use for a blob that it published or fetched. Waits for no answer.
  /// Blocks: while the ring is full, which the agent empties between any two things that it does.
  void let_go(const BlobHandle& handle) noexcept;

  /// This rank's end of its ring with another one, which asks for the other end. There is one ring
  /// for each two lives of ranks: after the other one's death, ask again for that with its next.
  /// Blocks: for the agent's answer.
  /// Errors: kUnavailable while the other rank has not joined the job, or is gone; kAlreadyExists
  ///   when this end was given out before; kInvalidArgument for a number that is no other rank's.
  [[nodiscard]] Result<RingEnd> ring_with(std::uint32_t rank);

  /// See SlabExchange. All but give_back_slab(), which is like let_go(), block for the agent's
  /// answer.
  [[nodiscard]] Result<SlabGrant> make_slab(const SlabRequest& wanted);
  [[nodiscard]] Result<SlabGrant> fetch_slab(const BlobHandle& handle);
  [[nodiscard]] Result<UniqueFd> fetch_row(std::uint32_t client);
  void give_back_slab(std::uint32_t segment) noexcept;

  /// The file of this process's references, or -1.
  [[nodiscard]] int row_descriptor() const noexcept { return row_.get(); }

  /// Where large blobs of this host lie, or null.
  [[nodiscard]] const std::shared_ptr<const BlobMemory>& blob_memory() const noexcept {
    return blob_memory_;
  }

  /// Whether this process is to end for a device that failed, to be started again.
  /// Blocks: for the agent's answer.
  [[nodiscard]] bool ends_for(const DeviceLoss& loss);

  /// Has the agent print this line, once for all ranks of the host that say the same. Waits for no
  /// answer.
  void say_once(std::string_view text) noexcept;

  /// Tells the agent that the program is done with the job; its end is in good order from here on.
  void leave(std::uint32_t rank) noexcept;

  /// After leave(). Blocks: until the agent has ended.
  void wait_for_end_of_agent() noexcept;

 private:
  AgentLink(Channel channel, RingEnd ring);
  [[nodiscard]] Status take_held(const Frame& answer);
  [[nodiscard]] bool push(const RingMessage& message) noexcept PINION_EXCLUDES(pushing_);
  void take_descriptors(std::vector<UniqueFd> descriptors);
  void read_frames();
  void sort_in(Frame frame);
  [[nodiscard]] Result<Frame> request(FrameKind kind, std::span<const std::byte> payload,
                                      std::span<const int> descriptors = {});
  // The parts of request(). What was begun is to be forgotten, once.
  [[nodiscard]] Result<std::uint64_t> begin_request(FrameKind kind,
                                                    std::span<const std::byte> payload,
                                                    std::span<const int> descriptors);
  [[nodiscard]] Result<Frame> await_answer(std::uint64_t id);
  void forget_request(std::uint64_t id) noexcept;
  [[nodiscard]] Result<SlabGrant> request_slab(FrameKind kind, std::span<const std::byte> payload);

  Channel channel_;
  RingEnd ring_;
  Mutex pushing_;  // One thread at a time pushes,
  Mutex asking_;   // and one asks: it takes the answer, which is all that ever comes.
  std::uint64_t ask_count_ PINION_GUARDED_BY(asking_) = 0;
  UniqueFd row_;
  std::shared_ptr<const BlobMemory> blob_memory_;
  Mutex mutex_;
  std::condition_variable_any arrived_;
  std::deque<std::vector<std::byte>> inbox_ PINION_GUARDED_BY(mutex_);
  std::map<std::uint64_t, std::optional<Frame>> requests_ PINION_GUARDED_BY(mutex_);
  std::uint64_t request_count_ PINION_GUARDED_BY(mutex_) = 0;
  std::atomic<std::uint64_t> held_bytes_ = 0;
  bool woken_ PINION_GUARDED_BY(mutex_) = false;
  bool closed_ PINION_GUARDED_BY(mutex_) = false;
  bool leaving_ PINION_GUARDED_BY(mutex_) = false;
  std::thread reader_;
};

}  // namespace pinion
