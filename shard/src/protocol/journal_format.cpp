#include <pinion/shard/protocol/journal_format.hpp>

#include <algorithm>
#include <cstring>
#include <utility>

#include <pinion/core/assert.hpp>
#include <pinion/shard/protocol/checksum.hpp>

#include "protocol/record_tables.hpp"

namespace pinion::protocol {
namespace {

constexpr std::uint32_t kFrameMagic = 0x464a4e50;     // "PNJF" in a dump.
constexpr std::uint32_t kSnapshotMagic = 0x534a4e50;  // "PNJS".

// A snapshot has many frames, as one can only be so large.
constexpr std::size_t kRecordsPerFrame = 4096;

struct FrameHeader {
  std::uint32_t magic = kFrameMagic;
  std::uint32_t checksum = 0;  // Of all that follows it, to the end of the padded frame.
  std::uint32_t version = kJournalVersion;
  std::uint32_t payload_bytes = 0;
  std::uint64_t first = 0;
  std::uint32_t record_count = 0;
  std::uint32_t reserved = 0;
};
static_assert(sizeof(FrameHeader) == 32 && kFrameAlignment % sizeof(FrameHeader) == 0);

struct SnapshotHeader {
  std::uint32_t magic = kSnapshotMagic;
  std::uint32_t checksum = 0;  // Of the rest of the header.
  std::uint32_t version = kJournalVersion;
  std::uint32_t reserved_word = 0;
  std::uint64_t next = 0;
  std::uint64_t record_count = 0;
  std::uint64_t frame_bytes = 0;
  std::uint64_t reserved[3] = {};
};
static_assert(sizeof(SnapshotHeader) == kFrameAlignment);

constexpr std::size_t kChecksumEnd = offsetof(FrameHeader, checksum) + sizeof(std::uint32_t);
static_assert(kChecksumEnd ==
              offsetof(SnapshotHeader, checksum) + sizeof(SnapshotHeader::checksum));

constexpr std::size_t padded(std::size_t size_bytes) {
  return (size_bytes + kFrameAlignment - 1) / kFrameAlignment * kFrameAlignment;
}

std::uint32_t checksum_of(std::span<const std::byte> whole) {
  return crc32c(whole.subspan(kChecksumEnd));
}

template <class Header>
Header header_at(std::span<const std::byte> bytes) {
  Header header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  return header;
}

bool all_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(),
                     [](std::byte byte) { return byte == std::byte{}; });
}

std::string another_version(std::uint32_t version) {
  return "it has journal version " + std::to_string(version) + ", this program reads version " +
         std::to_string(kJournalVersion) + "; use the Pinion that wrote it";
}

class LogReader {
 public:
  LogReader(std::span<const std::byte> log, std::uint64_t first) : log_(log), next_(first) {}

  LogContents read() && {
    while (read_frame()) {
    }
    return std::move(contents_);
  }

 private:
  // False once the contents say what stops it.
  bool read_frame() {
    const std::span<const std::byte> rest = log_.subspan(contents_.valid_bytes);
    if (all_zero(rest.first(std::min(rest.size(), kFrameAlignment)))) {
      return false;
    }
    if (rest.size() < kFrameAlignment) {
      return stop(LogStop::kTorn, "its last bytes are no whole frame");
    }
    const auto header = header_at<FrameHeader>(rest);
    const std::size_t frame_bytes = padded(sizeof(header) + std::size_t{header.payload_bytes});
    if (header.magic != kFrameMagic || frame_bytes > rest.size() ||
        checksum_of(rest.first(frame_bytes)) != header.checksum) {
      return stop(LogStop::kTorn, "a frame was not written to its end or is damaged");
    }
    if (header.version != kJournalVersion) {
      return stop(LogStop::kVersion, another_version(header.version));
    }
    if (header.first != next_) {
      return stop(LogStop::kGap, "a frame begins with record " + std::to_string(header.first) +
                                     ", where record " + std::to_string(next_) + " is due");
    }
    std::vector<Record> records;
    const char* const problem =
        decode_records(rest.subspan(sizeof(header), header.payload_bytes), records);
    if (problem != nullptr || records.empty() || records.size() != header.record_count) {
      return stop(LogStop::kTorn,
                  std::string("a frame holds ") +
                      (problem == nullptr ? "another number of records than it says" : problem));
    }
    next_ += records.size();
    contents_.valid_bytes += frame_bytes;
    std::move(records.begin(), records.end(), std::back_inserter(contents_.records));
    return true;
  }

