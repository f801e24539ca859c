#pragma once

#include <cstddef>
#include <ostream>
#include <string>

#include <gtest/gtest.h>

#include <pinion/numa/topology.hpp>

namespace pinion::testing {

/// A file of tests/data/topologies, with what its README.md says of it.
struct RecordedMachine {
  const char* file;
  std::size_t package_count;
  std::size_t node_count;
  std::size_t memory_only_count;
  std::size_t core_count;
  std::size_t cpu_count;
  std::size_t gpu_count;
};

inline constexpr RecordedMachine kRecordedMachines[] = {
    {"aws-g4dn-metal-8xT4.xml", 2, 2, 0, 48, 96, 8},
    {"cxlmem-dax-qemu.xml", 1, 1, 0, 4, 4, 0},
    {"fake-heteromem-tiers-7numa.xml", 1, 7, 4, 6, 6, 0},
    {"generated-8xH200-snc2-4numa.xml", 2, 4, 0, 56, 112, 8},
    {"intel-hybrid-6P8E.xml", 1, 1, 0, 14, 20, 0},
    {"knl-snc4-flat-mcdram-8numa.xml", 1, 8, 4, 68, 272, 0},
    {"llnl-lassen-p9-4xV100.xml", 2, 2, 0, 40, 160, 4},
    {"nvidia-dgx2-16xV100.xml", 2, 2, 0, 4, 4, 16},
    {"power8-4xP100.xml", 2, 2, 0, 8, 16, 4},
};

inline void PrintTo(const RecordedMachine& machine, std::ostream* out) {
  *out << machine.file;
}

inline std::string path_of(const std::string& file) {
  return std::string(PINION_TEST_DATA) + "/topologies/" + file;
}

inline Topology load(const std::string& file) {
  return Topology::from_xml(path_of(file)).value();
}

/// The name of a parametrised case: the file's, as far as GoogleTest takes it.
inline std::string case_name(const ::testing::TestParamInfo<RecordedMachine>& info) {
  std::string name;
  for (const char c : std::string(info.param.file)) {
    if (c == '.') {
      break;
    }
    name += c == '-' ? '_' : c;
  }
  return name;
}

}  // namespace pinion::testing
