#pragma once

#include <cstdint>

namespace pinion::testing_support {

/// How often a mutex was locked in this program, by any thread, whether another one held it or not.
/// Link lock_counter.cpp, which stands in front of the system's pthread_mutex_lock().
[[nodiscard]] std::uint64_t lock_count() noexcept;

}  // namespace pinion::testing_support
