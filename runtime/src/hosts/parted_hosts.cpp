#include "hosts/parted_hosts.hpp"

#include <algorithm>
#include <utility>

namespace pinion {

void PartedHosts::add(std::uint32_t host, std::uint32_t other, Instant now, std::string reason) {
  const std::uint32_t first = std::min(host, other);
  const std::uint32_t second = std::max(host, other);
  if (first != second && known_.emplace(first, second).second) {
    pairs_.push_back({first, second, now, std::move(reason)});
  }
}

void PartedHosts::forget(std::uint32_t host) {
  const auto is_of_host = [host](const auto& pair) {
    return pair.first == host || pair.second == host;
  };
  std::erase_if(pairs_, is_of_host);
  std::erase_if(known_, is_of_host);
}

std::optional<Instant> PartedHosts::due() const {
  return pairs_.empty() ? std::nullopt : std::optional(pairs_.front().since + patience_);
}

std::optional<PartedHosts::Choice> PartedHosts::choose(Instant now) const {
  const std::optional<Instant> due = this->due();
  if (!due || now < *due) {
    return std::nullopt;
  }
  const Pair& pair = pairs_.front();
  const bool is_first = count_of(pair.first) > count_of(pair.second);
  return Choice{.host = is_first ? pair.first : pair.second,
                .other = is_first ? pair.second : pair.first,
                .reason = pair.reason};
}

std::size_t PartedHosts::count_of(std::uint32_t host) const {
  return static_cast<std::size_t>(std::count_if(
      pairs_.begin(), pairs_.end(),
      [host](const Pair& pair) { return pair.first == host || pair.second == host; }));
}

}  // namespace pinion
