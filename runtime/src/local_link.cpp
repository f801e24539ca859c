#include "local_link.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace pinion {

LocalLink::LocalLink(const JobInfo& info, const Settings& settings, LocalBlobStore& store,
                     const IClock& clock, GrantLog& log)
    : self_{info.rank, info.incarnation},
      clock_(clock),
      driver_({.job = info.job,
               .epoch = info.epoch,
               .rank_count = info.rank_count,
               .lease_duration = settings.lease_duration,
               .seed = settings.seed,
               .death_count_max = settings.death_count_max,
               .skip_bad = settings.skip_bad,
               .only_shard = settings.only_shard,
               .late_least = settings.late_least,
               .fast_forward = !settings.test_no_fast_forward},
              {.send = [this](std::uint32_t,
                              std::vector<std::byte> message) { deliver(std::move(message)); },
               .keep = [&store](const BlobHandle& blob) { return store.keep(blob); },
               .release = [&store](const BlobHandle& blob) { store.release(blob); },
               // The only rank has been told by a message; it ends the program.
               .end_job = [](const protocol::Failure&) {},
               .tell = [this](const std::string& text) { tell(text); },
               .step_over = [this](std::uint64_t step) { end_progress_of(step); }},
              clock, log),
      display_(ProgressDisplay::for_standard_error(settings.quiet), clock.now()) {
  driver_.rank_joined(self_, getpid());
}

Status LocalLink::send(std::span<const std::byte> message) {
  MutexLock lock(mutex_);
  return driver_.message_arrived(self_, message);
}

Result<std::vector<std::byte>> LocalLink::receive(Instant deadline) {
  MutexLock lock(mutex_);
  while (inbox_.empty() && !woken_) {
    const Instant now = clock_.now();
    if (now >= deadline) {
      return std::vector<std::byte>();
    }
    if (now >= driver_.next_deadline()) {
      driver_.tick();
      continue;
    }
    show_progress();
    const Instant until = std::min({deadline, driver_.next_deadline(), now + display_.interval()});
    arrived_.wait_until(mutex_, until);
  }
  if (inbox_.empty()) {
    woken_ = false;
    return std::vector<std::byte>();
  }
  std::vector<std::byte> message = std::move(inbox_.front());
  inbox_.pop_front();
  show_progress();
  return message;
}

void LocalLink::wake() noexcept {
  {
    MutexLock lock(mutex_);
    woken_ = true;
  }
  arrived_.notify_all();
}

JobTotals LocalLink::totals() {
  MutexLock lock(mutex_);
  return driver_.totals();
}

void LocalLink::clear_progress() {
  MutexLock lock(mutex_);
  display_.clear();
}

void LocalLink::deliver(std::vector<std::byte> message) {
  inbox_.push_back(std::move(message));
  arrived_.notify_all();
}

void LocalLink::end_progress_of(std::uint64_t step) {
  display_.step_over(step);
}

void LocalLink::tell(const std::string& text) {
  display_.clear();
  std::fprintf(stderr, "pinion: %s\n", text.c_str());
}

void LocalLink::show_progress() {
  display_.update(driver_.progress(), clock_.now());
}

}  // namespace pinion
