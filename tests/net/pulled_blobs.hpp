#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <istream>
#include <optional>
#include <sstream>
#include <string>

namespace pinion {

/// What a host pulled from another one, as the summary of a job has it.
struct PulledBlobs {
  double bytes = 0;
  std::uint64_t count = 0;
  bool has_rate = false;  ///< It says how quickly large ones came, so there were some.
};

/// Reads "1.50 MiB in 3 pulls", and " (at 1.20 GiB/s)" where that follows.
[[nodiscard]] inline std::optional<PulledBlobs> read_pulled(std::istream& words) {
  PulledBlobs pulled;
  std::string unit;
  std::string in;
  std::string pulls;
  words >> pulled.bytes >> unit >> in >> pulled.count >> pulls;
  const std::size_t power = std::string("B  KiBMiBGiB").find(unit) / 3;
  if (!words || in != "in" || pulls.rfind("pull", 0) != 0 || power > 3) {
    return std::nullopt;
  }
  pulled.bytes *= static_cast<double>(std::uint64_t{1} << (10 * power));
  pulled.has_rate = (words >> std::ws).peek() == '(';
  std::string rate;
  return !pulled.has_rate || std::getline(words, rate, ')') ? std::optional(pulled) : std::nullopt;
}

/// Of the first two hosts of a job, "localhost" and "b": what the first pulled from the second, and
/// the other way round. Nothing where no line of the summary says that.
[[nodiscard]] inline std::optional<std::array<PulledBlobs, 2>> pulled_blobs(
    const std::string& errors) {
  std::istringstream lines(errors);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t colon = line.rfind(": ");
    if (line.rfind("pinion: localhost and b, by ", 0) != 0 || colon == std::string::npos) {
      continue;
    }
    std::istringstream words(line.substr(colon + 2));
    const std::optional<PulledBlobs> first = read_pulled(words);
    std::string between;
    words >> between;
    const std::optional<PulledBlobs> second = read_pulled(words);
    std::string rest;
    if (first && between == "and" && second && std::getline(words >> std::ws, rest) &&
        rest == "of blobs") {
      return std::array{*first, *second};
    }
  }
  return std::nullopt;
}

}  // namespace pinion
