#pragma once

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <optional>
#include <ostream>
#include <string>

namespace pinion {

/// How much of a job's large blobs can lie in huge pages, by what the system says, and why.
struct HugePageBounds {
  std::uint64_t least_bytes = 0;
  std::uint64_t most_bytes = 0;
  std::string why = {};

  friend std::ostream& operator<<(std::ostream& out, const HugePageBounds& bounds) {
    return out << bounds.least_bytes << " to " << bounds.most_bytes
               << " bytes can lie in huge pages: " << bounds.why;
  }
};

/// What the system does from now on for who wants huge pages in shared memory. It counts for all
/// processes at once, so what runs beside the test makes the bounds wider, and never wrong.
class SystemHugePages {
 public:
  /// Of `wanted_bytes` in whole huge pages, made since then by a job that has said `words`.
  [[nodiscard]] HugePageBounds bounds_of(std::uint64_t wanted_bytes,
                                         const std::string& words) const {
    const std::string small_pages = line_with("large blobs are in small pages", words);
    if (const std::string why = why_none(small_pages); !why.empty()) {
      return {.why = why};
    }
    const Counts now = counts();
    const std::uint64_t given_bytes = (now.given - before_.given) << 21;
    HugePageBounds bounds = {.most_bytes = std::min(wanted_bytes, given_bytes),
                             .why = "the system gave " + std::to_string(given_bytes)};
    if (!small_pages.empty()) {
      bounds.why += "; " + small_pages;
    } else if (!now.refused) {
      bounds.why += " and does not count what it refused";
    } else {
      const std::uint64_t refused_bytes = (*now.refused - before_.refused.value_or(0)) << 21;
      bounds.least_bytes = wanted_bytes - std::min(wanted_bytes, refused_bytes);
      bounds.why += " and refused " + std::to_string(refused_bytes);
    }
    return bounds;
  }

 private:
  struct Counts {
    std::uint64_t given = 0;
    std::optional<std::uint64_t> refused = {};  // Linux before 5.8 does not say.
  };

  static Counts counts() {
    Counts counts;
    std::ifstream file("/proc/vmstat");
    std::string name;
    for (std::uint64_t count = 0; file >> name >> count;) {
      if (name == "thp_file_alloc") {
        counts.given = count;
      } else if (name == "thp_file_fallback") {
        counts.refused = count;
      }
    }
    return counts;
  }

  static std::string line_with(const std::string& part, const std::string& text) {
    const std::size_t begin = text.find(part);
    return begin == std::string::npos ? "" : text.substr(begin, text.find('\n', begin) - begin);
  }

  // The policy is the word in brackets. Blobs that are in no tmpfs of their own heed most of them.
  static std::string why_none(const std::string& small_pages) {
    std::ifstream file("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
    std::string policy;
    if (!std::getline(file, policy)) {
      return "this kernel has none in shared memory";
    }
    const auto chosen = [&policy](const std::string& word) {
      return policy.find("[" + word + "]") != std::string::npos;
    };
    if (chosen("deny")) {
      return "shmem_enabled is " + policy;
    }
    return chosen("never") || chosen("advise") ? small_pages : "";
  }

  Counts before_ = counts();
};

}  // namespace pinion
