// Ranks that are mapped by GPU, with a management library in place of the driver's.

#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"

namespace pinion {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

class MappedRanks : public JobTest {
 protected:
  MappedRanks() { std::filesystem::create_symlink(PINION_FAKE_NVML, path("libnvidia-ml.so.1")); }

  // A program that says what it sees, on two ranks; `visible` is our own CUDA_VISIBLE_DEVICES.
  [[nodiscard]] CommandResult run_with(const std::string& visible) const {
    const std::string words = "echo $PINION_RANK $CUDA_VISIBLE_DEVICES $PINION_GPU_BUS_ID";
    return run_command(
        folder_, on_ranks(2, {"sh", "-c", words}, {"--map-by", "gpu"}),
        environment({{"LD_LIBRARY_PATH", path("")}, {"CUDA_VISIBLE_DEVICES", visible}}));
  }
};

TEST_F(MappedRanks, SeeEachItsOwnGpuByItsUuid) {
  const CommandResult result = run_with("MIG-3d,0");
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_THAT(lines_of(result.output),
              UnorderedElementsAre("0 MIG-3d 0000:5e:00.0", "1 GPU-0a 0000:3b:00.0"));
  EXPECT_THAT(result.errors, HasSubstr("GPU 2 of the driver: this process may not use it"));
}

TEST_F(MappedRanks, AreRefusedWhereNoGpuIsVisible) {
  const CommandResult result = run_with("");
  EXPECT_EQ(result.status, 78);
  EXPECT_EQ(result.output, "");
  EXPECT_THAT(result.errors, AllOf(HasSubstr("CUDA_VISIBLE_DEVICES"), HasSubstr("map by numa")));
}

}  // namespace
}  // namespace pinion
