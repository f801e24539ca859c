#include <nlohmann/json.hpp>

#include <pinion/numa/cpu_list.hpp>

#include "topology_view.hpp"
#include "topology_words.hpp"

namespace pinion {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const std::optional<Place>& node) {
  return node ? Json(node->index) : Json();
}

Json json_of(const NumaNode& node) {
  Json json;
  json["node"] = node.place.index;
  json["os_index"] = node.os_index;
  json["package"] = node.package ? Json(*node.package) : Json();
  json["memory_bytes"] = node.memory_bytes;
  json["memory_kind"] = node.memory_kind;
  json["memory_usable"] = node.memory_usable;
  json["core_count"] = node.core_count;
  json["cpu_count"] = node.cpus.size();
  json["cpus"] = format_cpu_list(node.cpus);
  json["usable_cpu_count"] = node.usable_cpus.size();
  json["usable_cpus"] = format_cpu_list(node.usable_cpus);
  return json;
}

Json json_of(const CpuKind& kind) {
  Json json;
  json["name"] = kind.name;
  json["efficiency"] = kind.efficiency ? Json(*kind.efficiency) : Json();
  json["cpu_count"] = kind.cpus.size();
  json["cpus"] = format_cpu_list(kind.cpus);
  return json;
}

Json json_of(const GpuInfo& gpu) {
  Json json;
  json["gpu"] = gpu.place.index;
  json["bus_id"] = gpu.bus_id;
  json["name"] = gpu.name;
  json["uuid"] = gpu.uuid;
  json["near_node"] = json_of(gpu.near_node);
  return json;
}

Json json_of(const DeviceInfo& device) {
  Json json;
  json["device"] = device.place.index;
  json["uuid"] = device.uuid;
  json["part_of_uuid"] = device.mig_parent_uuid;
  json["bus_id"] = device.pci_bus_id;
  json["name"] = device.name;
  json["architecture"] = device.architecture;
  json["memory_bytes"] = device.memory_bytes;
  json["near_node"] = device.near_memory.index;
  json["near_cpus"] = format_cpu_list(device.near_cpus);
  return json;
}

Json json_of(const NicInfo& nic) {
  Json json;
  json["interfaces"] = nic.interfaces;
  json["bus_id"] = nic.bus_id;
  json["name"] = nic.name;
  json["near_node"] = json_of(nic.near_node);
  return json;
}

Json json_of(const MemoryBound& bound) {
  return {{"bytes", bound.bytes}, {"source", bound.source}};
}

template <class T>
Json json_of_all(std::span<const T> items) {
  Json list = Json::array();
  for (const T& item : items) {
    list.push_back(json_of(item));
  }
  return list;
}

Json json_of_distances(const Topology& topology) {
  const std::size_t count = topology.nodes().size();
  Json rows;
  for (std::size_t row = 0; row < count && topology.distance(0, 0); ++row) {
    Json values = Json::array();
    for (std::size_t column = 0; column < count; ++column) {
      values.push_back(*topology.distance(row, column));
    }
    rows.push_back(std::move(values));
  }
  return rows;
}

}  // namespace

std::string write_json(const TopologyView& view) {
  const Topology& topology = view.topology;
  Json json;
  json["planning_only"] = !topology.is_this_machine();
  json["package_count"] = topology.package_count();
  json["node_count"] = topology.nodes().size();
  json["core_count"] = topology.core_count();
  json["cpu_count"] = topology.cpu_count();
  json["usable_cpu_count"] = topology.usable_cpu_count();
  json["cpu_quota"] = topology.cpu_quota() ? Json(*topology.cpu_quota()) : Json();
  json["worker_count_max"] = topology.worker_count_max();
  json["memory_limit"] = view.memory ? json_of(view.memory->limit) : Json();
  json["memory_available"] = view.memory ? json_of(view.memory->available) : Json();
  json["nodes"] = json_of_all(topology.nodes());
  json["cpu_kinds"] = json_of_all(topology.cpu_kinds());
  json["gpus"] = json_of_all(topology.gpus());
  json["nics"] = json_of_all(topology.nics());
  json["distances"] = json_of_distances(topology);
  if (view.devices) {
    json["devices"] = json_of_all(std::span<const DeviceInfo>(view.devices->devices));
    json["device_messages"] = view.devices->messages;
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace pinion
