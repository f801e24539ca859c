#include <pinion/shm/inspect.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <utility>

#include <pinion/shm/blob_memory.hpp>
#include <pinion/shm/unique_fd.hpp>

#include "reference_row.hpp"
#include "segment.hpp"
#include "slab_layout.hpp"
#include "spill_file.hpp"

namespace pinion {
namespace {

// Words as they lie in memory. They are read through the file: a mapping would take memory for
// pages that nobody has written.
struct SlabImage {
  std::uint64_t magic = 0;
  std::uint64_t job = 0;
  std::uint64_t size_bytes = 0;
  std::uint32_t layout_version = 0;
  std::uint32_t epoch = 0;
  std::uint32_t host = 0;
  std::uint32_t segment = 0;
  std::uint32_t slot = 0;
  std::uint32_t client = 0;
  std::uint64_t home = 0;
};
static_assert(offsetof(SlabHeader, slot) == offsetof(SlabImage, slot) &&
              offsetof(SlabHeader, home) == offsetof(SlabImage, home));

struct DescriptorImage {
  std::uint64_t life = 0;
  std::uint64_t pinned = 0;
  std::uint64_t offset = 0;
  std::uint64_t length_bytes = 0;
  std::array<std::uint64_t, 4> rest = {};
};
static_assert(sizeof(DescriptorImage) == sizeof(SlabDescriptor));

// A file, by its device and its number there.
using FileId = std::pair<dev_t, ino_t>;

// The files that a process has mapped, each once. Of one that is gone, or another user's: none.
std::set<FileId> files_mapped_by(std::int64_t process) {
  std::set<FileId> files;
  std::ifstream maps("/proc/" + std::to_string(process) + "/maps");
  for (std::string line; std::getline(maps, line);) {
    // Addresses, permissions and offset come before the device.
    std::istringstream words(line);
    std::string other;
    char colon = ' ';
    unsigned major_number = 0;
    unsigned minor_number = 0;
    ino_t file_number = 0;
    words >> other >> other >> other >> std::hex >> major_number >> colon >> minor_number >>
        std::dec >> file_number;
    if (words && file_number != 0) {
      files.emplace(makedev(major_number, minor_number), file_number);
    }
  }
  return files;
}

using Counters = std::array<std::uint32_t, kSlabDescriptorCount>;

template <class T>
bool read_at(int file, std::uint64_t offset, T& image) {
  return ::pread(file, &image, sizeof(image), static_cast<off_t>(offset)) ==
         static_cast<ssize_t>(sizeof(image));
}

// What was found of a job, until all files have been seen: a slab needs the rows, and these the
// slabs.
class Collector {
 public:
  void take(UniqueFd file) {
    std::uint64_t magic = 0;
    struct stat status = {};
    if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
        !read_at(file.get(), 0, magic)) {
      return;
    }
    if (magic == kSlabMagic) {
      take_slab(file.get());
    } else if (magic == kRowMagic) {
      take_row(std::move(file));
    } else if (magic == kSegmentMagic) {
      take_segment(file.get(), {status.st_dev, status.st_ino});
    }
  }

  StoreView finish() {
    for (const Row& row : rows_) {
      StoreClient client = {.client = row.header.client, .process = row.header.process};
      const std::set<FileId> mapped = files_mapped_by(row.header.process);
      for (std::size_t i = 0; i < view_.segments.size(); ++i) {
        SegmentState& state = view_.segments[i];
        const std::uint64_t count =
            state.is_slab ? references_in(row, slot_of(state.segment)) : mapped.count(files_[i]);
        state.reference_count += count;
        client.reference_count += count;
      }
      view_.clients.push_back(client);
    }
    for (SegmentState& state : view_.segments) {
      const auto owner = std::ranges::find_if(rows_, [&](const Row& row) {
        // A number below the first wraps around and is too large as well.
        return state.segment - row.header.first_segment < row.header.segment_count;
      });
      state.owner_gone = owner == rows_.end();
      state.client = state.owner_gone ? state.client : owner->header.client;
    }
    std::ranges::sort(view_.segments, {}, &SegmentState::segment);
    std::ranges::sort(view_.clients, {}, &StoreClient::client);
    return std::move(view_);
  }

