#include <pinion/shard/input.hpp>

#include <algorithm>
#include <cstring>
#include <utility>

#include <pinion/core/assert.hpp>

#include "engine/input_file.hpp"
#include "engine/input_finder.hpp"
#include "engine/input_source.hpp"

namespace pinion {

std::string Input::describe() const {
  if (kind == InputKind::kIndices) {
    return "indices(" + std::to_string(index_count) + ")";
  }
  // Quoted and escaped, so that different lists of paths never read the same.
  std::string words = "files(";
  for (const std::string& path : paths) {
    words += words.back() == '(' ? "\"" : ", \"";
    for (const char byte : path) {
      if (byte == '"' || byte == '\\') {
        words += '\\';
      }
      words += byte;
    }
    words += '"';
  }
  return words + ")";
}

Input files(std::vector<std::string> paths) {
  return {.kind = InputKind::kBytes, .paths = std::move(paths), .index_count = 0};
}

Input indices(std::uint64_t count) {
  return {.kind = InputKind::kIndices, .paths = {}, .index_count = count};
}

InputListing::InputListing(InputKind kind, std::vector<InputSource> sources, std::uint64_t size,
                           std::vector<Blob> blobs)
    : kind_(kind), sources_(std::move(sources)), blobs_(std::move(blobs)), size_(size) {
  PINION_ASSERT(blobs_.size() <= sources_.size());
  blobs_.resize(sources_.size());
}

Result<InputListing> InputListing::list(const Input& input, IBlobStore& store,
                                        bool has_standard_input) {
  if (input.kind == InputKind::kIndices) {
    return InputListing(InputKind::kIndices, {}, input.index_count);
  }
  InputFinder finder(store, has_standard_input);
  for (const std::string& path : input.paths) {
    PINION_RETURN_IF_ERROR(finder.add(path));
  }
  InputListing listing(InputKind::kBytes, std::move(finder.sources()), finder.size(),
                       std::move(finder.blobs()));
  listing.left_out_ = finder.left_out();
  return listing;
}

Result<std::size_t> InputListing::read(std::size_t source, std::uint64_t offset,
                                       std::span<std::byte> out) const {
  PINION_ASSERT(source < sources_.size());
  const InputSource& from = sources_[source];
  if (offset >= from.size_bytes) {
    return std::size_t{0};
  }
  out = out.first(
      static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), from.size_bytes - offset)));
  if (is_stream(from)) {
    const std::span<const std::byte> bytes = blobs_[source].bytes();
    PINION_ASSERT(bytes.size() == from.size_bytes);
    std::memcpy(out.data(), bytes.data() + offset, out.size());
    return out.size();
  }
  const Result<InputFile> file = InputFile::open(from.path);
  if (!file) {
    return file.error();
  }
  PINION_RETURN_IF_ERROR(file->read(offset, from.size_bytes, out));
  return out.size();
}

}  // namespace pinion
