#include <pinion/numa/cpu_list.hpp>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <optional>

#include <pinion/core/detail/cpu_list.hpp>

namespace pinion {
namespace {

constexpr unsigned kCpuCountMax = 65536;  // Eight times what Linux can have.

// The number that `text` is, all of it.
std::optional<unsigned> parse_cpu(std::string_view text) {
  unsigned cpu = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), cpu);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && cpu < kCpuCountMax ? std::optional(cpu) : std::nullopt;
}

}  // namespace

std::string format_cpu_list(std::vector<unsigned> cpus) {
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return detail::to_cpu_list(cpus);
}

Result<std::vector<unsigned>> parse_cpu_list(std::string_view list) {
  std::vector<unsigned> cpus;
  std::size_t begin = 0;
  while (begin <= list.size()) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    const std::string_view range = list.substr(begin, end - begin);
    const std::size_t dash = range.find('-');
    const std::optional<unsigned> first = parse_cpu(range.substr(0, dash));
    const std::optional<unsigned> last =
        dash == std::string_view::npos ? first : parse_cpu(range.substr(dash + 1));
    if (!first || !last || *first > *last) {
      return Status(ErrorCode::kInvalidArgument,
                    "'" + std::string(list) + "' is no list of CPUs, because of '" +
                        std::string(range) +
                        "'; it must be numbers below 65536 and ascending ranges, such as 0-3,8");
    }
    for (unsigned cpu = *first; cpu <= *last; ++cpu) {
      cpus.push_back(cpu);
    }
    begin = end + 1;
  }
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return cpus;
}

}  // namespace pinion