 private:
  struct Row {
    UniqueFd file;
    RowHeader header;
  };

  void take_slab(int file) {
    SlabImage header;
    if (!read_at(file, 0, header)) {
      return;
    }
    SegmentState state = {.segment = header.segment,
                          .client = header.client,
                          .home = unpacked(header.home),
                          .size_bytes = header.size_bytes,
                          .is_slab = true};
    const auto descriptors = std::make_unique<std::array<DescriptorImage, kSlabDescriptorCount>>();
    if (!read_at(file, kSlabPageBytes, *descriptors)) {
      return;
    }
    for (const DescriptorImage& it : *descriptors) {
      if (phase_of(it.life) == BlobPhase::kSealed) {
        ++state.blob_count;
        state.blob_bytes += it.length_bytes;
        state.kept_count += it.pinned == generation_of(it.life) ? 1 : 0;
      }
      state.retired_count += phase_of(it.life) == BlobPhase::kRetired ? 1 : 0;
    }
    view_.job = header.job;
    slots_.emplace_back(header.segment, header.slot);
    files_.emplace_back();
    view_.segments.push_back(state);
  }

  void take_row(UniqueFd file) {
    RowHeader header;
    if (read_at(file.get(), 0, header)) {
      view_.job = header.job;
      rows_.push_back({std::move(file), header});
    }
  }

  void take_segment(int file, FileId id) {
    SegmentHeader header;
    if (!read_at(file, 0, header)) {
      return;
    }
    view_.job = header.job;
    const std::uint64_t size_bytes = segment_size_bytes(header.length_bytes);
    const bool spilled = is_spill_file(file);
    const Result<std::uint64_t> huge_bytes =
        spilled ? Result<std::uint64_t>(0) : huge_page_bytes(file, size_bytes);
    files_.push_back(id);
    view_.segments.push_back({.segment = header.segment,
                              .home = {.kind = static_cast<PlaceKind>(header.home_kind),
                                       .index = header.home_index,
                                       .host = header.home_host},
                              .size_bytes = size_bytes,
                              .blob_count = 1,
                              .blob_bytes = header.length_bytes,
                              .huge_page_bytes = huge_bytes ? *huge_bytes : 0,
                              .spilled = spilled});
  }

  static std::uint64_t references_in(const Row& row, std::uint32_t slot) {
    const auto counters = std::make_unique<Counters>();
    std::uint64_t count = 0;
    if (slot < kSlabSlotCount && read_at(row.file.get(), row_offset(slot), *counters)) {
      for (const std::uint32_t counter : *counters) {
        count += counter;
      }
    }
    return count;
  }

  [[nodiscard]] std::uint32_t slot_of(std::uint32_t segment) const {
    const auto found =
        std::ranges::find(slots_, segment, &std::pair<std::uint32_t, std::uint32_t>::first);
    return found == slots_.end() ? kSlabSlotCount : found->second;
  }

  StoreView view_;
  std::vector<FileId> files_;  // Of view_.segments, as long as they are not sorted; not of slabs.
  std::vector<Row> rows_;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> slots_;  // Of slabs, by segment.
};

}  // namespace

Result<StoreView> inspect_store(std::int64_t process) {
  const std::string folder = "/proc/" + std::to_string(process) + "/fd";
  const std::unique_ptr<DIR, int (*)(DIR*)> files(::opendir(folder.c_str()), &::closedir);
  if (!files) {
    return Status::from_errno(errno, "reading which files process " + std::to_string(process) +
                                         " has open, in " + folder);
  }
  Collector collector;
  while (const dirent* const entry = ::readdir(files.get())) {
    // Others would be woken, or answer, when they are opened.
    const std::string path = folder + "/" + entry->d_name;
    struct stat status = {};
    if (::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) && status.st_nlink == 0) {
      collector.take(UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)));
    }
  }
  return collector.finish();
}

}  // namespace pinion
