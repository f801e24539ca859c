#include "launch/join_launcher.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "launch/start_agent.hpp"

namespace pinion {
namespace {

// One process's part in becoming a rank.
class Joining {
 public:
  Joining(IExchange& exchange, const StartAgent& start) : exchange_(exchange), start_(start) {}

  Status meet(const LaunchedProcess& self) {
    const Result<std::vector<std::string>> told = exchange_.gather(encode_launched_process(self));
    if (!told) {
      return told.error();
    }
    for (const std::string& text : *told) {
      Result<LaunchedProcess> process = decode_launched_process(text);
      if (!process) {
        return std::move(process).error();
      }
      processes_.push_back(*std::move(process));
    }
    job_ = job_of(processes_);
    host_ = job_.host_of[exchange_.process()];
    return {};
  }

  [[nodiscard]] bool is_first() const { return job_.first_of[host_] == exchange_.process(); }

  // The report of the agent that `process` starts, which others wait for.
  Result<AgentReport> start_and_tell(bool starts, const LaunchedProgram& program,
                                     const AgentReport& head, std::vector<std::string>& told) {
    AgentReport own;
    if (starts) {
      Result<AgentReport> report = start_(description(program, head));
      own = report ? *std::move(report) : AgentReport{.outcome = std::move(report).error()};
    }
    Result<std::vector<std::string>> all =
        exchange_.gather(starts ? encode_agent_report(own) : std::string());
    if (!all) {
      return std::move(all).error();
    }
    told = *std::move(all);
    return own;
  }

  // What the agent of a host has reported, where it is ready.
  [[nodiscard]] Result<AgentReport> report_of(std::uint32_t host,
                                              const std::vector<std::string>& told) const {
    Result<AgentReport> report = decode_agent_report(told[job_.first_of[host]]);
    if (report && !report->outcome.ok()) {
      return std::move(report->outcome).with_context(job_.hosts[host].name);
    }
    return report;
  }

  [[nodiscard]] std::uint32_t host() const { return host_; }
  [[nodiscard]] std::uint32_t host_count() const {
    return static_cast<std::uint32_t>(job_.hosts.size());
  }

 private:
  [[nodiscard]] LaunchedHost description(const LaunchedProgram& program,
                                         const AgentReport& head) const {
    LaunchedHost host{.spec = {.command = {program.name},
                               .rank_count = exchange_.process_count(),
                               .on_failure = OnFailure::kContinue,
                               .settings = program.settings},
                      .host = host_,
                      .job = head.job,
                      .epoch = head.epoch,
                      .token = head.token,
                      .head_address = head.head_address};
    if (job_.hosts.size() > 1) {
      host.spec.hosts = job_.hosts;
    }
    for (std::uint32_t process = 0; process < processes_.size(); ++process) {
      if (job_.host_of[process] == host_) {
        host.processes.push_back(processes_[process]);
      }
    }
    return host;
  }

  IExchange& exchange_;
  const StartAgent& start_;
  std::vector<LaunchedProcess> processes_;
  LaunchedJob job_;
  std::uint32_t host_ = 0;
};

}  // namespace

Result<AgentConnection> become_ranks(std::unique_ptr<IExchange> exchange,
                                     const LaunchedProcess& self, const LaunchedProgram& program,
                                     const StartAgent& start) {
  Joining joining(*exchange, start);
  PINION_RETURN_IF_ERROR(joining.meet(self));
  std::vector<std::string> told;
  const bool is_head = exchange->process() == 0;
  Result<AgentReport> report = joining.start_and_tell(is_head, program, {}, told);
  if (!report) {
    return std::move(report).error();
  }
  const Result<AgentReport> head = joining.report_of(0, told);
  if (!head) {
    return head.error();
  }
  std::string socket = head->socket;
  if (joining.host_count() > 1) {
    report = joining.start_and_tell(joining.is_first() && !is_head, program, *head, told);
    if (!report) {
      return std::move(report).error();
    }
    for (std::uint32_t host = 1; host < joining.host_count(); ++host) {
      const Result<AgentReport> other = joining.report_of(host, told);
      if (!other) {
        return other.error();
      }
      socket = host == joining.host() ? other->socket : socket;
    }
  }
  const bool is_first = joining.is_first();
  exchange.reset();
  Result<UniqueFd> connected = connect_to_agent(socket);
  if (!connected) {
    return std::move(connected).error();
  }
  return AgentConnection{*std::move(connected), is_first};
}

}  // namespace pinion
