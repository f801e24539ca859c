#pragma once

#include <cstdint>
#include <functional>

#include <pinion/core/status.hpp>
#include <pinion/core/thread_annotations.hpp>

namespace pinion {

/// Whether the system has the memory that this process is about to take. It is asked again after an
/// eighth of what it had, or 64 MiB, was taken, and before anything is refused: asking reads
/// several files, and others take memory meanwhile.
///
/// Thread safety: all members may be called from any thread.
class SystemRoom {
 public:
  /// `available_bytes` may be empty: then there is always room.
  explicit SystemRoom(std::function<std::uint64_t()> available_bytes);

  /// Errors: kResourceExhausted when taking so much would leave the system less than 32 MiB.
  [[nodiscard]] Status take(std::uint64_t size_bytes) PINION_EXCLUDES(mutex_);

 private:
  const std::function<std::uint64_t()> available_bytes_;
  Mutex mutex_;
  std::uint64_t found_bytes_ PINION_GUARDED_BY(mutex_) = 0;  // When it was asked,
  std::uint64_t taken_bytes_ PINION_GUARDED_BY(mutex_) = 0;  // and since.
};

}  // namespace pinion
