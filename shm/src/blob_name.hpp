#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include <pinion/core/blob.hpp>

namespace pinion {

/// Which blob of a job a handle names: all of it but the job and the length.
struct BlobName {
  std::uint64_t generation = 0;
  std::uint32_t epoch = 0;
  std::uint32_t host = 0;
  std::uint32_t segment = 0;
  std::uint32_t index = 0;

  BlobName() = default;
  explicit BlobName(const BlobHandle& handle) noexcept
      : generation(handle.generation),
        epoch(handle.epoch),
        host(handle.host),
        segment(handle.segment),
        index(handle.index) {}

  friend bool operator==(const BlobName&, const BlobName&) = default;

  struct Hash {
    [[nodiscard]] std::size_t operator()(const BlobName& name) const noexcept {
      constexpr std::uint64_t kOdd = 0x9e3779b97f4a7c15;  // Spreads what differs in low bits.
      const std::uint64_t where = std::uint64_t{name.segment} << 32 | name.index;
      const std::uint64_t when =
          name.generation ^ std::uint64_t{name.host} << 40 ^ std::uint64_t{name.epoch} << 20;
      return std::hash<std::uint64_t>()((where * kOdd) ^ when);
    }
  };
};

}  // namespace pinion
