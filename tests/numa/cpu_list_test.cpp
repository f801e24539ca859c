#include <pinion/numa/cpu_list.hpp>

#include <gmock/gmock.h>

namespace pinion {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(CpuList, JoinsNeighboursInAnyOrder) {
  EXPECT_EQ(format_cpu_list({}), "");
  EXPECT_EQ(format_cpu_list({7}), "7");
  EXPECT_EQ(format_cpu_list({8, 3, 1, 2, 0, 3, 9}), "0-3,8-9");
}

TEST(CpuList, IsReadAsItIsWritten) {
  for (const char* list : {"0", "5", "0-3", "0-3,8", "1,3,5-1023,65535"}) {
    EXPECT_EQ(format_cpu_list(parse_cpu_list(list).value()), list);
  }
  EXPECT_THAT(parse_cpu_list("4,2-3,3,4").value(), ElementsAre(2, 3, 4));
}

TEST(CpuList, RefusesWhatIsNoList) {
  for (const char* list : {"", ",", "1,", ",1", "-", "1-", "-1", "3-1", "1-2-3", "x", "1 2", "0x1",
                           "65536", "0-65536", "99999999999999999999", "1.5", "+1"}) {
    const Result<std::vector<unsigned>> cpus = parse_cpu_list(list);
    ASSERT_FALSE(cpus) << list;
    EXPECT_EQ(cpus.error().code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(cpus.error().to_string(), HasSubstr("'" + std::string(list) + "' is no list"));
  }
}

}  // namespace
}  // namespace pinion
