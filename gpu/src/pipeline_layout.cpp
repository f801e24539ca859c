#include "pipeline_layout.hpp"

#include <algorithm>

namespace pinion {
namespace {

// Kernels may read whole vectors from where a buffer begins.
constexpr std::uint64_t kAlignment = 256;

}  // namespace

std::uint64_t byte_count(const DeviceWork& work) noexcept {
  return work.input.size() + work.output_bytes + 1;
}

std::uint64_t aligned_to_buffer(std::uint64_t size_bytes) noexcept {
  return (size_bytes + kAlignment - 1) / kAlignment * kAlignment;
}

void WorkLayout::assign(std::span<const DeviceWork> works) {
  parts.clear();
  inputs_bytes = 0;
  outputs_bytes = 0;
  scratch_bytes = 0;
  for (const DeviceWork& work : works) {
    const Part part = {.input_offset = aligned_to_buffer(inputs_bytes),
                       .input_bytes = work.input.size(),
                       .output_offset = aligned_to_buffer(outputs_bytes),
                       .output_bytes = work.output_bytes};
    inputs_bytes = part.input_offset + part.input_bytes;
    outputs_bytes = part.output_offset + part.output_bytes;
    scratch_bytes = std::max(scratch_bytes, work.scratch_bytes);
    parts.push_back(part);
  }
  outputs_offset = aligned_to_buffer(inputs_bytes);
  scratch_offset = outputs_offset + aligned_to_buffer(outputs_bytes);
  size_bytes = std::max(scratch_offset + aligned_to_buffer(scratch_bytes), kAlignment);
}

void WorkLayout::put_buffers(DeviceSpan memory, std::vector<DeviceSpan>& buffers) const {
  buffers.clear();
  for (const Part& part : parts) {
    buffers.push_back(memory.part(part.input_offset, part.input_bytes));
    buffers.push_back(memory.part(outputs_offset + part.output_offset, part.output_bytes));
    buffers.push_back(memory.part(scratch_offset, scratch_bytes));
  }
}

}  // namespace pinion
