// Runs as root inside the virtual machine "rdma" of tests/vm/boot.sh: what goes between hosts goes
// over RDMA there, by an adapter in software. All hosts are that machine.

#include <atomic>
#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/core/detail/link_transport.hpp>
#include <pinion/ucx/ucx_transport.hpp>

#include "conformance/transport_conformance.hpp"
#include "jobs_over_rdma.hpp"
#include "mp/job_runner.hpp"
#include "ucx_link.hpp"

namespace pinion {
namespace {

using testing::HasSubstr;
using testing_transport::Side;

constexpr const char* kAddress = "10.77.0.1";
constexpr std::chrono::seconds kPatience{120};
constexpr const char* kHere = "exec \"$@\"";

UcxTransportOptions over_rdma(Duration keepalive) {
  return {.listen_address = kAddress,
          .transports = {"rc_verbs", "self"},
          .devices = {"rxe0:1"},
          .keepalive = keepalive};
}

struct RdmaHost {
  Result<std::unique_ptr<ITransport>> make(std::uint32_t host, TransportHandlers handlers,
                                           const testing_transport::Limits& limits) {
    Result<std::unique_ptr<detail::ILink>> link = make_ucx_link(over_rdma(limits.keepalive));
    if (!link) {
      return link.error();
    }
    return detail::make_link_transport(*std::move(link),
                                       {.host = host,
                                        .keepalive = limits.keepalive,
                                        .connect_timeout = limits.connect_timeout,
                                        .pull_timeout = limits.pull_timeout,
                                        .window_bytes = limits.window_bytes,
                                        .job_key = limits.job_key,
                                        .handlers = std::move(handlers),
                                        .damage = [this](std::span<std::byte> bytes) {
                                          if (damaging && !bytes.empty()) {
                                            bytes[bytes.size() / 2] ^= std::byte{1};
                                          }
                                        }});
  }

  void damage_pulls() { damaging = true; }
  void leave_pulls_whole() { damaging = false; }

  std::atomic<bool> damaging = false;
};

INSTANTIATE_TYPED_TEST_SUITE_P(Rdma, TransportConformance, RdmaHost);

// How host 1 sees the way to host 2, when both are made with `options`.
Peer way_between(UcxTransportOptions options) {
  Side one(1);
  Side two(2);
  for (Side* const side : {&one, &two}) {
    options.host = side->host;
    options.handlers = side->handlers();
    Result<std::unique_ptr<ITransport>> made = create_ucx_transport(options);
    EXPECT_TRUE(made.has_value()) << made.error().to_string();
    side->transport = *std::move(made);
  }
  EXPECT_TRUE(one.transport->connect(2, two.transport->address()).ok());
  EXPECT_TRUE(one.wait_for_peer(2, 1).ok());
  return one.transport->peers().at(0);
}

TEST(RdmaPath, IsNamedWithItsDeviceAndIsNotSlow) {
  const Peer peer = way_between(over_rdma(std::chrono::seconds(60)));
  EXPECT_THAT(peer.path, HasSubstr("rc_verbs over rxe0:1"));
  EXPECT_EQ(peer.slow, "");
}

TEST(RdmaPath, ThatIsNotTakenIsMissed) {
  const Peer peer =
      way_between({.listen_address = kAddress, .keepalive = std::chrono::seconds(60)});
  EXPECT_THAT(peer.path, HasSubstr("tcp over veth0"));
  EXPECT_THAT(peer.slow, HasSubstr("although this host has RDMA (rxe0:1"));
}

TEST(JobOverRdma, CountsWordsAsOneRankDoes) {
  const TemporaryFolder folder;
  const WordsOverRdma words;
  write_file(folder / "text", words.text);
  RunningCommand job(
      folder, over_rdma(folder, kHere, WordsOverRdma::program(folder / "text", folder / "out")));
  EXPECT_EQ(job.wait_for(kPatience), 0) << job.errors();
  EXPECT_EQ(read_file(folder / "out"), words.counts);
  EXPECT_TRUE(says_rdma(job)) << job.errors();
  EXPECT_GE(pulled_by_both(job).bytes, 1 << 20) << job.errors();
  EXPECT_EQ(count_of("warning", job.errors()), 0u);
}

TEST(JobOverRdma, PullsWholeVectors) {
  const TemporaryFolder folder;
  RunningCommand job(folder, over_rdma(folder, kHere, kVectors));
  EXPECT_EQ(job.wait_for(kPatience), 0) << job.errors();
  EXPECT_EQ(job.output(), kSumOfVectors);
  EXPECT_TRUE(says_rdma(job)) << job.errors();
  EXPECT_TRUE(pulled_by_both(job).has_rate) << job.errors();
}

}  // namespace
}  // namespace pinion
