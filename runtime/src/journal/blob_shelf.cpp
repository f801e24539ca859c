#include "journal/blob_shelf.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include <pinion/core/bytes.hpp>
#include <pinion/shard/protocol/checksum.hpp>

#include "journal/disk_file.hpp"

namespace pinion {
namespace {

using protocol::crc32c;

constexpr std::uint32_t kBlobMagic = 0x424a4e50;  // "PNJB" in a dump.
constexpr std::uint32_t kLayoutVersion = 1;
constexpr std::uint64_t kAlignment = 64;
constexpr std::size_t kCopyBytes = 1_MiB;
constexpr std::uint64_t kStepOfResults = 0;  // Those of all steps lie in one file.

struct BlobHeader {
  std::uint32_t magic = kBlobMagic;
  std::uint32_t header_checksum = 0;  // Of what follows it.
  std::uint32_t layout_version = kLayoutVersion;
  std::uint32_t payload_checksum = 0;
  BlobHandle handle = {};
  std::uint32_t home_host = 0;
  std::uint16_t home_index = 0;
  std::uint8_t home_kind = 0;
  std::uint8_t reserved = 0;
};
static_assert(sizeof(BlobHeader) == kAlignment && std::is_trivially_copyable_v<BlobHeader> &&
              std::has_unique_object_representations_v<BlobHeader>);

std::uint32_t checksum_of(const BlobHeader& header) {
  return crc32c(std::as_bytes(std::span(&header, 1)).subspan(2 * sizeof(std::uint32_t)));
}

constexpr std::uint64_t padded(std::uint64_t length_bytes) {
  return (length_bytes + kAlignment - 1) / kAlignment * kAlignment;
}

const char* word_of(BlobUse use) {
  return use == BlobUse::kWork ? "work" : "result";
}

struct FileName {
  std::uint32_t epoch = 0;
  std::uint64_t step = 0;
  BlobUse use = BlobUse::kWork;

  [[nodiscard]] std::string text() const {
    return fmt::format("{}-{}-{}", epoch, step, word_of(use));
  }

  static std::optional<FileName> parse(std::string_view text) {
    FileName name;
    const char* const end = text.data() + text.size();
    const auto epoch = std::from_chars(text.data(), end, name.epoch);
    if (epoch.ec != std::errc() || epoch.ptr == end || *epoch.ptr != '-') {
      return std::nullopt;
    }
    const auto step = std::from_chars(epoch.ptr + 1, end, name.step);
    if (step.ec != std::errc()) {
      return std::nullopt;
    }
    const std::string_view rest(step.ptr, static_cast<std::size_t>(end - step.ptr));
    name.use = rest == "-work" ? BlobUse::kWork : BlobUse::kResult;
    return name.text() == text ? std::optional(name) : std::nullopt;
  }
};

Result<std::uint64_t> size_of(int file, const std::string& path) {
  struct stat facts = {};
  if (::fstat(file, &facts) != 0) {
    return Status::from_errno(errno, "reading " + path);
  }
  return static_cast<std::uint64_t>(facts.st_size);
}

// Up to the first that is not whole.
Status read_file(const std::string& path, std::vector<ShelvedBlob>& blobs) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) {
    return Status::from_errno(errno, "reading " + path);
  }
  const Result<std::uint64_t> size = size_of(file.get(), path);
  if (!size) {
    return size.error();
  }
  std::uint64_t at = 0;
  while (*size - at >= sizeof(BlobHeader)) {
    BlobHeader header;
    PINION_RETURN_IF_ERROR(
        read_at(file.get(), std::as_writable_bytes(std::span(&header, 1)), at, path));
    const std::uint64_t rest = *size - at - sizeof(header);
    if (header.magic != kBlobMagic || header.layout_version != kLayoutVersion ||
        header.header_checksum != checksum_of(header) || header.handle.length_bytes > rest) {
      break;
    }
    blobs.push_back({.handle = header.handle,
                     .home = {.kind = static_cast<PlaceKind>(header.home_kind),
                              .index = header.home_index,
                              .host = header.home_host},
                     .path = path,
                     .offset = at + sizeof(header),
                     .checksum = header.payload_checksum});
    at += sizeof(header) + std::min(rest, padded(header.handle.length_bytes));
  }
  return {};
}

}  // namespace

