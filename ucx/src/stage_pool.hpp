#pragma once

#include <ucp/api/ucp.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <pinion/core/status.hpp>

#include "ucx_library.hpp"

namespace pinion {

/// Memory that the adapter reads and writes, and what others need to read it.
///
/// What goes over RDMA is copied into it at one end and out of it at the other. Memory of blobs
/// cannot be registered itself: for as long as an adapter has it the kernel refuses to seal it, and
/// UCX keeps registrations. In return this is registered once, and nobody can read what lies
/// beside, or read on when a blob is gone.
class Stage {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Stage>> create(ucp_context_h context,
                                                             std::size_t size);
  ~Stage();
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  [[nodiscard]] std::span<std::byte> bytes() noexcept { return {bytes_.get(), size_}; }
  [[nodiscard]] std::uint64_t address() const noexcept {
    return reinterpret_cast<std::uint64_t>(bytes_.get());
  }
  /// What ucp_ep_rkey_unpack() takes on the other side.
  [[nodiscard]] std::span<const std::byte> key() const noexcept { return key_; }

 private:
  Stage(ucp_context_h context, std::size_t size)
      : context_(context), size_(size), bytes_(std::make_unique<std::byte[]>(size)) {}

  const ucp_context_h context_;
  const std::size_t size_;
  const std::unique_ptr<std::byte[]> bytes_;
  ucp_mem_h memory_ = nullptr;
  std::vector<std::byte> key_;
};

/// Stages that were used before, so that memory is registered seldom.
///
/// Thread safety: none.
/// Lifetime: `context` must outlive this object and every stage that it gave.
class StagePool {
 public:
  /// A stage of at least `size` bytes. Errors: those of UCX.
  [[nodiscard]] Result<std::unique_ptr<Stage>> take(ucp_context_h context, std::size_t size);
  void give_back(std::unique_ptr<Stage> stage);

 private:
  std::vector<std::unique_ptr<Stage>> free_;
};

}  // namespace pinion
