#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pinion::testing {

struct ControlGroupLimits {
  std::string cpus;
  std::string memory_nodes;
  double cpu_quota;
  std::uint64_t memory_bytes;
};

/// A control group with limits, two folders deep: the limits are those of the outer one. The
/// calling process is in it as long as the object lives. Needs root, and the hierarchies of version
/// 2 or 1 where tests/vm/init.sh mounts them. Whatever fails is a failure of the running test.
class ControlGroup {
 public:
  explicit ControlGroup(const ControlGroupLimits& limits);
  ~ControlGroup();
  ControlGroup(const ControlGroup&) = delete;
  ControlGroup& operator=(const ControlGroup&) = delete;

  [[nodiscard]] const std::string& memory_limit_file() const noexcept { return memory_limit_file_; }

 private:
  void make(const std::string& hierarchy);
  void set(const std::string& file, const std::string& value);

  std::vector<std::string> hierarchies_;
  std::string memory_limit_file_;
};

}  // namespace pinion::testing