  bool stop(LogStop why, const std::string& what) {
    contents_.stop = why;
    contents_.reason = "at byte " + std::to_string(contents_.valid_bytes) + ", " + what;
    return false;
  }

  const std::span<const std::byte> log_;
  std::uint64_t next_;
  LogContents contents_;
};

Status damaged_snapshot(const std::string& what) {
  return {ErrorCode::kDataLoss, "the snapshot is not whole or is damaged: " + what};
}

}  // namespace

void append_frame(std::uint64_t first, std::span<const Record> records,
                  std::vector<std::byte>& log) {
  PINION_ASSERT(log.size() % kFrameAlignment == 0 && !records.empty());
  const std::size_t begin = log.size();
  log.resize(begin + sizeof(FrameHeader));
  encode_records(records, log);
  const std::size_t payload_bytes = log.size() - begin - sizeof(FrameHeader);
  PINION_ASSERT(payload_bytes < kPayloadBytesMax);
  log.resize(begin + padded(log.size() - begin));
  FrameHeader header{.payload_bytes = static_cast<std::uint32_t>(payload_bytes),
                     .first = first,
                     .record_count = static_cast<std::uint32_t>(records.size())};
  const std::span<std::byte> frame = std::span(log).subspan(begin);
  std::memcpy(frame.data(), &header, sizeof(header));
  header.checksum = checksum_of(frame);
  std::memcpy(frame.data(), &header, sizeof(header));
}

LogContents read_log(std::span<const std::byte> log, std::uint64_t first) {
  return LogReader(log, first).read();
}

std::vector<std::byte> encode_snapshot(std::uint64_t next, std::span<const Record> records) {
  std::vector<std::byte> bytes(sizeof(SnapshotHeader));
  for (std::size_t at = 0; at < records.size(); at += kRecordsPerFrame) {
    append_frame(at, records.subspan(at, std::min(kRecordsPerFrame, records.size() - at)), bytes);
  }
  SnapshotHeader header{.next = next,
                        .record_count = records.size(),
                        .frame_bytes = bytes.size() - sizeof(SnapshotHeader)};
  std::memcpy(bytes.data(), &header, sizeof(header));
  header.checksum = checksum_of(std::span(bytes).first(sizeof(header)));
  std::memcpy(bytes.data(), &header, sizeof(header));
  return bytes;
}

Result<Snapshot> decode_snapshot(std::span<const std::byte> bytes,
                                 const JournalMutations& mutations) {
  if (bytes.size() < sizeof(SnapshotHeader)) {
    return damaged_snapshot("it has " + std::to_string(bytes.size()) + " bytes");
  }
  const auto header = header_at<SnapshotHeader>(bytes);
  if (header.magic != kSnapshotMagic ||
      checksum_of(bytes.first(sizeof(header))) != header.checksum) {
    return damaged_snapshot("it does not start like one");
  }
  if (header.version != kJournalVersion) {
    return Status(ErrorCode::kUnimplemented, "the snapshot: " + another_version(header.version));
  }
  LogContents contents = read_log(bytes.subspan(sizeof(header)), 0);
  const bool is_whole =
      contents.records.size() == header.record_count && contents.valid_bytes == header.frame_bytes;
  if (!is_whole && !mutations.believe_torn_snapshot) {
    return damaged_snapshot(std::to_string(contents.records.size()) + " of " +
                            std::to_string(header.record_count) + " records are there; " +
                            contents.reason);
  }
  return Snapshot{.next = header.next, .records = std::move(contents.records)};
}

std::optional<Snapshot> choose_snapshot(std::span<const std::byte> one,
                                        std::span<const std::byte> other,
                                        const JournalMutations& mutations) {
  Result<Snapshot> first = decode_snapshot(one, mutations);
  Result<Snapshot> second = decode_snapshot(other, mutations);
  if (first && (!second || second->next < first->next)) {
    return *std::move(first);
  }
  if (second) {
    return *std::move(second);
  }
  return std::nullopt;
}

}  // namespace pinion::protocol
