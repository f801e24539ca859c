#include <pinion/numa/topology.hpp>

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <limits>
#include <string_view>
#include <utility>

#include "cpu_quota.hpp"
#include "pci_gpus.hpp"
#include "topology_parts.hpp"
#include "topology_state.hpp"

namespace pinion {
using detail::HwlocBitmap;
using detail::HwlocTopology;
using detail::TopologyState;

namespace {

constexpr std::size_t kFileBytesMax = 64u << 20;  // The largest recorded machines have about 5 MiB.
constexpr std::size_t kNodeCountMax = std::numeric_limits<decltype(Place::index)>::max();

Status failed(int native, ErrorCode code, std::string message) {
  return Status::from_native(ErrorOrigin::kHwloc, native, code, std::move(message));
}

Status out_of_memory() {
  return {ErrorCode::kResourceExhausted, "no memory for the topology"};
}

Result<HwlocTopology> make_hwloc(DeviceSearch search) {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) {
    return out_of_memory();
  }
  HwlocTopology hwloc(raw);
  // What a cgroup forbids is kept, so that its CPUs still know their node and its GPUs their place.
  // Else hwloc runs the calling thread on every CPU in turn, also on those that are not ours.
  hwloc_topology_set_flags(
      raw, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED | HWLOC_TOPOLOGY_FLAG_DONT_CHANGE_BINDING);
  hwloc_topology_set_io_types_filter(raw, search == DeviceSearch::kAll
                                              ? HWLOC_TYPE_FILTER_KEEP_IMPORTANT
                                              : HWLOC_TYPE_FILTER_KEEP_NONE);
  return hwloc;
}

Result<std::string> read_file(const std::string& path) {
  errno = 0;
  std::FILE* file = std::fopen(path.c_str(), "rbe");
  if (file == nullptr) {
    return Status::from_errno(errno, "opening the topology file " + path);
  }
  std::string text;
  std::array<char, 1u << 16> block = {};
  std::size_t count = 0;
  while (text.size() <= kFileBytesMax &&
         (count = std::fread(block.data(), 1, block.size(), file)) > 0) {
    text.append(block.data(), count);
  }
  const int error = std::ferror(file) != 0 ? errno : 0;
  std::fclose(file);
  if (error != 0) {
    return Status::from_errno(error, "reading the topology file " + path);
  }
  if (text.size() > kFileBytesMax) {
    return Status(ErrorCode::kInvalidArgument,
                  path + " has more than " + std::to_string(kFileBytesMax) +
                      " bytes; a file made by `lstopo FILE.xml` is smaller");
  }
  return text;
}

// hwloc answers every unfit file with EINVAL, so the cases that a person can act on are told apart
// before it sees the text.
Status check_format(const std::string& path, std::string_view text) {
  const std::size_t begin = text.find("<topology");
  if (begin == std::string_view::npos) {
    return {ErrorCode::kInvalidArgument,
            path +
                " is not an hwloc topology: it has no <topology> element; make one with `lstopo "
                "FILE.xml`"};
  }
  const std::string_view element = text.substr(begin, text.find('>', begin) - begin);
  constexpr std::string_view kVersion = "version=\"";
  const std::size_t version = element.find(kVersion);
  if (version == std::string_view::npos) {
    return {};  // hwloc 1 wrote none.
  }
  const std::string_view digits = element.substr(version + kVersion.size());
  unsigned major = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), major);
  const unsigned known = hwloc_get_api_version() >> 16;
  if (major > known) {
    return {ErrorCode::kUnimplemented,
            path + " is in the format of hwloc " + std::string(digits.substr(0, digits.find('"'))) +
                "; the hwloc library in use reads formats up to " + std::to_string(known) +
                ".x: write the file with hwloc " + std::to_string(known)};
  }
  return {};
}

// Numbers the cores in hwloc's order of CPUs, in which the CPUs of a core are neighbours; a CPU of
// which hwloc knows no core is one of its own.
void read_cores(TopologyState& state) {
  hwloc_topology_t hwloc = state.hwloc.get();
  hwloc_obj_t previous = nullptr;
  for (hwloc_obj_t cpu = nullptr;
       (cpu = hwloc_get_next_obj_by_type(hwloc, HWLOC_OBJ_PU, cpu)) != nullptr;) {
    hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(hwloc, HWLOC_OBJ_CORE, cpu);
    if (core == nullptr || core != previous) {
      ++state.core_count;
    }
    previous = core;
    state.core_of_cpu.emplace(cpu->os_index, static_cast<unsigned>(state.core_count - 1));
    ++state.cpu_count;
  }
}

