#pragma once

#include <cstdint>
#include <string>

namespace pinion::testing_support {

/// Counts the futex calls of this process, those made by libraries included: a seccomp filter makes
/// the kernel trap them, and the handler of the trap counts and makes the call itself.
class FutexCounter {
 public:
  /// From now on the calling thread and all that it starts are counted, for as long as they live.
  /// Empty, or why this system cannot do it. May be called again.
  [[nodiscard]] static std::string install();

  [[nodiscard]] static std::uint64_t count() noexcept;
};

}  // namespace pinion::testing_support
