#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <pinion/core/status.hpp>

namespace pinion {

/// What processes that one launcher has started together can tell each other before they have
/// anything else in common.
///
/// Thread safety: none.
class IExchange {
 public:
  virtual ~IExchange() = default;

  /// The launcher's number of this process: 0 to process_count() - 1.
  [[nodiscard]] virtual std::uint32_t process() const noexcept = 0;
  [[nodiscard]] virtual std::uint32_t process_count() const noexcept = 0;

  /// Gives `value` to all processes; what each of them gave, by number. All call it equally often.
  /// Blocks: until all have called it.
  /// Errors: kDeadlineExceeded when some have not within the time of this exchange; kUnavailable
  ///   when the launcher is gone.
  [[nodiscard]] virtual Result<std::vector<std::string>> gather(const std::string& value) = 0;
};

}  // namespace pinion
