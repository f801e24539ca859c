#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

namespace detail {
struct TopologyState;
}  // namespace detail

/// One NUMA node: memory, and the CPUs that are nearest to it.
struct NumaNode {
  Place place = {};       ///< Index: hwloc's logical index. Host: 0.
  unsigned os_index = 0;  ///< The operating system's number; these may have gaps.
  std::uint64_t memory_bytes = 0;
  std::string memory_kind = {};  ///< hwloc's word, such as "DRAM" or "HBM"; often empty.

  /// Whether this process may allocate there: its cpuset and the thread's memory policy allow the
  /// node, and the node has memory.
  bool memory_usable = true;

  /// Operating-system numbers, neighbours where they share a core. Every CPU of the machine belongs
  /// to exactly one node, the first that hwloc names, which is DRAM before HBM. Empty for a node
  /// that is memory only.
  std::vector<unsigned> cpus = {};
  std::vector<unsigned> usable_cpus = {};  ///< Those of `cpus` that this process may use.
  unsigned core_count = 0;                 ///< Cores that `cpus` belong to.
  std::optional<unsigned> package = {};    ///< Empty for a node that lies in no single package.
};

/// CPUs that are alike, on a machine with performance and efficiency cores one kind of them.
struct CpuKind {
  /// What hwloc tells of them, such as "IntelAtom" or "up to 3900 MHz"; often empty.
  std::string name = {};

  /// From 0, the slowest and most efficient kind; empty when the machine does not tell the order.
  std::optional<unsigned> efficiency = {};

  std::vector<unsigned> cpus = {};  ///< Operating-system numbers, ascending.
};

/// One physical GPU, however many programming interfaces show it.
struct GpuInfo {
  Place place = {};         ///< Index: the order of PCI devices. Host: 0.
  std::string name = {};    ///< The model, or the PCI vendor and device numbers.
  std::string uuid = {};    ///< Empty when the topology does not tell.
  std::string bus_id = {};  ///< PCI "0000:18:00.0": the name to join by.

  /// Empty when it is not nearest to exactly one node with CPUs. Whether this process may use any
  /// of them is another matter: see NumaNode::usable_cpus.
  std::optional<Place> near_node = {};
};

/// One network adapter: a function of a PCI device, however many interfaces show it.
struct NicInfo {
  /// The operating system's names, such as "eth0" and "mlx5_0", in hwloc's order; may be empty.
  std::vector<std::string> interfaces = {};
  std::string name = {};                ///< The model, or the PCI vendor and device numbers.
  std::string bus_id = {};              ///< PCI "0000:18:00.0": the name to join by.
  std::optional<Place> near_node = {};  ///< As that of a GPU.
};

/// Whether GPUs and network adapters are looked for.
enum class DeviceSearch : std::uint8_t {
  kAll,
  kNone,  ///< gpus() and nics() stay empty. Takes a third of the time.
};

/// What a machine is made of and what of it this process may use. A snapshot: CPUs that come, go or
/// are taken away later do not show.
///
///     const Topology topology = Topology::of_this_machine().value();
///     for (const NumaNode& node : topology.nodes()) {
///       std::printf("node %u has %zu CPUs for us\n", node.place.index, node.usable_cpus.size());
///     }
///
/// Thread safety: all const members may be called from any thread.
/// Lifetime: spans live as long as the topology they came from.
class Topology {
 public:
  /// This machine, as the calling thread may use it: the CPUs that exist, the process's cgroups
  /// allow and the thread's affinity mask holds; the memory that cgroups and the thread's memory
  /// policy allow.
  /// Blocks: some milliseconds, to read the system's files.
  /// Errors: kFailedPrecondition when hwloc's environment variables describe another machine, or
  ///   no CPU is left to use; kUnavailable when the system does not tell its topology.
  [[nodiscard]] static Result<Topology> of_this_machine(DeviceSearch search = DeviceSearch::kAll);

  /// A machine recorded by `lstopo FILE.xml`, for planning only: nothing can be bound to it.
  /// Errors: those of the file system; kInvalidArgument for what is no hwloc topology;
  ///   kUnimplemented for a format that is younger than the hwloc library in use.
  [[nodiscard]] static Result<Topology> from_xml(const std::string& path);

  Topology(Topology&&) noexcept;
  Topology& operator=(Topology&&) noexcept;
  ~Topology();

  /// False for a recorded machine.
  [[nodiscard]] bool is_this_machine() const noexcept;

  /// In the order of their places' index; at least one.
  [[nodiscard]] std::span<const NumaNode> nodes() const noexcept;

  /// In the order of their places' index.
  [[nodiscard]] std::span<const GpuInfo> gpus() const noexcept;

  /// In the order of hwloc's PCI devices.
  [[nodiscard]] std::span<const NicInfo> nics() const noexcept;

  /// From the most efficient to the fastest kind where the machine tells. Every CPU is of exactly
  /// one kind; at least one, and only one where all CPUs are alike.
  [[nodiscard]] std::span<const CpuKind> cpu_kinds() const noexcept;

  [[nodiscard]] std::size_t package_count() const noexcept;
  [[nodiscard]] std::size_t core_count() const noexcept;
  [[nodiscard]] std::size_t cpu_count() const noexcept;

  /// Operating-system numbers, ascending: all, and those that this process may use.
  [[nodiscard]] std::vector<unsigned> cpus() const;
  [[nodiscard]] std::vector<unsigned> usable_cpus() const;

  [[nodiscard]] bool has_cpu(unsigned cpu) const noexcept;
  [[nodiscard]] bool may_use(unsigned cpu) const noexcept;

  /// CPUs that this process may use; at least 1.
  [[nodiscard]] std::size_t usable_cpu_count() const noexcept;

  /// The CPU time per time that the process's cgroups grant, in CPUs; empty when unlimited.
  [[nodiscard]] std::optional<double> cpu_quota() const noexcept;

  /// Workers that can run at once without waiting for each other: the usable CPUs, or the quota
  /// rounded up where that is less. At least 1.
  [[nodiscard]] std::size_t worker_count_max() const noexcept;

  /// The number, from 0, of the core that a CPU is part of.
  /// Precondition: `cpu` is one of the CPUs of nodes().
  [[nodiscard]] unsigned core_of(unsigned cpu) const noexcept;

  /// How slow memory of node `memory` is for the CPUs of node `reader`, relative to other pairs (10
  /// is local on most machines); empty when the machine does not tell.
  /// Precondition: both are indexes of nodes().
  [[nodiscard]] std::optional<std::uint64_t> distance(std::size_t reader,
                                                      std::size_t memory) const noexcept;

  /// The node whose usable memory is nearest to the CPUs of `node`, in distance where the machine
  /// tells it: `node` itself where its memory is usable, and where no memory is. The host is kept.
  /// Precondition: `node` is a NUMA node of nodes().
  [[nodiscard]] Place nearest_memory(Place node) const noexcept;

 private:
  friend Status pin_this_thread(std::span<const unsigned> cpus, const Topology& topology);
  friend Status bind_memory(std::span<std::byte> pages, const Topology& topology, Place place);

  explicit Topology(std::unique_ptr<detail::TopologyState> state) noexcept;

  std::unique_ptr<detail::TopologyState> state_;
};

}  // namespace pinion
