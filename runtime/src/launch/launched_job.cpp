#include "launch/launched_job.hpp"

#include <algorithm>

#include <nlohmann/json.hpp>

#include <pinion/runtime/version.hpp>

#include "launch_spec.hpp"

namespace pinion {

using nlohmann::json;

namespace {

json bytes_in_json(const std::string& bytes) {
  return json::binary({bytes.begin(), bytes.end()});
}

std::string bytes_of(const json& value) {
  const json::binary_t& bytes = value.get_binary();
  return {bytes.begin(), bytes.end()};
}

Status not_understood(const char* what, const json::exception& error) {
  return {ErrorCode::kInvalidArgument, std::string(what) + " is not understood: " + error.what()};
}

}  // namespace

LaunchedJob job_of(const std::vector<LaunchedProcess>& processes) {
  LaunchedJob job;
  std::vector<std::string> hosts;
  for (std::uint32_t process = 0; process < processes.size(); ++process) {
    const LaunchedProcess& it = processes[process];
    const auto known = std::find(hosts.begin(), hosts.end(), it.host);
    const auto host = static_cast<std::uint32_t>(known - hosts.begin());
    if (known == hosts.end()) {
      hosts.push_back(it.host);
      job.hosts.push_back({.name = it.host_name, .rank_count = 0});
      job.first_of.push_back(process);
    }
    ++job.hosts[host].rank_count;
    job.host_of.push_back(host);
  }
  return job;
}

std::string encode_launched_host(const LaunchedHost& host) {
  json value{{"version", version()}, {"spec", bytes_in_json(encode_launch_spec(host.spec))},
             {"host", host.host},    {"processes", json::array()},
             {"job", host.job},      {"epoch", host.epoch},
             {"token", host.token},  {"head_address", host.head_address}};
  for (const LaunchedProcess& process : host.processes) {
    value["processes"].push_back(bytes_in_json(encode_launched_process(process)));
  }
  std::string encoded;
  json::to_cbor(value, encoded);
  return encoded;
}

Result<LaunchedHost> decode_launched_host(std::string_view text) {
  try {
    const json value = json::from_cbor(text);
    if (const std::string theirs = value.at("version"); theirs != version()) {
      return Status(ErrorCode::kFailedPrecondition, "the program was built with Pinion " + theirs +
                                                        ", the agent is " + std::string(version()) +
                                                        "; use one");
    }
    Result<LaunchSpec> spec = decode_launch_spec(bytes_of(value.at("spec")));
    if (!spec) {
      return std::move(spec).error();
    }
    LaunchedHost host{.spec = *std::move(spec)};
    value.at("host").get_to(host.host);
    for (const json& process : value.at("processes")) {
      Result<LaunchedProcess> decoded = decode_launched_process(bytes_of(process));
      if (!decoded) {
        return std::move(decoded).error();
      }
      host.processes.push_back(*std::move(decoded));
    }
    value.at("job").get_to(host.job);
    value.at("epoch").get_to(host.epoch);
    value.at("token").get_to(host.token);
    value.at("head_address").get_to(host.head_address);
    if ((host.host > 0 && host.host >= host.spec.hosts.size()) ||
        host.processes.size() != share_of(host.spec, host.host).rank_count) {
      return Status(ErrorCode::kInvalidArgument,
                    "the description of a host has other processes than its job");
    }
    return host;
  } catch (const json::exception& error) {
    return not_understood("the description of a host", error);
  }
}

std::string encode_agent_report(const AgentReport& report) {
  std::string encoded;
  json::to_cbor(json{{"code", static_cast<unsigned>(report.outcome.code())},
                     {"text", report.outcome.message()},
                     {"socket", report.socket},
                     {"job", report.job},
                     {"epoch", report.epoch},
                     {"token", report.token},
                     {"head_address", report.head_address}},
                encoded);
  return encoded;
}

Result<AgentReport> decode_agent_report(std::string_view text) {
  try {
    const json value = json::from_cbor(text);
    AgentReport report;
    if (const auto code = value.at("code").get<std::uint8_t>(); code != 0) {
      report.outcome = Status(error_info(static_cast<ErrorCode>(code)).code,
                              value.at("text").get<std::string>());
    }
    value.at("socket").get_to(report.socket);
    value.at("job").get_to(report.job);
    value.at("epoch").get_to(report.epoch);
    value.at("token").get_to(report.token);
    value.at("head_address").get_to(report.head_address);
    return report;
  } catch (const json::exception& error) {
    return not_understood("what an agent reports", error);
  }
}

}  // namespace pinion
