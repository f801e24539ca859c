#include <pinion/core/memory_ledger.hpp>

#include <algorithm>
#include <optional>
#include <utility>

#include <pinion/core/detail/memory_counter.hpp>
#include <pinion/core/thread_annotations.hpp>

namespace pinion {
namespace {

constexpr std::array<std::string_view, kMemoryUseCount> kUseNames = {"input", "state", "blobs",
                                                                     "staging", "spare"};

using Counter = detail::MemoryCounter<>;

MemoryAmount amount_of(const Counter& counter) noexcept {
  return {.used_bytes = counter.used_bytes(), .peak_bytes = counter.peak_bytes()};
}

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
    const std::optional<std::uint64_t> of_use = counter_of(use).try_add(bytes, limit_of(use));
    if (!of_use) {
      return refusal(use, bytes);
    }
    std::optional<std::uint64_t> in_all = total.try_add(bytes, options.budget_bytes);
    if (!in_all) {
      in_all = reclaim_for(bytes);
    }
    if (in_all) {
      counter_of(use).raise_peak(*of_use);
      total.raise_peak(*in_all);
      return {};
    }
    counter_of(use).subtract(bytes);
    return refusal(use, bytes);
  }

  void discharge(MemoryUse use, std::uint64_t bytes) noexcept {
    counter_of(use).subtract(bytes);
    total.subtract(bytes);
  }

  // Others may take what was reclaimed for us, so it is tried until nothing more comes. Answers as
  // total.try_add().
  std::optional<std::uint64_t> reclaim_for(std::uint64_t bytes) {
    if (bytes > options.budget_bytes) {
      return std::nullopt;  // Nothing that is given up could help.
    }
    MutexLock lock(mutex);
    for (;;) {
      if (const std::optional<std::uint64_t> in_all = total.try_add(bytes, options.budget_bytes)) {
        return in_all;
      }
      const std::uint64_t used = total.used_bytes();
      const std::uint64_t left = options.budget_bytes - used;
      if (left >= bytes) {
        continue;  // Somebody gave memory back in between.
      }
      if (!reclaimer || reclaimer(bytes - left) == 0) {
        return total.try_add(bytes, options.budget_bytes);
      }
    }
  }

  [[nodiscard]] Status refusal(MemoryUse use, std::uint64_t bytes) const {
    std::string text = std::to_string(bytes) + " bytes for " + std::string(to_string(use)) +
                       " do not fit: of the budget of " + std::to_string(options.budget_bytes) +
                       " bytes ";
    for (std::size_t i = 0; i < kMemoryUseCount; ++i) {
      text += i == 0 ? "" : ", ";
      text += std::string(kUseNames[i]) + " uses " + std::to_string(uses[i].used_bytes());
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
  MemoryUsage usage = {.budget_bytes = budget_bytes(), .total = amount_of(state_->total)};
  for (std::size_t i = 0; i < kMemoryUseCount; ++i) {
    usage.uses[i] = amount_of(state_->uses[i]);
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
    const std::optional<std::uint64_t> of_use =
        state_->counter_of(use).try_add(bytes_, state_->limit_of(use));
    if (!of_use) {
      return state_->refusal(use, bytes_);
    }
    state_->counter_of(use).raise_peak(*of_use);
    state_->counter_of(use_).subtract(bytes_);
  }
  use_ = use;
  return {};
}

}  // namespace pinion
