#include <pinion/core/page_scope.hpp>

#include <utility>

#include <pinion/core/assert.hpp>

namespace pinion {
namespace {

// The innermost scope of this thread. It belongs to the call that the thread is in: nothing is left
// of it when the call returns.
thread_local PageScope* innermost = nullptr;

}  // namespace

Result<Pages> PageSource::take(std::uint64_t size_bytes, PageContent content) const {
  return pool == nullptr ? Pages::map(size_bytes) : pool->take(use, size_bytes, place, content);
}

PageScope::PageScope(const PageSource& source) noexcept
    : source_(source), outer_(std::exchange(innermost, this)) {}

PageScope::~PageScope() {
  PINION_ASSERT(innermost == this);
  innermost = outer_;
}

Result<Pages> PageScope::take(std::uint64_t size_bytes, PageContent content) {
  PageScope* const scope = innermost;
  if (scope == nullptr) {
    return Pages::map(size_bytes);
  }
  Result<Pages> pages = scope->source_.take(size_bytes, content);
  if (!pages && scope->refusal_.ok()) {
    scope->refusal_ = pages.error();
  }
  return pages;
}

}  // namespace pinion
