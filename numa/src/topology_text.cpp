#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "topology_state.hpp"

namespace pinion {
namespace {

std::string number_of(std::size_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

// The list that taskset and cpusets take: "0-3,8". Empty for no CPU.
std::string cpu_ranges(std::vector<unsigned> cpus) {
  std::sort(cpus.begin(), cpus.end());
  std::string text;
  for (std::size_t begin = 0; begin < cpus.size();) {
    std::size_t last = begin;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) {
      ++last;
    }
    text += (text.empty() ? "" : ",") + std::to_string(cpus[begin]);
    if (last > begin) {
      text += "-" + std::to_string(cpus[last]);
    }
    begin = last + 1;
  }
  return text;
}

std::string one_decimal(double value, const char* unit) {
  std::array<char, 64> text = {};
  std::snprintf(text.data(), text.size(), "%.1f%s", value, unit);
  return text.data();
}

// Names come from a file that anybody may have written: nothing in them may steer a terminal.
std::string printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char byte) { return byte < 0x20 || byte == 0x7f; },
      '?');
  return text;
}

using Row = std::vector<std::string>;

// One line a row, columns two spaces apart; the second column (memory) is aligned to the right.
std::vector<std::string> align(const std::vector<Row>& rows) {
  std::vector<std::size_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t column = 0; column < row.size(); ++column) {
      widths[column] = std::max(widths[column], row[column].size());
    }
  }
  std::vector<std::string> lines;
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t column = 0; column < row.size(); ++column) {
      if (widths[column] == 0) {
        continue;
      }
      const std::string padding(widths[column] - row[column].size(), ' ');
      line += line.empty() ? "" : "  ";
      line += column == 1 ? padding + row[column] : row[column] + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    lines.push_back(std::move(line));
  }
  return lines;
}

Row row_of(const NumaNode& node) {
  Row row;
  const bool renumbered = node.os_index != node.place.index;
  row.push_back("node " + std::to_string(node.place.index) +
                (renumbered ? " (OS " + std::to_string(node.os_index) + ")" : ""));
  row.push_back(one_decimal(static_cast<double>(node.memory_bytes) / (1u << 30), " GiB"));
  row.push_back(printable(node.memory_kind));
  if (node.cpus.empty()) {
    row.emplace_back("memory only");
  } else {
    row.push_back(number_of(node.core_count, "core"));
    row.push_back("CPUs " + cpu_ranges(node.cpus));
    row.push_back(node.usable_cpus.size() == node.cpus.size() ? "all usable"
                  : node.usable_cpus.empty()                  ? "none usable"
                                             : "usable " + cpu_ranges(node.usable_cpus));
  }
  if (!node.memory_usable) {
    row.back() += ", memory not usable";
  }
  return row;
}

std::string line_of(const GpuInfo& gpu, std::size_t gpu_count) {
  std::string index = std::to_string(gpu.place.index);
  index.resize(std::max(index.size(), std::to_string(gpu_count - 1).size()), ' ');
  return "GPU " + index + "  " + gpu.bus_id + "  " + printable(gpu.name);
}

// Draws the lines below one heading; `rows` are the aligned lines of all nodes.
void draw_nodes(const Topology& topology, std::optional<unsigned> package,
                const std::vector<std::string>& rows, std::string& text) {
  std::vector<const NumaNode*> nodes;
  for (const NumaNode& node : topology.nodes()) {
    if (node.package == package) {
      nodes.push_back(&node);
    }
  }
  if (nodes.empty()) {
    return;
  }
  text += package ? "\npackage " + std::to_string(*package) + "\n" : "\nin no single package\n";
  for (const NumaNode* node : nodes) {
    const bool last_node = node == nodes.back();
    text += (last_node ? "`-- " : "|-- ") + rows[node->place.index] + "\n";
    std::vector<const GpuInfo*> gpus;
    for (const GpuInfo& gpu : topology.gpus()) {
      if (gpu.near_node == node->place) {
        gpus.push_back(&gpu);
      }
    }
    for (const GpuInfo* gpu : gpus) {
      text += (last_node ? "    " : "|   ");
      text += (gpu == gpus.back() ? "`-- " : "|-- ") + line_of(*gpu, topology.gpus().size()) + "\n";
    }
  }
}

