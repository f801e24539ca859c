#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include <pinion/core/status.hpp>

namespace pinion {

/// A regular file, open for reading at offsets.
///
/// Thread safety: the const members may be called from any thread.
class InputFile {
 public:
  /// Errors: kPermissionDenied, kNotFound and the others of open(2), naming the path;
  ///   kFailedPrecondition for what is not a regular file.
  [[nodiscard]] static Result<InputFile> open(const std::string& path);

  ~InputFile();
  InputFile(InputFile&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)),
        opened_bytes_(other.opened_bytes_),
        path_(std::move(other.path_)) {}
  InputFile& operator=(InputFile&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    std::swap(opened_bytes_, other.opened_bytes_);
    std::swap(path_, other.path_);
    return *this;
  }

  /// What it had when it was opened.
  [[nodiscard]] std::uint64_t opened_bytes() const noexcept { return opened_bytes_; }

  /// What it has now.
  /// Errors: those of the file system.
  [[nodiscard]] Result<std::uint64_t> size_bytes() const;

  /// Whether `path` still leads to this file; false when that cannot be told.
  [[nodiscard]] bool is_at(const std::string& path) const noexcept;

  /// Fills `out` with the bytes from `offset` on, of a file that was listed with `listed_bytes`.
  /// Precondition: they are within these.
  /// Errors: kDataLoss when the file is shorter than listed.
  [[nodiscard]] Status read(std::uint64_t offset, std::uint64_t listed_bytes,
                            std::span<std::byte> out) const;

  /// Lets the system begin to read these bytes from the disk, without waiting. Only a wish.
  void enter_page_cache(std::uint64_t offset, std::uint64_t size_bytes) const noexcept;

  /// Lets the system forget these bytes where nobody else uses them. Only a wish.
  void leave_page_cache(std::uint64_t offset, std::uint64_t size_bytes) const noexcept;

 private:
  InputFile(int descriptor, std::string path) noexcept
      : descriptor_(descriptor), path_(std::move(path)) {}

  int descriptor_;
  std::uint64_t opened_bytes_ = 0;
  std::string path_;
};

}  // namespace pinion
