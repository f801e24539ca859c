#pragma once

#include <cstdint>

#include <pinion/core/memory_ledger.hpp>
#include <pinion/core/page_pool.hpp>
#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

/// Where pages come from: a pool, for what use, at which place. Without a pool they come from the
/// system, and nobody counts them.
/// Lifetime: borrows the pool.
struct PageSource {
  PagePool* pool = nullptr;
  MemoryUse use = MemoryUse::kState;
  Place place = {};

  /// As PagePool::take().
  [[nodiscard]] Result<Pages> take(std::uint64_t size_bytes,
                                   PageContent content = PageContent::kAnything) const;
};

/// While it lives, the thread that made it takes pages from its source wherever PageScope::take()
/// is called: for memory that is needed behind an interface that carries no pool, as that of a
/// table which grows while a body emits. The engine makes one around each call of a program's code.
///
///     const PageScope scope({.pool = &job.pages(), .place = place});
///     body(shard, emit);  // What its tables take is charged to the job.
///
/// Thread safety: bound to the thread that made it, which ends scopes in the reverse order.
class PageScope {
 public:
  explicit PageScope(const PageSource& source) noexcept;
  ~PageScope();
  PageScope(const PageScope&) = delete;
  PageScope& operator=(const PageScope&) = delete;

  /// Pages from the innermost scope of the calling thread; where there is none, from the system.
  /// Errors: as PagePool::take().
  [[nodiscard]] static Result<Pages> take(std::uint64_t size_bytes,
                                          PageContent content = PageContent::kAnything);

  /// Why take() was first refused in this scope; ok when it was not. What ran in the scope may be
  /// incomplete then, also when it has caught the error.
  [[nodiscard]] const Status& refusal() const noexcept { return refusal_; }

 private:
  const PageSource source_;
  PageScope* const outer_;
  Status refusal_;
};

}  // namespace pinion
