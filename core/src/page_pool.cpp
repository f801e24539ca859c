#include <pinion/core/page_pool.hpp>

#include <sys/mman.h>

#include <bit>
#include <cerrno>
#include <compare>
#include <cstring>
#include <limits>
#include <map>
#include <new>
#include <string>
#include <utility>

#include <pinion/core/thread_annotations.hpp>

namespace pinion {
namespace {

constexpr std::uint64_t kSmallUnit = std::uint64_t{4} << 10;
constexpr std::uint64_t kHugeUnit = std::uint64_t{2} << 20;

void unmap(std::span<std::byte> bytes) noexcept {
  PINION_ASSERT(::munmap(bytes.data(), bytes.size()) == 0);
}

// Maps more than needed and gives back what lies before and behind the aligned part.
Result<std::span<std::byte>> map_fresh(std::uint64_t size_bytes) {
  const bool huge = size_bytes >= kHugeUnit;
  const std::uint64_t mapped_bytes = size_bytes + (huge ? kHugeUnit : 0);
  void* const address =
      ::mmap(nullptr, mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) {
    return Status::from_errno(errno, "mapping " + std::to_string(mapped_bytes) + " bytes");
  }
  const std::span<std::byte> mapped(static_cast<std::byte*>(address), mapped_bytes);
  if (!huge) {
    return mapped;
  }
  const std::uint64_t past = reinterpret_cast<std::uintptr_t>(address) % kHugeUnit;
  const std::uint64_t before = past == 0 ? 0 : kHugeUnit - past;
  if (before > 0) {
    unmap(mapped.first(before));
  }
  if (before < kHugeUnit) {
    unmap(mapped.subspan(before + size_bytes));
  }
  const std::span<std::byte> pages = mapped.subspan(before, size_bytes);
  // Advice: a system without huge pages serves small ones.
  ::madvise(pages.data(), pages.size(), MADV_HUGEPAGE);
  return pages;
}

Status check_size(std::uint64_t size_bytes) {
  constexpr std::uint64_t kSizeMax = std::uint64_t{1} << 47;  // More than can be mapped.
  if (size_bytes <= kSizeMax) {
    return {};
  }
  return Status(ErrorCode::kResourceExhausted, std::to_string(size_bytes) +
                                                   " bytes of pages cannot be mapped; at most " +
                                                   std::to_string(kSizeMax) + " can");
}

// Memory that nobody uses, described in its own first bytes: giving back allocates nothing.
struct SparePages {
  std::span<std::byte> bytes;
  MemoryShare share;
  SparePages* next = nullptr;
};
static_assert(sizeof(SparePages) <= kSmallUnit);

struct PageClass {
  Place place;
  std::uint64_t size_bytes = 0;

  friend auto operator<=>(const PageClass&, const PageClass&) = default;
};

// The last one given back is the first one taken, as it may still be in a cache.
struct SpareStack {
  SparePages* top = nullptr;
  std::uint64_t used_at = 0;
};

}  // namespace

std::uint64_t page_class_bytes(std::uint64_t size_bytes) noexcept {
  const std::uint64_t unit = size_bytes < kHugeUnit ? kSmallUnit : kHugeUnit;
  std::uint64_t units = (size_bytes + unit - 1) / unit;
  units += units == 0 ? 1 : 0;
  // Four sizes a doubling: all but the first three bits of the number are rounded up to zeros.
  const auto width = std::bit_width(units - 1);
  const std::uint64_t step = width <= 3 ? 1 : std::uint64_t{1} << (width - 3);
  return (units + step - 1) / step * step * unit;
}

struct Pages::Owner {
  explicit Owner(PagePoolOptions options)
      : bind_memory(std::move(options.bind_memory)), spare_bytes_max(options.spare_bytes_max) {}
  ~Owner() { drop_all(); }
  Owner(const Owner&) = delete;
  Owner& operator=(const Owner&) = delete;

  Result<Pages> take_spare(MemoryUse use, const PageClass& wanted) PINION_EXCLUDES(mutex);
  void give_back(std::span<std::byte> bytes, Place place, MemoryShare share) noexcept
      PINION_EXCLUDES(mutex);
  std::uint64_t reclaim(std::uint64_t missing_bytes) noexcept PINION_EXCLUDES(mutex);
  void close() noexcept PINION_EXCLUDES(mutex);
  void make_class(const PageClass& page_class) PINION_EXCLUDES(mutex);
  SparePages* take_least_used() noexcept PINION_REQUIRES(mutex);
  void drop_all() noexcept PINION_EXCLUDES(mutex);
  static std::uint64_t drop(SparePages* list) noexcept;

