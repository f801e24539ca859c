#include "sim/sim_journal.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include <pinion/core/assert.hpp>

namespace pinion::sim {
namespace {

/// So that snapshots are taken many times in a short job.
constexpr std::uint64_t kSnapshotPeriod = 24;

}  // namespace

SimJournal::SimJournal(Random& random, FaultCounts& counts, const Terms& terms)
    : random_(random), counts_(counts), terms_(terms) {}

std::uint64_t SimJournal::add(protocol::Record record) {
  waiting_.push_back(std::move(record));
  return ++given_count_;
}

bool SimJournal::begin_commit() {
  PINION_ASSERT(idle() && has_waiting());
  std::vector<std::byte> frame;
  protocol::append_frame(written_count_ + 1, waiting_, frame);
  written_count_ += waiting_.size();
  for (protocol::Record& record : std::exchange(waiting_, {})) {
    if (const std::optional<std::uint64_t> step = history_.add(std::move(record))) {
      needless_.push_back(*step);
    }
  }
  stage_ = Stage::kLog;
  return write(log_, frame);
}

bool SimJournal::end_stage() {
  if (random_.chance(terms_.faults[Fault::kWriteError])) {
    counts_.add(Fault::kWriteError);
    return false;
  }
  if (stage_ == Stage::kLog) {
    log_.safe_size = log_.bytes.size();
    safe_count_ = written_count_;
    stage_ = Stage::kIdle;
    if (written_count_ - snapshot_count_ < kSnapshotPeriod) {
      return true;
    }
    stage_ = Stage::kSnapshot;
    SimFile& slot = slots_[1 - newer_slot_] = {};
    if (terms_.cut_log_early) {
      log_ = {};
    }
    return write(slot, protocol::encode_snapshot(written_count_ + 1, history_.records()));
  }
  SimFile& slot = slots_[1 - newer_slot_];
  slot.safe_size = slot.bytes.size();
  newer_slot_ = 1 - newer_slot_;
  snapshot_count_ = written_count_;
  log_ = {};
  log_first_ = written_count_ + 1;
  stage_ = Stage::kIdle;
  return true;
}

/// A disk may take a part of what it is given; the rest is given again.
bool SimJournal::write(SimFile& file, const std::vector<std::byte>& bytes) {
  std::size_t written = 0;
  while (written < bytes.size()) {
    std::size_t size = bytes.size() - written;
    const bool full = random_.chance(terms_.faults[Fault::kNoSpace]);
    if (full || random_.chance(terms_.faults[Fault::kShortWrite])) {
      counts_.add(full ? Fault::kNoSpace : Fault::kShortWrite);
      size = random_.below(size) + (full ? 0 : 1);
    }
    const auto from = bytes.begin() + static_cast<std::ptrdiff_t>(written);
    file.bytes.insert(file.bytes.end(), from, from + static_cast<std::ptrdiff_t>(size));
    written += size;
    if (full) {
      return false;
    }
  }
  return true;
}

void SimJournal::crash() {
  needless_.clear();
  spoil(log_);
  spoil(slots_[0]);
  spoil(slots_[1]);
  if (!log_.bytes.empty() && random_.chance(terms_.faults[Fault::kBitFlip])) {
    counts_.add(Fault::kBitFlip);
    const std::uint64_t bit = random_.below(log_.bytes.size() * 8);
    log_.bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    damaged_ = damaged_ || bit / 8 < log_.safe_size;
  }
}

/// What no sync has made safe may be there, in part, with rubbish in it, or not at all.
void SimJournal::spoil(SimFile& file) {
  if (file.bytes.size() == file.safe_size || random_.chance(0.3)) {
    return;
  }
  const bool torn = random_.chance(terms_.faults[Fault::kTornWrite]);
  const std::size_t size = file.bytes.size() - file.safe_size;
  file.bytes.resize(file.safe_size + (torn ? random_.below(size) : 0));
  if (torn) {
    counts_.add(Fault::kTornWrite);
    for (std::size_t i = file.safe_size; i < file.bytes.size() && random_.chance(0.5); ++i) {
      file.bytes[i] = static_cast<std::byte>(random_.below(256));
    }
  }
}

SimJournal::Recovery SimJournal::recover() {
  const std::optional<protocol::Snapshot> snapshot =
      protocol::choose_snapshot(slots_[0].bytes, slots_[1].bytes, terms_.mutations);
  const std::uint64_t next = snapshot ? snapshot->next : 1;
  std::vector<protocol::Record> records =
      snapshot ? snapshot->records : std::vector<protocol::Record>();
  protocol::LogContents log = protocol::read_log(log_.bytes, log_first_);
  std::uint64_t number = log_first_;
  // A log that begins later than the snapshot ends says nothing of what lies between.
  if (log_first_ <= next) {
    for (protocol::Record& record : log.records) {
      if (number++ >= next) {
        records.push_back(std::move(record));
      }
    }
  }
  next_ = std::max(number, next);
  protocol::RecordHistory history;
  for (protocol::Record& record : records) {
    history.add(std::move(record));
  }
  return {.records = history.records(),
          .damaged = std::exchange(damaged_, false),
          .torn = log.stop != protocol::LogStop::kEnd,
          .older_snapshot = std::any_of(slots_.begin(), slots_.end(), [](const SimFile& slot) {
            return !slot.bytes.empty() && !protocol::decode_snapshot(slot.bytes);
          })};
}

/// As production does: a snapshot first, then a log of its own.
void SimJournal::restart(const std::vector<protocol::Record>& records) {
  history_ = {};
  for (const protocol::Record& record : records) {
    history_.add(record);
  }
  SimFile& slot = slots_[0];
  slots_[1] = {};
  slot.bytes = protocol::encode_snapshot(next_, history_.records());
  slot.safe_size = slot.bytes.size();
  newer_slot_ = 0;
  log_ = {};
  log_first_ = next_;
  waiting_.clear();
  stage_ = Stage::kIdle;
  given_count_ = written_count_ = safe_count_ = snapshot_count_ = next_ - 1;
}

}  // namespace pinion::sim
