#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/shard/protocol/records.hpp>

// A journal as bytes; who puts them into files, and when they are safe there, is somebody else's.
//
// A log is frames one behind the other, and zeros behind the last. A frame holds the records of one
// group commit: it counts whole or not at all. Records are numbered through the whole life of a
// job, and a frame says the number of its first, so that no frame is read out of its place.

namespace pinion::protocol {

/// Changes when an older program can no longer read a journal.
inline constexpr std::uint32_t kJournalVersion = 1;

/// Frames begin and end at multiples of this.
inline constexpr std::size_t kFrameAlignment = 64;

/// Appends the frame of `records`, the first of which has the number `first`, to `log`.
/// Precondition: `log` has a size that is a multiple of kFrameAlignment; there are records, and
///   they take less than 2 GiB.
void append_frame(std::uint64_t first, std::span<const Record> records,
                  std::vector<std::byte>& log);

/// Why a log is not read any further.
enum class LogStop : std::uint8_t {
  kEnd,      ///< Nothing follows.
  kTorn,     ///< A frame was not written to its end, or was damaged since.
  kGap,      ///< A frame whose records have other numbers than the next.
  kVersion,  ///< A frame of another journal version.
};

struct LogContents {
  std::vector<Record> records = {};
  std::size_t valid_bytes = 0;  ///< Of the frames that were read.
  LogStop stop = LogStop::kEnd;
  std::string reason = {};  ///< The stop in words; empty for kEnd.
};

/// The records of a log, the first of which must have the number `first`, up to what stops it.
/// Never reads outside `log`, whatever it holds. A log that was cut at any byte gives a prefix of
/// its frames, and so does one with up to three damaged bits, or with damage within 32 bits, in a
/// frame.
[[nodiscard]] LogContents read_log(std::span<const std::byte> log, std::uint64_t first);

/// All records before the number `next`, as far as they still matter.
struct Snapshot {
  std::uint64_t next = 0;
  std::vector<Record> records = {};

  friend bool operator==(const Snapshot&, const Snapshot&) = default;
};

[[nodiscard]] std::vector<std::byte> encode_snapshot(std::uint64_t next,
                                                     std::span<const Record> records);

/// Rules to break in tests that prove that the simulation notices.
struct JournalMutations {
  bool believe_torn_snapshot = false;  ///< What can be read of a snapshot is taken for all of it.
};

/// Errors: kDataLoss for bytes that are not a whole and undamaged snapshot; kUnimplemented for
///   another journal version.
[[nodiscard]] Result<Snapshot> decode_snapshot(std::span<const std::byte> bytes,
                                               const JournalMutations& mutations = {});

/// Snapshots are written to two slots in turn, so that one is whole whatever happens to the other.
/// The newer of those that are; nothing where neither is.
[[nodiscard]] std::optional<Snapshot> choose_snapshot(std::span<const std::byte> one,
                                                      std::span<const std::byte> other,
                                                      const JournalMutations& mutations = {});

}  // namespace pinion::protocol