  const BindMemory bind_memory;
  mutable Mutex mutex;
  std::uint64_t spare_bytes_max PINION_GUARDED_BY(mutex);
  PagePoolUsage usage PINION_GUARDED_BY(mutex);
  std::uint64_t request_count PINION_GUARDED_BY(mutex) = 0;
  // A class is never removed: there are few of them, and its spare pages come and go.
  std::map<PageClass, SpareStack> classes PINION_GUARDED_BY(mutex);
};

// Empty when there is none.
Result<Pages> Pages::Owner::take_spare(MemoryUse use, const PageClass& wanted) {
  Pages pages;
  {
    MutexLock lock(mutex);
    SpareStack& stack = classes[wanted];
    stack.used_at = ++request_count;
    SparePages* const found = stack.top;
    if (found == nullptr) {
      ++usage.fresh_count;
      return pages;
    }
    stack.top = found->next;
    usage.spare_bytes -= wanted.size_bytes;
    ++usage.reused_count;
    pages.bytes_ = found->bytes;
    pages.place_ = wanted.place;
    pages.share_ = std::move(found->share);
    found->~SparePages();
  }
  if (Status assigned = pages.share_.assign(use); !assigned.ok()) {
    give_back(std::exchange(pages.bytes_, {}), pages.place_, std::move(pages.share_));
    return assigned;
  }
  return pages;
}

void Pages::Owner::give_back(std::span<std::byte> bytes, Place place, MemoryShare share) noexcept {
  // Nothing limits what is spare, beside the budget that these bytes are already part of.
  PINION_ASSERT(share.assign(MemoryUse::kSpare).ok());
  SparePages* dropped = nullptr;
  auto* const spare = new (bytes.data()) SparePages{bytes, std::move(share)};
  {
    MutexLock lock(mutex);
    // The class is there: taking the pages has made it.
    SpareStack& stack = classes.find({place, bytes.size()})->second;
    spare->next = std::exchange(stack.top, spare);
    stack.used_at = ++request_count;
    usage.spare_bytes += bytes.size();
    while (usage.spare_bytes > spare_bytes_max) {
      SparePages* const oldest = take_least_used();
      oldest->next = std::exchange(dropped, oldest);
    }
  }
  drop(dropped);
}

SparePages* Pages::Owner::take_least_used() noexcept {
  SpareStack* least = nullptr;
  for (auto& [page_class, stack] : classes) {
    if (stack.top != nullptr && (least == nullptr || stack.used_at < least->used_at)) {
      least = &stack;
    }
  }
  if (least == nullptr) {
    return nullptr;
  }
  SparePages* const taken = std::exchange(least->top, least->top->next);
  usage.spare_bytes -= taken->bytes.size();
  return taken;
}

std::uint64_t Pages::Owner::reclaim(std::uint64_t missing_bytes) noexcept {
  SparePages* dropped = nullptr;
  {
    MutexLock lock(mutex);
    std::uint64_t found_bytes = 0;
    while (found_bytes < missing_bytes) {
      SparePages* const spare = take_least_used();
      if (spare == nullptr) {
        break;
      }
      found_bytes += spare->bytes.size();
      spare->next = std::exchange(dropped, spare);
    }
  }
  return drop(dropped);
}

std::uint64_t Pages::Owner::drop(SparePages* list) noexcept {
  std::uint64_t dropped_bytes = 0;
  while (list != nullptr) {
    SparePages* const next = list->next;
    const std::span<std::byte> bytes = list->bytes;
    const MemoryShare share = std::move(list->share);  // Ends after the memory does.
    list->~SparePages();
    unmap(bytes);
    dropped_bytes += bytes.size();
    list = next;
  }
  return dropped_bytes;
}

void Pages::Owner::drop_all() noexcept {
  reclaim(std::numeric_limits<std::uint64_t>::max());
}

void Pages::Owner::close() noexcept {
  {
    MutexLock lock(mutex);
    spare_bytes_max = 0;  // What comes back later is not kept.
  }
  drop_all();
}

void Pages::Owner::make_class(const PageClass& page_class) {
  MutexLock lock(mutex);
  classes.try_emplace(page_class);
}

Pages::Pages(Pages&& other) noexcept
    : bytes_(std::exchange(other.bytes_, {})),
      place_(other.place_),
      share_(std::move(other.share_)),
      owner_(std::move(other.owner_)) {}

Pages& Pages::operator=(Pages&& other) noexcept {
  Pages ended = std::move(*this);
  bytes_ = std::exchange(other.bytes_, {});
  place_ = other.place_;
  share_ = std::move(other.share_);
  owner_ = std::move(other.owner_);
  return *this;
}

Pages::~Pages() {
  if (owner_) {
    owner_->give_back(bytes_, place_, std::move(share_));
  } else if (!bytes_.empty()) {
    unmap(bytes_);
  }
}

Result<Pages> Pages::map(std::uint64_t size_bytes) {
  PINION_RETURN_IF_ERROR(check_size(size_bytes));
  Result<std::span<std::byte>> fresh = map_fresh(page_class_bytes(size_bytes));
  if (!fresh) {
    return std::move(fresh).error();
  }
  Pages pages;
  pages.bytes_ = *fresh;
  return pages;
}

// The pages that are there become the first ones of a larger, aligned mapping.
Result<std::span<std::byte>> Pages::map_larger(std::uint64_t size_bytes) const {
  Result<std::span<std::byte>> larger = map_fresh(size_bytes);
  if (!larger) {
    return larger;
  }
  Status moved;
  if (owner_ && owner_->bind_memory) {
    moved = owner_->bind_memory(*larger, place_);
  }
  if (moved.ok() && ::mremap(bytes_.data(), bytes_.size(), bytes_.size(),
                             MREMAP_MAYMOVE | MREMAP_FIXED, larger->data()) == MAP_FAILED) {
    moved = Status::from_errno(errno, "moving " + std::to_string(bytes_.size()) + " bytes");
  }
  if (!moved.ok()) {
    unmap(*larger);
    return moved;
  }
  return larger;
}

Status Pages::grow(std::uint64_t size_bytes) {
  PINION_ASSERT(!bytes_.empty());
  if (size_bytes <= bytes_.size()) {
    return {};
  }
  PINION_RETURN_IF_ERROR(check_size(size_bytes));
  const std::uint64_t wanted = page_class_bytes(size_bytes);
  if (owner_) {
    owner_->make_class({place_, wanted});
    PINION_RETURN_IF_ERROR(share_.resize(wanted));
  }
  Result<std::span<std::byte>> larger = map_larger(wanted);
  if (!larger) {
    if (owner_) {
      PINION_ASSERT(share_.resize(bytes_.size()).ok());
    }
    return std::move(larger).error();
  }
  bytes_ = *larger;
  return {};
}

PagePool::PagePool(MemoryLedger ledger, PagePoolOptions options)
    : ledger_(std::move(ledger)), owner_(std::make_shared<Pages::Owner>(std::move(options))) {
  ledger_.set_reclaimer([owner = owner_.get()](std::uint64_t missing_bytes) {
    return owner->reclaim(missing_bytes);
  });
}

PagePool::~PagePool() {
  ledger_.set_reclaimer({});
  owner_->close();
}

Result<Pages> PagePool::take(MemoryUse use, std::uint64_t size_bytes, Place place,
                             PageContent content) {
  PINION_RETURN_IF_ERROR(check_size(size_bytes));
  const PageClass wanted = {place, page_class_bytes(size_bytes)};
  Result<Pages> spare = owner_->take_spare(use, wanted);
  if (!spare) {
    return spare;
  }
  Pages pages = *std::move(spare);
  if (!pages.bytes_.empty()) {
    pages.owner_ = owner_;
    // Quicker than giving the pages back and faulting new ones in.
    if (content == PageContent::kZeros) {
      std::memset(pages.bytes_.data(), 0, pages.bytes_.size());
    }
    return pages;
  }
  Result<MemoryShare> share = ledger_.take(use, wanted.size_bytes);
  if (!share) {
    return std::move(share).error();
  }
  Result<std::span<std::byte>> fresh = map_fresh(wanted.size_bytes);
  if (!fresh) {
    return std::move(fresh).error();
  }
  if (owner_->bind_memory) {
    if (Status bound = owner_->bind_memory(*fresh, place); !bound.ok()) {
      unmap(*fresh);
      return bound;
    }
  }
  pages.bytes_ = *fresh;
  pages.place_ = place;
  pages.share_ = *std::move(share);
  pages.owner_ = owner_;
  return pages;
}

PagePoolUsage PagePool::usage() const {
  MutexLock lock(owner_->mutex);
  return owner_->usage;
}

}  // namespace pinion
