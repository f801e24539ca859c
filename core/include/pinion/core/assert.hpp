#pragma once

namespace pinion::detail {

/// Prints the broken expectation with its place in the source and aborts.
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line) noexcept;

}  // namespace pinion::detail

/// A bug of the program (ours or the caller's), never an operating error: on in release builds,
/// prints the expression and aborts.
#define PINION_ASSERT(expression)      \
  ((expression) ? static_cast<void>(0) \
                : ::pinion::detail::assertion_failed(#expression, __FILE__, __LINE__))
