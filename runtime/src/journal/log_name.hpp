#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <pinion/core/status.hpp>

namespace pinion {

/// What the name of a file of the log says: who wrote it, and from which record on.
struct LogName {
  std::uint32_t epoch = 0;
  std::uint64_t first = 0;

  [[nodiscard]] std::string text() const;
  [[nodiscard]] static std::optional<LogName> parse(std::string_view text);

  friend auto operator<=>(const LogName&, const LogName&) = default;
};

[[nodiscard]] std::string log_folder(const std::string& folder);
[[nodiscard]] std::string blob_folder(const std::string& folder);
[[nodiscard]] std::string snapshot_name(std::size_t slot);
[[nodiscard]] std::string snapshot_path(const std::string& folder, std::size_t slot);

/// The files of the log of the journal in `folder`, in the order in which they were begun.
[[nodiscard]] Result<std::vector<LogName>> logs_in(const std::string& folder);

}  // namespace pinion
