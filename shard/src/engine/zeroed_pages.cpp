#include <pinion/shard/zeroed_pages.hpp>

#include <utility>

#include <pinion/core/page_scope.hpp>

namespace pinion {

StateRefused::StateRefused(Status status) : status_(std::move(status)), words_(status_.message()) {}

ZeroedPages::ZeroedPages(std::size_t size_bytes) {
  if (size_bytes == 0) {
    return;
  }
  Result<Pages> pages = PageScope::take(size_bytes, PageContent::kZeros);
  if (!pages) {
    throw StateRefused(std::move(pages).error());
  }
  pages_ = *std::move(pages);
  constexpr std::size_t kPageBytes = 4096;
  size_bytes_ = (size_bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}

}  // namespace pinion
