#include "memory_budget.hpp"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

namespace pinion {
namespace {

// Below this, buffers and tables of the smallest step do not fit.
constexpr std::uint64_t kRankBytesMin = std::uint64_t{16} << 20;
constexpr std::uint64_t kWorkerBytesMin = std::uint64_t{8} << 20;

// The smallest number in the files of that name from a folder up to the one where its hierarchy is
// mounted. A file that is missing or says "max" limits nothing.
std::uint64_t limit_around(const std::filesystem::path& top, std::filesystem::path group,
                           const char* name) {
  std::uint64_t least = std::numeric_limits<std::uint64_t>::max();
  while (true) {
    std::uint64_t limit = 0;
    if (std::ifstream(top / group / name) >> limit) {
      least = std::min(least, limit);
    }
    if (group.empty()) {
      return least;
    }
    group = group.parent_path();
  }
}

}  // namespace

std::uint64_t usable_memory_bytes() {
  std::uint64_t bytes = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                        static_cast<std::uint64_t>(sysconf(_SC_PAGE_SIZE));
  // Lines read "number:controllers:path", without a controller for version 2.
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) {
      continue;
    }
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::filesystem::path group =
        std::filesystem::path(line.substr(second + 1)).relative_path();
    if (controllers.empty()) {
      bytes = std::min(bytes, limit_around("/sys/fs/cgroup", group, "memory.max"));
    } else if (("," + controllers + ",").find(",memory,") != std::string::npos) {
      bytes =
          std::min(bytes, limit_around("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes"));
    }
  }
  return bytes;
}

std::uint64_t memory_budget_of(const Settings& settings, std::size_t rank_count) {
  return settings.memory_bytes > 0 ? settings.memory_bytes : usable_memory_bytes() / 2 / rank_count;
}

Result<MemoryLedger> make_ledger(std::uint64_t budget_bytes, std::size_t worker_count) {
  const std::uint64_t least = kRankBytesMin + worker_count * kWorkerBytesMin;
  if (budget_bytes < least) {
    return Status(ErrorCode::kResourceExhausted,
                  "this rank has a memory budget of " + std::to_string(budget_bytes) + " bytes; " +
                      std::to_string(worker_count) + " workers need at least " +
                      std::to_string(least) + "; raise memory-bytes, or lower workers");
  }
  return MemoryLedger({.budget_bytes = budget_bytes,
                       .blob_bytes_max = budget_bytes / 4 * 3,
                       .advice = "raise memory-bytes, or keep fewer results at once"});
}

}  // namespace pinion
