#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#include <pinion/shm/blob_memory.hpp>

#include "memory_mapping.hpp"

namespace pinion {
namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

// What the system says of the mapping that begins there: the sum of its lines of huge pages.
std::uint64_t mapped_huge_bytes(std::istream& mappings, const std::byte* begin) {
  char first_word[32];
  std::snprintf(first_word, sizeof(first_word), "%lx-", reinterpret_cast<unsigned long>(begin));
  std::string line;
  while (std::getline(mappings, line) && line.rfind(first_word, 0) != 0) {
  }
  std::uint64_t huge_bytes = 0;
  while (std::getline(mappings, line) && line.rfind("VmFlags:", 0) != 0) {
    std::istringstream words(line);
    std::string name;
    std::uint64_t kibibytes = 0;
    if (words >> name >> kibibytes && (name == "ShmemPmdMapped:" || name == "FilePmdMapped:")) {
      huge_bytes += kibibytes << 10;
    }
  }
  return huge_bytes;
}

}  // namespace

Result<std::uint64_t> huge_page_bytes(int descriptor, std::uint64_t size_bytes) {
  if (size_bytes < kHugePageBytes) {
    return std::uint64_t{0};
  }
  const Result<MemoryMapping> mapping =
      MemoryMapping::create_read_only(descriptor, static_cast<std::size_t>(size_bytes));
  if (!mapping) {
    return mapping.error();
  }
  // A huge page is entered as a whole by whoever looks at a byte of it.
  for (std::uint64_t offset = 0; offset < size_bytes; offset += kHugePageBytes) {
    mapping->prefault(static_cast<std::size_t>(offset), 1, false);
  }
  std::ifstream mappings("/proc/self/smaps");
  if (!mappings) {
    return Status(ErrorCode::kUnavailable, "/proc/self/smaps cannot be read");
  }
  return mapped_huge_bytes(mappings, mapping->bytes().data());
}

}  // namespace pinion
