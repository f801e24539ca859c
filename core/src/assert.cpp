#include <pinion/core/assert.hpp>

#include <cstdio>
#include <cstdlib>

namespace pinion::detail {

void assertion_failed(const char* expression, const char* file, int line) noexcept {
  std::fprintf(stderr, "pinion: %s:%d: this must hold and does not: %s\n", file, line, expression);
  std::fflush(stderr);
  std::abort();
}

}  // namespace pinion::detail
