// What the agent keeps for the one that resumes the job.

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include <pinion/shard/protocol/wire.hpp>

#include "agent/agent.hpp"
#include "journal/resume.hpp"

namespace pinion {
namespace {

constexpr std::uint64_t kPointsOfACommit = 5;

// For tests: dies in the commit of record `number` / 5 of this epoch, at point `number` % 5 of it.
std::function<void(CommitPoint, std::uint64_t)> death_at(std::uint64_t number) {
  if (number == 0) {
    return {};
  }
  return [number](CommitPoint point, std::uint64_t record_count) {
    if (record_count > number / kPointsOfACommit &&
        static_cast<std::uint64_t>(point) >= number % kPointsOfACommit) {
      kill(getpid(), SIGKILL);
    }
  };
}

}  // namespace

Status Agent::take_up_journal(JournalStart start) {
  if (!start.folder) {
    return {};
  }
  journal_folder_ = std::move(start.folder);
  const std::string& path = journal_folder_->path();
  if (const std::string weakness = find_weakness(path); !weakness.empty()) {
    say("pinion: " + weakness);
  }
  JournalContents& contents = start.contents;
  Result<std::vector<protocol::Record>> records = load_blobs(
      contents, [this](const BlobHandle& handle, Place home, std::span<const std::byte> bytes) {
        return load_blob(handle, home, bytes);
      });
  if (!records) {
    return std::move(records).error();
  }
  for (const std::string& remark : contents.remarks) {
    say("pinion: " + remark);
  }
  protocol::RecordHistory history;
  for (const protocol::Record& record : *records) {
    ended_before_ = ended_before_ || std::holds_alternative<protocol::JobEnded>(record);
    history.add(record);
  }
  if (ended_before_) {
    say(fmt::format("pinion: the job of {} has ended in good order; nothing is left to do", path));
    return {};
  }
  if (epoch_ > 1) {
    say(fmt::format("pinion: the job of {} goes on, in epoch {}", path, epoch_));
  }
  Result<JournalStore> store = JournalStore::open(path, epoch_, std::move(history), contents.next,
                                                  {.at = death_at(settings_.test_journal_kill)});
  if (!store) {
    return std::move(store).error().with_context("the journal cannot be kept");
  }
  Result<std::unique_ptr<Journal>> journal = Journal::start(*std::move(store));
  if (!journal) {
    return std::move(journal).error();
  }
  journal_ = *std::move(journal);
  driver_->restore(*records);
  return {};
}

// As ranks do: what does not fit into half of the memory goes to the disk.
Status Agent::load_blob(const BlobHandle& handle, Place home, std::span<const std::byte> bytes) {
  const std::uint64_t held_bytes_max = settings_.memory_bytes / 2 * ranks_.size();
  const std::uint64_t held_bytes = segments_.usage().memory_bytes;
  const bool fits = held_bytes <= held_bytes_max && bytes.size() <= held_bytes_max - held_bytes;
  return segments_.restore(handle, home, bytes, fits ? "" : settings_.spill_directory);
}

// A report of another host counts once its output is here, so that a record of it can be safe.
void Agent::copy_for_journal(HeldMessage& held) {
  const auto* const from = std::get_if<FromRank>(&held.said.message);
  if (from == nullptr) {
    return;
  }
  const Result<protocol::Decoded> decoded = protocol::decode(from->message);
  if (!decoded) {
    return;  // It is refused when it is handled.
  }
  const auto* const report = std::get_if<protocol::Report>(&decoded->message);
  if (report != nullptr && report->stage == protocol::Stage::kCombine) {
    return;  // No record names it.
  }
  const Result<BlobMemory>& memory = blob_memory();
  for (const BlobHandle& blob : blobs_named_by(decoded->message)) {
    if (!is_with_us(blob)) {
      ++held.missing_count;
      copies_->fetch({.client = kJournalClient, .request = held.number}, blob, home_of_copies(0),
                     memory ? &*memory : nullptr);
    }
  }
}

void Agent::copy_for_journal_is_here(std::uint64_t number, const BlobHandle& handle,
                                     const Status& outcome) {
  const auto held =
      std::find_if(held_messages_.begin(), held_messages_.end(),
                   [number](const HeldMessage& message) { return message.number == number; });
  if (held == held_messages_.end()) {
    copies_->table().let_go(kJournalClient, handle);  // Its host is lost, and the message with it.
    return;
  }
  --held->missing_count;
  if (outcome.ok()) {
    held->copies.push_back(handle);
  } else {
    held->failure = outcome;
  }
}

Result<std::uint64_t> Agent::persist(protocol::Record record) {
  JournalEntry entry;
  // What has ended names what was accepted before.
  if (!std::holds_alternative<protocol::StepEnded>(record)) {
    for (const BlobHandle& blob : protocol::blobs_of(record)) {
      Result<BlobFilePart> part =
          is_with_us(blob) ? segments_.file_part_of(blob) : copies_->table().file_part_of(blob);
      if (!part) {
        return std::move(part).error();
      }
      entry.blobs.emplace_back(blob, *std::move(part));
    }
  }
  entry.record = std::move(record);
  return journal_->submit(std::move(entry));
}

void Agent::serve_journal() {
  if (!journal_) {
    return;
  }
  driver_->records_are_safe(journal_->safe_count());
  if (const Status failure = journal_->failure(); !failure.ok()) {
    driver_->no_record_is_safe(failure);
  }
}

// The ranks have ended.
void Agent::end_journal() {
  if (!journal_ || exit_status_ || first_failure_) {
    return;
  }
  journal_->submit({.record = protocol::JobEnded{}});
  if (const Status ended = journal_->wait_until_safe(); !ended.ok()) {
    say("pinion: the journal does not say that the job has ended: " + ended.to_string());
  }
}

}  // namespace pinion
