#include <algorithm>
#include <cmath>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <pinion/numa/cpu_list.hpp>

#include "svg_drawing.hpp"
#include "topology_view.hpp"
#include "topology_words.hpp"

namespace pinion {
namespace {

// One colour for one thing; grey is what may not be used.
constexpr const char* kUsableCpu = "#1f6fb2";
constexpr const char* kOtherCpu = "#d9dde2";
constexpr const char* kUsableMemory = "#2e8b57";
constexpr const char* kOtherMemory = "#aab2bc";
constexpr const char* kGpu = "#e39b2d";
constexpr const char* kNic = "#8c6bb1";
constexpr const char* kKinds[] = {"#bfe3c9", "#ffd7a6", "#dcc7ec", "#b9dcf7"};
constexpr const char* kWhite = "#ffffff";
constexpr const char* kPale = "#56616e";

constexpr double kGap = 8;
constexpr double kCoreGap = 4;

// What every part of the picture looks up again and again.
struct Index {
  explicit Index(const Topology& machine) : topology(machine) {
    for (const unsigned cpu : machine.usable_cpus()) {
      usable.insert(cpu);
    }
    for (std::size_t kind = 0; kind < machine.cpu_kinds().size(); ++kind) {
      for (const unsigned cpu : machine.cpu_kinds()[kind].cpus) {
        kind_of.emplace(cpu, kind);
      }
    }
    const std::vector<unsigned> cpus = machine.cpus();
    const std::size_t digits = std::to_string(cpus.empty() ? 0 : cpus.back()).size();
    cell_width = std::max(18.0, 6.5 * static_cast<double>(digits) + 5);
  }

