#pragma once

#include <cstddef>
#include <span>

#include <pinion/core/status.hpp>

namespace pinion {

/// Pages that are mapped into this process; unmaps them. Movable, not copyable.
class MemoryMapping {
 public:
  /// Maps nothing.
  MemoryMapping() noexcept = default;

  /// Private, writable, zeroed memory, from 2 MiB on aligned to it. No pages are touched.
  /// `size_bytes` 0 maps nothing.
  static Result<MemoryMapping> create_private(std::size_t size_bytes);

  /// The first `size_bytes` of a file, writable and shared. Not inherited by fork.
  static Result<MemoryMapping> create_shared(int descriptor, std::size_t size_bytes);

  /// The first `size_bytes` of a file, so that neither this mapping nor a later mprotect can write.
  static Result<MemoryMapping> create_read_only(int descriptor, std::size_t size_bytes);

  MemoryMapping(MemoryMapping&& other) noexcept;
  MemoryMapping& operator=(MemoryMapping&& other) noexcept;
  ~MemoryMapping();

  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }

  /// Touches every page of a private mapping but its huge ones: these come one by one just as
  /// quickly, and are then in the cache when they are written.
  /// Errors: kResourceExhausted when the system has no such memory.
  Status populate();

  /// Enters the pages of `length_bytes` at `offset` of a shared mapping, whose memory is reserved,
  /// into this process, so that nobody waits for that later. Only advice.
  void prefault(std::size_t offset, std::size_t length_bytes, bool to_write) const noexcept;

  /// Gives back the whole pages in `length_bytes` at `offset` of a private mapping.
  /// Returns how many bytes these are.
  std::size_t give_back(std::size_t offset, std::size_t length_bytes) const noexcept;

  /// Every write from here on faults.
  Status make_read_only();

 private:
  MemoryMapping(std::span<std::byte> bytes, std::size_t mapped_bytes) noexcept
      : bytes_(bytes), mapped_bytes_(mapped_bytes) {}

  std::span<std::byte> bytes_;
  std::size_t mapped_bytes_ = 0;  // With what is mapped behind them.
};

}  // namespace pinion
