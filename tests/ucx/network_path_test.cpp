#include "network_path.hpp"

#include <filesystem>
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "temporary_folder.hpp"

namespace pinion {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// What UCX 1.13 prints of an endpoint.
constexpr const char* kPrinted =
    "#\n# UCP endpoint \n#\n#               peer: <no debug data>\n"
    "#                 lane[0]:  1:tcp/eth0.0 md[1]  -> md[1]/tcp/sysdev[255] am\n"
    "#                 lane[1]:  1:tcp/eth0.0 md[1]  -> md[1]/tcp/sysdev[255]\n"
    "#                 lane[2]: CM tcp\n"
    "#                 lane[3]:  2:rc_verbs/mlx5_0:1.0 md[2]  -> md[2]/ib\n";

TEST(Lanes, AreNamedOnceEachWithoutThoseThatOnlyConnect) {
  EXPECT_THAT(lanes_of(kPrinted), ElementsAre(Lane{"tcp", "eth0"}, Lane{"rc_verbs", "mlx5_0:1"}));
  EXPECT_EQ(path_of(lanes_of(kPrinted)).name, "tcp over eth0, rc_verbs over mlx5_0:1");
  EXPECT_THAT(lanes_of("something else\n"), IsEmpty());
  EXPECT_EQ(path_of({}).name, "UCX");
}

TEST(ChunkWay, IsToReadWhereTheAdapterCan) {
  EXPECT_EQ(chunk_way_of({{"tcp", "eth0"}}), ChunkWay::kMessage);
  EXPECT_EQ(chunk_way_of({{"ud_verbs", "mlx5_0:1"}}), ChunkWay::kMessage);
  EXPECT_EQ(chunk_way_of({{"rc_verbs", "rxe0:1"}}), ChunkWay::kGet);
  EXPECT_EQ(chunk_way_of({{"ud_mlx5", "mlx5_0:1"}, {"dc_mlx5", "mlx5_0:1"}}), ChunkWay::kGet);
  EXPECT_EQ(chunk_way_of({}), ChunkWay::kMessage);
}

TEST(Rdma, IsToldByTheNameOfTheTransport) {
  for (const char* const name : {"rc", "rc_verbs", "rc_mlx5", "dc", "dc_mlx5", "ud_verbs", "ib"}) {
    EXPECT_TRUE(is_rdma(name)) << name;
  }
  for (const char* const name : {"tcp", "self", "sysv", "posix", "cma", "rcx", ""}) {
    EXPECT_FALSE(is_rdma(name)) << name;
  }
}

// A folder as /sys, with what a test puts into it.
class PathTest : public testing::Test {
 protected:
  void put(const std::string& file, const std::string& text) const {
    const std::filesystem::path path = std::filesystem::path(folder_.path()) / file;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text << "\n";
  }
  void put_port(const std::string& device, const std::string& port, const std::string& state,
                const std::string& rate) const {
    const std::string folder = "class/infiniband/" + device + "/ports/" + port;
    put(folder + "/state", state);
    put(folder + "/rate", rate);
  }
  [[nodiscard]] detail::LinkPath path(const std::vector<Lane>& lanes) const {
    return path_of(lanes, folder_.path());
  }

  const TemporaryFolder folder_;
};

TEST_F(PathTest, CarriesWhatItsDeviceCan) {
  put("class/net/eth0/speed", "10000");
  put("class/net/wifi/speed", "-1");
  put("class/net/odd/speed", "unknown");
  put_port("mlx5_0", "2", "4: ACTIVE", "100 Gb/sec (4X EDR)");
  put_port("rxe0", "1", "4: ACTIVE", "2.5 Gb/sec (1X SDR)");
  EXPECT_EQ(path({{"tcp", "eth0"}}).bytes_per_second, 1'250'000'000u);
  EXPECT_EQ(path({{"tcp", "wifi"}}).bytes_per_second, 0u);
  EXPECT_EQ(path({{"tcp", "odd"}}).bytes_per_second, 0u);
  EXPECT_EQ(path({{"tcp", "absent"}}).bytes_per_second, 0u);
  EXPECT_EQ(path({{"rc_mlx5", "mlx5_0:2"}}).bytes_per_second, 12'500'000'000u);
  EXPECT_EQ(path({{"rc_verbs", "rxe0:1"}}).bytes_per_second, 312'500'000u);
  EXPECT_EQ(path({{"tcp", "eth0"}, {"rc_mlx5", "mlx5_0:2"}}).bytes_per_second, 12'500'000'000u);
}

TEST_F(PathTest, IsSlowWhereRdmaIsThereAndNotUsed) {
  put_port("mlx5_1", "1", "4: ACTIVE", "100 Gb/sec (4X EDR)");
  put_port("mlx5_0", "1", "4: ACTIVE", "200 Gb/sec (4X HDR)");
  put_port("mlx5_2", "1", "1: DOWN", "10 Gb/sec (4X SDR)");
  EXPECT_THAT(path({{"tcp", "eth0"}}).slow,
              AllOf(HasSubstr("tcp over eth0 is used, although this host has RDMA"),
                    HasSubstr("(mlx5_0:1,mlx5_1:1, "),
                    HasSubstr("name it, as transports=rc,self and network-devices=mlx5_0:1")));
  EXPECT_THAT(path({{"rc_mlx5", "mlx5_1:1"}}).slow, IsEmpty());
}

TEST_F(PathTest, IsNotSlowWhereThereIsNothingBetter) {
  EXPECT_THAT(path({{"tcp", "eth0"}}).slow, IsEmpty());
  put_port("mlx5_2", "1", "1: DOWN", "10 Gb/sec (4X SDR)");
  EXPECT_THAT(path({{"tcp", "eth0"}}).slow, IsEmpty());
}

}  // namespace
}  // namespace pinion
