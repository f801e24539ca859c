#include <pinion/shard/input.hpp>

#include <algorithm>
#include <cstring>
#include <utility>

#include <pinion/core/assert.hpp>

#include "engine/input_file.hpp"
#include "engine/input_finder.hpp"
#include "engine/input_source.hpp"

namespace pinion {

namespace {

// Quoted and escaped, so that different lists of paths never read the same.
std::string describe_paths(const std::vector<std::string>& paths) {
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

// What is opened of another host's blob is a copy on this one. At which of its places the blob lies
// is not known here.
Place home_of(const InputSource& source, std::uint32_t epoch) {
  const std::uint32_t host = host_with(source.blob, epoch);
  return source.home.host == host ? source.home : Place{.host = host};
}

// Each handle in full, as which blobs they are is the identity of the input.
std::string describe_handles(const std::vector<BlobHandle>& handles, bool are_partitions) {
  std::string words = are_partitions ? "partitions(" : "blobs(";
  for (const BlobHandle& handle : handles) {
    words += words.back() == '(' ? "" : ", ";
    for (const std::uint64_t number :
         {handle.job, std::uint64_t{handle.epoch}, std::uint64_t{handle.host},
          std::uint64_t{handle.segment}, std::uint64_t{handle.index}, handle.generation}) {
      words += std::to_string(number) + '.';
    }
    words += std::to_string(handle.length_bytes);
  }
  return words + ")";
}

}  // namespace

std::string Input::describe() const {
  if (kind == InputKind::kIndices) {
    return "indices(" + std::to_string(index_count) + ")";
  }
  std::string words = !paths.empty() || handles.empty() ? describe_paths(paths) : "";
  if (!handles.empty()) {
    words += (words.empty() ? "" : " and ") + describe_handles(handles, are_partitions);
  }
  return inflate ? words : words + " as stored";
}

Input files(std::vector<std::string> paths) {
  return {.kind = InputKind::kBytes, .paths = std::move(paths)};
}

Input blobs(std::vector<Blob> blobs) {
  Input input = {.kind = InputKind::kBytes};
  for (const Blob& blob : blobs) {
    input.handles.push_back(blob.handle());
  }
  input.kept = std::move(blobs);
  return input;
}

Input blobs(std::vector<BlobHandle> handles) {
  return {.kind = InputKind::kBytes, .handles = std::move(handles)};
}

Input indices(std::uint64_t count) {
  return {.kind = InputKind::kIndices, .index_count = count};
}

InputListing::InputListing(InputKind kind, std::vector<InputSource> sources, std::uint64_t size,
                           std::vector<Blob> blobs, IBlobStore* store)
    : kind_(kind),
      sources_(std::move(sources)),
      blobs_(std::move(blobs)),
      store_(store),
      size_(size) {
  PINION_ASSERT(blobs_.size() <= sources_.size());
  for (std::size_t index = 0; index < blobs_.size(); ++index) {
    if (lies_in_blob(sources_[index]) && !sources_[index].is_partition) {
      sources_[index].home = blobs_[index].home();
    }
  }
  blobs_.resize(sources_.size());
}

Result<InputListing> InputListing::list(const Input& input, IBlobStore& store,
                                        bool has_standard_input, std::uint32_t epoch) {
  if (input.kind == InputKind::kIndices) {
    return InputListing(InputKind::kIndices, {}, input.index_count);
  }
  InputFinder finder(store, {.has_standard_input = has_standard_input, .inflates = input.inflate});
  for (const std::string& path : input.paths) {
    PINION_RETURN_IF_ERROR(finder.add(path));
  }
  for (std::size_t index = 0; index < input.handles.size(); ++index) {
    PINION_RETURN_IF_ERROR(
        input.are_partitions
            ? finder.add_partition("partition " + std::to_string(index), input.handles[index])
            : finder.add_blob("blob " + std::to_string(index), input.handles[index]));
  }
  PINION_RETURN_IF_ERROR(finder.finish());
  std::vector<std::string> notes = finder.notes();
  InputListing listing(InputKind::kBytes, std::move(finder.sources()), finder.size(),
                       std::move(finder.blobs()), &store);
  for (InputSource& source : listing.sources_) {
    if (lies_in_blob(source)) {
      source.home = home_of(source, epoch);
    }
  }
  listing.left_out_ = finder.left_out();
  listing.notes_ = std::move(notes);
  return listing;
}

Result<Blob> InputListing::open_blob(std::size_t source) const {
  PINION_ASSERT(source < blobs_.size() && lies_in_blob(sources_[source]));
  if (!sources_[source].is_partition) {
    return blobs_[source];
  }
  PINION_ASSERT(store_ != nullptr);
  Result<Blob> blob = store_->open(sources_[source].blob);
  return blob ? std::move(blob)
              : std::move(blob).error().with_context("cannot open " + sources_[source].path);
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
  if (lies_in_blob(from)) {
    const Result<Blob> blob = open_blob(source);
    if (!blob) {
      return blob.error();
    }
    PINION_ASSERT(blob->bytes().size() == from.size_bytes);
    std::memcpy(out.data(), blob->bytes().data() + offset, out.size());
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
