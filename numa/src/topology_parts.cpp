#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "pci_gpus.hpp"
#include "topology_parts.hpp"
#include "topology_state.hpp"

namespace pinion::detail {
namespace {

using PciAttributes = hwloc_obj_attr_u::hwloc_pcidev_attr_s;

std::string_view info_of(hwloc_obj_t object, const char* name) {
  const char* value = hwloc_obj_get_info_by_name(object, name);
  return value != nullptr ? value : std::string_view();
}

constexpr unsigned kBaseClassShift = 8;

bool is_nic_by_class(const PciAttributes& pci) {
  constexpr unsigned kNetworkController = 0x02;
  constexpr unsigned kInfinibandOnSerialBus = 0x0c06;
  return pci.class_id >> kBaseClassShift == kNetworkController ||
         pci.class_id == kInfinibandOnSerialBus;
}

// The interfaces that show a GPU for computing; "card0" and the like show a screen.
bool is_gpu_interface(hwloc_obj_t object) {
  if (object->type != HWLOC_OBJ_OS_DEVICE || object->name == nullptr) {
    return false;
  }
  const std::string_view name = object->name;
  return name.starts_with("cuda") || name.starts_with("nvml") || name.starts_with("rsmi") ||
         name.starts_with("ze");
}

bool is_nic_interface(hwloc_obj_t object) {
  return object->type == HWLOC_OBJ_OS_DEVICE && object->name != nullptr &&
         (object->attr->osdev.type == HWLOC_OBJ_OSDEV_NETWORK ||
          object->attr->osdev.type == HWLOC_OBJ_OSDEV_OPENFABRICS);
}

std::string bus_id_of(const PciAttributes& pci) {
  std::array<char, 64> text = {};
  std::snprintf(text.data(), text.size(), "%04x:%02x:%02x.%x", static_cast<unsigned>(pci.domain),
                pci.bus, pci.dev, pci.func);
  return text.data();
}

// What the topology calls the device, else its numbers.
std::string model_of(hwloc_obj_t device) {
  if (const std::string_view name = info_of(device, "PCIDevice"); !name.empty()) {
    return std::string(name);
  }
  const PciAttributes& pci = device->attr->pcidev;
  std::array<char, 64> text = {};
  std::snprintf(text.data(), text.size(), "PCI %04x:%04x", pci.vendor_id, pci.device_id);
  return text.data();
}

// The one node with CPUs that the device is nearest to, if it is one.
std::optional<Place> near_node_of(const TopologyState& state, hwloc_obj_t device) {
  const hwloc_obj_t holder = hwloc_get_non_io_ancestor_obj(state.hwloc.get(), device);
  std::optional<Place> near_node;
  for (const NumaNode& node : state.nodes) {
    if (!node.cpus.empty() && hwloc_bitmap_isset(holder->nodeset, node.os_index) != 0) {
      if (near_node) {
        return std::nullopt;
      }
      near_node = node.place;
    }
  }
  return near_node;
}

// Empty when the PCI device is no GPU.
std::optional<GpuInfo> read_gpu(const TopologyState& state, hwloc_obj_t device) {
  const PciAttributes& pci = device->attr->pcidev;
  bool found = is_gpu_by_class(pci.class_id, pci.vendor_id);
  GpuInfo gpu;
  for (hwloc_obj_t child = device->io_first_child; child != nullptr; child = child->next_sibling) {
    found = found || is_gpu_interface(child);
    if (gpu.name.empty()) {
      gpu.name = info_of(child, "GPUModel");
    }
    if (gpu.uuid.empty()) {
      gpu.uuid = info_of(child, "NVIDIAUUID");
    }
  }
  if (!found) {
    return std::nullopt;
  }
  if (gpu.name.empty()) {
    gpu.name = model_of(device);
  }
  gpu.bus_id = bus_id_of(pci);
  gpu.place = {PlaceKind::kDevice, static_cast<std::uint16_t>(state.gpus.size()), 0};
  gpu.near_node = near_node_of(state, device);
  return gpu;
}

// Empty when the PCI device is no network adapter.
std::optional<NicInfo> read_nic(const TopologyState& state, hwloc_obj_t device) {
  NicInfo nic;
  for (hwloc_obj_t child = device->io_first_child; child != nullptr; child = child->next_sibling) {
    if (is_nic_interface(child)) {
      nic.interfaces.emplace_back(child->name);
    }
  }
  if (nic.interfaces.empty() && !is_nic_by_class(device->attr->pcidev)) {
    return std::nullopt;
  }
  nic.name = model_of(device);
  nic.bus_id = bus_id_of(device->attr->pcidev);
  nic.near_node = near_node_of(state, device);
  return nic;
}

std::vector<unsigned> cpus_in(const TopologyState& state, hwloc_const_bitmap_t set) {
  std::vector<unsigned> cpus;
  for (int cpu = hwloc_bitmap_first(set); cpu >= 0; cpu = hwloc_bitmap_next(set, cpu)) {
    if (state.core_of_cpu.contains(static_cast<unsigned>(cpu))) {
      cpus.push_back(static_cast<unsigned>(cpu));
    }
  }
  return cpus;
}

std::string name_of_kind(const hwloc_info_s* infos, unsigned count) {
  std::string_view frequency;
  for (unsigned i = 0; i < count; ++i) {
    if (std::string_view(infos[i].name) == "CoreType") {
      return infos[i].value;
    }
    if (std::string_view(infos[i].name) == "FrequencyMaxMHz") {
      frequency = infos[i].value;
    }
  }
  return frequency.empty() ? "" : "up to " + std::string(frequency) + " MHz";
}

}  // namespace

void read_devices(TopologyState& state) {
  for (hwloc_obj_t device = nullptr;
       (device = hwloc_get_next_pcidev(state.hwloc.get(), device)) != nullptr;) {
    if (std::optional<GpuInfo> gpu = read_gpu(state, device)) {
      state.gpus.push_back(std::move(*gpu));
    } else if (std::optional<NicInfo> nic = read_nic(state, device)) {
      state.nics.push_back(std::move(*nic));
    }
  }
}

bool read_cpu_kinds(TopologyState& state) {
  hwloc_topology_t hwloc = state.hwloc.get();
  const HwlocBitmap set(hwloc_bitmap_alloc());
  const HwlocBitmap others(hwloc_bitmap_alloc());
  if (!set || !others) {
    return false;
  }
  for (const auto& [cpu, core] : state.core_of_cpu) {
    hwloc_bitmap_set(others.get(), cpu);
  }
  const int count = std::max(hwloc_cpukinds_get_nr(hwloc, 0), 0);
  for (int i = 0; i < count; ++i) {
    int efficiency = -1;
    unsigned info_count = 0;
    hwloc_info_s* infos = nullptr;
    if (hwloc_cpukinds_get_info(hwloc, static_cast<unsigned>(i), set.get(), &efficiency,
                                &info_count, &infos, 0) != 0) {
      continue;
    }
    hwloc_bitmap_andnot(others.get(), others.get(), set.get());
    CpuKind kind;
    kind.name = name_of_kind(infos, info_count);
    if (efficiency >= 0) {
      kind.efficiency = static_cast<unsigned>(efficiency);
    }
    kind.cpus = cpus_in(state, set.get());
    if (!kind.cpus.empty()) {
      state.cpu_kinds.push_back(std::move(kind));
    }
  }
  if (hwloc_bitmap_iszero(others.get()) == 0) {
    state.cpu_kinds.push_back({{}, {}, cpus_in(state, others.get())});
  }
  return true;
}

}  // namespace pinion::detail
