#pragma once

#include <atomic>
#include <memory>
#include <utility>

namespace pinion {

class CancelSource;

/// Tells work that it should stop. Cancelling is cooperative: whoever does the work asks. Copies
/// are the same token; one made by default is never cancelled.
///
/// Thread safety: all members may be called from any thread.
class CancelToken {
 public:
  CancelToken() noexcept = default;

  /// One load for a source and one for each of its parents. True stays true, and the caller then
  /// sees what was written before cancel().
  [[nodiscard]] bool cancelled() const noexcept {
    for (const Flag* flag = flag_.get(); flag != nullptr; flag = flag->parent.get()) {
      if (flag->raised.load(std::memory_order_acquire)) {  // Pairs with the store in cancel().
        return true;
      }
    }
    return false;
  }

  /// Whether there is a source that may cancel it.
  [[nodiscard]] bool can_be_cancelled() const noexcept { return flag_ != nullptr; }

 private:
  friend class CancelSource;
  struct Flag {
    std::atomic<bool> raised = false;
    std::shared_ptr<const Flag> parent = {};
  };
  explicit CancelToken(std::shared_ptr<const Flag> flag) noexcept : flag_(std::move(flag)) {}

  std::shared_ptr<const Flag> flag_;
};

/// The right to cancel. Movable, not copyable; a source that goes away cancels nothing.
///
///     CancelSource source;
///     Status status = executor.parallel_for({0, n}, body, {.cancel = source.token()});
///     source.cancel();  // From another thread: status is then kCancelled.
///
/// Thread safety: token() and cancel() may be called from any thread.
class CancelSource {
 public:
  CancelSource() : flag_(std::make_shared<CancelToken::Flag>()) {}

  /// Its tokens are cancelled with it or with `parent`, whichever comes first.
  explicit CancelSource(const CancelToken& parent) : CancelSource() {
    flag_->parent = parent.flag_;
  }
  CancelSource(CancelSource&&) noexcept = default;
  CancelSource& operator=(CancelSource&&) noexcept = default;

  /// Precondition of both: not moved from.
  [[nodiscard]] CancelToken token() const noexcept { return CancelToken(flag_); }
  void cancel() const noexcept {
    flag_->raised.store(true, std::memory_order_release);  // Pairs with the load in cancelled().
  }

 private:
  std::shared_ptr<CancelToken::Flag> flag_;
};

}  // namespace pinion
