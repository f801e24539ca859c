// Runs as root inside a virtual machine of tests/vm/boot.sh, and asks the kernel about everything
// that numa says or does: where pages lie, where threads may run, what control groups allow.

#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/numa/binding.hpp>
#include <pinion/numa/cpu_list.hpp>
#include <pinion/numa/memory_limits.hpp>
#include <pinion/numa/placement.hpp>
#include <pinion/numa/topology.hpp>

#include "vm/control_group.hpp"

namespace pinion {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::size_t kPageCount = 64;

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The words of a file, such as the row of a node's distances.
std::vector<std::string> words_of(const std::string& path) {
  std::istringstream text(text_of(path));
  return {std::istream_iterator<std::string>(text), {}};
}

std::string folder_of(const NumaNode& node) {
  return "/sys/devices/system/node/node" + std::to_string(node.os_index);
}

std::size_t page_size() {
  return static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

// The kernel's number of the node that holds each page; negative where none does.
std::vector<int> os_nodes_of(std::span<std::byte> bytes) {
  std::vector<void*> pages;
  for (std::size_t at = 0; at < bytes.size(); at += page_size()) {
    pages.push_back(bytes.data() + at);
  }
  std::vector<int> nodes(pages.size(), -1);
  EXPECT_EQ(syscall(SYS_move_pages, 0, pages.size(), pages.data(), nullptr, nodes.data(), 0), 0);
  return nodes;
}

// What the kernel allows the calling thread.
std::string allowed_cpus() {
  std::istringstream status(
      text_of("/proc/self/task/" + std::to_string(syscall(SYS_gettid)) + "/status"));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("Cpus_allowed_list:")) {
      return line.substr(line.find_first_of("0123456789"));
    }
  }
  return "?";
}

unsigned current_os_node() {
  unsigned cpu = 0;
  unsigned node = 0;
  EXPECT_EQ(syscall(SYS_getcpu, &cpu, &node, nullptr), 0);
  return node;
}

// Pages that nobody touched and nothing binds, which malloc() does not promise.
class FreshPages {
 public:
  FreshPages()
      : address_(mmap(nullptr, kPageCount * page_size(), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    PINION_ASSERT(address_ != MAP_FAILED);
  }
  ~FreshPages() { munmap(address_, kPageCount * page_size()); }
  FreshPages(const FreshPages&) = delete;
  FreshPages& operator=(const FreshPages&) = delete;

  [[nodiscard]] std::span<std::byte> bytes() const {
    return {static_cast<std::byte*>(address_), kPageCount * page_size()};
  }

 private:
  void* address_;
};

// Runs `body` on a thread of its own that is pinned to the CPUs.
template <class Body>
void on_cpus(const std::vector<unsigned>& cpus, const Topology& topology, const Body& body) {
  std::thread thread([&] {
    const Status pinned = pin_this_thread(cpus, topology);
    ASSERT_TRUE(pinned.ok()) << pinned.to_string();
    body();
  });
  thread.join();
}

class VirtualMachine : public ::testing::Test {
 protected:
  [[nodiscard]] static bool is_four() {
    return std::string(std::getenv("PINION_VM_MACHINE")) == "four";
  }
  [[nodiscard]] const NumaNode& node(std::size_t index) const { return topology_.nodes()[index]; }

  // Which of the nodes fit.
  template <class Predicate>
  [[nodiscard]] std::vector<NumaNode> nodes_where(const Predicate& fits) const {
    std::vector<NumaNode> nodes;
    std::copy_if(topology_.nodes().begin(), topology_.nodes().end(), std::back_inserter(nodes),
                 fits);
    return nodes;
  }
  [[nodiscard]] std::vector<NumaNode> nodes_with_cpus() const {
    return nodes_where([](const NumaNode& it) { return !it.cpus.empty(); });
  }
  [[nodiscard]] std::vector<NumaNode> nodes_with_memory() const {
    return nodes_where([](const NumaNode& it) { return it.memory_bytes > 0; });
  }

