#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <thread>

#include <pinion/core/status.hpp>
#include <pinion/core/thread_annotations.hpp>
#include <pinion/shm/unique_fd.hpp>

#include "journal/journal_store.hpp"

namespace pinion {

/// Commits what it is given in groups, on a thread of its own: a group is what has come while the
/// one before it was on its way to the disk. So the first of many waits for nobody, and the more
/// there are, the more share a sync.
///
///     const std::uint64_t count = journal->submit(std::move(entry));
///     // poll journal->descriptor(), then:
///     if (journal->safe_count() >= count) ...
///
/// Thread safety: all members may be called from any thread.
class Journal {
 public:
  /// Errors: kResourceExhausted when the system gives no thread or no descriptor.
  [[nodiscard]] static Result<std::unique_ptr<Journal>> start(JournalStore store);

  /// What is not safe by then is not written.
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  /// How many entries were given with this one.
  std::uint64_t submit(JournalEntry entry) PINION_EXCLUDES(mutex_);

  /// How many of the entries, from the first on, are safe. Makes descriptor() wait for more.
  [[nodiscard]] std::uint64_t safe_count() PINION_EXCLUDES(mutex_);

  /// Why no more become safe.
  [[nodiscard]] Status failure() const PINION_EXCLUDES(mutex_);

  /// Readable when there is news of safe_count() or failure().
  [[nodiscard]] int descriptor() const noexcept { return news_.get(); }

  /// Blocks: until all that was given is safe. Errors: failure().
  [[nodiscard]] Status wait_until_safe() PINION_EXCLUDES(mutex_);

 private:
  Journal(JournalStore store, UniqueFd news);
  void write_groups() PINION_EXCLUDES(mutex_);
  void tell_news() const noexcept;

  JournalStore store_;  // Of the thread.
  const UniqueFd news_;
  mutable Mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<JournalEntry> waiting_ PINION_GUARDED_BY(mutex_);
  std::uint64_t given_count_ PINION_GUARDED_BY(mutex_) = 0;
  std::uint64_t safe_count_ PINION_GUARDED_BY(mutex_) = 0;
  Status failure_ PINION_GUARDED_BY(mutex_);
  bool leaving_ PINION_GUARDED_BY(mutex_) = false;
  std::thread writer_;
};

}  // namespace pinion