Result<BlobShelf> BlobShelf::open(std::string folder, std::uint32_t epoch) {
  std::error_code error;
  std::filesystem::create_directory(folder, error);
  if (error) {
    return Status::from_errno(error.value(), "making the folder " + folder);
  }
  const Result<std::vector<std::string>> names = names_in(folder);
  if (!names) {
    return names.error();
  }
  BlobShelf shelf(std::move(folder), epoch);
  for (const std::string& text : *names) {
    if (const auto name = FileName::parse(text); name && name->use == BlobUse::kWork) {
      shelf.earlier_work_.emplace(name->step, shelf.folder_ + "/" + text);
    }
  }
  return shelf;
}

Result<BlobShelf::File*> BlobShelf::file_of(std::uint64_t step, BlobUse use) {
  const auto known = files_.find({step, use});
  if (known != files_.end()) {
    return &known->second;
  }
  const std::string path =
      folder_ + "/" + FileName{.epoch = epoch_, .step = step, .use = use}.text();
  Result<UniqueFd> made = create_file(path);
  if (!made) {
    return std::move(made).error();
  }
  has_new_names_ = true;
  File file{.descriptor = *std::move(made), .path = path};
  return &files_.emplace(FileKey(step, use), std::move(file)).first->second;
}

Status BlobShelf::add(std::uint64_t step, BlobUse use, const BlobHandle& handle,
                      const BlobFilePart& part) {
  const Result<File*> found = file_of(use == BlobUse::kResult ? kStepOfResults : step, use);
  if (!found) {
    return found.error();
  }
  File& file = **found;
  file.dirty = true;
  BlobHeader header{.handle = handle,
                    .home_host = part.home.host,
                    .home_index = part.home.index,
                    .home_kind = static_cast<std::uint8_t>(part.home.kind)};
  buffer_.resize(kCopyBytes);
  for (std::uint64_t at = 0; at < handle.length_bytes; at += kCopyBytes) {
    const std::uint64_t count = std::min<std::uint64_t>(kCopyBytes, handle.length_bytes - at);
    const std::span<std::byte> piece = std::span(buffer_).first(static_cast<std::size_t>(count));
    PINION_RETURN_IF_ERROR(
        read_at(part.descriptor.get(), piece, part.offset + at, "an accepted blob"));
    header.payload_checksum = crc32c(piece, header.payload_checksum);
    PINION_RETURN_IF_ERROR(
        write_at(file.descriptor.get(), piece, file.end + sizeof(header) + at, file.path));
  }
  header.header_checksum = checksum_of(header);
  PINION_RETURN_IF_ERROR(
      write_at(file.descriptor.get(), std::as_bytes(std::span(&header, 1)), file.end, file.path));
  file.end += sizeof(header) + padded(handle.length_bytes);
  return {};
}

Status BlobShelf::sync() {
  for (auto& [key, file] : files_) {
    if (std::exchange(file.dirty, false)) {
      PINION_RETURN_IF_ERROR(sync_file(file.descriptor.get(), file.path));
    }
  }
  return std::exchange(has_new_names_, false) ? sync_folder(folder_) : Status();
}

void BlobShelf::drop_work_of(std::uint64_t step) {
  if (const auto own = files_.find({step, BlobUse::kWork}); own != files_.end()) {
    ::unlink(own->second.path.c_str());
    files_.erase(own);
  }
  const auto [begin, end] = earlier_work_.equal_range(step);
  for (auto earlier = begin; earlier != end; ++earlier) {
    ::unlink(earlier->second.c_str());
  }
  earlier_work_.erase(begin, end);
}

Result<ShelfContents> read_shelf(const std::string& folder) {
  const Result<std::vector<std::string>> names = names_in(folder);
  if (!names) {
    return names.error().code() == ErrorCode::kNotFound ? Result<ShelfContents>(ShelfContents())
                                                        : Result<ShelfContents>(names.error());
  }
  ShelfContents contents;
  for (const std::string& text : *names) {
    if (const std::optional<FileName> name = FileName::parse(text)) {
      contents.epoch_max = std::max(contents.epoch_max, name->epoch);
      PINION_RETURN_IF_ERROR(read_file(fmt::format("{}/{}", folder, text), contents.blobs));
    }
  }
  return contents;
}

Result<std::vector<std::byte>> read_shelved(const ShelvedBlob& blob) {
  const UniqueFd file(::open(blob.path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) {
    return Status::from_errno(errno, "reading " + blob.path);
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(blob.handle.length_bytes));
  PINION_RETURN_IF_ERROR(read_at(file.get(), bytes, blob.offset, blob.path));
  if (crc32c(bytes) != blob.checksum) {
    return Status(ErrorCode::kDataLoss, fmt::format("{} is damaged: the checksum of the {} bytes "
                                                    "from {} on is not the one that was written",
                                                    blob.path, bytes.size(), blob.offset));
  }
  return bytes;
}

}  // namespace pinion