  Topology topology_ = Topology::of_this_machine().value();
};

TEST_F(VirtualMachine, HasTheNodesThatTheKernelShows) {
  ASSERT_EQ(topology_.nodes().size(), is_four() ? 4u : 2u);
  EXPECT_EQ(nodes_with_cpus().size(), is_four() ? 3u : 2u);
  EXPECT_EQ(nodes_with_memory().size(), is_four() ? 3u : 2u);
  EXPECT_EQ(topology_.usable_cpu_count(), is_four() ? 6u : 4u);
  for (std::size_t i = 0; i < topology_.nodes().size(); ++i) {
    SCOPED_TRACE(folder_of(node(i)));
    std::istringstream cpus(text_of(folder_of(node(i)) + "/cpulist"));
    std::string list;
    cpus >> list;
    EXPECT_EQ(format_cpu_list(node(i).usable_cpus), list);
    const std::vector<std::string> row = words_of(folder_of(node(i)) + "/distance");
    for (std::size_t j = 0; j < topology_.nodes().size(); ++j) {
      EXPECT_EQ(std::to_string(topology_.distance(i, j).value_or(0)), row.at(node(j).os_index));
    }
    const std::vector<std::string> memory = words_of(folder_of(node(i)) + "/meminfo");
    ASSERT_EQ(memory.at(2), "MemTotal:");
    EXPECT_EQ(node(i).memory_bytes, std::stoull(memory.at(3)) * 1024);
    EXPECT_EQ(node(i).memory_usable, node(i).memory_bytes > 0);
  }
}

TEST_F(VirtualMachine, KnowsWhichNodeANetworkAdapterIsNear) {
  if (!is_four()) {
    GTEST_SKIP() << "this machine has no network adapter; the machine 'four' has one";
  }
  ASSERT_EQ(topology_.nics().size(), 1u);
  const NicInfo& nic = topology_.nics().front();
  const std::vector<std::string> words =
      words_of("/sys/bus/pci/devices/" + nic.bus_id + "/numa_node");
  ASSERT_EQ(words.size(), 1u) << nic.bus_id;
  ASSERT_TRUE(nic.near_node.has_value());
  EXPECT_EQ(std::to_string(node(nic.near_node->index).os_index), words.front());
}

TEST_F(VirtualMachine, KeepsAPinnedThreadOnItsCpus) {
  for (const NumaNode& home : nodes_with_cpus()) {
    on_cpus(home.cpus, topology_, [&] {
      EXPECT_EQ(allowed_cpus(), format_cpu_list(home.cpus));
      EXPECT_EQ(current_os_node(), home.os_index);
    });
    for (const unsigned cpu : home.cpus) {
      on_cpus({cpu}, topology_, [&] {
        EXPECT_EQ(allowed_cpus(), std::to_string(cpu));
        EXPECT_EQ(sched_getcpu(), static_cast<int>(cpu));
      });
    }
  }
}

TEST_F(VirtualMachine, PutsBoundPagesOnTheirNodeWhoeverTouchesThem) {
  for (const NumaNode& toucher : nodes_with_cpus()) {
    for (const NumaNode& home : nodes_with_memory()) {
      SCOPED_TRACE(std::to_string(toucher.os_index) + " to " + std::to_string(home.os_index));
      on_cpus(toucher.cpus, topology_, [&] {
        Result<BoundMemory> memory =
            BoundMemory::allocate(kPageCount * page_size(), topology_, home.place);
        ASSERT_TRUE(memory) << memory.error().to_string();
        std::memset(memory->bytes().data(), 1, memory->bytes().size());
        EXPECT_THAT(os_nodes_of(memory->bytes()), ::testing::Each(static_cast<int>(home.os_index)));
        EXPECT_EQ(where_is(memory->bytes().data(), topology_).value(), home.place);
      });
    }
  }
}

TEST_F(VirtualMachine, PutsOtherPagesWhereTheirFirstToucherRuns) {
  for (const NumaNode& toucher : nodes_with_cpus()) {
    on_cpus(toucher.cpus, topology_, [&] {
      const FreshPages fresh;
      std::memset(fresh.bytes().data(), 1, fresh.bytes().size());
      const Place near = topology_.nearest_memory(toucher.place);
      EXPECT_EQ(near == toucher.place, toucher.memory_bytes > 0);
      EXPECT_THAT(os_nodes_of(fresh.bytes()),
                  ::testing::Each(static_cast<int>(node(near.index).os_index)));
    });
  }
}

TEST_F(VirtualMachine, OverflowsAFullNodeInsteadOfKillingTheProcess) {
  const NumaNode& home = node(0);
  Result<BoundMemory> memory =
      BoundMemory::allocate(home.memory_bytes + home.memory_bytes / 8, topology_, home.place);
  ASSERT_TRUE(memory) << memory.error().to_string();
  std::map<int, std::size_t> pages;
  for (std::size_t at = 0; at < memory->bytes().size(); at += page_size()) {
    memory->bytes()[at] = std::byte{1};
  }
  for (const int os_node : os_nodes_of(memory->bytes())) {
    ++pages[os_node];
  }
  EXPECT_EQ(pages.count(-1), 0u);
  EXPECT_GT(pages[static_cast<int>(home.os_index)], 0u);
  EXPECT_GE(pages.size(), 2u);
}

TEST_F(VirtualMachine, RefusesMemoryOfANodeThatHasNone) {
  for (const NumaNode& bare : topology_.nodes()) {
    if (bare.memory_bytes == 0) {
      const Result<BoundMemory> memory = BoundMemory::allocate(page_size(), topology_, bare.place);
      ASSERT_FALSE(memory);
      EXPECT_EQ(memory.error().code(), ErrorCode::kPermissionDenied);
      EXPECT_THAT(memory.error().to_string(), HasSubstr("has no memory"));
      return;
    }
  }
  EXPECT_FALSE(is_four());
  GTEST_SKIP() << "every node of this machine has memory; the machine 'four' has one without";
}

TEST_F(VirtualMachine, UsesOnlyWhatAMemoryPolicyBindsTheThreadTo) {
  const NumaNode only = nodes_with_memory().back();
  const NumaNode& other = node(0);
  ASSERT_NE(only.place, other.place);
  const std::array<unsigned long, 16> mask = {1UL << only.os_index};
  const auto set_policy = [&](int policy, const unsigned long* nodes) {
    ASSERT_EQ(syscall(SYS_set_mempolicy, policy, nodes, nodes == nullptr ? 0 : 1024), 0);
  };
  set_policy(MPOL_BIND, mask.data());
  const Topology bound = Topology::of_this_machine().value();
  set_policy(MPOL_PREFERRED, mask.data());
  const Topology preferring = Topology::of_this_machine().value();
  set_policy(MPOL_DEFAULT, nullptr);
  for (const NumaNode& it : bound.nodes()) {
    EXPECT_EQ(it.memory_usable, it.place == only.place) << it.os_index;
  }
  EXPECT_EQ(bound.nearest_memory(other.place), only.place);
  EXPECT_EQ(BoundMemory::allocate(page_size(), bound, other.place).error().code(),
            ErrorCode::kPermissionDenied);
  EXPECT_TRUE(preferring.nodes()[other.place.index].memory_usable);
}

TEST_F(VirtualMachine, UsesOnlyWhatItsControlGroupAllows) {
  constexpr std::uint64_t kLimit = 200u << 20;
  const NumaNode& home = node(1);
  const MemoryLimits before = memory_limits().value();
  EXPECT_EQ(before.limit.source, "/proc/meminfo MemTotal");
  std::string why;
  {
    const testing::ControlGroup group({.cpus = format_cpu_list(home.cpus),
                                       .memory_nodes = std::to_string(home.os_index),
                                       .cpu_quota = 1.5,
                                       .memory_bytes = kLimit});
    const Topology inside = Topology::of_this_machine().value();
    EXPECT_EQ(inside.cpu_count(), topology_.cpu_count());
    EXPECT_EQ(inside.usable_cpus(), home.cpus);
    EXPECT_EQ(inside.cpu_quota(), 1.5);
    EXPECT_EQ(inside.worker_count_max(), 2u);
    for (const NumaNode& it : inside.nodes()) {
      EXPECT_EQ(it.memory_usable, it.place == home.place) << it.os_index;
    }
    const MemoryLimits limits = memory_limits().value();
    EXPECT_EQ(limits.limit.bytes, kLimit);
    EXPECT_EQ(limits.limit.source, group.memory_limit_file());
    EXPECT_LE(limits.available.bytes, kLimit);
    EXPECT_GT(limits.available.bytes, kLimit / 2);

    const unsigned forbidden = node(0).cpus.front();
    const Status pinned = pin_this_thread(std::array{forbidden}, inside);
    EXPECT_EQ(pinned.code(), ErrorCode::kPermissionDenied);
    EXPECT_THAT(pinned.to_string(), HasSubstr("allow " + format_cpu_list(home.cpus)));
    EXPECT_EQ(BoundMemory::allocate(page_size(), inside, node(0).place).error().code(),
              ErrorCode::kPermissionDenied);
    // A topology from before the limits promises more than the system gives.
    EXPECT_FALSE(pin_this_thread(std::array{forbidden}, topology_).ok());
  }
  EXPECT_EQ(Topology::of_this_machine().value().usable_cpus(), topology_.cpus());
}

}  // namespace
}  // namespace pinion
