#include "journal/journal_store.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include <fmt/format.h>

#include <pinion/shard/protocol/journal_format.hpp>

#include "journal/disk_file.hpp"
#include "journal/log_name.hpp"

namespace pinion {
namespace {

using protocol::Record;

// A blob that a record names is part of the work of its step, or of the answer.
std::pair<std::uint64_t, BlobUse> shelf_of(const Record& record) {
  if (const auto* planned = std::get_if<protocol::StepPlanned>(&record)) {
    return {planned->ready.step, BlobUse::kWork};
  }
  const auto& accepted = std::get<protocol::UnitsAccepted>(record);
  return {accepted.step,
          accepted.stage == protocol::Stage::kMap ? BlobUse::kWork : BlobUse::kResult};
}

}  // namespace

JournalStore::JournalStore(std::string folder, std::uint32_t epoch, protocol::RecordHistory history,
                           std::uint64_t next, BlobShelf shelf, JournalStoreOptions options)
    : folder_(std::move(folder)),
      epoch_(epoch),
      history_(std::move(history)),
      next_(next),
      first_(next),
      shelf_(std::move(shelf)),
      options_(std::move(options)) {}

Result<JournalStore> JournalStore::open(const std::string& folder, std::uint32_t epoch,
                                        protocol::RecordHistory history, std::uint64_t next,
                                        JournalStoreOptions options) {
  std::error_code error;
  std::filesystem::create_directory(log_folder(folder), error);
  if (error) {
    return Status::from_errno(error.value(), "making the folder " + log_folder(folder));
  }
  Result<BlobShelf> shelf = BlobShelf::open(blob_folder(folder), epoch);
  if (!shelf) {
    return std::move(shelf).error();
  }
  PINION_RETURN_IF_ERROR(sync_folder(folder));
  JournalStore store(folder, epoch, std::move(history), next, *std::move(shelf),
                     std::move(options));
  for (std::size_t slot = 0; slot < 2; ++slot) {
    const auto bytes = read_whole_file(snapshot_path(folder, slot));
    const auto snapshot = protocol::decode_snapshot(bytes ? *bytes : std::vector<std::byte>());
    store.snapshot_next_[slot] = snapshot ? snapshot->next : 0;
  }
  if (next > 0) {
    PINION_RETURN_IF_ERROR(store.write_snapshot());
    store.drop_needless_work();
  }
  PINION_RETURN_IF_ERROR(store.begin_log(0));
  JournalEntry begun{.record = protocol::EpochBegun{epoch}};
  PINION_RETURN_IF_ERROR(store.commit({&begun, 1}));
  return store;
}

Status JournalStore::begin_log(std::uint64_t bytes_min) {
  log_path_ = log_folder(folder_) + "/" + LogName{.epoch = epoch_, .first = next_}.text();
  Result<UniqueFd> made = create_file(log_path_);
  if (!made) {
    return std::move(made).error();
  }
  log_ = *std::move(made);
  log_end_ = 0;
  log_capacity_ = std::max(options_.log_bytes, bytes_min);
  // That the disk is full is better known before records are on their way. Where a file system
  // cannot reserve, the file grows.
  if (::posix_fallocate(log_.get(), 0, static_cast<off_t>(log_capacity_)) == ENOSPC) {
    return Status::from_errno(ENOSPC, "reserving room for " + log_path_)
        .with_context("make room on the disk of the journal");
  }
  PINION_RETURN_IF_ERROR(sync_file(log_.get(), log_path_));
  return sync_folder(log_folder(folder_));
}

Status JournalStore::write_snapshot() {
  // Into the slot of the older one: the newer stays whole whatever happens.
  const std::size_t slot = snapshot_next_[0] <= snapshot_next_[1] ? 0 : 1;
  const std::vector<std::byte> bytes = protocol::encode_snapshot(next_, history_.records());
  PINION_RETURN_IF_ERROR(replace_file(folder_, snapshot_name(slot), bytes));
  snapshot_next_[slot] = next_;
  snapshot_bytes_ = bytes.size();
  bytes_since_snapshot_ = 0;
  drop_old_logs(std::min(snapshot_next_[0], snapshot_next_[1]));
  return {};
}

// Those that only have records below that number: both snapshots have them.
void JournalStore::drop_old_logs(std::uint64_t below) const {
  const Result<std::vector<LogName>> logs = logs_in(folder_);
  if (!logs) {
    return;
  }
  for (std::size_t index = 0; index + 1 < logs->size(); ++index) {
    if ((*logs)[index + 1].first <= below) {
      ::unlink((log_folder(folder_) + "/" + (*logs)[index].text()).c_str());
    }
  }
}

// Who wrote that a step had ended may have died before it removed what that made needless.
void JournalStore::drop_needless_work() {
  for (const Record& record : history_.records()) {
    const auto* ended = std::get_if<protocol::StepEnded>(&record);
    if (ended != nullptr && ended->failure.code == ErrorCode::kOk) {
      shelf_.drop_work_of(ended->step);
    }
  }
}

Status JournalStore::commit(std::span<JournalEntry> entries) {
  reach(CommitPoint::kBegun, entries.size());
  bool has_blobs = false;
  for (const JournalEntry& entry : entries) {
    has_blobs = has_blobs || !entry.blobs.empty();
    PINION_RETURN_IF_ERROR(add_blobs(entry));
  }
  if (has_blobs) {
    reach(CommitPoint::kBlobsWritten, entries.size());
    PINION_RETURN_IF_ERROR(shelf_.sync());
    reach(CommitPoint::kBlobsSafe, entries.size());
  }
  records_.clear();
  for (JournalEntry& entry : entries) {
    records_.push_back(std::move(entry.record));
  }
  frame_.clear();
  protocol::append_frame(next_, records_, frame_);
  PINION_RETURN_IF_ERROR(append(frame_, entries.size()));
  reach(CommitPoint::kSafe, entries.size());
  next_ += records_.size();
  for (Record& record : records_) {
    if (const std::optional<std::uint64_t> step = history_.add(std::move(record))) {
      shelf_.drop_work_of(*step);
    }
  }
  return {};
}

Status JournalStore::add_blobs(const JournalEntry& entry) {
  for (const auto& [handle, part] : entry.blobs) {
    const auto [step, use] = shelf_of(entry.record);
    PINION_RETURN_IF_ERROR(shelf_.add(step, use, handle, part));
  }
  return {};
}

Status JournalStore::append(std::span<const std::byte> frame, std::size_t group_size) {
  if (frame.size() > log_capacity_ - log_end_) {
    // A snapshot of a step that goes on has all of its work, so it must not come too often.
    if (bytes_since_snapshot_ > 2 * snapshot_bytes_) {
      PINION_RETURN_IF_ERROR(write_snapshot());
    }
    PINION_RETURN_IF_ERROR(begin_log(frame.size()));
  }
  std::size_t written = 0;
  if (options_.at) {
    written = frame.size() / 2;
    PINION_RETURN_IF_ERROR(write_at(log_.get(), frame.first(written), log_end_, log_path_));
    reach(CommitPoint::kFrameTorn, group_size);
  }
  PINION_RETURN_IF_ERROR(
      write_at(log_.get(), frame.subspan(written), log_end_ + written, log_path_));
  PINION_RETURN_IF_ERROR(sync_file(log_.get(), log_path_));
  log_end_ += frame.size();
  bytes_since_snapshot_ += frame.size();
  return {};
}

void JournalStore::reach(CommitPoint point, std::size_t group_size) const {
  if (options_.at) {
    options_.at(point, next_ - first_ + group_size);
  }
}

}  // namespace pinion
