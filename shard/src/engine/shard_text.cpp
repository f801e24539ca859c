#include "engine/shard_text.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include <pinion/core/assert.hpp>

namespace pinion {
namespace {

constexpr std::uint64_t kMarginBytes = kLeadBytes + kTailBytes;

// One shard of unusual size must not keep its memory for the rest of the step.
constexpr std::uint64_t kAlwaysKeptBytes = std::uint64_t{64} << 20;
constexpr std::uint64_t kKeptTimesMax = 4;

}  // namespace

Status ShardText::begin(std::uint64_t size_bytes) {
  const std::uint64_t memory_bytes = pages_.bytes().size();
  const bool is_far_too_large =
      memory_bytes > kAlwaysKeptBytes && memory_bytes / kKeptTimesMax > size_bytes;
  size_bytes_ = 0;
  lacked_memory_ = false;
  if (is_far_too_large || size_bytes > memory_bytes) {
    // Before the next is asked for: a worker never holds both, and nothing is there to be kept.
    drop();
  }
  return reserve(size_bytes);
}

void ShardText::drop() noexcept {
  end_registration();
  pages_ = Pages();
  size_bytes_ = 0;
}

void ShardText::end_registration() noexcept {
  registration_ = HostRegistration();
  is_registered_ = false;
}

Status ShardText::reserve(std::uint64_t size_bytes) {
  if (size_bytes > size_bytes_max_ - size_bytes_) {
    return {ErrorCode::kResourceExhausted, "it needs more than the " +
                                               std::to_string(size_bytes_max_) +
                                               " bytes that a worker may hold of the input"};
  }
  const std::uint64_t needed = size_bytes_ + size_bytes + kMarginBytes;
  if (needed <= pages_.bytes().size()) {
    return {};
  }
  if (!pages_.bytes().empty()) {
    end_registration();
    Status grown = pages_.grow(needed);
    lacked_memory_ = !grown.ok();
    return grown;
  }
  Result<Pages> taken = source_.take(needed);
  lacked_memory_ = !taken;
  if (!taken) {
    return std::move(taken).error();
  }
  pages_ = *std::move(taken);
  return {};
}

std::span<std::byte> ShardText::room() const noexcept {
  return pages_.bytes()
      .subspan(kLeadBytes + size_bytes_)
      .first(static_cast<std::size_t>(std::min(pages_.bytes().size() - kMarginBytes - size_bytes_,
                                               size_bytes_max_ - size_bytes_)));
}

void ShardText::add(std::size_t size_bytes) noexcept {
  PINION_ASSERT(size_bytes <= room().size());
  size_bytes_ += size_bytes;
}

void ShardText::append(std::string_view bytes) noexcept {
  PINION_ASSERT(bytes.size() <= room().size());
  std::memcpy(text() + size_bytes_, bytes.data(), bytes.size());
  size_bytes_ += bytes.size();
}

bool ShardText::ends_with(std::string_view bytes) const noexcept {
  return size_bytes_ >= bytes.size() &&
         std::memcmp(text() + size_bytes_ - bytes.size(), bytes.data(), bytes.size()) == 0;
}

std::span<const std::byte> ShardText::finish() noexcept {
  std::memset(text() + size_bytes_, 0, kTailBytes);
  return {text(), static_cast<std::size_t>(size_bytes_)};
}

}  // namespace pinion
