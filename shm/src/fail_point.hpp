#pragma once

namespace pinion {

#ifdef PINION_SHM_FAIL_POINTS
/// Stands before and after every store of this module that other processes see; one stands between
/// two, and what nobody else has yet counts as one store. Rings name theirs instead (RingStore). A
/// test that is built with such points defines it, and ends the process at one of them. It is told
/// where that stands.
void fail_point(const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept;
#else
constexpr void fail_point() noexcept {}
#endif

}  // namespace pinion
