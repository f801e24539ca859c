#include "grant_log.hpp"

#include <signal.h>

#include <cerrno>
#include <vector>

#include <nlohmann/json.hpp>

namespace pinion {
namespace {

using nlohmann::json;

json line_of(const char* event, LoggedRank who) {
  return {{"event", event}, {"rank", who.rank}, {"incarnation", who.incarnation}};
}

const char* name_of(protocol::Stage stage) {
  switch (stage) {
    case protocol::Stage::kMap:
      return "map";
    case protocol::Stage::kCombine:
      return "combine";
    case protocol::Stage::kMerge:
      break;
  }
  return "merge";
}

json units_of(const std::vector<protocol::Lease>& leases) {
  json units = json::array();
  for (const protocol::Lease& lease : leases) {
    units.push_back(lease.unit);
  }
  return units;
}

json fences_of(const std::vector<protocol::Lease>& leases) {
  json fences = json::array();
  for (const protocol::Lease& lease : leases) {
    fences.push_back(lease.fence.counter);
  }
  return fences;
}

// The words of a failure may hold a path that is not UTF-8.
std::string text_of(const json& line) {
  return line.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

Result<GrantLog> GrantLog::open(const std::string& path, std::uint64_t stop_after) {
  GrantLog log;
  log.stop_after_ = stop_after;
  log.file_.reset(std::fopen(path.c_str(), "we"));
  if (!log.file_) {
    return Status::from_errno(errno, "cannot write the grant log " + path);
  }
  return log;
}

void GrantLog::write(const std::string& line) {
  // Flushed at once: the log must tell the story up to the moment of a crash.
  std::fprintf(file_.get(), "%s\n", line.c_str());
  std::fflush(file_.get());
  if (++line_count_ == stop_after_) {
    raise(SIGSTOP);
  }
}

void GrantLog::joined(LoggedRank who, std::int64_t pid) {
  if (file_) {
    json line = line_of("joined", who);
    line["pid"] = pid;
    write(text_of(line));
  }
}

void GrantLog::lost(LoggedRank who, const std::string& reason, bool returns) {
  if (file_) {
    json line = line_of("lost", who);
    line["reason"] = reason;
    line["returns"] = returns;
    write(text_of(line));
  }
}

void GrantLog::left(LoggedRank who) {
  if (file_) {
    write(text_of(line_of("left", who)));
  }
}

void GrantLog::host_lost(std::uint32_t host, const std::string& reason) {
  if (file_) {
    write(text_of({{"event", "host_lost"}, {"host", host}, {"reason", reason}}));
  }
}

void GrantLog::granted(LoggedRank who, const protocol::Grant& grant) {
  if (file_ && !grant.leases.empty()) {
    json line = line_of("grant", who);
    line["step"] = grant.step;
    line["stage"] = name_of(grant.stage);
    line["units"] = units_of(grant.leases);
    line["fences"] = fences_of(grant.leases);
    write(text_of(line));
  }
}

void GrantLog::settled(LoggedRank who, const protocol::Report& report,
                       const protocol::Failure& verdict) {
  if (file_) {
    json line = line_of(verdict.code == ErrorCode::kOk ? "accepted" : "refused", who);
    line["step"] = report.step;
    line["stage"] = name_of(report.stage);
    line["units"] = units_of(report.batch);
    line["fences"] = fences_of(report.batch);
    line["segment"] = report.output.segment;
    line["bytes"] = report.output.length_bytes;
    if (verdict.code != ErrorCode::kOk) {
      line["why"] = verdict.text;
    }
    write(text_of(line));
  }
}

void GrantLog::failed(LoggedRank who, const protocol::BatchFailed& failed) {
  if (file_) {
    json line = line_of("failed", who);
    line["step"] = failed.step;
    line["stage"] = name_of(failed.stage);
    line["unit"] = failed.bad_unit;
    line["units"] = units_of(failed.batch);
    line["why"] = failed.failure.text;
    write(text_of(line));
  }
}

void GrantLog::drained(LoggedRank told) {
  if (file_) {
    write(text_of(line_of("drained", told)));
  }
}

void GrantLog::step_done(LoggedRank told, std::uint64_t step) {
  if (file_) {
    json line = line_of("done", told);
    line["step"] = step;
    write(text_of(line));
  }
}

void GrantLog::descriptor_passed(LoggedRank to, LoggedRank made_by, const BlobHandle& blob) {
  if (file_) {
    json line = line_of("descriptor", to);
    line["made_by_rank"] = made_by.rank;
    line["made_by_incarnation"] = made_by.incarnation;
    line["segment"] = blob.segment;
    write(text_of(line));
  }
}

}  // namespace pinion
