#include "network_path.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <system_error>

#include <pinion/core/bytes.hpp>

namespace pinion {
namespace {

namespace fs = std::filesystem;

std::string first_line(const fs::path& file) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  return line;
}

// The number at the start of the text; 0 where there is none, or one below.
double number_of(const std::string& text) {
  double number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return std::max(number, 0.0);
}

fs::path port_folder(const std::string& system, const std::string& device) {
  const std::size_t colon = device.find(':');
  const std::string port = colon == std::string::npos ? "1" : device.substr(colon + 1);
  return fs::path(system) / "class/infiniband" / device.substr(0, colon) / "ports" / port;
}

std::uint64_t speed_of(const Lane& lane, const std::string& system) {
  if (is_rdma(lane.transport)) {
    // "100 Gb/sec (4X EDR)".
    const double gigabits = number_of(first_line(port_folder(system, lane.device) / "rate"));
    return static_cast<std::uint64_t>(gigabits * 1e9 / 8);
  }
  // Megabits; no number or -1 where the interface has no speed.
  const fs::path file = fs::path(system) / "class/net" / lane.device / "speed";
  return static_cast<std::uint64_t>(number_of(first_line(file)) * 1e6 / 8);
}

// Those that are up, as UCX calls them: "mlx5_0:1". By name.
std::vector<std::string> rdma_ports(const std::string& system) {
  std::vector<std::string> ports;
  std::error_code ignored;
  for (const auto& device : fs::directory_iterator(system + "/class/infiniband", ignored)) {
    for (const auto& port : fs::directory_iterator(device.path() / "ports", ignored)) {
      if (first_line(port.path() / "state").find("ACTIVE") != std::string::npos) {
        ports.push_back(device.path().filename().string() + ":" + port.path().filename().string());
      }
    }
  }
  std::ranges::sort(ports);
  return ports;
}

std::string words_of(const std::vector<Lane>& lanes) {
  std::string text;
  for (const Lane& lane : lanes) {
    text += (text.empty() ? "" : ", ") + lane.transport + " over " + lane.device;
  }
  return text.empty() ? "UCX" : text;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) {
    text += (text.empty() ? "" : ",") + word;
  }
  return text;
}

bool has_rdma(const std::vector<Lane>& lanes) {
  return std::ranges::any_of(lanes, [](const Lane& lane) { return is_rdma(lane.transport); });
}

}  // namespace

std::vector<Lane> lanes_of(const std::string& printed) {
  // "#   lane[1]:  2:tcp/lo.0 md[1]  -> ...": the name without the numbers around it. A lane that
  // only makes connections has no such name.
  std::istringstream lines(printed);
  std::vector<Lane> lanes;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t lane = line.find("lane[");
    const std::size_t slash = line.find('/', lane);
    const std::size_t begin = line.rfind(':', slash);
    const std::size_t end = line.find('.', slash);
    if (lane == std::string::npos || slash == std::string::npos || end == std::string::npos ||
        line.find(' ', slash) < end || begin < lane) {
      continue;
    }
    Lane found = {line.substr(begin + 1, slash - begin - 1),
                  line.substr(slash + 1, end - slash - 1)};
    if (std::ranges::find(lanes, found) == lanes.end()) {
      lanes.push_back(std::move(found));
    }
  }
  return lanes;
}

bool is_rdma(std::string_view transport) {
  const std::string_view kind = transport.substr(0, transport.find('_'));
  return kind == "rc" || kind == "dc" || kind == "ud" || transport == "ib";
}

ChunkWay chunk_way_of(const std::vector<Lane>& lanes) {
  // Those of datagrams (ud) have no reads.
  const bool reads = std::ranges::any_of(lanes, [](const Lane& lane) {
    return lane.transport.starts_with("rc_") || lane.transport.starts_with("dc_");
  });
  return reads ? ChunkWay::kGet : ChunkWay::kMessage;
}

detail::LinkPath path_of(const std::vector<Lane>& lanes, const std::string& system) {
  detail::LinkPath path = {.name = words_of(lanes)};
  for (const Lane& lane : lanes) {
    path.bytes_per_second = std::max(path.bytes_per_second, speed_of(lane, system));
  }
  const std::vector<std::string> unused =
      has_rdma(lanes) ? std::vector<std::string>() : rdma_ports(system);
  if (!unused.empty()) {
    const std::uint64_t better = speed_of({"rc", unused.front()}, system);
    path.slow = path.name + " is used, although this host has RDMA (" + joined(unused) +
                (better == 0 ? "" : ", " + format_bytes(better) + "/s") +
                "); name it, as transports=rc,self and network-devices=" + unused.front();
  }
  return path;
}

}  // namespace pinion
