#include "journal/journal.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace pinion {
namespace {

// So that the first of a long queue are told before the last is written.
constexpr std::size_t kEntriesPerGroup = 4096;

}  // namespace

Journal::Journal(JournalStore store, UniqueFd news)
    : store_(std::move(store)), news_(std::move(news)) {}

Result<std::unique_ptr<Journal>> Journal::start(JournalStore store) {
  UniqueFd news(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!news.valid()) {
    return Status::from_errno(errno, "making an event for the journal");
  }
  std::unique_ptr<Journal> journal(new Journal(std::move(store), std::move(news)));
  try {
    journal->writer_ = std::thread([self = journal.get()] { self->write_groups(); });
  } catch (const std::system_error& error) {
    return Status(ErrorCode::kResourceExhausted,
                  std::string("cannot start the thread of the journal: ") + error.what());
  }
  return journal;
}

Journal::~Journal() {
  {
    MutexLock lock(mutex_);
    leaving_ = true;
  }
  changed_.notify_all();
  if (writer_.joinable()) {
    writer_.join();
  }
}

std::uint64_t Journal::submit(JournalEntry entry) {
  std::uint64_t count = 0;
  {
    MutexLock lock(mutex_);
    waiting_.push_back(std::move(entry));
    count = ++given_count_;
  }
  changed_.notify_all();
  return count;
}

std::uint64_t Journal::safe_count() {
  // Read before the count: what comes after it is told again.
  std::uint64_t news = 0;
  static_cast<void>(::read(news_.get(), &news, sizeof(news)) == sizeof(news));
  MutexLock lock(mutex_);
  return safe_count_;
}

Status Journal::failure() const {
  MutexLock lock(mutex_);
  return failure_;
}

Status Journal::wait_until_safe() {
  MutexLock lock(mutex_);
  while (failure_.ok() && safe_count_ < given_count_) {
    changed_.wait(mutex_);
  }
  return failure_;
}

void Journal::tell_news() const noexcept {
  const std::uint64_t one = 1;
  static_cast<void>(::write(news_.get(), &one, sizeof(one)) == sizeof(one));
}

void Journal::write_groups() {
  std::vector<JournalEntry> group;
  while (true) {
    group.clear();
    {
      MutexLock lock(mutex_);
      while (waiting_.empty() && !leaving_) {
        changed_.wait(mutex_);
      }
      if (leaving_) {
        return;
      }
      const auto end = waiting_.begin() +
                       static_cast<std::ptrdiff_t>(std::min(waiting_.size(), kEntriesPerGroup));
      std::move(waiting_.begin(), end, std::back_inserter(group));
      waiting_.erase(waiting_.begin(), end);
    }
    Status committed = store_.commit(group);
    const bool failed = !committed.ok();
    {
      MutexLock lock(mutex_);
      if (failed) {
        failure_ = std::move(committed);
      } else {
        safe_count_ += group.size();
      }
    }
    changed_.notify_all();
    tell_news();
    if (failed) {
      // What a disk has after a write that failed is unknown, so nothing is tried again.
      return;
    }
  }
}

}  // namespace pinion
