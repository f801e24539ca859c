#pragma once

#include <cstdint>
#include <string_view>

#include <pinion/core/clock.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

// The values of an emulation spec. All of them: kInvalidArgument, with the text and what it should
// be.

/// A whole number from `least` to `most`.
[[nodiscard]] Result<std::uint64_t> parse_count(std::string_view text, std::uint64_t least,
                                                std::uint64_t most);

/// "2g" for 2 GiB; at least 1.
[[nodiscard]] Result<std::uint64_t> parse_size(std::string_view text);

/// "25g" for 25 000 000 000 bytes per second; at least 1.
[[nodiscard]] Result<std::uint64_t> parse_rate(std::string_view text);

/// "20us"; may be 0.
[[nodiscard]] Result<Duration> parse_time(std::string_view text);

/// "1.5x"; above 0, at most a million.
[[nodiscard]] Result<double> parse_factor(std::string_view text);

}  // namespace pinion
