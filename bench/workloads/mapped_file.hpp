#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>

namespace pinion::bench {

/// A whole file, mapped for reading. Throws std::system_error that names the file.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) {
      throw std::system_error(errno, std::generic_category(), "opening " + path);
    }
    struct stat status = {};
    fstat(file, &status);
    size_ = static_cast<std::size_t>(status.st_size);
    void* const mapped =
        size_ == 0 ? nullptr : mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
    const int error = errno;
    close(file);
    if (mapped == MAP_FAILED) {
      throw std::system_error(error, std::generic_category(), "mapping " + path);
    }
    begin_ = static_cast<const char*>(mapped);
  }
  ~MappedFile() {
    if (begin_ != nullptr) {
      munmap(const_cast<char*>(begin_), size_);
    }
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  [[nodiscard]] const char* data() const noexcept { return begin_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::string_view text() const noexcept { return {begin_, size_}; }

 private:
  const char* begin_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace pinion::bench
