#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/executor.hpp>
#include <pinion/core/job_context.hpp>
#include <pinion/core/status.hpp>
#include <pinion/gpu/hang_limits.hpp>
#include <pinion/shm/ring.hpp>

#include "devices/device_choice.hpp"

namespace pinion {

/// What goes between a rank and its agent: frames over their one socket, but for what is marked as
/// a message of their ring. The two are always of one build: Hello carries the version and the
/// agent refuses another.
enum class FrameKind : std::uint16_t {
  kHello = 1,    ///< Rank: "I have joined". JSON.
  kWelcome = 2,  ///< Agent: the answer to kHello, CBOR, with the descriptor of the rank's row of
                 ///< references where it has one, then the two of a BlobMemory where the host has
                 ///< one. A kRingTicket follows.
  kControl = 3,  ///< Both: a protocol message.
  kPublish = 4,  ///< Rank: a BlobReference with its descriptor; answered by kPublished, or kDone.
  kFetch = 5,    ///< Rank: a BlobReference; answered by kDescriptor or kDone with an error.
  kDescriptor = 6,     ///< Agent: a BlobReference with its descriptor.
  kDone = 7,           ///< Agent: the Status of a request.
  kGoodbye = 8,        ///< Rank: the program is done with the job; answered by kDone.
  kPublished = 9,      ///< Agent: a kPublish was taken, and the bytes that all segments hold.
  kMakeSlab = 10,      ///< Rank: a SlabRequest; answered by kSlab, or kDone with an error.
  kFetchSlab = 11,     ///< Rank: a BlobReference; answered by kSlab or kDone.
  kSlab = 12,          ///< Agent: a SlabReply with the slab's descriptor.
  kFetchRow = 13,      ///< Rank: a BlobReference, its segment a client; answered by kRow or kDone.
  kRow = 14,           ///< Agent: the descriptor of a client's references.
  kGiveBackSlab = 15,  ///< Rank, ring: the segment of an empty slab. Not answered.
  kRing = 16,  ///< Rank: wants a ring with the rank `index`; answered by kRingTicket, or kDone.
  kRingTicket = 17,  ///< Agent: a RingAddress and its descriptors; those of a ring with another
                     ///< rank are followed by its pidfd.
  kLetGo = 18,  ///< Rank, ring: the handle of a blob that it published or fetched, and has no more.
                ///< Not answered.
  kAskHeld = 19,     ///< Rank, ring: wants to know what segments hold; answered by kHeld.
  kDeviceLost = 20,  ///< Rank: a DeviceLoss, for which it would end; answered by kDone, with an
                     ///< error when it is to go on without the device.
  kFetchParts = 21,  ///< Rank: BlobParts, and the memory to fill with them; answered by kDone.
  kHeld = 22,        ///< Agent, ring: the bytes that all segments hold.
  kSayOnce = 23,  ///< Rank: words to people, which are printed once for all ranks of the host that
                  ///< say the same. Not answered.
};

struct Hello {
  std::string version;
  std::int64_t pid = 0;
};

struct Welcome {
  JobInfo info;
  std::uint32_t host_count = 1;
  std::uint32_t local_rank_count = 1;  ///< Ranks of this host.
  std::vector<WorkerGroup> groups;
  std::uint32_t first_segment = 0;
  std::uint32_t segment_count = 0;
  std::uint64_t memory_bytes = 0;
  std::string spill_directory;
  std::uint64_t spill_bytes_max = 0;
  Duration memory_wait = {};
  std::string trace_directory;
  bool binds_memory = false;     ///< Whether the host has several NUMA nodes.
  std::string devices = "none";  ///< The setting.
  DeviceChoice device_choice = {};
  HangLimits hang = {};  ///< Of these devices.
};

/// A device that does nothing any more.
struct DeviceLoss {
  std::string uuid;
  std::string name;
  std::uint32_t number = 0;  ///< Among those of its host.
  Status error;
};

struct BlobReference {
  BlobHandle handle;
  Place home;
};

/// What a rank asks for in kMakeSlab: the number that the slab is to have, and its size.
struct SlabRequest {
  Place home;
  std::uint64_t size_bytes = 0;
  std::uint32_t segment = 0;
};

/// What the agent says of a slab, and the memory that its segments and slabs hold.
struct SlabReply {
  Place home;
  std::uint64_t held_bytes = 0;
  std::uint32_t slot = 0;
};

[[nodiscard]] std::vector<std::byte> encode_hello(const Hello& hello);
[[nodiscard]] Result<Hello> decode_hello(std::span<const std::byte> payload);
[[nodiscard]] std::vector<std::byte> encode_welcome(const Welcome& welcome);
[[nodiscard]] Result<Welcome> decode_welcome(std::span<const std::byte> payload);
[[nodiscard]] std::vector<std::byte> encode_reference(const BlobReference& reference);
[[nodiscard]] Result<BlobReference> decode_reference(std::span<const std::byte> payload);
[[nodiscard]] std::vector<std::byte> encode_parts(std::span<const BlobPart> parts);
[[nodiscard]] Result<std::vector<BlobPart>> decode_parts(std::span<const std::byte> payload);
[[nodiscard]] std::vector<std::byte> encode_ring_address(const RingAddress& address);
[[nodiscard]] Result<RingAddress> decode_ring_address(std::span<const std::byte> payload);
[[nodiscard]] std::vector<std::byte> encode_slab_request(const SlabRequest& request);
[[nodiscard]] Result<SlabRequest> decode_slab_request(std::span<const std::byte> payload);
[[nodiscard]] std::vector<std::byte> encode_slab_reply(const SlabReply& reply);
[[nodiscard]] Result<SlabReply> decode_slab_reply(std::span<const std::byte> payload);
[[nodiscard]] std::vector<std::byte> encode_held(std::uint64_t bytes);
[[nodiscard]] Result<std::uint64_t> decode_held(std::span<const std::byte> payload);
[[nodiscard]] RingMessage make_let_go(const BlobHandle& handle) noexcept;
[[nodiscard]] Result<BlobHandle> read_let_go(const RingMessage& message);
[[nodiscard]] RingMessage make_give_back_slab(std::uint32_t segment) noexcept;
[[nodiscard]] Result<std::uint32_t> read_give_back_slab(const RingMessage& message);
[[nodiscard]] RingMessage make_ask_held(std::uint64_t request) noexcept;
[[nodiscard]] Status check_ask_held(const RingMessage& message);
[[nodiscard]] RingMessage make_held(std::uint64_t request, std::uint64_t bytes) noexcept;
[[nodiscard]] Result<std::uint64_t> read_held(const RingMessage& message);
[[nodiscard]] std::vector<std::byte> encode_device_loss(const DeviceLoss& loss);
[[nodiscard]] Result<DeviceLoss> decode_device_loss(std::span<const std::byte> payload);
[[nodiscard]] std::vector<std::byte> encode_status(const Status& status);
[[nodiscard]] Status decode_status(std::span<const std::byte> payload);

}  // namespace pinion
