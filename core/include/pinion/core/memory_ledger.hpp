#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>

#include <pinion/core/status.hpp>

namespace pinion {

/// What memory of a process is used for.
enum class MemoryUse : std::uint8_t {
  kInput,    ///< Input that has been read.
  kState,    ///< What aggregators have of batches that are not sealed.
  kBlobs,    ///< Blobs in memory, from create() on.
  kStaging,  ///< Copies on their way to a device, a file or another host.
  kSpare,    ///< Pages that a PagePool keeps for later; given up before anything is refused.
};
inline constexpr std::size_t kMemoryUseCount = 5;

/// "input", "state", "blobs", "staging", "spare".
[[nodiscard]] std::string_view to_string(MemoryUse use) noexcept;

/// Bytes at one moment, and the most there were at any moment.
struct MemoryAmount {
  std::uint64_t used_bytes = 0;
  std::uint64_t peak_bytes = 0;
};

/// What a ledger holds. A snapshot: its numbers may be of slightly different moments.
struct MemoryUsage {
  std::uint64_t budget_bytes = 0;
  MemoryAmount total = {};
  std::array<MemoryAmount, kMemoryUseCount> uses = {};

  [[nodiscard]] const MemoryAmount& of(MemoryUse use) const noexcept {
    return uses[static_cast<std::size_t>(use)];
  }
};

struct MemoryLedgerOptions {
  std::uint64_t budget_bytes = 0;

  /// The most that blobs may take of it, so that steps can run while results are kept.
  std::uint64_t blob_bytes_max = std::numeric_limits<std::uint64_t>::max();

  /// What an error tells its reader to do: "raise memory-bytes".
  std::string advice = "raise the budget";
};

class MemoryShare;

/// Divides one budget of memory between everything in a process that needs much of it. It counts
/// what it is told and allocates nothing. A copy is another name of the same ledger.
///
///     MemoryLedger ledger({.budget_bytes = std::uint64_t{8} << 30});
///     Result<MemoryShare> share = ledger.take(MemoryUse::kState, 64u << 20);
///
/// Thread safety: all members may be called from any thread. What fits takes no lock.
/// Lifetime: lives until its last copy and its last share are gone.
class MemoryLedger {
 public:
  explicit MemoryLedger(MemoryLedgerOptions options);

  /// A part of the budget. What is spare is reclaimed before it is refused.
  /// Errors: kResourceExhausted, with who uses the budget; nothing has changed.
  [[nodiscard]] Result<MemoryShare> take(MemoryUse use, std::uint64_t bytes) const;

  [[nodiscard]] std::uint64_t budget_bytes() const noexcept;

  /// The most that there can be for a use, when nothing else has any.
  [[nodiscard]] std::uint64_t limit_of(MemoryUse use) const noexcept;
  [[nodiscard]] MemoryUsage usage() const noexcept;

  /// Called when the budget does not do, with the bytes that lack: gives up shares if it can, and
  /// returns the bytes it gave up. It is called from one thread at a time, in any take() or
  /// resize(), and must call neither itself. An empty function ends that; no call is under way
  /// when this returns.
  /// Precondition: there is at most one.
  void set_reclaimer(std::function<std::uint64_t(std::uint64_t missing_bytes)> reclaimer) const;

 private:
  friend class MemoryShare;
  struct State;

  std::shared_ptr<State> state_;
};

/// A part of a ledger's budget; gives it back. Movable, not copyable.
///
/// Thread safety: distinct objects are independent.
class MemoryShare {
 public:
  /// A share of nothing, which cannot grow.
  MemoryShare() noexcept = default;
  MemoryShare(MemoryShare&& other) noexcept;
  MemoryShare& operator=(MemoryShare&& other) noexcept;
  ~MemoryShare();

  [[nodiscard]] MemoryUse use() const noexcept { return use_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

  /// Makes the share larger or smaller. Smaller always succeeds.
  /// Errors: as MemoryLedger::take(); the share is as before.
  [[nodiscard]] Status resize(std::uint64_t bytes);

  /// The same bytes for something else.
  /// Errors: kResourceExhausted when blobs may have no more; the share is as before.
  [[nodiscard]] Status assign(MemoryUse use);

 private:
  friend class MemoryLedger;

  std::shared_ptr<MemoryLedger::State> state_;
  std::uint64_t bytes_ = 0;
  MemoryUse use_ = MemoryUse::kInput;
};

}  // namespace pinion