NumaNode read_node(const TopologyState& state, hwloc_obj_t object,
                   hwloc_const_bitmap_t usable_memory) {
  hwloc_topology_t hwloc = state.hwloc.get();
  NumaNode node;
  node.place = {PlaceKind::kNuma, static_cast<std::uint16_t>(object->logical_index), 0};
  node.os_index = object->os_index;
  node.memory_bytes = object->attr->numanode.local_memory;
  node.memory_kind = object->subtype != nullptr ? object->subtype : "";
  node.memory_usable =
      node.memory_bytes > 0 && hwloc_bitmap_isset(usable_memory, object->os_index) != 0;
  hwloc_obj_t package = hwloc_get_ancestor_obj_by_type(hwloc, HWLOC_OBJ_PACKAGE, object);
  if (package != nullptr) {
    node.package = package->logical_index;
  }
  return node;
}

// Gives every CPU to the first node that has it, and a CPU that no node has to the first of all.
void deal_cpus(TopologyState& state, const std::vector<hwloc_obj_t>& objects,
               hwloc_const_bitmap_t usable) {
  hwloc_topology_t hwloc = state.hwloc.get();
  std::vector<hwloc_obj_t> last_core(objects.size(), nullptr);
  for (hwloc_obj_t cpu = nullptr;
       (cpu = hwloc_get_next_obj_by_type(hwloc, HWLOC_OBJ_PU, cpu)) != nullptr;) {
    const auto owner = std::find_if(objects.begin(), objects.end(), [cpu](const hwloc_obj* object) {
      return hwloc_bitmap_isset(object->cpuset, cpu->os_index) != 0;
    });
    NumaNode& node =
        state.nodes[owner == objects.end() ? 0 : static_cast<std::size_t>(owner - objects.begin())];
    if (node.cpus.empty() ||
        state.core_of_cpu.at(node.cpus.back()) != state.core_of_cpu.at(cpu->os_index)) {
      ++node.core_count;
    }
    node.cpus.push_back(cpu->os_index);
    if (hwloc_bitmap_isset(usable, cpu->os_index) != 0) {
      node.usable_cpus.push_back(cpu->os_index);
      ++state.usable_cpu_count;
    }
  }
}

Result<HwlocBitmap> find_usable_cpus(const TopologyState& state) {
  hwloc_topology_t hwloc = state.hwloc.get();
  HwlocBitmap usable(hwloc_bitmap_dup(hwloc_topology_get_allowed_cpuset(hwloc)));
  const HwlocBitmap affinity(hwloc_bitmap_alloc());
  if (!usable || !affinity) {
    return out_of_memory();
  }
  if (state.this_machine) {
    if (hwloc_get_cpubind(hwloc, affinity.get(), HWLOC_CPUBIND_THREAD) != 0) {
      return Status::from_errno(errno, "reading the CPU affinity mask");
    }
    hwloc_bitmap_and(usable.get(), usable.get(), affinity.get());
  }
  return usable;
}

// What `numactl --membind` leaves of the nodes that the cpuset allows. hwloc does not tell this
// policy from a mere preference, so the system is asked.
Result<HwlocBitmap> find_usable_memory(const TopologyState& state) {
  HwlocBitmap usable(hwloc_bitmap_dup(hwloc_topology_get_allowed_nodeset(state.hwloc.get())));
  const HwlocBitmap bound(hwloc_bitmap_alloc());
  if (!usable || !bound) {
    return out_of_memory();
  }
  constexpr unsigned long kNodeNumbersMax = 4096;  // Linux has at most 1024.
  constexpr unsigned kWordBits = std::numeric_limits<unsigned long>::digits;
  std::array<unsigned long, kNodeNumbersMax / kWordBits> words = {};
  int policy = MPOL_DEFAULT;
  // A system that does not tell a policy enforces none.
  if (state.this_machine &&
      syscall(SYS_get_mempolicy, &policy, words.data(), kNodeNumbersMax, nullptr, 0UL) == 0 &&
      (policy & ~MPOL_MODE_FLAGS) == MPOL_BIND) {
    hwloc_bitmap_from_ulongs(bound.get(), static_cast<unsigned>(words.size()), words.data());
    hwloc_bitmap_and(usable.get(), usable.get(), bound.get());
  }
  return usable;
}

