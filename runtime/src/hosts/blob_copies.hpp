#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shm/blob_memory.hpp>
#include <pinion/shm/copy_table.hpp>
#include <pinion/shm/unique_fd.hpp>

#include "hosts/host_link.hpp"
#include "hosts/host_messages.hpp"

namespace pinion {

/// Brings blobs of other hosts to this one when ranks ask for them: one pull for each blob, however
/// many ask, and none while a copy is here.
///
/// Thread safety: none; driven by the thread that owns the link.
class BlobCopies {
 public:
  /// Who asks.
  struct Asker {
    std::uint32_t rank = 0;  ///< Of this host.
    std::uint32_t client = 0;
    std::uint64_t request = 0;
  };
  /// The descriptor is the table's, and for the call.
  using Answer =
      std::function<void(const Asker&, const BlobHandle&, const Result<std::pair<int, Place>>&)>;

  /// `answer` is called once for each fetch(), from it or from pulled(); it must not call back.
  /// Lifetime: `link` must outlive this object.
  BlobCopies(CopyTableOptions options, HostLink& link, Answer answer);

  /// `home` is where the copy will lie, `memory` may be null.
  void fetch(const Asker& asker, const BlobHandle& handle, Place home, const BlobMemory* memory);

  /// What the link says of a pull.
  void pulled(const BlobPulled& event);

  /// Something else was pulled from that host.
  void count_pulled(std::uint32_t host, std::uint64_t bytes);

  [[nodiscard]] CopyTable& table() noexcept { return table_; }

  /// Pulls that have succeeded, by host.
  [[nodiscard]] const std::map<std::uint32_t, HostTraffic>& traffic() const noexcept {
    return traffic_;
  }

 private:
  struct Pull {
    BlobHandle handle;
    Place home;
    std::shared_ptr<UniqueFd> segment;
    std::vector<Asker> askers;
  };

  [[nodiscard]] std::vector<Pull>::iterator find(const BlobHandle& handle);

  const std::uint32_t epoch_;
  CopyTable table_;
  HostLink& link_;
  Answer answer_;
  std::vector<Pull> pulls_;  // Under way; few.
  std::map<std::uint32_t, HostTraffic> traffic_;
};

}  // namespace pinion
