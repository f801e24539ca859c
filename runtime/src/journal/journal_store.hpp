#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/protocol/records.hpp>
#include <pinion/shm/segment_table.hpp>
#include <pinion/shm/unique_fd.hpp>

#include "journal/blob_shelf.hpp"

namespace pinion {

/// A record, and where the bytes of the blobs are that it names for the first time.
struct JournalEntry {
  protocol::Record record;
  std::vector<std::pair<BlobHandle, BlobFilePart>> blobs = {};
};

/// Where a commit stands. Tests end the process there.
enum class CommitPoint : std::uint8_t {
  kBegun,         ///< Nothing is written.
  kBlobsWritten,  ///< The disk may or may not have them.
  kBlobsSafe,
  kFrameTorn,  ///< Half of the records' bytes are written.
  kSafe,       ///< All is on the disk; nobody was told.
};

struct JournalStoreOptions {
  std::uint64_t log_bytes = std::uint64_t{16} << 20;  ///< Of a file of the log.

  /// Told where a commit stands, and how many records this epoch has with it. May be empty.
  std::function<void(CommitPoint point, std::uint64_t record_count)> at = {};
};

/// Writes one epoch of a journal into its folder:
///
///   log/3-57      the log of epoch 3 from record 57 on (journal_format.hpp)
///   snapshot.0    snapshots, in turn, so that one is whole whatever happens to the other
///   snapshot.1
///   blobs/        BlobShelf
///
/// Thread safety: none.
class JournalStore {
 public:
  /// Begins `epoch` with what those before have left: `history` is the first `next` records.
  /// Precondition: the epoch is greater than all that the folder has.
  /// Blocks: until the disk has it. Errors: those of writing.
  [[nodiscard]] static Result<JournalStore> open(const std::string& folder, std::uint32_t epoch,
                                                 protocol::RecordHistory history,
                                                 std::uint64_t next,
                                                 JournalStoreOptions options = {});

  /// Blocks: until the disk has all of the entries.
  /// Errors: those of reading the blobs and of writing. The journal is then what it was, or has
  ///   some more of the entries, in their order; call nothing else.
  [[nodiscard]] Status commit(std::span<JournalEntry> entries);

 private:
  JournalStore(std::string folder, std::uint32_t epoch, protocol::RecordHistory history,
               std::uint64_t next, BlobShelf shelf, JournalStoreOptions options);

  [[nodiscard]] Status begin_log(std::uint64_t bytes_min);
  [[nodiscard]] Status write_snapshot();
  void drop_old_logs(std::uint64_t below) const;
  void drop_needless_work();
  [[nodiscard]] Status add_blobs(const JournalEntry& entry);
  [[nodiscard]] Status append(std::span<const std::byte> frame, std::size_t group_size);
  void reach(CommitPoint point, std::size_t group_size) const;

  std::string folder_;
  std::uint32_t epoch_;
  protocol::RecordHistory history_;
  std::uint64_t next_;   // The number of the next record.
  std::uint64_t first_;  // The number of the first of this epoch.
  BlobShelf shelf_;
  JournalStoreOptions options_;
  UniqueFd log_;
  std::string log_path_;
  std::uint64_t log_end_ = 0;
  std::uint64_t log_capacity_ = 0;
  std::uint64_t bytes_since_snapshot_ = 0;
  std::uint64_t snapshot_bytes_ = 0;
  std::uint64_t snapshot_next_[2] = {0, 0};  // By slot: the first record that it does not have.
  std::vector<std::byte> frame_;
  std::vector<protocol::Record> records_;
};

/// What a journal says whose process is gone.
struct JournalContents {
  std::vector<protocol::Record> records = {};
  std::uint64_t next = 0;       ///< The number of the record that would follow.
  std::uint32_t epoch_max = 0;  ///< The greatest that has left anything.
  std::vector<ShelvedBlob> blobs = {};

  /// What was found damaged, in words: the records end before it.
  std::vector<std::string> remarks = {};
};

/// Errors: those of reading; kUnimplemented for a journal of another version.
[[nodiscard]] Result<JournalContents> read_journal(const std::string& folder);

}  // namespace pinion
