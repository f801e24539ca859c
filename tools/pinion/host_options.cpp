#include "host_options.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <utility>

#include <fmt/format.h>

namespace pinion {
namespace {

constexpr std::uint32_t kRankCountMax = 65536;

Status wrong(std::string text) {
  return Status(ErrorCode::kInvalidArgument, std::move(text));
}

std::optional<std::uint32_t> parse_count(std::string_view text) {
  std::uint32_t count = 0;
  const char* const end = text.data() + text.size();
  const auto [last, error] = std::from_chars(text.data(), end, count);
  return error == std::errc() && last == end && count >= 1 && count <= kRankCountMax
             ? std::optional(count)
             : std::nullopt;
}

// "name", "name:2"; an address with colons of its own is "[address]" or "[address]:2".
Result<HostRanks> parse_host(std::string_view text) {
  std::string_view name = text;
  std::optional<std::string_view> count;
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) {
      return wrong(fmt::format("'{}' has no ]; it must be [ADDRESS] or [ADDRESS]:RANKS", text));
    }
    name = text.substr(1, close - 1);
    const std::string_view rest = text.substr(close + 1);
    if (!rest.empty() && rest.front() != ':') {
      return wrong(fmt::format("'{}' must be [ADDRESS] or [ADDRESS]:RANKS", text));
    }
    count = rest.empty() ? std::nullopt : std::optional(rest.substr(1));
  } else if (const std::size_t colon = text.find(':'); colon != std::string_view::npos) {
    name = text.substr(0, colon);
    count = text.substr(colon + 1);
  }
  if (name.empty()) {
    return wrong(fmt::format("'{}' names no host; it must be HOST or HOST:RANKS", text));
  }
  const std::optional<std::uint32_t> number = count ? parse_count(*count) : std::optional(1u);
  if (!number) {
    return wrong(fmt::format("'{}': the ranks of a host must be 1 to {}", text, kRankCountMax));
  }
  return HostRanks{std::string(name), *number};
}

void add_to(std::vector<HostRanks>& hosts, HostRanks host) {
  const auto known = std::find_if(hosts.begin(), hosts.end(),
                                  [&](const HostRanks& it) { return it.name == host.name; });
  if (known == hosts.end()) {
    hosts.push_back(std::move(host));
  } else {
    known->rank_count += host.rank_count;
  }
}

// A line of a file without what follows a #; the words that it has.
std::vector<std::string> words_of(const std::string& line) {
  std::istringstream in(line.substr(0, line.find('#')));
  return {std::istream_iterator<std::string>(in), std::istream_iterator<std::string>()};
}

}  // namespace

Result<std::vector<HostRanks>> parse_host_list(std::string_view text) {
  std::vector<HostRanks> hosts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    Result<HostRanks> host = parse_host(text.substr(begin, end - begin));
    if (!host) {
      return std::move(host).error();
    }
    add_to(hosts, *std::move(host));
    begin = end + 1;
  }
  return hosts;
}

Result<std::vector<HostRanks>> read_hostfile(const std::string& path) {
  constexpr std::string_view kSlots = "slots=";
  errno = 0;
  std::ifstream file(path);
  if (!file) {
    return Status::from_errno(errno == 0 ? ENOENT : errno, "cannot read " + path);
  }
  std::vector<HostRanks> hosts;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    const std::vector<std::string> words = words_of(line);
    if (words.empty()) {
      continue;
    }
    const bool has_slots = words.size() == 2 && words[1].starts_with(kSlots);
    Result<HostRanks> host =
        words.size() == 1 ? parse_host(words[0])
        : has_slots       ? parse_host(words[0] + ":" + words[1].substr(kSlots.size()))
                    : Result<HostRanks>(wrong("it must be HOST, HOST:RANKS or HOST slots=RANKS"));
    if (!host) {
      return std::move(host).error().with_context(fmt::format("{}, line {}", path, number));
    }
    add_to(hosts, *std::move(host));
  }
  if (hosts.empty()) {
    return wrong(path + " names no host");
  }
  return hosts;
}

Result<std::vector<HostRanks>> fill_hosts(std::vector<HostRanks> hosts, std::uint64_t rank_count) {
  std::vector<HostRanks> filled;
  std::uint64_t left = rank_count;
  for (HostRanks& host : hosts) {
    if (left == 0) {
      break;
    }
    host.rank_count = static_cast<std::uint32_t>(std::min<std::uint64_t>(host.rank_count, left));
    left -= host.rank_count;
    filled.push_back(std::move(host));
  }
  if (left > 0) {
    return Status(ErrorCode::kResourceExhausted,
                  fmt::format("-n asks for {} ranks, and the hosts have room for {}; give them "
                              "more, as in --host a:4,b:4",
                              rank_count, rank_count - left));
  }
  return filled;
}

}  // namespace pinion
