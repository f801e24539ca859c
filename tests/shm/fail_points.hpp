#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "fail_point.hpp"

namespace pinion {

/// Where a fail point stands. The name of the file is good in forked processes too.
struct FailPoint {
  const char* file = "";
  int line = 0;

  [[nodiscard]] std::string_view file_name() const {
    const std::string_view path = file;
    return path.substr(path.rfind('/') + 1);
  }
  friend bool operator==(const FailPoint& left, const FailPoint& right) {
    return left.line == right.line && left.file_name() == right.file_name();
  }
  friend bool operator<(const FailPoint& left, const FailPoint& right) {
    return left.file_name() != right.file_name() ? left.file_name() < right.file_name()
                                                 : left.line < right.line;
  }
};

/// The points that one process has passed, for memory that outlives it.
struct FailPointLog {
  static constexpr std::size_t kCountMax = 1 << 14;

  std::atomic<std::uint32_t> count = 0;  // Also of those for which there was no room.
  std::array<FailPoint, kCountMax> points = {};

  /// Those for which there was room.
  [[nodiscard]] std::vector<FailPoint> to_vector() const {
    const std::size_t size = std::min<std::size_t>(count.load(), kCountMax);
    return {points.begin(), points.begin() + static_cast<std::ptrdiff_t>(size)};
  }
};

/// How many places of each source these are. It is to be more when more get fail points.
[[nodiscard]] inline std::map<std::string, int> place_counts(const std::set<FailPoint>& places) {
  std::map<std::string, int> counts;
  for (const FailPoint& place : places) {
    ++counts[std::string(place.file_name())];
  }
  return counts;
}

/// What this process does at fail points; a forked one goes on with a copy.
struct FailPointPlan {
  std::atomic<std::int64_t> left = -1;  ///< How many it passes before it ends; negative: all.
  FailPointLog* log = nullptr;          ///< Null: nothing is noted.
  int left_to_action = 0;
  std::function<void()> action = {};  ///< Done once, at the last of so many.
};
inline FailPointPlan fail_point_plan;

}  // namespace pinion
