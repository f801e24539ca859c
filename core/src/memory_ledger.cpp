#include <pinion/core/memory_ledger.hpp>

#include <algorithm>
#include <atomic>
#include <utility>

#include <pinion/core/thread_annotations.hpp>

namespace pinion {
namespace {

constexpr std::array<std::string_view, kMemoryUseCount> kUseNames = {"input", "state", "blobs",
                                                                     "staging", "spare"};

// An amount with a limit that is never exceeded, not for a moment. All its operations are relaxed:
// the numbers guard no memory; whoever passes pages on synchronizes by that.
class Counter {
 public:
  bool try_add(std::uint64_t bytes, std::uint64_t limit) noexcept {
    std::uint64_t used = used_.load(std::memory_order_relaxed);
    do {
      if (used > limit || bytes > limit - used) {
        return false;
      }
    } while (!used_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
    return true;
  }

  // Not part of try_add(): what is refused by another counter must leave no peak.
  void raise_peak() noexcept {
    const std::uint64_t used = used_.load(std::memory_order_relaxed);
    std::uint64_t peak = peak_.load(std::memory_order_relaxed);
    while (peak < used && !peak_.compare_exchange_weak(peak, used, std::memory_order_relaxed)) {
    }
  }

  void subtract(std::uint64_t bytes) noexcept {
    const std::uint64_t before = used_.fetch_sub(bytes, std::memory_order_relaxed);
    PINION_ASSERT(before >= bytes);
  }

  [[nodiscard]] MemoryAmount amount() const noexcept {
    return {used_.load(std::memory_order_relaxed), peak_.load(std::memory_order_relaxed)};
  }

 private:
  std::atomic<std::uint64_t> used_ = 0;
  std::atomic<std::uint64_t> peak_ = 0;
};

}  // namespace

std::string_view to_string(MemoryUse use) noexcept {
  return kUseNames[static_cast<std::size_t>(use)];
}

struct MemoryLedger::State {
  explicit State(MemoryLedgerOptions ledger_options) : options(std::move(ledger_options)) {}

  const MemoryLedgerOptions options;
  Counter total;
  std::array<Counter, kMemoryUseCount> uses;
  Mutex mutex;
  std::function<std::uint64_t(std::uint64_t)> reclaimer PINION_GUARDED_BY(mutex);

  [[nodiscard]] std::uint64_t limit_of(MemoryUse use) const noexcept {
    return use == MemoryUse::kBlobs ? options.blob_bytes_max
                                    : std::numeric_limits<std::uint64_t>::max();
  }

  Counter& counter_of(MemoryUse use) noexcept { return uses[static_cast<std::size_t>(use)]; }

  Status charge(MemoryUse use, std::uint64_t bytes) {
    if (!counter_of(use).try_add(bytes, limit_of(use))) {
      return refusal(use, bytes);
    }
    if (total.try_add(bytes, options.budget_bytes) || reclaim_for(bytes)) {
      counter_of(use).raise_peak();
      total.raise_peak();
      return {};
    }
    counter_of(use).subtract(bytes);
    return refusal(use, bytes);
  }

  void discharge(MemoryUse use, std::uint64_t bytes) noexcept {
    counter_of(use).subtract(bytes);
    total.subtract(bytes);
  }

  // Others may take what was reclaimed for us, so it is tried until nothing more comes.
  bool reclaim_for(std::uint64_t bytes) {
    if (bytes > options.budget_bytes) {
      return false;  // Nothing that is given up could help.
    }
    MutexLock lock(mutex);
    while (!total.try_add(bytes, options.budget_bytes)) {
      const std::uint64_t used = total.amount().used_bytes;
      const std::uint64_t left = options.budget_bytes - used;
      if (left >= bytes) {
        continue;  // Somebody gave memory back in between.
      }
      if (!reclaimer || reclaimer(bytes - left) == 0) {
        return total.try_add(bytes, options.budget_bytes);
      }
    }
    return true;
  }

  [[nodiscard]] Status refusal(MemoryUse use, std::uint64_t bytes) const {
    std::string text = std::to_string(bytes) + " bytes for " + std::string(to_string(use)) +
                       " do not fit: of the budget of " + std::to_string(options.budget_bytes) +
                       " bytes ";
    for (std::size_t i = 0; i < kMemoryUseCount; ++i) {
      text += i == 0 ? "" : ", ";
      text += std::string(kUseNames[i]) + " uses " + std::to_string(uses[i].amount().used_bytes);
    }
    if (use == MemoryUse::kBlobs && options.blob_bytes_max < options.budget_bytes) {
      text += ", and blobs may use " + std::to_string(options.blob_bytes_max);
    }
    return Status(ErrorCode::kResourceExhausted, text + "; " + options.advice);
  }
};

MemoryLedger::MemoryLedger(MemoryLedgerOptions options)
    : state_(std::make_shared<State>(std::move(options))) {}

Result<MemoryShare> MemoryLedger::take(MemoryUse use, std::uint64_t bytes) const {
  PINION_RETURN_IF_ERROR(state_->charge(use, bytes));
  MemoryShare share;
  share.state_ = state_;
  share.bytes_ = bytes;
  share.use_ = use;
  return share;
}

std::uint64_t MemoryLedger::budget_bytes() const noexcept {
  return state_->options.budget_bytes;
}

std::uint64_t MemoryLedger::limit_of(MemoryUse use) const noexcept {
  return std::min(state_->limit_of(use), budget_bytes());
}

MemoryUsage MemoryLedger::usage() const noexcept {
  MemoryUsage usage = {.budget_bytes = budget_bytes(), .total = state_->total.amount()};
  for (std::size_t i = 0; i < kMemoryUseCount; ++i) {
    usage.uses[i] = state_->uses[i].amount();
  }
  return usage;
}

void MemoryLedger::set_reclaimer(std::function<std::uint64_t(std::uint64_t)> reclaimer) const {
  MutexLock lock(state_->mutex);
  PINION_ASSERT(!reclaimer || !state_->reclaimer);
  state_->reclaimer = std::move(reclaimer);
}

MemoryShare::MemoryShare(MemoryShare&& other) noexcept
    : state_(std::move(other.state_)), bytes_(std::exchange(other.bytes_, 0)), use_(other.use_) {}

MemoryShare& MemoryShare::operator=(MemoryShare&& other) noexcept {
  MemoryShare ended = std::move(*this);
  state_ = std::move(other.state_);
  bytes_ = std::exchange(other.bytes_, 0);
  use_ = other.use_;
  return *this;
}

MemoryShare::~MemoryShare() {
  if (state_) {
    state_->discharge(use_, bytes_);
  }
}

Status MemoryShare::resize(std::uint64_t bytes) {
  if (bytes > bytes_) {
    PINION_ASSERT(state_ != nullptr);
    PINION_RETURN_IF_ERROR(state_->charge(use_, bytes - bytes_));
  } else if (state_) {
    state_->discharge(use_, bytes_ - bytes);
  }
  bytes_ = bytes;
  return {};
}

Status MemoryShare::assign(MemoryUse use) {
  if (state_ && use != use_) {
    if (!state_->counter_of(use).try_add(bytes_, state_->limit_of(use))) {
      return state_->refusal(use, bytes_);
    }
    state_->counter_of(use).raise_peak();
    state_->counter_of(use_).subtract(bytes_);
  }
  use_ = use;
  return {};
}

}  // namespace pinion
