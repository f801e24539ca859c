#include "agent/line_buffer.hpp"

#include <algorithm>

#include <pinion/core/assert.hpp>

namespace pinion {

std::string LineBuffer::take_lines() {
  const std::size_t last = bytes_.rfind('\n');
  if (last != std::string::npos) {
    return take(last + 1);
  }
  return bytes_.size() >= kLineBytesMax ? take_rest() : std::string();
}

std::string LineBuffer::take_rest() {
  return take(bytes_.size());
}

std::string LineBuffer::take(std::size_t count) {
  if (tag_.empty()) {
    std::string lines = bytes_.substr(0, count);
    bytes_.erase(0, count);
    return lines;
  }
  std::string lines;
  for (std::size_t begin = 0; begin < count;) {
    const std::size_t end = std::min(bytes_.find('\n', begin), count - 1) + 1;
    lines += tag_;
    lines.append(bytes_, begin, end - begin);
    begin = end;
  }
  bytes_.erase(0, count);
  return lines;
}

void LineQueue::put(std::string_view text) {
  if (text.empty()) {
    return;
  }
  if (in_line_) {
    bytes_ += '\n';
    ++put_bytes_;
  }
  bytes_ += text;
  put_bytes_ += text.size();
  in_line_ = text.back() != '\n';
}

void LineQueue::pop(std::size_t count) {
  PINION_ASSERT(count <= bytes_.size() - taken_);
  constexpr std::size_t kTakenMax = 1u << 16;
  taken_ += count;
  // Moved together now and then, so that a queue that never runs empty does not grow.
  if (taken_ == bytes_.size() || taken_ > kTakenMax) {
    bytes_.erase(0, taken_);
    taken_ = 0;
  }
}

void LineQueue::clear() {
  bytes_.clear();
  taken_ = 0;
}

}  // namespace pinion