void draw_other_gpus(const Topology& topology, std::string& text) {
  bool first = true;
  for (const GpuInfo& gpu : topology.gpus()) {
    if (!gpu.near_node) {
      text += (first ? "\nnear no single node\n    " : "    ") +
              line_of(gpu, topology.gpus().size()) + "\n";
      first = false;
    }
  }
}

void draw_distances(const Topology& topology, std::string& text) {
  const std::size_t count = topology.nodes().size();
  if (count == 1 || !topology.distance(0, 0)) {
    return;
  }
  const auto cell = [](const std::string& value) {
    return std::string(value.size() < 6 ? 6 - value.size() : 1, ' ') + value;
  };
  text += "\ndistance from the CPUs of a node (row) to memory (column)\n" + cell("");
  for (std::size_t column = 0; column < count; ++column) {
    text += cell(std::to_string(column));
  }
  text += "\n";
  for (std::size_t row = 0; row < count; ++row) {
    text += cell(std::to_string(row));
    for (std::size_t column = 0; column < count; ++column) {
      text += cell(std::to_string(*topology.distance(row, column)));
    }
    text += "\n";
  }
}

using Json = nlohmann::ordered_json;

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
  json["cpus"] = cpu_ranges(node.cpus);
  json["usable_cpu_count"] = node.usable_cpus.size();
  json["usable_cpus"] = cpu_ranges(node.usable_cpus);
  return json;
}

Json json_of(const GpuInfo& gpu) {
  Json json;
  json["gpu"] = gpu.place.index;
  json["bus_id"] = gpu.bus_id;
  json["name"] = gpu.name;
  json["uuid"] = gpu.uuid;
  json["near_node"] = gpu.near_node ? Json(gpu.near_node->index) : Json();
  return json;
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

std::string Topology::to_tree() const {
  std::string text =
      is_this_machine() ? "this machine\n" : "a recorded machine, for planning only\n";
  text += "  " + number_of(package_count(), "package") + ", " +
          number_of(nodes().size(), "NUMA node") + ", " + number_of(core_count(), "core") + ", " +
          number_of(cpu_count(), "CPU") + ", " + number_of(gpus().size(), "GPU") + "\n";
  text += "  usable: " + number_of(usable_cpu_count(), "CPU") + ", at most " +
          number_of(worker_count_max(), "worker");
  text +=
      cpu_quota() ? one_decimal(*cpu_quota(), " CPUs of time by quota)\n").insert(0, " (") : "\n";

  std::vector<Row> rows;
  for (const NumaNode& node : nodes()) {
    rows.push_back(row_of(node));
  }
  const std::vector<std::string> lines = align(rows);
  for (unsigned package = 0; package < package_count(); ++package) {
    draw_nodes(*this, package, lines, text);
  }
  draw_nodes(*this, std::nullopt, lines, text);
  draw_other_gpus(*this, text);
  draw_distances(*this, text);
  return text;
}

std::string Topology::to_json() const {
  Json json;
  json["planning_only"] = !is_this_machine();
  json["package_count"] = package_count();
  json["node_count"] = nodes().size();
  json["core_count"] = core_count();
  json["cpu_count"] = cpu_count();
  json["usable_cpu_count"] = usable_cpu_count();
  json["cpu_quota"] = cpu_quota() ? Json(*cpu_quota()) : Json();
  json["worker_count_max"] = worker_count_max();
  json["nodes"] = Json::array();
  for (const NumaNode& node : nodes()) {
    json["nodes"].push_back(json_of(node));
  }
  json["gpus"] = Json::array();
  for (const GpuInfo& gpu : gpus()) {
    json["gpus"].push_back(json_of(gpu));
  }
  json["distances"] = json_of_distances(*this);
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace pinion
