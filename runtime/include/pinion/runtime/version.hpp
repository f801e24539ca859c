#pragma once

#include <string_view>

namespace pinion {

/// The version of this library, "1.2.3". An agent and its ranks must have the same.
[[nodiscard]] std::string_view version() noexcept;

}  // namespace pinion
