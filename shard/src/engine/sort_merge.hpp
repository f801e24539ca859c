#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <pinion/core/blob_store.hpp>
#include <pinion/core/status.hpp>

#include "engine/sort_key.hpp"
#include "engine/sort_partial.hpp"

namespace pinion::engine {

/// One range of keys of a sort: takes its entries from all batches, and gathers the records in
/// order from where the batches lie into the blob that is the answer.
///
/// Thread safety: none for one object.
/// Lifetime: keeps views into the batches until the records are gathered.
class SortMerge {
 public:
  /// Borrows `keys`.
  explicit SortMerge(const KeyReader& keys) : keys_(keys) {}

  /// Errors: kDataLoss for bytes that no batch of this sort sealed.
  [[nodiscard]] Status add(std::span<const std::byte> partition);

  /// Errors: kDataLoss when the batches contradict themselves; those of the store.
  [[nodiscard]] Result<Blob> seal(IBlobStore& store, Place place);

  [[nodiscard]] std::uint64_t memory_bytes() const noexcept;

 private:
  [[nodiscard]] Status collect_entries();
  [[nodiscard]] Result<Blob> gather(std::span<const std::uint64_t> order, IBlobStore& store,
                                    Place place) const;
  [[nodiscard]] bool gather_fixed(std::span<const std::uint64_t> order, std::byte* out) const;
  [[nodiscard]] bool gather_lines(std::span<const std::uint64_t> order, std::byte* ends,
                                  std::byte* out) const;

  const KeyReader& keys_;
  std::vector<SortPartialView> partials_;
  // Of all entries, in the order of the input. Lines are without their line feeds.
  std::vector<std::uint64_t> prefixes_;
  std::vector<RecordBytes> records_;
};

}  // namespace pinion::engine
