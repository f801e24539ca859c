#include "system_room.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace pinion {
namespace {

// For stacks, page tables and whatever else nobody counts.
constexpr std::uint64_t kSpareBytes = std::uint64_t{32} << 20;

// What is taken before it is asked again. Asking takes as long as getting a MiB.
constexpr std::uint64_t kUnaskedBytesMax = std::uint64_t{64} << 20;

}  // namespace

SystemRoom::SystemRoom(std::function<std::uint64_t()> available_bytes)
    : available_bytes_(std::move(available_bytes)) {}

Status SystemRoom::take(std::uint64_t size_bytes) {
  if (!available_bytes_) {
    return {};
  }
  MutexLock lock(mutex_);
  const auto left_bytes = [this]() PINION_LOCKED_BY_CALLER { return found_bytes_ - taken_bytes_; };
  const auto fits = [&]() PINION_LOCKED_BY_CALLER {
    return left_bytes() >= kSpareBytes && size_bytes <= left_bytes() - kSpareBytes;
  };
  const std::uint64_t unasked_bytes = std::min(found_bytes_ / 8, kUnaskedBytesMax);
  if (size_bytes > unasked_bytes - std::min(unasked_bytes, taken_bytes_) || !fits()) {
    found_bytes_ = available_bytes_();
    taken_bytes_ = 0;
  }
  if (!fits()) {
    return Status(ErrorCode::kResourceExhausted,
                  std::to_string(size_bytes) +
                      " bytes of shared memory are more than the system has to give: " +
                      std::to_string(left_bytes()) +
                      " bytes are left of its memory or of a control group's limit, of which " +
                      std::to_string(kSpareBytes) +
                      " stay free; end other programs, or raise the limit");
  }
  taken_bytes_ += size_bytes;
  return {};
}

}  // namespace pinion
