#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

namespace pinion {

/// What one thread sets to wake another that waits for its descriptor.
///
/// Thread safety: all members from any thread.
class EventFd {
 public:
  EventFd() : descriptor_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~EventFd() {
    if (descriptor_ >= 0) {
      ::close(descriptor_);
    }
  }
  EventFd(const EventFd&) = delete;
  EventFd& operator=(const EventFd&) = delete;

  [[nodiscard]] int get() const noexcept { return descriptor_; }
  void set() const noexcept {
    const std::uint64_t one = 1;
    // It fails only when the counter is full, and then it is set.
    static_cast<void>(::write(descriptor_, &one, sizeof(one)) == sizeof(one));
  }
  void clear() const noexcept {
    std::uint64_t count = 0;
    static_cast<void>(::read(descriptor_, &count, sizeof(count)) == sizeof(count));
  }

 private:
  const int descriptor_;
};

}  // namespace pinion
