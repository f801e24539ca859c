#include <pinion/gpu/device_discovery.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <set>
#include <system_error>
#include <utility>

#include <pinion/numa/cpu_list.hpp>

namespace pinion {
namespace {

// The hexadecimal number before `mark`, or to the end for no mark; `text` goes on behind it.
std::optional<unsigned> read_hex(std::string_view& text, char mark) {
  unsigned value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value, 16);
  if (error != std::errc() || (mark == '\0' ? rest != end : rest == end || *rest != mark)) {
    return std::nullopt;
  }
  text.remove_prefix(static_cast<std::size_t>(rest - text.data()) + (mark == '\0' ? 0 : 1));
  return value;
}

std::string label(const DeviceInfo& info) {
  return "GPU " + std::to_string(info.place.index) + " (" +
         (info.pci_bus_id.empty() ? info.uuid : info.pci_bus_id) + ")";
}

const NumaNode* node_by_os_index(const Topology& topology, std::optional<unsigned> os_index) {
  for (const NumaNode& node : topology.nodes()) {
    if (os_index == node.os_index && !node.cpus.empty()) {
      return &node;
    }
  }
  return nullptr;
}

// Fills in where the device is near to. Without a node that is near, its memory is that of the
// first one, as any is as good.
void locate(DeviceInfo& info, const NumaNode* node, const Topology& topology,
            std::vector<std::string>& messages) {
  const Place near = node != nullptr ? node->place : topology.nodes().front().place;
  info.near_memory = topology.nearest_memory(near);
  info.near_memory.host = info.place.host;
  if (node == nullptr) {
    messages.push_back(label(info) + ": the machine does not tell which CPUs are near");
    return;
  }
  info.near_cpus = node->usable_cpus;
  std::sort(info.near_cpus.begin(), info.near_cpus.end());
  if (info.near_cpus.size() < node->cpus.size()) {
    const std::string usable =
        info.near_cpus.empty() ? "none" : "only " + format_cpu_list(info.near_cpus);
    messages.push_back(label(info) + ": of the CPUs " + format_cpu_list(node->cpus) +
                       " near it, this process may use " + usable);
  }
}

const NumaNode* node_of(const GpuInfo* gpu, const Topology& topology) {
  return gpu != nullptr && gpu->near_node ? &topology.nodes()[gpu->near_node->index] : nullptr;
}

const GpuInfo* find_gpu(const Topology& topology, const DriverDevice& device) {
  const std::string bus_id = normal_bus_id(device.pci_bus_id);
  const std::string& uuid = device.mig_parent_uuid.empty() ? device.uuid : device.mig_parent_uuid;
  for (const GpuInfo& gpu : topology.gpus()) {
    if (bus_id.empty() ? !uuid.empty() && gpu.uuid == uuid : normal_bus_id(gpu.bus_id) == bus_id) {
      return &gpu;
    }
  }
  return nullptr;
}

std::string_view trim(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) {
    return {};
  }
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

std::optional<std::size_t> device_by_number(std::string_view word,
                                            std::span<const DriverDevice> found) {
  std::size_t number = 0;
  const auto [rest, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (error != std::errc() || rest != word.data() + word.size()) {
    return std::nullopt;
  }
  for (std::size_t index = 0; index < found.size(); ++index) {
    if (found[index].mig_parent_uuid.empty() && number-- == 0) {
      return index;
    }
  }
  return std::nullopt;
}

// The only device whose UUID begins so. A whole name is its own, also where another one goes on.
std::optional<std::size_t> device_by_uuid(std::string_view word,
                                          std::span<const DriverDevice> found) {
  std::optional<std::size_t> only;
  for (std::size_t index = 0; index < found.size(); ++index) {
    const std::string& uuid = found[index].uuid;
    if (uuid == word) {
      return index;
    }
    if (uuid.starts_with(word)) {
      if (only) {
        return std::nullopt;
      }
      only = index;
    }
  }
  return only;
}

}  // namespace

std::string normal_bus_id(std::string_view bus_id) {
  const std::optional<unsigned> domain = read_hex(bus_id, ':');
  const std::optional<unsigned> bus = domain ? read_hex(bus_id, ':') : std::nullopt;
  const std::optional<unsigned> device = bus ? read_hex(bus_id, '.') : std::nullopt;
  const std::optional<unsigned> function = device ? read_hex(bus_id, '\0') : std::nullopt;
  if (!function || *bus > 0xff || *device > 0x1f || *function > 7) {
    return {};
  }
  std::array<char, 32> text = {};
  const int size = std::snprintf(text.data(), text.size(), "%04x:%02x:%02x.%x", *domain, *bus,
                                 *device, *function);
  return {text.data(), static_cast<std::size_t>(size)};
}

DeviceDiscovery discover_devices(const Topology& topology, std::uint32_t host) {
  DeviceDiscovery discovery;
  for (const GpuInfo& gpu : topology.gpus()) {
    DeviceInfo& info = discovery.devices.emplace_back();
    info.place = {PlaceKind::kDevice, gpu.place.index, host};
    info.name = gpu.name;
    info.uuid = gpu.uuid;
    info.pci_bus_id = gpu.bus_id;
    locate(info, node_of(&gpu, topology), topology, discovery.messages);
  }
  return discovery;
}

DeviceDiscovery join_devices(std::span<const DriverDevice> found, const Topology& topology,
                             std::uint32_t host) {
  DeviceDiscovery discovery;
  std::set<std::string> seen;
  for (const DriverDevice& device : found) {
    const std::string bus_id = normal_bus_id(device.pci_bus_id);
    // Slices of a device share its bus id.
    const bool by_bus = device.mig_parent_uuid.empty() && !bus_id.empty();
    if (!seen.insert(by_bus ? bus_id : device.uuid).second) {
      continue;
    }
    DeviceInfo& info = discovery.devices.emplace_back();
    const auto position = static_cast<std::uint16_t>(discovery.devices.size() - 1);
    info.place = {PlaceKind::kDevice, device.number.value_or(position), host};
    info.name = device.name;
    info.uuid = device.uuid;
    info.pci_bus_id = bus_id;
    info.mig_parent_uuid = device.mig_parent_uuid;
    info.architecture = device.architecture;
    info.memory_bytes = device.memory_bytes;
    info.copy_engine_count = device.copy_engine_count;
    const NumaNode* const told = node_by_os_index(topology, device.near_node_os_index);
    const NumaNode* const joined = node_of(find_gpu(topology, device), topology);
    locate(info, told != nullptr ? told : joined, topology, discovery.messages);
  }
  return discovery;
}

VisibleDevices visible_devices(std::optional<std::string_view> setting,
                               std::span<const DriverDevice> found) {
  VisibleDevices visible;
  if (!setting) {
    for (std::size_t index = 0; index < found.size(); ++index) {
      visible.devices.push_back(index);
    }
    return visible;
  }
  std::string_view rest = *setting;
  while (!trim(rest).empty()) {
    const std::size_t comma = rest.find(',');
    const std::string_view word = trim(rest.substr(0, comma));
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
    std::optional<std::size_t> device = device_by_number(word, found);
    if (!device && (word.starts_with("GPU-") || word.starts_with("MIG-"))) {
      device = device_by_uuid(word, found);
    }
    const auto is_seen = [&](std::size_t index) {
      return std::find(visible.devices.begin(), visible.devices.end(), index) !=
             visible.devices.end();
    };
    if (!device || is_seen(*device)) {
      if (word != "-1") {
        visible.messages.push_back("CUDA_VISIBLE_DEVICES: '" + std::string(word) + "' " +
                                   (device ? "is there twice" : "names no device, or several") +
                                   "; only what comes before it is visible");
      }
      return visible;
    }
    visible.devices.push_back(*device);
  }
  return visible;
}

namespace {

// The words between commas, without white space around them.
std::vector<std::string_view> words_of(std::string_view list) {
  std::vector<std::string_view> words;
  while (!trim(list).empty()) {
    const std::size_t comma = list.find(',');
    words.push_back(trim(list.substr(0, comma)));
    list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
  }
  return words;
}

VisibleDevices devices_of_slurm(const std::string& variable, const std::string& setting,
                                std::span<const DriverDevice> found) {
  VisibleDevices all = visible_devices({}, found);
  const auto whole_count = static_cast<std::size_t>(
      std::count_if(found.begin(), found.end(),
                    [](const DriverDevice& device) { return device.mig_parent_uuid.empty(); }));
  const Result<std::vector<unsigned>> numbers = parse_cpu_list(setting);
  if (!numbers) {
    VisibleDevices visible = all;
    visible.messages.push_back(variable + " is '" + setting +
                               "', which is no list of numbers; all GPUs are taken for usable");
    return visible;
  }
  if (whole_count <= numbers->size()) {
    return all;
  }
  VisibleDevices visible;
  for (const unsigned number : *numbers) {
    const std::optional<std::size_t> whole = device_by_number(std::to_string(number), found);
    if (!whole) {
      visible.messages.push_back(variable + ": there is no GPU " + std::to_string(number));
      continue;
    }
    for (std::size_t index = 0; index < found.size(); ++index) {
      if (index == *whole || (!found[index].mig_parent_uuid.empty() &&
                              found[index].mig_parent_uuid == found[*whole].uuid)) {
        visible.devices.push_back(index);
      }
    }
  }
  return visible;
}

VisibleDevices devices_of_container(const std::string& setting,
                                    std::span<const DriverDevice> found) {
  if (setting == "none") {
    return {};
  }
  VisibleDevices visible;
  for (const std::string_view word : words_of(setting)) {
    for (std::size_t index = 0; index < found.size(); ++index) {
      if (found[index].uuid == word || (!word.empty() && found[index].mig_parent_uuid == word)) {
        visible.devices.push_back(index);
      }
    }
  }
  return visible.devices.empty() ? visible_devices({}, found) : visible;
}

}  // namespace

VisibleDevices usable_devices(const DeviceVariables& variables,
                              std::span<const DriverDevice> found) {
  if (variables.cuda_visible_devices) {
    return visible_devices(*variables.cuda_visible_devices, found);
  }
  // A step has a part of what its job has.
  for (const auto& [name, value] : {std::pair("SLURM_STEP_GPUS", variables.slurm_step_gpus),
                                    {"SLURM_JOB_GPUS", variables.slurm_job_gpus}}) {
    if (value && !trim(*value).empty()) {
      return devices_of_slurm(name, *value, found);
    }
  }
  if (variables.nvidia_visible_devices) {
    return devices_of_container(*variables.nvidia_visible_devices, found);
  }
  return visible_devices({}, found);
}

}  // namespace pinion
