#include "engine/input_glob.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include <dirent.h>
#include <fnmatch.h>
#include <sys/stat.h>

namespace pinion {
namespace {

struct DirectoryCloser {
  void operator()(DIR* directory) const noexcept { ::closedir(directory); }
};

std::vector<std::string> parts_of(const std::string& pattern) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  while (begin < pattern.size()) {
    const std::size_t end = std::min(pattern.find('/', begin), pattern.size());
    if (end > begin) {
      parts.push_back(pattern.substr(begin, end - begin));
    }
    begin = end + 1;
  }
  return parts;
}

// Adds what `part` matches in `directory` to `matches`. A place that is no directory or is gone has
// no match in it.
Status match_part(const std::string& directory, const std::string& part,
                  std::vector<std::string>& matches) {
  if (!is_glob(part)) {
    std::string path = join_path(directory, part);
    struct stat found = {};
    if (::lstat(path.c_str(), &found) == 0) {
      matches.push_back(std::move(path));
    } else if (errno != ENOENT && errno != ENOTDIR) {
      return Status::from_errno(errno, "cannot look at '" + path + "'");
    }
    return {};
  }
  const std::string searched = directory.empty() ? "." : directory;
  struct stat found = {};
  if (::stat(searched.c_str(), &found) == 0 && !S_ISDIR(found.st_mode)) {
    return {};
  }
  const Result<std::vector<std::string>> names = list_directory(searched);
  if (!names) {
    return names.error().code() == ErrorCode::kNotFound ? Status() : names.error();
  }
  for (const std::string& name : *names) {
    if (::fnmatch(part.c_str(), name.c_str(), FNM_PERIOD) == 0) {
      matches.push_back(join_path(directory, name));
    }
  }
  return {};
}

}  // namespace

std::string join_path(const std::string& directory, const std::string& name) {
  if (directory.empty() || directory.back() == '/') {
    return directory + name;
  }
  return directory + '/' + name;
}

Result<std::vector<std::string>> list_directory(const std::string& path) {
  const std::unique_ptr<DIR, DirectoryCloser> directory(::opendir(path.c_str()));
  if (directory == nullptr) {
    return Status::from_errno(errno, "cannot open directory '" + path + "'");
  }
  std::vector<std::string> names;
  while (true) {
    errno = 0;
    // The stream belongs to this call alone, so readdir() is safe.
    const dirent* entry = ::readdir(directory.get());  // NOLINT(concurrency-mt-unsafe)
    if (entry == nullptr) {
      break;
    }
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) {
      names.emplace_back(entry->d_name);
    }
  }
  if (errno != 0) {
    return Status::from_errno(errno, "cannot read directory '" + path + "'");
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool is_glob(const std::string& path) noexcept {
  return path.find_first_of("*?[") != std::string::npos;
}

Result<std::vector<std::string>> match_glob(const std::string& pattern) {
  std::vector<std::string> matches = {pattern.starts_with('/') ? "/" : ""};
  for (const std::string& part : parts_of(pattern)) {
    std::vector<std::string> deeper;
    for (const std::string& directory : matches) {
      PINION_RETURN_IF_ERROR(match_part(directory, part, deeper));
    }
    matches = std::move(deeper);
  }
  if (pattern.ends_with('/')) {
    std::erase_if(matches, [](const std::string& path) {
      struct stat found = {};
      return ::stat(path.c_str(), &found) != 0 || !S_ISDIR(found.st_mode);
    });
  }
  return matches;
}

}  // namespace pinion
