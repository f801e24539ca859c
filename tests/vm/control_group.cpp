#include "vm/control_group.hpp"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

namespace pinion::testing {
namespace {

constexpr const char* kTop = "/sys/fs/cgroup";
constexpr const char* kOuter = "/outer";
constexpr const char* kInner = "/outer/inner";
constexpr int kPeriodMicroseconds = 100'000;

}  // namespace

ControlGroup::ControlGroup(const ControlGroupLimits& limits) {
  const std::string quota =
      std::to_string(static_cast<int>(limits.cpu_quota * kPeriodMicroseconds));
  const std::string top = kTop;
  if (std::filesystem::exists(top + "/cgroup.controllers")) {
    set(top + "/cgroup.subtree_control", "+cpu +cpuset +memory");
    make(top);
    set(top + kOuter + "/cpuset.cpus", limits.cpus);
    set(top + kOuter + "/cpuset.mems", limits.memory_nodes);
    set(top + kOuter + "/cpu.max", quota + " " + std::to_string(kPeriodMicroseconds));
    memory_limit_file_ = top + kOuter + "/memory.max";
  } else {
    for (const char* controller : {"/cpu", "/cpuset", "/memory"}) {
      make(top + controller);
    }
    for (const char* group : {kOuter, kInner}) {
      set(top + "/cpuset" + group + "/cpuset.cpus", limits.cpus);
      set(top + "/cpuset" + group + "/cpuset.mems", limits.memory_nodes);
    }
    set(top + "/cpu" + kOuter + "/cpu.cfs_quota_us", quota);
    memory_limit_file_ = top + "/memory" + kOuter + "/memory.limit_in_bytes";
  }
  set(memory_limit_file_, std::to_string(limits.memory_bytes));
  for (const std::string& hierarchy : hierarchies_) {
    set(hierarchy + kInner + "/cgroup.procs", "0");
  }
}

ControlGroup::~ControlGroup() {
  for (const std::string& hierarchy : hierarchies_) {
    set(hierarchy + "/cgroup.procs", "0");
    for (const char* group : {kInner, kOuter}) {
      EXPECT_TRUE(std::filesystem::remove(hierarchy + group)) << hierarchy << group;
    }
  }
}

void ControlGroup::make(const std::string& hierarchy) {
  EXPECT_TRUE(std::filesystem::create_directories(hierarchy + kInner)) << hierarchy;
  hierarchies_.push_back(hierarchy);
}

void ControlGroup::set(const std::string& file, const std::string& value) {
  std::ofstream out(file);
  out << value;
  out.flush();
  EXPECT_TRUE(out.good()) << "writing " << value << " to " << file;
}

}  // namespace pinion::testing