  const Topology& topology;
  std::unordered_set<unsigned> usable = {};
  std::unordered_map<unsigned, std::size_t> kind_of = {};
  double cell_width = 18;  // Of a CPU, so that its number fits.
};

SvgDrawing small_text(std::string_view text) {
  return svg_text(text, {.size = 11, .fill = kPale});
}

SvgDrawing draw_cpu(const Index& index, unsigned cpu) {
  const bool usable = index.usable.contains(cpu);
  const SvgDrawing cell = svg_cell(std::to_string(cpu), index.cell_width, 16,
                                   {.fill = usable ? kUsableCpu : kOtherCpu,
                                    .stroke = usable ? kUsableCpu : kOtherMemory,
                                    .radius = 2},
                                   {.size = 9, .fill = usable ? kWhite : kPale});
  return svg_tooltip(cell, fmt::format("CPU {}, core {}, {}", cpu, index.topology.core_of(cpu),
                                       usable ? "usable" : "not usable"));
}

SvgDrawing draw_core(const Index& index, const std::vector<unsigned>& cpus) {
  std::vector<SvgDrawing> cells;
  cells.reserve(cpus.size());
  for (const unsigned cpu : cpus) {
    cells.push_back(draw_cpu(index, cpu));
  }
  const auto kind = index.kind_of.find(cpus.front());
  const bool tells_kind = index.topology.cpu_kinds().size() > 1 && kind != index.kind_of.end();
  return svg_frame(svg_grid(cells, cpus.size() > 3 ? 2 : 1, 2),
                   {.fill = tells_kind ? kKinds[kind->second % std::size(kKinds)] : "#f4f6f8",
                    .radius = 3,
                    .padding = 3});
}

// As many columns that the pieces together are about twice as wide as high.
std::size_t columns_for(const std::vector<SvgDrawing>& pieces) {
  if (pieces.empty()) {
    return 1;
  }
  const double shape = pieces.front().height / std::max(1.0, pieces.front().width);
  const double columns = std::sqrt(2 * static_cast<double>(pieces.size()) * shape);
  return static_cast<std::size_t>(
      std::clamp(std::round(columns), 1.0, static_cast<double>(pieces.size())));
}

// As many columns as fit into the width; at least one.
std::size_t columns_within(const std::vector<SvgDrawing>& pieces, double width) {
  double widest = 1;
  for (const SvgDrawing& piece : pieces) {
    widest = std::max(widest, piece.width);
  }
  return static_cast<std::size_t>(std::max(1.0, (width + kGap) / (widest + kGap)));
}

SvgDrawing draw_cores(const Index& index, const NumaNode& node) {
  std::vector<SvgDrawing> cores;
  for (std::size_t first = 0; first < node.cpus.size();) {
    std::size_t end = first + 1;
    while (end < node.cpus.size() &&
           index.topology.core_of(node.cpus[end]) == index.topology.core_of(node.cpus[first])) {
      ++end;
    }
    cores.push_back(draw_core(index, {node.cpus.begin() + static_cast<std::ptrdiff_t>(first),
                                      node.cpus.begin() + static_cast<std::ptrdiff_t>(end)}));
    first = end;
  }
  return svg_grid(cores, columns_for(cores), kCoreGap);
}

SvgDrawing draw_device(const char* colour, const std::string& title, const std::string& detail) {
  return svg_frame(svg_stack({svg_text(title, {.size = 11, .bold = true}), small_text(detail)}, 1),
                   {.fill = kWhite, .stroke = colour, .stroke_width = 2, .padding = 5});
}

// The GPUs and network adapters near `node`; near no single one when it is empty.
std::vector<SvgDrawing> draw_devices(const Topology& topology, std::optional<Place> node) {
  std::vector<SvgDrawing> devices;
  for (const GpuInfo& gpu : topology.gpus()) {
    if (gpu.near_node == node) {
      devices.push_back(
          draw_device(kGpu, fmt::format("GPU {}  {}", gpu.place.index, gpu.bus_id), gpu.name));
    }
  }
  for (const NicInfo& nic : topology.nics()) {
    if (nic.near_node == node) {
      const std::string interfaces = interfaces_of(nic);
      devices.push_back(
          draw_device(kNic, "NIC  " + nic.bus_id, interfaces.empty() ? nic.name : interfaces));
    }
  }
  return devices;
}

SvgDrawing draw_memory(const NumaNode& node) {
  const std::string kind = node.memory_kind.empty() ? "" : " " + node.memory_kind;
  const SvgDrawing text =
      svg_text(in_gibibytes(node.memory_bytes) + kind, {.size = 11, .fill = kWhite, .bold = true});
  const char* const colour = node.memory_usable ? kUsableMemory : kOtherMemory;
  return svg_tooltip(svg_frame(text, {.fill = colour, .stroke = colour, .padding = 4}),
                     node.memory_usable ? "usable memory" : "memory that may not be used");
}

SvgDrawing draw_node(const Index& index, const NumaNode& node) {
  std::string name = fmt::format("node {}", node.place.index);
  if (node.os_index != node.place.index) {
    name += fmt::format(" (OS {})", node.os_index);
  }
  const std::string cpus = node.cpus.empty()
                               ? "memory only"
                               : fmt::format("{}, {}", number_of(node.core_count, "core"),
                                             number_of(node.cpus.size(), "CPU"));
  const SvgDrawing title =
      svg_grid({svg_stack({svg_text(name, {.size = 12, .bold = true}), small_text(cpus)}, 0),
                draw_memory(node)},
               2, kGap);
  const SvgDrawing cores = draw_cores(index, node);
  const std::vector<SvgDrawing> devices = draw_devices(index.topology, node.place);
  const std::size_t columns = columns_within(devices, std::max(cores.width, title.width));
  return svg_frame(svg_stack({title, cores, svg_grid(devices, columns, kGap)}, kGap),
                   {.fill = "#fbfcfd", .dashed = node.cpus.empty(), .padding = kGap});
}

// The nodes of a package, those with CPUs before those that are memory only.
SvgDrawing draw_nodes(const Index& index, std::optional<unsigned> package) {
  std::vector<SvgDrawing> nodes;
  std::vector<SvgDrawing> memories;
  for (const NumaNode& node : index.topology.nodes()) {
    if (node.package == package) {
      (node.cpus.empty() ? memories : nodes).push_back(draw_node(index, node));
    }
  }
  const std::size_t columns = nodes.size() <= 3
                                  ? std::max<std::size_t>(1, nodes.size())
                                  : static_cast<std::size_t>(std::ceil(std::sqrt(nodes.size())));
  const SvgDrawing upper = svg_grid(nodes, columns, kGap);
  return svg_stack({upper, svg_grid(memories, columns_within(memories, upper.width), kGap)}, kGap);
}

std::vector<SvgDrawing> draw_packages(const Index& index) {
  const SvgBoxStyle style = {
      .fill = "#eef1f4", .stroke = "#3c4754", .stroke_width = 1.5, .padding = 10};
  const auto framed = [&style](const std::string& name, const SvgDrawing& inner) {
    return inner.width == 0
               ? SvgDrawing()
               : svg_frame(svg_stack({svg_text(name, {.size = 13, .bold = true}), inner}, kGap),
                           style);
  };
  std::vector<SvgDrawing> packages;
  for (unsigned package = 0; package < index.topology.package_count(); ++package) {
    packages.push_back(framed(fmt::format("package {}", package), draw_nodes(index, package)));
  }
  packages.push_back(framed("in no single package", draw_nodes(index, std::nullopt)));
  packages.push_back(
      framed("near no single node", svg_grid(draw_devices(index.topology, std::nullopt), 4, kGap)));
  std::erase_if(packages, [](const SvgDrawing& piece) { return piece.width == 0; });
  return packages;
}

SvgDrawing draw_legend(const Topology& topology) {
  constexpr double kSide = 14;
  std::vector<std::pair<SvgBoxStyle, std::string>> entries = {
      {{.fill = kUsableCpu, .stroke = kUsableCpu}, "CPU that may be used"},
      {{.fill = kOtherCpu, .stroke = kOtherMemory}, "CPU that may not"},
      {{.fill = kUsableMemory, .stroke = kUsableMemory}, "memory that may be used"},
      {{.fill = kOtherMemory, .stroke = kOtherMemory}, "memory that may not"}};
  if (!topology.gpus().empty()) {
    entries.push_back({{.stroke = kGpu, .stroke_width = 2}, "GPU"});
  }
  if (!topology.nics().empty()) {
    entries.push_back({{.stroke = kNic, .stroke_width = 2}, "network adapter"});
  }
  for (std::size_t i = 0; topology.cpu_kinds().size() > 1 && i < topology.cpu_kinds().size(); ++i) {
    const std::string name = topology.cpu_kinds()[i].name;
    entries.push_back({{.fill = kKinds[i % std::size(kKinds)]},
                       rank_of_kind(topology, i) + " core" + (name.empty() ? "" : ", " + name)});
  }
  std::vector<SvgDrawing> pieces;
  pieces.reserve(entries.size());
  for (const auto& [style, words] : entries) {
    pieces.push_back(
        svg_grid({svg_cell("", kSide, kSide, style, {}), small_text(words)}, 2, kCoreGap));
  }
  return svg_grid(pieces, 4, 2 * kGap);
}

SvgDrawing draw_distances(const Topology& topology) {
  if (!has_distances(topology)) {
    return {};
  }
  const std::size_t count = topology.nodes().size();
  const auto cell = [](const std::string& text, const char* fill, bool bold) {
    return svg_cell(text, 34, 18, {.fill = fill, .stroke = kOtherCpu, .radius = 0},
                    {.size = 10, .bold = bold});
  };
  constexpr const char* kHead = "#eef1f4";
  std::vector<SvgDrawing> cells = {cell("", kHead, true)};
  for (std::size_t column = 0; column < count; ++column) {
    cells.push_back(cell(std::to_string(column), kHead, true));
  }
  for (std::size_t row = 0; row < count; ++row) {
    cells.push_back(cell(std::to_string(row), kHead, true));
    for (std::size_t column = 0; column < count; ++column) {
      cells.push_back(cell(std::to_string(*topology.distance(row, column)),
                           row == column ? "#e6f4ea" : kWhite, false));
    }
  }
  return svg_stack({small_text("distance from the CPUs of a node (row) to memory (column)"),
                    svg_grid(cells, count + 1, 0)},
                   kCoreGap);
}

}  // namespace

std::string draw_svg(const TopologyView& view) {
  const Index index(view.topology);
  const std::string title = whose_machine(view.topology);
  std::vector<SvgDrawing> head = {svg_text(title, {.size = 16, .bold = true}),
                                  small_text(summary_of(view.topology)),
                                  small_text("usable: " + usable_of(view.topology))};
  if (view.memory) {
    head.push_back(small_text(fmt::format("memory: at most {}, {} of it available",
                                          in_gibibytes(view.memory->limit.bytes),
                                          in_gibibytes(view.memory->available.bytes))));
  }
  const std::vector<SvgDrawing> packages = draw_packages(index);
  std::vector<SvgDrawing> pieces = {svg_stack(head, 2),
                                    svg_grid(packages, packages.size() > 4 ? 3 : 2, 2 * kGap),
                                    draw_distances(view.topology), draw_legend(view.topology)};
  std::erase_if(pieces, [](const SvgDrawing& piece) { return piece.width == 0; });
  return svg_file(svg_stack(pieces, kGap), "pinion topo: " + title);
}

}  // namespace pinion
