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

/// What a step reads: a description, nothing is opened before the step is planned.
struct Input {
  InputKind kind = InputKind::kIndices;

  /// kBytes: files, directories (every regular file below them), globs, or "-" for standard input.
  std::vector<std::string> paths = {};

  /// kIndices: the step covers [0, index_count).
  std::uint64_t index_count = 0;

  /// The input in words that are equal on all ranks, for the step's fingerprint.
  [[nodiscard]] std::string describe() const;
};

/// The bytes of files. Each of `paths` is a file, a directory, a glob, or "-" for standard input.
[[nodiscard]] Input files(std::vector<std::string> paths);

/// The numbers 0 to `count` - 1.
[[nodiscard]] Input indices(std::uint64_t count);

/// A file, or a blob that holds what a stream gave.
struct InputSource {
  std::string path = {};         ///< For words to people; "-" for standard input.
  BlobHandle blob = {};          ///< Where the bytes lie when they are not in the file.
  std::uint64_t begin = 0;       ///< Where its bytes begin in the whole input.
  std::uint64_t size_bytes = 0;  ///< At the time of listing. Empty files are not listed.
};

/// An input as it was found: what planners cut. The sources lie one after the other, without gaps,
/// in one line of offsets [0, size()).
class InputListing {
 public:
  /// Finds the files. Directories are walked in sorted order, symbolic links are followed, each
  /// directory is entered once for each path that was named, whatever loops there are; what is not
  /// a regular file is left out and counted. A path that is named twice counts twice. A path with
  /// * ? [ that does not exist as it stands is a glob. A glob that matches nothing and a named path
  /// that does not exist are kNotFound. Standard input is read to its end into blobs of `store`,
  /// one source after the other; a line may cross them. Blocks: for the file system, and until
  /// standard input ends. Errors: kNotFound, kPermissionDenied (names the path); kUnavailable when
  /// standard input is
  ///   asked for and `has_standard_input` is false; kResourceExhausted when the store has no room
  ///   for it; kInvalidArgument when it is named twice, and for more than 2^63 - 1 bytes.
  [[nodiscard]] static Result<InputListing> list(const Input& input, IBlobStore& store,
                                                 bool has_standard_input);

  [[nodiscard]] InputKind kind() const noexcept { return kind_; }
  [[nodiscard]] std::span<const InputSource> sources() const noexcept { return sources_; }

  /// Bytes, or indices.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  /// What was left out, in words; empty when nothing was.
  [[nodiscard]] const std::string& left_out() const noexcept { return left_out_; }

  /// Reads up to `out.size()` bytes at `offset` of one source, fewer at its end.
  /// Errors: kDataLoss when the file has become shorter than listed; those of the file system.
  [[nodiscard]] Result<std::size_t> read(std::size_t source, std::uint64_t offset,
                                         std::span<std::byte> out) const;

  // For codecs and tests. `blobs` is parallel to `sources`: those of streams, empty ones for files.
  InputListing() = default;
  InputListing(InputKind kind, std::vector<InputSource> sources, std::uint64_t size,
               std::vector<Blob> blobs = {});

 private:
  InputKind kind_ = InputKind::kIndices;
  std::vector<InputSource> sources_;
  std::vector<Blob> blobs_;  // As many as sources_; empty ones for files.
  std::uint64_t size_ = 0;
  std::string left_out_;
};

}  // namespace pinion
