#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace pinion::bench {

struct CorpusFile {
  std::string path;
  std::uint64_t size_bytes = 0;
};

/// The files themselves, and all regular files below the directories, in sorted order.
[[nodiscard]] inline std::vector<CorpusFile> list_files(const std::vector<std::string>& paths) {
  std::vector<CorpusFile> files;
  for (const std::string& path : paths) {
    if (!std::filesystem::is_directory(path)) {
      files.push_back({path, std::filesystem::file_size(path)});
      continue;
    }
    const std::size_t first = files.size();
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
      if (entry.is_regular_file()) {
        files.push_back({entry.path().string(), entry.file_size()});
      }
    }
    std::sort(
        files.begin() + static_cast<std::ptrdiff_t>(first), files.end(),
        [](const CorpusFile& left, const CorpusFile& right) { return left.path < right.path; });
  }
  return files;
}

[[nodiscard]] inline std::uint64_t total_bytes(const std::vector<CorpusFile>& files) {
  std::uint64_t total = 0;
  for (const CorpusFile& file : files) {
    total += file.size_bytes;
  }
  return total;
}

}  // namespace pinion::bench
