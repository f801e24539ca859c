#include "pipeline_layout.hpp"

#include <algorithm>

namespace pinion {
namespace {

// Kernels may read whole vectors from where a buffer begins.
constexpr std::uint64_t kAlignment = 256;

}  // namespace

std::uint64_t aligned_to_buffer(std::uint64_t size_bytes) noexcept {
  return (size_bytes + kAlignment - 1) / kAlignment * kAlignment;
}

WorkLayout::WorkLayout(std::span<const DeviceWork> works) {
  parts.reserve(works.size());
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

std::vector<DeviceSpan> WorkLayout::buffers(DeviceSpan memory) const {
  std::vector<DeviceSpan> buffers;
  buffers.reserve(3 * parts.size());
  for (const Part& part : parts) {
    buffers.push_back(memory.part(part.input_offset, part.input_bytes));
    buffers.push_back(memory.part(outputs_offset + part.output_offset, part.output_bytes));
    buffers.push_back(memory.part(scratch_offset, scratch_bytes));
  }
  return buffers;
}

}  // namespace pinion
