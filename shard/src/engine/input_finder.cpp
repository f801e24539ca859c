#include "engine/input_finder.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <limits>

#include <unistd.h>

#include "engine/inflate.hpp"
#include "engine/input_file.hpp"
#include "engine/input_glob.hpp"
#include "engine/input_stream.hpp"

namespace pinion {
namespace {

// Offsets of files are signed 64-bit numbers, and so is what may come of adding them up.
constexpr std::uint64_t kSizeMax = std::numeric_limits<std::int64_t>::max();

// One block of standard input. Large enough that blocks are few, small enough that the copy which
// is read before the blob is made costs little memory.
constexpr std::size_t kStreamBlockBytes = std::size_t{64} << 20;

// So many files are on their way from the disk at once: one after the other, most of the time would
// be waiting. Of each comes what a small file has, for whoever reads it next.
constexpr std::size_t kPeeksMax = 64;
constexpr std::uint64_t kPeekBytes = std::uint64_t{32} << 10;

void count_in_words(std::uint64_t count, const char* thing, std::string& words) {
  if (count > 0) {
    words +=
        (words.empty() ? "" : ", ") + std::to_string(count) + ' ' + thing + (count == 1 ? "" : "s");
  }
}

bool is_link(const std::string& path) noexcept {
  struct stat found = {};
  return ::lstat(path.c_str(), &found) == 0 && S_ISLNK(found.st_mode);
}

}  // namespace

Status InputFinder::add(const std::string& path) {
  if (path == "-") {
    return add_standard_input();
  }
  if (path.find('\0') != std::string::npos) {
    return {ErrorCode::kInvalidArgument, "input path '" + path + "' holds a zero byte"};
  }
  entered_.clear();
  struct stat found = {};
  if (::stat(path.c_str(), &found) == 0) {
    if (const char* const kind = S_ISFIFO(found.st_mode)   ? "a pipe"
                                 : S_ISSOCK(found.st_mode) ? "a socket"
                                                           : nullptr) {
      return {ErrorCode::kInvalidArgument,
              "input '" + path + "' is " + kind +
                  ", which cannot be read in pieces; send what it gives to standard input, and "
                  "name - instead"};
    }
    return add_found(path, found);
  }
  const int error = errno;
  if (error == ENOENT && is_link(path)) {
    return {ErrorCode::kNotFound, "input '" + path + "' is a link to what does not exist"};
  }
  if (error == ENOENT && is_glob(path)) {
    return add_glob(path);
  }
  if (error == ENOENT) {
    return {ErrorCode::kNotFound,
            "input '" + path +
                "' does not exist; name a file, a directory, a glob, or - for standard input"};
  }
  return Status::from_errno(error, "cannot look at input '" + path + "'");
}

Status InputFinder::add_standard_input() {
  if (took_standard_input_) {
    return {ErrorCode::kInvalidArgument,
            "standard input (-) is named twice; it can be read only once"};
  }
  if (!options_.has_standard_input) {
    return {ErrorCode::kUnavailable,
            "standard input (-) is asked for, but the rank that plans does not have it"};
  }
  took_standard_input_ = true;
  Result<std::vector<Blob>> blocks =
      options_.inflates ? read_inflated_stream(STDIN_FILENO, kStreamBlockBytes, store_)
                        : read_stream(STDIN_FILENO, kStreamBlockBytes, store_);
  if (!blocks) {
    return std::move(blocks).error();
  }
  for (Blob& block : *blocks) {
    InputSource source = {.path = "-", .blob = block.handle(), .size_bytes = block.bytes().size()};
    PINION_RETURN_IF_ERROR(add_source(std::move(source), std::move(block)));
  }
  return {};
}

Status InputFinder::add_glob(const std::string& pattern) {
  const Result<std::vector<std::string>> matches = match_glob(pattern);
  if (!matches) {
    return matches.error();
  }
  if (matches->empty()) {
    return {ErrorCode::kNotFound, "input '" + pattern + "' matches nothing"};
  }
  for (const std::string& path : *matches) {
    PINION_RETURN_IF_ERROR(add_listed(path));
  }
  return {};
}

// Adds what a directory or a glob gave: links that lead nowhere, and files that somebody removes in
// these moments, are nothing that the user named.
Status InputFinder::add_listed(const std::string& path) {
  struct stat found = {};
  if (::stat(path.c_str(), &found) == 0) {
    return add_found(path, found);
  }
  const int error = errno;
  if ((error == ENOENT || error == ELOOP || error == ENOTDIR) && is_link(path)) {
    ++left_out_.dangling_links;
    return {};
  }
  if (error == ENOENT) {
    ++left_out_.vanished_files;
    return {};
  }
  return Status::from_errno(error, "cannot look at input '" + path + "'");
}

Status InputFinder::add_found(const std::string& path, const struct stat& found) {
  switch (found.st_mode & S_IFMT) {
    case S_IFREG:
      return add_file(path);
    case S_IFDIR:
      return add_directory(path, found);
    case S_IFIFO:
      ++left_out_.pipes;
      return {};
    case S_IFSOCK:
      ++left_out_.sockets;
      return {};
    default:
      ++left_out_.devices;
      return {};
  }
}

Status InputFinder::add_directory(const std::string& path, const struct stat& found) {
  if (!entered_.emplace(found.st_dev, found.st_ino).second) {
    return {};
  }
  const Result<std::vector<std::string>> names = list_directory(path);
  if (!names) {
    return names.error();
  }
  for (const std::string& name : *names) {
    PINION_RETURN_IF_ERROR(add_listed(join_path(path, name)));
  }
  return {};
}

Status InputFinder::add_file(const std::string& path) {
  // Opened although only the size is wanted: whether it may be read comes out here, before any
  // shard of any file was worked on.
  Result<InputFile> file = InputFile::open(path);
  if (!file) {
    return std::move(file).error();
  }
  const std::uint64_t size = file->opened_bytes();
  PINION_RETURN_IF_ERROR(add_source({.path = path, .size_bytes = size}, Blob()));
  if (!options_.inflates || size < kMagicBytes) {
    return {};
  }
  file->enter_page_cache(0, std::min(size, kPeekBytes));
  peeks_.push_back({sources_.size() - 1, std::move(*file)});
  return peeks_.size() < kPeeksMax ? Status() : look_into_first();
}

Status InputFinder::look_into_first() {
  InputSource& source = sources_[peeks_.front().source];
  std::array<std::byte, kMagicBytes> begin = {};
  PINION_RETURN_IF_ERROR(peeks_.front().file.read(0, source.size_bytes, begin));
  source.compression = compression_of(begin);
  peeks_.pop_front();
  return {};
}

Status InputFinder::finish() {
  while (!peeks_.empty()) {
    PINION_RETURN_IF_ERROR(look_into_first());
  }
  return {};
}

Status InputFinder::add_blob(std::string name, const BlobHandle& handle) {
  Result<Blob> blob = store_.open(handle);
  if (!blob) {
    return std::move(blob).error().with_context("cannot open input " + name);
  }
  return add_source({.path = std::move(name), .blob = handle, .size_bytes = blob->bytes().size()},
                    std::move(*blob));
}

Status InputFinder::add_partition(std::string name, const BlobHandle& handle) {
  const Result<Blob> blob = store_.open(handle);
  if (!blob) {
    return Status(blob.error()).with_context("cannot open input " + name);
  }
  if (blob->bytes().empty()) {
    return {ErrorCode::kInvalidArgument,
            "input " + name + " is an empty blob, and no partition of an answer"};
  }
  return add_source({.path = std::move(name),
                     .blob = handle,
                     .home = blob->home(),
                     .size_bytes = blob->bytes().size(),
                     .is_partition = true},
                    Blob());
}

Status InputFinder::add_source(InputSource source, Blob blob) {
  if (source.size_bytes == 0) {
    return {};
  }
  if (source.size_bytes > kSizeMax - size_) {
    return {ErrorCode::kInvalidArgument,
            "the input is too large: with '" + source.path + "' it has more than 2^63 - 1 bytes"};
  }
  source.begin = size_;
  size_ += source.size_bytes;
  sources_.push_back(std::move(source));
  blobs_.push_back(std::move(blob));
  return {};
}

std::string InputFinder::left_out() const {
  std::string words;
  count_in_words(left_out_.dangling_links, "dangling link", words);
  count_in_words(left_out_.vanished_files, "vanished file", words);
  count_in_words(left_out_.pipes, "named pipe", words);
  count_in_words(left_out_.sockets, "socket", words);
  count_in_words(left_out_.devices, "device", words);
  return words.empty() ? words : words + " left out";
}

std::vector<std::string> InputFinder::notes() const {
  std::uint64_t gzip = 0;
  std::uint64_t zstd = 0;
  for (const InputSource& source : sources_) {
    gzip += source.compression == Compression::kGzip ? 1u : 0u;
    zstd += source.compression == Compression::kZstd ? 1u : 0u;
  }
  std::string words;
  count_in_words(gzip, "gzip file", words);
  count_in_words(zstd, "zstd file", words);
  std::vector<std::string> notes;
  if (!words.empty()) {
    notes.push_back(words +
                    ": a compressed file is not cut, one worker inflates and reads all of it");
  }
  return notes;
}

}  // namespace pinion