Status read_nodes(TopologyState& state) {
  hwloc_topology_t hwloc = state.hwloc.get();
  std::vector<hwloc_obj_t> objects;
  for (hwloc_obj_t object = nullptr;
       (object = hwloc_get_next_obj_by_type(hwloc, HWLOC_OBJ_NUMANODE, object)) != nullptr;) {
    objects.push_back(object);
  }
  if (objects.empty() || objects.size() > kNodeCountMax) {
    return failed(0, ErrorCode::kInvalidArgument,
                  "the topology has " + std::to_string(objects.size()) +
                      " NUMA nodes; it must have 1 to " + std::to_string(kNodeCountMax));
  }
  Result<HwlocBitmap> usable_memory = find_usable_memory(state);
  if (!usable_memory) {
    return usable_memory.error();
  }
  for (hwloc_obj_t object : objects) {
    state.nodes.push_back(read_node(state, object, usable_memory->get()));
  }
  Result<HwlocBitmap> usable = find_usable_cpus(state);
  if (!usable) {
    return usable.error();
  }
  deal_cpus(state, objects, usable->get());
  if (state.usable_cpu_count == 0) {
    return {ErrorCode::kFailedPrecondition,
            "none of the " + std::to_string(state.cpu_count) +
                " CPUs of the topology may be used; look at the affinity mask and the cpuset"};
  }
  return {};
}

void read_distances(TopologyState& state) {
  hwloc_topology_t hwloc = state.hwloc.get();
  unsigned count = 1;
  hwloc_distances_s* matrix = nullptr;
  if (hwloc_distances_get_by_type(hwloc, HWLOC_OBJ_NUMANODE, &count, &matrix,
                                  HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0) != 0 ||
      count == 0 || matrix == nullptr) {
    return;
  }
  const std::size_t nodes = state.nodes.size();
  if (matrix->nbobjs == nodes) {
    state.distances.resize(nodes * nodes);
    for (std::size_t row = 0; row < nodes; ++row) {
      for (std::size_t column = 0; column < nodes; ++column) {
        state.distances[matrix->objs[row]->logical_index * nodes +
                        matrix->objs[column]->logical_index] = matrix->values[row * nodes + column];
      }
    }
  }
  hwloc_distances_release(hwloc, matrix);
}

Status fill(TopologyState& state) {
  const int packages = hwloc_get_nbobjs_by_type(state.hwloc.get(), HWLOC_OBJ_PACKAGE);
  state.package_count = static_cast<std::size_t>(std::max(packages, 0));
  read_cores(state);
  PINION_RETURN_IF_ERROR(read_nodes(state));
  read_distances(state);
  detail::read_devices(state);
  if (!detail::read_cpu_kinds(state)) {
    return out_of_memory();
  }
  return {};
}

}  // namespace

Result<Topology> Topology::of_this_machine(DeviceSearch search) {
  Result<HwlocTopology> hwloc = make_hwloc(search);
  if (!hwloc) {
    return std::move(hwloc).error();
  }
  // The first six ask a GPU driver or an X server, which can hang, takes long and makes a CUDA
  // context. "pci" loses memory in libpciaccess at each load; without it hwloc reads PCI devices
  // from sysfs. A name that this hwloc does not have is not refused.
  for (const char* component : {"cuda", "nvml", "opencl", "gl", "rsmi", "levelzero", "pci"}) {
    hwloc_topology_set_components(hwloc->get(), HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST,
                                  component);
  }
  if (hwloc_topology_load(hwloc->get()) != 0) {
    return failed(errno, ErrorCode::kUnavailable, "hwloc cannot read this machine's topology");
  }
  if (hwloc_topology_is_thissystem(hwloc->get()) == 0) {
    return Status(ErrorCode::kFailedPrecondition,
                  "hwloc describes another machine, because HWLOC_XMLFILE, HWLOC_SYNTHETIC or "
                  "HWLOC_FSROOT is set; unset it, or set HWLOC_THISSYSTEM=1 too if it describes "
                  "this one");
  }
  auto state = std::make_unique<TopologyState>();
  state->hwloc = std::move(hwloc).value();
  state->this_machine = true;
  state->cpu_quota = read_cpu_quota("/");
  PINION_RETURN_IF_ERROR(fill(*state));
  // hwloc may be built without PCI, or be told to leave devices out.
  if (search == DeviceSearch::kAll &&
      hwloc_get_next_pcidev(state->hwloc.get(), nullptr) == nullptr) {
    state->gpus = read_pci_gpus("/", state->nodes);
  }
  return Topology(std::move(state));
}

