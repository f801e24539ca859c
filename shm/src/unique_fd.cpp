#include <pinion/shm/unique_fd.hpp>

#include <unistd.h>

namespace pinion {

void UniqueFd::reset(int descriptor) noexcept {
  const int owned = std::exchange(descriptor_, descriptor);
  if (owned >= 0) {
    // On Linux the number is free after close() whatever it returns: a second call could close
    // somebody else's file.
    ::close(owned);
  }
}

}  // namespace pinion
