#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/blob_store.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shm/segment_table.hpp>
#include <pinion/shm/unique_fd.hpp>

#include "memory_mapping.hpp"
#include "reference_row.hpp"
#include "slab_layout.hpp"
#include "system_room.hpp"

namespace pinion {

/// The slabs of a host and the rows of references of its clients, for SegmentTable, which documents
/// the calls. What a client has written is never used to find an address: what the job keeps is
/// known here.
///
/// Thread safety: none; one thread drives it.
class SlabTable {
 public:
  SlabTable(BlobStoreIdentity identity, std::uint64_t bytes_per_client_max,
            std::function<std::uint64_t()> available_bytes)
      : identity_(identity),
        bytes_per_client_max_(bytes_per_client_max),
        system_room_(std::move(available_bytes)) {}

  /// `numbers`: its process, and which segments it may make.
  Result<int> admit(std::uint32_t client, RowHeader numbers);
  Result<SlabView> make(std::uint32_t client, std::uint32_t segment, Place home,
                        std::uint64_t size_bytes);
  Result<SlabView> find(std::uint32_t client, const BlobHandle& handle);
  Result<int> find_row(std::uint32_t client);
  void give_back(std::uint32_t client, std::uint32_t segment);
  Status keep(const BlobHandle& handle);
  void release(const BlobHandle& handle);
  Result<BlobFilePart> file_part_of(const BlobHandle& handle) const;
  Result<Blob> view(const BlobHandle& handle) const;
  void client_gone(std::uint32_t client);
  [[nodiscard]] BlobStoreUsage usage() const noexcept { return usage_; }
  [[nodiscard]] std::vector<SegmentState> snapshot() const;

 private:
  struct Client {
    UniqueFd row_file;
    std::shared_ptr<ReferenceRow> row;
    std::uint32_t slot = 0;
    std::uint64_t slab_bytes = 0;
    std::vector<bool> reserved = {};  // By slot of slabs: whether the counters have their page.
  };
  struct Slab {
    UniqueFd file;
    MemoryMapping control;  // Header and descriptors, writable.
    Place home;
    std::uint64_t size_bytes = 0;
    std::uint32_t client = 0;
    std::uint32_t slot = 0;
    bool owner_gone = false;
    std::unordered_map<std::uint32_t, BlobHandle> kept = {};  // By index.

    [[nodiscard]] SlabHeader& header() const noexcept;
    [[nodiscard]] SlabDescriptor& descriptor(std::uint32_t index) const noexcept;
    [[nodiscard]] Result<std::uint64_t> offset_of(const BlobHandle& handle) const;
    [[nodiscard]] Result<Blob> copy(const BlobHandle& handle) const;
  };
  using Slabs = std::map<std::uint32_t, Slab>;

  [[nodiscard]] Result<Client*> known(std::uint32_t client);
  [[nodiscard]] Result<std::uint32_t> free_slab_slot() const;
  [[nodiscard]] bool has_marks(std::uint32_t slab_slot) const;
  [[nodiscard]] Status reserve_counters(Client& client, std::uint32_t slab_slot);
  [[nodiscard]] Result<Slabs::iterator> find_handle(const BlobHandle& handle);
  [[nodiscard]] Result<const Slab*> slab_of(const BlobHandle& handle) const;
  void unpin(Slab& slab, const BlobHandle& handle);
  void take_over(Slab& slab);
  void drop(Slabs::iterator slab);

  const BlobStoreIdentity identity_;
  const std::uint64_t bytes_per_client_max_;
  SystemRoom system_room_;
  std::map<std::uint32_t, Client> clients_;
  Slabs slabs_;  // By segment.
  BlobStoreUsage usage_;
};

}  // namespace pinion
