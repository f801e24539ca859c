#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <sys/stat.h>

#include <pinion/core/blob.hpp>
#include <pinion/core/blob_store.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/input.hpp>

#include "engine/input_file.hpp"

namespace pinion {

struct InputFinderOptions {
  bool has_standard_input = false;
  bool inflates = true;  ///< What is compressed.
};

/// Finds the sources that the paths and handles of an input name, one add() after the other, and
/// finish() behind the last.
///
/// Thread safety: none.
/// Lifetime: keeps a reference to the store.
class InputFinder {
 public:
  InputFinder(IBlobStore& store, const InputFinderOptions& options) noexcept
      : store_(store), options_(options) {}

  /// Blocks and errors: as InputListing::list.
  [[nodiscard]] Status add(const std::string& path);

  /// `name` is for words to people.
  /// Blocks and errors: as IBlobStore::open.
  [[nodiscard]] Status add_blob(std::string name, const BlobHandle& handle);

  /// The same for a partition of an answer, which is not held open.
  /// Errors: beside those, kInvalidArgument for a blob without bytes, which no partition is.
  [[nodiscard]] Status add_partition(std::string name, const BlobHandle& handle);

  /// Looks into the files that no add() has looked into yet.
  /// Blocks and errors: as InputListing::list.
  [[nodiscard]] Status finish();

  [[nodiscard]] std::vector<InputSource>& sources() noexcept { return sources_; }
  [[nodiscard]] std::vector<Blob>& blobs() noexcept { return blobs_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] std::string left_out() const;
  [[nodiscard]] std::vector<std::string> notes() const;

 private:
  struct LeftOut {
    std::uint64_t dangling_links = 0;
    std::uint64_t vanished_files = 0;
    std::uint64_t pipes = 0;
    std::uint64_t sockets = 0;
    std::uint64_t devices = 0;
  };

  [[nodiscard]] Status add_standard_input();
  [[nodiscard]] Status add_glob(const std::string& pattern);
  [[nodiscard]] Status add_listed(const std::string& path);
  [[nodiscard]] Status add_found(const std::string& path, const struct stat& found);
  [[nodiscard]] Status add_directory(const std::string& path, const struct stat& found);
  [[nodiscard]] Status add_file(const std::string& path);
  [[nodiscard]] Status add_source(InputSource source, Blob blob);
  [[nodiscard]] Status look_into_first();

  // A file whose begin is on its way from the disk.
  struct Peek {
    std::size_t source;
    InputFile file;
  };

  IBlobStore& store_;
  InputFinderOptions options_;
  bool took_standard_input_ = false;
  std::vector<InputSource> sources_;
  std::vector<Blob> blobs_;
  std::deque<Peek> peeks_;
  std::uint64_t size_ = 0;
  LeftOut left_out_;

  // Device and inode of the directories entered for the path that is being added. A path that is
  // named twice counts twice.
  std::set<std::pair<dev_t, ino_t>> entered_;
};

}  // namespace pinion
