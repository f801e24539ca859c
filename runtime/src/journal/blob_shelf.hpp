#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shm/segment_table.hpp>
#include <pinion/shm/unique_fd.hpp>

namespace pinion {

/// Which blobs lie in one file, as they are needed for as long.
enum class BlobUse : std::uint8_t {
  kWork,    ///< The plan and the partials of a step: until it has ended.
  kResult,  ///< The partitions of its answer: until the job has ended.
};

/// A blob in a file of the journal.
struct ShelvedBlob {
  BlobHandle handle = {};
  Place home = {};
  std::string path = {};
  std::uint64_t offset = 0;  ///< Of its bytes.
  std::uint32_t checksum = 0;
};

/// The bytes of accepted blobs in files, one behind the other, each behind a header with its handle
/// and checksums. A file is written in one epoch only; `blobs/3-1-work` has what epoch 3 keeps of
/// step 1.
///
/// What a crash leaves: at the end of a file, blobs that are not whole, which no record names.
/// Thread safety: none.
class BlobShelf {
 public:
  /// Precondition: no earlier shelf in this folder had so great an epoch.
  /// Errors: those of making a folder.
  [[nodiscard]] static Result<BlobShelf> open(std::string folder, std::uint32_t epoch);

  /// Adds a blob; it is safe after sync(). Reads it from the part of the file.
  /// Errors: those of reading and writing.
  [[nodiscard]] Status add(std::uint64_t step, BlobUse use, const BlobHandle& handle,
                           const BlobFilePart& part);

  /// Blocks: until the disk has all that was added.
  [[nodiscard]] Status sync();

  /// Removes what was kept of the step, in any epoch. What cannot be removed only takes room.
  void drop_work_of(std::uint64_t step);

 private:
  struct File {
    UniqueFd descriptor = {};
    std::string path = {};
    std::uint64_t end = 0;
    bool dirty = false;
  };
  using FileKey = std::pair<std::uint64_t, BlobUse>;

  BlobShelf(std::string folder, std::uint32_t epoch) : folder_(std::move(folder)), epoch_(epoch) {}

  [[nodiscard]] Result<File*> file_of(std::uint64_t step, BlobUse use);

  std::string folder_;
  std::uint32_t epoch_;
  std::map<FileKey, File> files_;
  std::multimap<std::uint64_t, std::string> earlier_work_;  // Paths, by step.
  std::vector<std::byte> buffer_;
  bool has_new_names_ = false;
};

/// What lies on the shelf of a journal whose process is gone.
struct ShelfContents {
  std::vector<ShelvedBlob> blobs = {};
  std::uint32_t epoch_max = 0;  ///< The greatest in which a file was begun.
};

/// Errors: those of reading.
[[nodiscard]] Result<ShelfContents> read_shelf(const std::string& folder);

/// The bytes of the blob.
/// Errors: kDataLoss when they are not what was written.
[[nodiscard]] Result<std::vector<std::byte>> read_shelved(const ShelvedBlob& blob);

}  // namespace pinion