Result<Topology> Topology::from_xml(const std::string& path) {
  Result<std::string> text = read_file(path);
  if (!text) {
    return std::move(text).error();
  }
  PINION_RETURN_IF_ERROR(check_format(path, *text));
  Result<HwlocTopology> hwloc = make_hwloc(DeviceSearch::kAll);
  if (!hwloc) {
    return std::move(hwloc).error();
  }
  errno = 0;
  // The size that hwloc wants includes the final NUL.
  if (hwloc_topology_set_xmlbuffer(hwloc->get(), text->c_str(),
                                   static_cast<int>(text->size() + 1)) != 0 ||
      hwloc_topology_load(hwloc->get()) != 0) {
    return failed(errno, ErrorCode::kInvalidArgument,
                  path +
                      " is not an hwloc topology: hwloc cannot read its XML, which is damaged, "
                      "cut short or not from hwloc; make it again with `lstopo FILE.xml`");
  }
  auto state = std::make_unique<TopologyState>();
  state->hwloc = std::move(hwloc).value();
  if (Status status = fill(*state); !status.ok()) {
    return std::move(status).with_context(path);
  }
  return Topology(std::move(state));
}

Topology::Topology(std::unique_ptr<TopologyState> state) noexcept : state_(std::move(state)) {}
Topology::Topology(Topology&&) noexcept = default;
Topology& Topology::operator=(Topology&&) noexcept = default;
Topology::~Topology() = default;

bool Topology::is_this_machine() const noexcept {
  return state_->this_machine;
}
std::span<const NumaNode> Topology::nodes() const noexcept {
  return state_->nodes;
}
std::span<const GpuInfo> Topology::gpus() const noexcept {
  return state_->gpus;
}
std::span<const NicInfo> Topology::nics() const noexcept {
  return state_->nics;
}
std::span<const CpuKind> Topology::cpu_kinds() const noexcept {
  return state_->cpu_kinds;
}
std::size_t Topology::package_count() const noexcept {
  return state_->package_count;
}
std::size_t Topology::core_count() const noexcept {
  return state_->core_count;
}
std::size_t Topology::cpu_count() const noexcept {
  return state_->cpu_count;
}
std::size_t Topology::usable_cpu_count() const noexcept {
  return state_->usable_cpu_count;
}
std::optional<double> Topology::cpu_quota() const noexcept {
  return state_->cpu_quota;
}

std::vector<unsigned> Topology::cpus() const {
  std::vector<unsigned> cpus;
  for (const NumaNode& node : state_->nodes) {
    cpus.insert(cpus.end(), node.cpus.begin(), node.cpus.end());
  }
  std::sort(cpus.begin(), cpus.end());
  return cpus;
}

std::vector<unsigned> Topology::usable_cpus() const {
  std::vector<unsigned> cpus;
  for (const NumaNode& node : state_->nodes) {
    cpus.insert(cpus.end(), node.usable_cpus.begin(), node.usable_cpus.end());
  }
  std::sort(cpus.begin(), cpus.end());
  return cpus;
}

bool Topology::has_cpu(unsigned cpu) const noexcept {
  return state_->core_of_cpu.contains(cpu);
}

bool Topology::may_use(unsigned cpu) const noexcept {
  return std::any_of(state_->nodes.begin(), state_->nodes.end(), [cpu](const NumaNode& node) {
    return std::find(node.usable_cpus.begin(), node.usable_cpus.end(), cpu) !=
           node.usable_cpus.end();
  });
}

std::size_t Topology::worker_count_max() const noexcept {
  return workers_within(state_->usable_cpu_count, state_->cpu_quota);
}

unsigned Topology::core_of(unsigned cpu) const noexcept {
  const auto found = state_->core_of_cpu.find(cpu);
  PINION_ASSERT(found != state_->core_of_cpu.end());
  return found->second;
}

std::optional<std::uint64_t> Topology::distance(std::size_t reader,
                                                std::size_t memory) const noexcept {
  const std::size_t count = state_->nodes.size();
  PINION_ASSERT(reader < count && memory < count);
  if (state_->distances.empty()) {
    return std::nullopt;
  }
  return state_->distances[reader * count + memory];
}

Place Topology::nearest_memory(Place node) const noexcept {
  const std::size_t count = state_->nodes.size();
  PINION_ASSERT(node.kind == PlaceKind::kNuma && node.index < count);
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < count; ++i) {
    // Without distances the first usable node is as good as any.
    const auto far = [&](std::size_t memory) {
      return memory == node.index ? 0 : distance(node.index, memory).value_or(1);
    };
    if (state_->nodes[i].memory_usable && (!best || far(i) < far(*best))) {
      best = i;
    }
  }
  return {PlaceKind::kNuma, static_cast<std::uint16_t>(best.value_or(node.index)), node.host};
}

}  // namespace pinion
