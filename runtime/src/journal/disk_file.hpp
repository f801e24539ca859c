#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <pinion/core/status.hpp>
#include <pinion/shm/unique_fd.hpp>

namespace pinion {

/// Thin words around the system's calls on files, with errors that name the file and, where a disk
/// is full, what to do.

/// A file that was not there before.
[[nodiscard]] Result<UniqueFd> create_file(const std::string& path);

[[nodiscard]] Status write_at(int file, std::span<const std::byte> bytes, std::uint64_t offset,
                              const std::string& path);

/// Errors: kDataLoss where the file ends before that.
[[nodiscard]] Status read_at(int file, std::span<std::byte> bytes, std::uint64_t offset,
                             const std::string& path);

/// Blocks: until the disk has what was written, and the size.
[[nodiscard]] Status sync_file(int file, const std::string& path);

/// Blocks: until the disk has the names in a folder.
[[nodiscard]] Status sync_folder(const std::string& folder);

/// The file `name` of the folder has these bytes, and no others, whatever happens meanwhile.
/// Blocks: until the disk has them.
[[nodiscard]] Status replace_file(const std::string& folder, const std::string& name,
                                  std::span<const std::byte> bytes);

/// Errors: kNotFound where there is none.
[[nodiscard]] Result<std::vector<std::byte>> read_whole_file(const std::string& path);

/// The names in a folder, sorted.
[[nodiscard]] Result<std::vector<std::string>> names_in(const std::string& folder);

}  // namespace pinion
