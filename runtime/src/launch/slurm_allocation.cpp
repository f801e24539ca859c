#include "launch/slurm_allocation.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "settings.hpp"

namespace pinion {
namespace {

constexpr std::size_t kHostCountMax = 65536;

Status not_a_list(std::string_view text) {
  return {ErrorCode::kInvalidArgument,
          "'" + std::string(text) + "' is no list as Slurm writes them"};
}

std::optional<std::uint32_t> parse_number(std::string_view text) {
  std::uint32_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [last, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && last == end ? std::optional(number) : std::nullopt;
}

// The parts between commas that lie in no bracket.
std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> parts;
  std::size_t begin = 0;
  int depth = 0;
  for (std::size_t at = 0; at <= text.size(); ++at) {
    if (at == text.size() || (text[at] == ',' && depth == 0)) {
      parts.push_back(text.substr(begin, at - begin));
      begin = at + 1;
    } else {
      depth += text[at] == '[' ? 1 : text[at] == ']' ? -1 : 0;
    }
  }
  return parts;
}

// "01-03" is 01, 02, 03; "7" is itself.
bool add_range(std::string_view text, std::vector<std::string>& words) {
  const std::size_t dash = std::min(text.find('-'), text.size());
  const std::string_view from = text.substr(0, dash);
  const std::string_view to = dash < text.size() ? text.substr(dash + 1) : from;
  const std::optional<std::uint32_t> first = parse_number(from);
  const std::optional<std::uint32_t> last = parse_number(to);
  if (!first || !last || *last < *first || *last - *first >= kHostCountMax) {
    return false;
  }
  for (std::uint32_t number = *first; number <= *last; ++number) {
    std::string digits = std::to_string(number);
    if (digits.size() < from.size()) {
      digits.insert(0, from.size() - digits.size(), '0');
    }
    words.push_back(std::move(digits));
  }
  return true;
}

// The names that one part stands for: each of its brackets in turn, as with "rack[1-2]n[1-3]".
bool add_names(std::string_view text, std::vector<std::string>& names) {
  std::vector<std::string> begun = {""};
  while (!text.empty()) {
    const std::size_t open = std::min(text.find('['), text.size());
    std::vector<std::string> words = {""};
    std::size_t behind = open;
    if (open < text.size()) {
      const std::size_t close = text.find(']', open);
      if (close == std::string_view::npos) {
        return false;
      }
      words.clear();
      for (const std::string_view range : split(text.substr(open + 1, close - open - 1))) {
        if (!add_range(range, words)) {
          return false;
        }
      }
      behind = close + 1;
    }
    std::vector<std::string> longer;
    for (const std::string& name : begun) {
      for (const std::string& word : words) {
        longer.push_back(name);
        longer.back().append(text.substr(0, open)).append(word);
        if (longer.size() > kHostCountMax) {
          return false;
        }
      }
    }
    begun = std::move(longer);
    text.remove_prefix(behind);
  }
  names.insert(names.end(), begun.begin(), begun.end());
  return !begun.front().empty() && names.size() <= kHostCountMax;
}

}  // namespace

Result<std::vector<std::string>> parse_slurm_hosts(std::string_view text) {
  std::vector<std::string> names;
  for (const std::string_view part : split(text)) {
    if (!add_names(part, names)) {
      return not_a_list(text);
    }
  }
  return names;
}

Result<std::vector<std::uint32_t>> parse_slurm_counts(std::string_view text) {
  std::vector<std::uint32_t> counts;
  for (std::string_view part : split(text)) {
    std::optional<std::uint32_t> times = 1;
    if (const std::size_t open = part.find("(x"); open != std::string_view::npos) {
      times = part.ends_with(')') ? parse_number(part.substr(open + 2, part.size() - open - 3))
                                  : std::nullopt;
      part = part.substr(0, open);
    }
    const std::optional<std::uint32_t> count = parse_number(part);
    if (!count || !times || *count == 0 || counts.size() + *times > kHostCountMax) {
      return not_a_list(text);
    }
    counts.insert(counts.end(), *times, *count);
  }
  return counts;
}

Result<std::vector<HostRanks>> hosts_of_allocation() {
  const std::string list = environment_value("SLURM_JOB_NODELIST");
  if (list.empty()) {
    return std::vector<HostRanks>();
  }
  const Result<std::vector<std::string>> names = parse_slurm_hosts(list);
  if (!names) {
    return Status(names.error()).with_context("SLURM_JOB_NODELIST");
  }
  std::vector<std::uint32_t> counts(names->size(), 1);
  if (const std::string tasks = environment_value("SLURM_TASKS_PER_NODE"); !tasks.empty()) {
    Result<std::vector<std::uint32_t>> given = parse_slurm_counts(tasks);
    if (!given) {
      return std::move(given).error().with_context("SLURM_TASKS_PER_NODE");
    }
    if (given->size() != names->size()) {
      return Status(ErrorCode::kInvalidArgument, "SLURM_TASKS_PER_NODE, " + tasks +
                                                     ", speaks of other hosts than "
                                                     "SLURM_JOB_NODELIST, " +
                                                     list);
    }
    counts = *std::move(given);
  }
  std::vector<HostRanks> hosts;
  for (std::size_t host = 0; host < names->size(); ++host) {
    hosts.push_back({.name = (*names)[host], .rank_count = counts[host]});
  }
  // Slurm's names of hosts need not be theirs; it tells us which of them is this one.
  if (hosts.front().name == environment_value("SLURMD_NODENAME")) {
    hosts.front().name = "localhost";
  }
  return hosts;
}

}  // namespace pinion
