// What a journal says whose process is gone.

#include <algorithm>
#include <charconv>
#include <iterator>
#include <limits>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include <pinion/shard/protocol/journal_format.hpp>

#include "journal/disk_file.hpp"
#include "journal/journal_store.hpp"
#include "journal/log_name.hpp"

namespace pinion {
namespace {

using protocol::Record;

constexpr std::size_t kSlotCount = 2;

Status read_snapshots(const std::string& folder, JournalContents& contents) {
  std::vector<std::byte> bytes[kSlotCount];
  for (std::size_t slot = 0; slot < kSlotCount; ++slot) {
    Result<std::vector<std::byte>> file = read_whole_file(snapshot_path(folder, slot));
    if (!file) {
      if (file.error().code() != ErrorCode::kNotFound) {
        return std::move(file).error();
      }
      continue;
    }
    bytes[slot] = *std::move(file);
    const Result<protocol::Snapshot> snapshot = protocol::decode_snapshot(bytes[slot]);
    if (!snapshot && snapshot.error().code() == ErrorCode::kUnimplemented) {
      return snapshot.error();
    }
    if (!snapshot) {
      contents.remarks.push_back(snapshot_path(folder, slot) + ": " +
                                 std::string(snapshot.error().message()));
    }
  }
  if (std::optional<protocol::Snapshot> chosen = protocol::choose_snapshot(bytes[0], bytes[1])) {
    contents.next = chosen->next;
    contents.records = std::move(chosen->records);
  }
  return {};
}

// The number of the first record that a later epoch wrote: what an earlier one may have left from
// there on, it never told to anybody.
std::uint64_t end_of_epoch(const std::vector<LogName>& logs, std::uint32_t epoch) {
  std::uint64_t end = std::numeric_limits<std::uint64_t>::max();
  for (const LogName& log : logs) {
    end = log.epoch > epoch ? std::min(end, log.first) : end;
  }
  return end;
}

// Appends what the log has from record `contents.next` on. False when nothing behind it can be
// used.
Result<bool> read_log_file(const std::string& path, const LogName& name, std::uint64_t end,
                           JournalContents& contents) {
  if (name.first >= end) {
    return true;
  }
  if (name.first > contents.next) {
    contents.remarks.push_back(fmt::format("{}: it begins with record {}, where record {} is due",
                                           path, name.first, contents.next));
    return false;
  }
  const Result<std::vector<std::byte>> bytes = read_whole_file(path);
  if (!bytes) {
    return bytes.error();
  }
  protocol::LogContents log = protocol::read_log(*bytes, name.first);
  if (log.stop == protocol::LogStop::kVersion) {
    return Status(ErrorCode::kUnimplemented, path + ": " + log.reason);
  }
  if (log.stop != protocol::LogStop::kEnd) {
    contents.remarks.push_back(path + ": " + log.reason + "; what it said is done again");
  }
  const std::uint64_t log_end = std::min(end, name.first + log.records.size());
  for (std::uint64_t number = contents.next; number < log_end; ++number) {
    contents.records.push_back(
        std::move(log.records[static_cast<std::size_t>(number - name.first)]));
  }
  contents.next = std::max(contents.next, log_end);
  return true;
}

}  // namespace

std::string LogName::text() const {
  return fmt::format("{}-{}", epoch, first);
}

std::optional<LogName> LogName::parse(std::string_view text) {
  LogName name;
  const char* const end = text.data() + text.size();
  const auto epoch = std::from_chars(text.data(), end, name.epoch);
  if (epoch.ec != std::errc() || epoch.ptr == end || *epoch.ptr != '-') {
    return std::nullopt;
  }
  std::from_chars(epoch.ptr + 1, end, name.first);
  return name.text() == text ? std::optional(name) : std::nullopt;
}

std::string log_folder(const std::string& folder) {
  return folder + "/log";
}

std::string blob_folder(const std::string& folder) {
  return folder + "/blobs";
}

std::string snapshot_name(std::size_t slot) {
  return fmt::format("snapshot.{}", slot);
}

std::string snapshot_path(const std::string& folder, std::size_t slot) {
  return folder + "/" + snapshot_name(slot);
}

Result<std::vector<LogName>> logs_in(const std::string& folder) {
  const Result<std::vector<std::string>> names = names_in(log_folder(folder));
  std::vector<LogName> logs;
  if (!names) {
    return names.error().code() == ErrorCode::kNotFound ? Result<std::vector<LogName>>(logs)
                                                        : names.error();
  }
  for (const std::string& text : *names) {
    if (const std::optional<LogName> name = LogName::parse(text)) {
      logs.push_back(*name);
    }
  }
  std::sort(logs.begin(), logs.end());
  return logs;
}

Result<JournalContents> read_journal(const std::string& folder) {
  JournalContents contents;
  PINION_RETURN_IF_ERROR(read_snapshots(folder, contents));
  const Result<std::vector<LogName>> logs = logs_in(folder);
  if (!logs) {
    return logs.error();
  }
  bool goes_on = true;
  for (const LogName& name : *logs) {
    contents.epoch_max = std::max(contents.epoch_max, name.epoch);
    if (goes_on) {
      const Result<bool> read = read_log_file(log_folder(folder) + "/" + name.text(), name,
                                              end_of_epoch(*logs, name.epoch), contents);
      if (!read) {
        return read.error();
      }
      goes_on = *read;
    }
  }
  Result<ShelfContents> shelf = read_shelf(blob_folder(folder));
  if (!shelf) {
    return std::move(shelf).error();
  }
  contents.epoch_max = std::max(contents.epoch_max, shelf->epoch_max);
  for (const Record& record : contents.records) {
    if (const auto* begun = std::get_if<protocol::EpochBegun>(&record)) {
      contents.epoch_max = std::max(contents.epoch_max, begun->epoch);
    }
  }
  contents.blobs = std::move(shelf->blobs);
  return contents;
}

}  // namespace pinion
