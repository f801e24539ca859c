#include "agent/rank_variables.hpp"

#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/runtime/launch.hpp>

#include "runtime/environment_guard.hpp"

namespace pinion {
namespace {

using ::testing::HasSubstr;

std::map<std::string, std::string> variables_of(const RankIdentity& identity) {
  const auto variables = rank_variables(identity);
  return {variables.begin(), variables.end()};
}

TEST(RankVariables, TellARankWhoItIs) {
  const std::map<std::string, std::string> expected = {{"PINION_RANK", "3"},
                                                       {"PINION_SIZE", "8"},
                                                       {"PINION_LOCAL_RANK", "1"},
                                                       {"PINION_LOCAL_SIZE", "4"},
                                                       {"PINION_HOST_ID", "2"},
                                                       {"PINION_INCARNATION", "2"},
                                                       {"OMPI_COMM_WORLD_RANK", "3"},
                                                       {"OMPI_COMM_WORLD_SIZE", "8"},
                                                       {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                                                       {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"},
                                                       {"PMI_RANK", "3"},
                                                       {"PMI_SIZE", "8"}};
  EXPECT_EQ(variables_of({.rank = 3,
                          .rank_count = 8,
                          .host = 2,
                          .local_rank = 1,
                          .local_rank_count = 4,
                          .incarnation = 2}),
            expected);
}

TEST(RankVariables, NameTheGpuOfARankThatHasOne) {
  EXPECT_EQ(variables_of({.gpu_bus_id = "0000:18:00.0"}).at("PINION_GPU_BUS_ID"), "0000:18:00.0");
}

TEST(RankVariables, ShowARankTheGpuThatItHasAndNoOther) {
  const auto variables = variables_of({.visible_gpu = "GPU-7"});
  EXPECT_EQ(variables.at("CUDA_VISIBLE_DEVICES"), "GPU-7");
  EXPECT_EQ(variables_of({}).count("CUDA_VISIBLE_DEVICES"), 0u);
}

TEST(RankVariables, TellOfNoServerOfAnotherLauncher) {
  const auto ours = variables_of({});
  for (const std::string& name : foreign_variables()) {
    EXPECT_EQ(ours.count(name), 0u) << name;
    EXPECT_TRUE(is_rank_variable(name)) << name;
  }
  EXPECT_FALSE(is_rank_variable("PATH"));
}

TEST(VariableToExport, IsSetOrTakenFromOurEnvironment) {
  EnvironmentGuard environment;
  environment.set("PINION_TEST_HERE", "a = b");
  environment.set("PINION_TEST_EMPTY", "");
  using Variable = std::pair<std::string, std::string>;
  EXPECT_EQ(*variable_to_export("NAME=value"), Variable("NAME", "value"));
  EXPECT_EQ(*variable_to_export("NAME="), Variable("NAME", ""));
  EXPECT_EQ(*variable_to_export("NAME=a=b"), Variable("NAME", "a=b"));
  EXPECT_EQ(*variable_to_export("PINION_TEST_HERE"), Variable("PINION_TEST_HERE", "a = b"));
  EXPECT_EQ(*variable_to_export("PINION_TEST_EMPTY"), Variable("PINION_TEST_EMPTY", ""));
}

TEST(VariableToExport, IsRefusedWithWords) {
  const auto error = [](const char* text) {
    const auto variable = variable_to_export(text);
    return variable ? "OK" : variable.error().to_string();
  };
  EXPECT_THAT(error("PINION_TEST_MISSING"),
              AllOf(HasSubstr("NOT_FOUND"), HasSubstr("give PINION_TEST_MISSING=VALUE")));
  EXPECT_THAT(error("=value"), HasSubstr("has no name"));
  EXPECT_THAT(error(""), HasSubstr("has no name"));
  for (const char* const name : {"PINION_RANK=7", "PINION_AGENT_FD=7", "PMI_FD=7", "PMI_RANK"}) {
    EXPECT_THAT(error(name), AllOf(HasSubstr("INVALID_ARGUMENT"), HasSubstr("by pinion run")));
  }
}

}  // namespace
}  // namespace pinion
