#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <pinion/core/bind_memory.hpp>
#include <pinion/core/memory_ledger.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

struct PagePoolOptions {
  /// How much may be kept for later. What is beyond goes back to the system.
  std::uint64_t spare_bytes_max = 0;

  /// May be empty: memory then lies where the system puts it.
  BindMemory bind_memory = {};
};

/// What a pool has done. A snapshot.
struct PagePoolUsage {
  std::uint64_t reused_count = 0;  ///< Requests that got pages which had been used before.
  std::uint64_t fresh_count = 0;   ///< Requests that got new pages from the system.
  std::uint64_t spare_bytes = 0;   ///< What is kept at the moment.
};

/// What is to be in pages that a pool hands out.
enum class PageContent : std::uint8_t { kAnything, kZeros };

/// The size of the memory that a request gets: the request rounded up to whole units, of 4 KiB
/// below 2 MiB and of 2 MiB from there on, and then to one of four sizes for each doubling (1, 2,
/// 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, ... units). So requests of about the same size get each
/// other's pages, and less than a fifth of what is charged is unused, beside the unit.
/// Precondition: size_bytes <= 2^62.
[[nodiscard]] std::uint64_t page_class_bytes(std::uint64_t size_bytes) noexcept;

/// Whole pages of memory, aligned to them; goes back to its pool. Movable, not copyable.
///
/// Thread safety: distinct objects are independent.
/// Lifetime: may outlive the pool.
class Pages {
 public:
  /// No memory.
  Pages() noexcept = default;
  Pages(Pages&& other) noexcept;
  Pages& operator=(Pages&& other) noexcept;
  ~Pages();

  /// Pages of no pool, zeroed, which go back to the system; nobody counts them.
  /// Errors: kResourceExhausted when the system has no such memory.
  [[nodiscard]] static Result<Pages> map(std::uint64_t size_bytes);

  /// All of it: at least what was asked for.
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }

  /// Makes it at least `size_bytes` with the content kept; the address may change. Bytes are not
  /// copied: their pages move. What is new is fresh.
  /// Precondition: there is memory.
  /// Errors: as PagePool::take(); the memory is then as it was.
  [[nodiscard]] Status grow(std::uint64_t size_bytes);

 private:
  friend class PagePool;
  struct Owner;

  [[nodiscard]] Result<std::span<std::byte>> map_larger(std::uint64_t size_bytes) const;

  std::span<std::byte> bytes_;
  Place place_;
  MemoryShare share_;
  std::shared_ptr<Owner> owner_;
};

/// Memory in whole pages for buffers and tables, which is used again: a page that has been touched
/// once costs nothing the next time. From 2 MiB on it is aligned to 2 MiB and in huge pages where
/// the system has them.
///
///     PagePool pool(ledger, {.spare_bytes_max = std::uint64_t{1} << 30});
///     Result<Pages> buffer = pool.take(MemoryUse::kInput, 8u << 20, place);
///
/// Thread safety: all members may be called from any thread; take() and the end of Pages take a
///   lock for the time of a look-up. System calls are made outside of it.
/// Lifetime: the pool is its ledger's reclaimer while it lives; a ledger has one pool.
class PagePool {
 public:
  PagePool(MemoryLedger ledger, PagePoolOptions options);
  ~PagePool();
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  /// Memory of at least `size_bytes` at `place`, which is charged to the ledger by its class.
  /// Fresh pages are not touched: they come, at their place, when they are first written.
  /// Errors: kResourceExhausted when the budget or the system has no such memory;
  ///   kInvalidArgument for a place that this host does not have.
  [[nodiscard]] Result<Pages> take(MemoryUse use, std::uint64_t size_bytes, Place place,
                                   PageContent content = PageContent::kAnything);

  [[nodiscard]] PagePoolUsage usage() const;

 private:
  const MemoryLedger ledger_;
  const std::shared_ptr<Pages::Owner> owner_;
};

}  // namespace pinion
