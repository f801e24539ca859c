#pragma once

#include <string>
#include <vector>

#include <pinion/core/status.hpp>

namespace pinion {

/// `name` in `directory`; `name` itself when the directory is "" (the current one).
[[nodiscard]] std::string join_path(const std::string& directory, const std::string& name);

/// The names in a directory in byte order, without "." and "..".
/// Errors: kPermissionDenied, kNotFound and the others of opendir(3), naming the path.
[[nodiscard]] Result<std::vector<std::string>> list_directory(const std::string& path);

/// Whether a path holds one of * ? [.
[[nodiscard]] bool is_glob(const std::string& path) noexcept;

/// The paths that match, in byte order of their parts. Each part between slashes is matched for
/// itself, so no wildcard matches a slash, nor a dot at the beginning of a name. Whether what
/// matches can be opened is not looked at.
/// Errors: kPermissionDenied for a directory that has to be searched and may not be; no match is an
///   empty answer.
[[nodiscard]] Result<std::vector<std::string>> match_glob(const std::string& pattern);

}  // namespace pinion
