#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/blob_store.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

enum class InputKind : std::uint8_t { kBytes, kIndices };

/// How a file's bytes are stored, told by what stands at its begin and not by its name.
enum class Compression : std::uint8_t {
  kNone,
  kGzip,  ///< RFC 1952, any number of members.
  kZstd,  ///< RFC 8878, any number of frames; windows up to 128 MiB.
};

/// What a step reads: a description, nothing is opened before the step is planned.
struct Input {
  InputKind kind = InputKind::kIndices;

  /// kBytes: files, directories (every regular file below them), globs, or "-" for standard input.
  std::vector<std::string> paths = {};

  /// kBytes: sealed blobs, read after the files.
  std::vector<BlobHandle> handles = {};

  /// Blobs that are to live as long as this description does.
  std::vector<Blob> kept = {};

  /// The blobs are partitions of an answer, each sealed on its own: see partitions().
  bool are_partitions = false;

  /// kBytes: compressed files are inflated while they are read. Such a file cannot be cut, so it is
  /// read by one worker, whole, and its inflated text must fit in that worker's memory. Standard
  /// input is inflated as it comes and cut like other text. When this is false, bodies get the
  /// bytes as they are stored.
  bool inflate = true;

  /// kIndices: the step covers [0, index_count).
  std::uint64_t index_count = 0;

  /// The input in words that are equal on all ranks, for the step's fingerprint.
  [[nodiscard]] std::string describe() const;
};

/// The bytes of files. Each of `paths` is a file, a directory, a glob, or "-" for standard input.
[[nodiscard]] Input files(std::vector<std::string> paths);

/// The bytes of sealed blobs, each a source of its own: what an earlier step left, for example.
/// Every rank opens them by handle, so they must be equal on all ranks. A shard that lies in one
/// blob is that blob's memory, mapped and not copied; with by_file() a shard is a whole blob.
///
/// Lifetime: the description holds the blobs; handles alone hold nothing, so whoever passes them
///   keeps the blobs until the step is over.
[[nodiscard]] Input blobs(std::vector<Blob> blobs);
[[nodiscard]] Input blobs(std::vector<BlobHandle> handles);

/// The numbers 0 to `count` - 1.
[[nodiscard]] Input indices(std::uint64_t count);

/// A file, or a blob: one of the input's, or a block of what standard input gave.
struct InputSource {
  std::string path = {};  ///< For words to people; "-" for standard input.
  BlobHandle blob = {};   ///< Where the bytes lie when they are not in the file.
  /// Of the blob. Known where the input is listed; of another host's, the host and no more.
  Place home = {};
  std::uint64_t begin = 0;       ///< Where its bytes begin in the whole input.
  std::uint64_t size_bytes = 0;  ///< As stored, when it was listed. Empty sources are not listed.

  /// A compressed source lies whole in one shard. Offsets and sizes count its bytes as stored.
  Compression compression = Compression::kNone;

  /// A partition of an answer is a shard of its own, and is opened by whoever reads it.
  bool is_partition = false;
};

/// An input as it was found: what planners cut. The sources lie one after the other, without gaps,
/// in one line of offsets [0, size()).
class InputListing {
 public:
  /// Finds the files. Directories are walked in sorted order, symbolic links are followed, each
  /// directory is entered once for each path that was named, whatever loops there are; what is not
  /// a regular file is left out and counted, but for a pipe or a socket that was named itself,
  /// which is kInvalidArgument. A path that is named twice counts twice. A path with
  /// * ? [ that does not exist as it stands is a glob. A glob that matches nothing and a named path
  /// that does not exist are kNotFound. Standard input is read to its end into blobs of `store`,
  /// one source after the other; a line may cross them. Blobs are opened, and partitions closed
  /// again once their place is known. `epoch` is the job's, which tells where blobs lie.
  /// Blocks: for the file system, and until standard input ends.
  /// Errors: kNotFound, kPermissionDenied (names the path); kUnavailable when standard input is
  ///   asked for and `has_standard_input` is false; kResourceExhausted when the store has no room
  ///   for it; kDataLoss when it is compressed, and damaged or cut short; kInvalidArgument when it
  ///   is named twice, and for more than 2^63 - 1 bytes; for blobs those of IBlobStore::open.
  [[nodiscard]] static Result<InputListing> list(const Input& input, IBlobStore& store,
                                                 bool has_standard_input, std::uint32_t epoch);

  [[nodiscard]] InputKind kind() const noexcept { return kind_; }
  [[nodiscard]] std::span<const InputSource> sources() const noexcept { return sources_; }

  /// Bytes, or indices.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  /// What was left out, in words; empty when nothing was.
  [[nodiscard]] const std::string& left_out() const noexcept { return left_out_; }

  /// What the user should know of the input beside that, one sentence each: files that cannot be
  /// cut because they are compressed.
  [[nodiscard]] const std::vector<std::string>& notes() const noexcept { return notes_; }

  /// The blob that a source lies in.
  /// Blocks and errors: as IBlobStore::open, for a partition.
  /// Precondition: the source is listed, and lies in a blob.
  [[nodiscard]] Result<Blob> open_blob(std::size_t source) const;

  /// Reads up to `out.size()` bytes, as stored, at `offset` of one source, fewer at its end.
  /// Errors: kDataLoss when the file has become shorter than listed; those of the file system.
  [[nodiscard]] Result<std::size_t> read(std::size_t source, std::uint64_t offset,
                                         std::span<std::byte> out) const;

  // For codecs and tests. `blobs` is parallel to `sources`, with empty ones for files and
  // partitions, which are opened from `store`, borrowed.
  InputListing() = default;
  InputListing(InputKind kind, std::vector<InputSource> sources, std::uint64_t size,
               std::vector<Blob> blobs = {}, IBlobStore* store = nullptr);

 private:
  InputKind kind_ = InputKind::kIndices;
  std::vector<InputSource> sources_;
  std::vector<Blob> blobs_;  // As many as sources_; empty ones for files and partitions.
  IBlobStore* store_ = nullptr;
  std::uint64_t size_ = 0;
  std::string left_out_;
  std::vector<std::string> notes_;
};

}  // namespace pinion
