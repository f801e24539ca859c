#pragma once

namespace pinion {

#ifdef PINION_SHM_FAIL_POINTS
/// Stands before and after every store that other processes see. A test that is built with such
/// points defines it, and ends the process at one of them.
void fail_point() noexcept;
#else
constexpr void fail_point() noexcept {}
#endif

}  // namespace pinion
