#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include <pinion/core/blob.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/protocol/messages.hpp>

namespace pinion {

/// Who a line of the log is about.
struct LoggedRank {
  std::uint32_t rank = 0;
  std::uint32_t incarnation = 1;
};

/// The history of a job as lines of JSON, written out one by one so that a reader may follow it:
/// who joined and died, what was granted, accepted and refused, whose memory went to whom.
///
/// Thread safety: none.
class GrantLog {
 public:
  /// A log that goes nowhere.
  GrantLog() = default;

  /// In tests the process stops itself (SIGSTOP) once the log has `stop_after` lines; 0: never.
  /// Errors: those of opening the file.
  [[nodiscard]] static Result<GrantLog> open(const std::string& path, std::uint64_t stop_after = 0);

  void joined(LoggedRank who, std::int64_t pid);
  void lost(LoggedRank who, const std::string& reason, bool returns);
  void left(LoggedRank who);
  void host_lost(std::uint32_t host, const std::string& reason);
  void granted(LoggedRank who, const protocol::Grant& grant);
  void settled(LoggedRank who, const protocol::Report& report, const protocol::Failure& verdict);
  void failed(LoggedRank who, const protocol::BatchFailed& failed);
  void step_done(LoggedRank told, std::uint64_t step);
  void descriptor_passed(LoggedRank to, LoggedRank made_by, const BlobHandle& blob);

 private:
  void write(const std::string& line);

  struct Close {
    void operator()(std::FILE* file) const noexcept { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, Close> file_;
  std::uint64_t line_count_ = 0;
  std::uint64_t stop_after_ = 0;
};

}  // namespace pinion
