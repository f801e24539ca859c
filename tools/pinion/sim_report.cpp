#include "sim_report.hpp"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "text_columns.hpp"

namespace pinion {
namespace {

using Json = nlohmann::ordered_json;

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

double milliseconds(Duration duration) {
  return seconds(duration) * 1e3;
}

double per_second(std::uint64_t count, Duration duration) {
  return duration > Duration::zero() ? static_cast<double>(count) / seconds(duration) : 0;
}

/// Of the steps of the coordinator that were timed.
double coordinator_ns(const sim::Figures& figures) {
  return figures.timed_steps == 0 ? 0
                                  : static_cast<double>(figures.timed.count()) /
                                        static_cast<double>(figures.timed_steps);
}

/// The value that `share` of the samples do not exceed. Precondition: there are some, in order.
Duration quantile(const std::vector<Duration>& ordered, double share) {
  return ordered[static_cast<std::size_t>(share * static_cast<double>(ordered.size() - 1))];
}

std::vector<Duration> in_order(std::vector<Duration> samples) {
  std::sort(samples.begin(), samples.end());
  return samples;
}

std::string quantiles_text(const std::vector<Duration>& samples) {
  if (samples.empty()) {
    return "none";
  }
  const std::vector<Duration> ordered = in_order(samples);
  return fmt::format("{} units, p50 {:.1f} ms, p99 {:.1f} ms, at most {:.1f} ms", ordered.size(),
                     milliseconds(quantile(ordered, 0.5)), milliseconds(quantile(ordered, 0.99)),
                     milliseconds(ordered.back()));
}

Json quantiles_json(const std::vector<Duration>& samples) {
  if (samples.empty()) {
    return {{"units", 0}};
  }
  const std::vector<Duration> ordered = in_order(samples);
  return {{"units", ordered.size()},
          {"p50_ms", milliseconds(quantile(ordered, 0.5))},
          {"p99_ms", milliseconds(quantile(ordered, 0.99))},
          {"max_ms", milliseconds(ordered.back())}};
}

std::string faults_text(const sim::FaultCounts& faults) {
  std::string text;
  for (std::size_t i = 0; i < sim::kFaultCount; ++i) {
    if (faults.of[i] > 0) {
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", sim::fault_table()[i].name,
                          faults.of[i]);
    }
  }
  return text.empty() ? "none" : text;
}

/// What is rare and did not come, a line each; where nothing was to go wrong, nearly all of it, so
/// only how much.
std::vector<TextRow> rows_of_rare_paths(const sim::World& world) {
  const std::vector<std::string_view> names = world.probes().never_reached();
  if (names.empty() || !world.options().faults.any()) {
    return {{"never reached",
             fmt::format("{} of {} rare paths", names.size(), sim::kProbeNames.size())}};
  }
  std::vector<TextRow> rows;
  for (const std::string_view name : names) {
    rows.push_back({rows.empty() ? "never reached" : "", std::string(name)});
  }
  return rows;
}

}  // namespace

std::string sim_text(const sim::World& world, Duration wall) {
  const sim::SimOptions& options = world.options();
  const sim::Figures& figures = world.figures();
  std::vector<TextRow> rows = {
      {"job", fmt::format("{} ranks, {} steps of {} shards, seed {}", options.rank_count,
                          options.step_count, options.shard_count, options.seed)},
      {"makespan",
       fmt::format("{:.3f} s, simulated in {:.2f} s", seconds(figures.makespan), seconds(wall))},
      {"events", fmt::format("{}, {:.2f} million a second", figures.events,
                             per_second(figures.events, wall) / 1e6)},
      {"messages", fmt::format("{}", figures.messages)},
      {"coordinator", fmt::format("{} events, {:.0f} ns each", figures.coordinator_events,
                                  coordinator_ns(figures))},
      {"reports",
       fmt::format("{} accepted, {} refused", figures.accepted_reports, figures.refused_reports)},
      {"granted again", fmt::format("{} units", figures.regrants)},
      {"  after a death", quantiles_text(figures.regrant_after_death)},
      {"  after silence", quantiles_text(figures.regrant_after_silence)},
      {"faults", faults_text(world.faults())},
      {"hash", fmt::format("{:016x}", world.hash())}};
  const std::vector<TextRow> rare = rows_of_rare_paths(world);
  rows.insert(rows.end() - 1, rare.begin(), rare.end());
  std::string text;
  for (const std::string& line : align(rows)) {
    text += line + "\n";
  }
  return text;
}

std::string sim_json(const sim::World& world, Duration wall, const std::string& violation) {
  const sim::SimOptions& options = world.options();
  const sim::Figures& figures = world.figures();
  Json faults = Json::object();
  for (std::size_t i = 0; i < sim::kFaultCount; ++i) {
    faults[std::string(sim::fault_table()[i].name)] = world.faults().of[i];
  }
  Json never_reached = Json::array();
  for (const std::string_view name : world.probes().never_reached()) {
    never_reached.push_back(name);
  }
  const Json json = {{"options", options.to_string()},
                     {"violation", violation.empty() ? Json() : Json(violation)},
                     {"makespan_s", seconds(figures.makespan)},
                     {"wall_s", seconds(wall)},
                     {"events", figures.events},
                     {"events_per_second", per_second(figures.events, wall)},
                     {"messages", figures.messages},
                     {"coordinator_events", figures.coordinator_events},
                     {"coordinator_ns_per_event", coordinator_ns(figures)},
                     {"accepted_reports", figures.accepted_reports},
                     {"refused_reports", figures.refused_reports},
                     {"units_granted_again", figures.regrants},
                     {"granted_again_after_death", quantiles_json(figures.regrant_after_death)},
                     {"granted_again_after_silence", quantiles_json(figures.regrant_after_silence)},
                     {"faults", std::move(faults)},
                     {"never_reached", std::move(never_reached)},
                     {"hash", fmt::format("{:016x}", world.hash())}};
  return json.dump(2) + "\n";
}

}  // namespace pinion
