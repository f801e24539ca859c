#include "topology_words.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace pinion {

std::string number_of(std::size_t count, const std::string& noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string in_gibibytes(std::uint64_t bytes) {
  return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / (1u << 30));
}

std::string printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char byte) { return byte < 0x20 || byte == 0x7f; },
      '?');
  return text;
}

std::string interfaces_of(const NicInfo& nic) {
  return printable(fmt::format("{}", fmt::join(nic.interfaces, " ")));
}

std::string rank_of_kind(const Topology& topology, std::size_t index) {
  const std::size_t count = topology.cpu_kinds().size();
  if (count == 2 && topology.cpu_kinds()[0].efficiency < topology.cpu_kinds()[1].efficiency) {
    return index == 0 ? "efficiency" : "performance";
  }
  return fmt::format("{} of {}", index + 1, count);
}

bool has_distances(const Topology& topology) {
  return topology.nodes().size() > 1 && topology.distance(0, 0).has_value();
}

std::string whose_machine(const Topology& topology) {
  return topology.is_this_machine() ? "this machine" : "a recorded machine, for planning only";
}

std::string summary_of(const Topology& topology) {
  return fmt::format(
      "{}, {}, {}, {}, {}, {}", number_of(topology.package_count(), "package"),
      number_of(topology.nodes().size(), "NUMA node"), number_of(topology.core_count(), "core"),
      number_of(topology.cpu_count(), "CPU"), number_of(topology.gpus().size(), "GPU"),
      number_of(topology.nics().size(), "NIC"));
}

std::string usable_of(const Topology& topology) {
  std::string text = fmt::format("{}, at most {}", number_of(topology.usable_cpu_count(), "CPU"),
                                 number_of(topology.worker_count_max(), "worker"));
  if (topology.cpu_quota()) {
    text += fmt::format(" ({:.1f} CPUs of time by quota)", *topology.cpu_quota());
  }
  return text;
}

}  // namespace pinion
