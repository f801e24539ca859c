#include "pci_gpus.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <ios>
#include <optional>
#include <string>
#include <system_error>

#include <pinion/numa/cpu_list.hpp>

namespace pinion {
namespace {

// "0x030200"; 0 where the file cannot be read.
unsigned read_number(const std::filesystem::path& file) {
  unsigned number = 0;
  std::ifstream(file) >> std::hex >> number;
  return number;
}

const NumaNode* node_by_os_index(std::span<const NumaNode> nodes, int os_index) {
  for (const NumaNode& node : nodes) {
    if (os_index >= 0 && node.os_index == static_cast<unsigned>(os_index) && !node.cpus.empty()) {
      return &node;
    }
  }
  return nullptr;
}

// The one node that has CPUs of the list.
const NumaNode* node_by_cpus(std::span<const NumaNode> nodes, const std::vector<unsigned>& cpus) {
  const NumaNode* found = nullptr;
  for (const NumaNode& node : nodes) {
    if (std::find_first_of(node.cpus.begin(), node.cpus.end(), cpus.begin(), cpus.end()) !=
        node.cpus.end()) {
      if (found != nullptr) {
        return nullptr;
      }
      found = &node;
    }
  }
  return found;
}

// By the CPUs that are near, as hwloc does it; some firmware tells the node alone.
std::optional<Place> near_node_of(const std::filesystem::path& device,
                                  std::span<const NumaNode> nodes) {
  std::string list;
  std::getline(std::ifstream(device / "local_cpulist"), list);
  const Result<std::vector<unsigned>> cpus = parse_cpu_list(list);
  const NumaNode* node = cpus ? node_by_cpus(nodes, *cpus) : nullptr;
  if (node == nullptr) {
    int os_index = -1;
    std::ifstream(device / "numa_node") >> os_index;
    node = node_by_os_index(nodes, os_index);
  }
  return node != nullptr ? std::optional(node->place) : std::nullopt;
}

// Numbers of domains may be longer than others.
bool is_before_on_bus(const std::filesystem::path& one, const std::filesystem::path& other) {
  const std::string name = one.filename();
  const std::string other_name = other.filename();
  return name.size() != other_name.size() ? name.size() < other_name.size() : name < other_name;
}

}  // namespace

// Display adapters of other makers are the screens of a remote console, or graphics inside the
// processor, more often than not.
bool is_gpu_by_class(unsigned class_id, unsigned vendor_id) noexcept {
  constexpr unsigned kDisplayController = 0x0300;
  constexpr unsigned kProcessorWithoutDisplay = 0x0302;
  constexpr unsigned kNvidia = 0x10de;
  return class_id == kProcessorWithoutDisplay ||
         (class_id == kDisplayController && vendor_id == kNvidia);
}

std::vector<GpuInfo> read_pci_gpus(const std::filesystem::path& root,
                                   std::span<const NumaNode> nodes) {
  std::vector<std::filesystem::path> devices;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(root / "sys/bus/pci/devices", error), end;
       !error && entry != end; entry.increment(error)) {
    devices.push_back(entry->path());
  }
  std::sort(devices.begin(), devices.end(), is_before_on_bus);
  std::vector<GpuInfo> gpus;
  for (const std::filesystem::path& device : devices) {
    constexpr unsigned kInterfaceBits = 8;
    const unsigned vendor = read_number(device / "vendor");
    if (!is_gpu_by_class(read_number(device / "class") >> kInterfaceBits, vendor)) {
      continue;
    }
    std::array<char, 64> name = {};
    std::snprintf(name.data(), name.size(), "PCI %04x:%04x", vendor,
                  read_number(device / "device"));
    gpus.push_back({.place = {PlaceKind::kDevice, static_cast<std::uint16_t>(gpus.size()), 0},
                    .name = name.data(),
                    .bus_id = device.filename(),
                    .near_node = near_node_of(device, nodes)});
  }
  return gpus;
}

}  // namespace pinion
