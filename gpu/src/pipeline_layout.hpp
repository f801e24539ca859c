#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <pinion/core/device.hpp>

#include <pinion/gpu/pipeline.hpp>

namespace pinion {

/// Where the buffers of works that go to a device together lie in one piece of its memory: the
/// inputs, the outputs, and the scratch memory, which all of them share.
struct WorkLayout {
  /// One of the works. Offsets are in the inputs and in the outputs.
  struct Part {
    std::uint64_t input_offset = 0;
    std::uint64_t input_bytes = 0;
    std::uint64_t output_offset = 0;
    std::uint64_t output_bytes = 0;
  };

  /// Of these works from here on. Keeps its memory.
  void assign(std::span<const DeviceWork> works);

  /// Three for each work, as a kernel takes them, in place of what `buffers` has.
  void put_buffers(DeviceSpan memory, std::vector<DeviceSpan>& buffers) const;

  std::vector<Part> parts = {};
  std::uint64_t inputs_bytes = 0;  ///< From the first one's begin to the last one's end.
  std::uint64_t outputs_offset = 0;
  std::uint64_t outputs_bytes = 0;
  std::uint64_t scratch_offset = 0;
  std::uint64_t scratch_bytes = 0;
  std::uint64_t size_bytes = 0;
};

/// What the time of work is measured by; at least 1.
[[nodiscard]] std::uint64_t byte_count(const DeviceWork& work) noexcept;

/// The size of a buffer with what keeps the next one aligned.
[[nodiscard]] std::uint64_t aligned_to_buffer(std::uint64_t size_bytes) noexcept;

}  // namespace pinion
