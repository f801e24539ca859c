#include "conformance/control_link_conformance.hpp"

#include <memory>
#include <utility>

#include <pinion/shm/local_blob_store.hpp>

#include "agent_link.hpp"
#include "coordinator_driver.hpp"
#include "grant_log.hpp"
#include "local_link.hpp"
#include "runtime/fake_agent.hpp"

namespace pinion {
namespace {

constexpr std::uint64_t kJob = 77;
constexpr std::uint32_t kEpoch = 1;
constexpr LoggedRank kSelf = {.rank = 0, .incarnation = 1};

protocol::Envelope envelope_of_self() {
  return {.job = kJob, .epoch = kEpoch, .rank = kSelf.rank, .incarnation = kSelf.incarnation};
}

// A job of one process.
struct LocalHost {
  IControlLink& link() { return local_link; }
  protocol::Envelope envelope() const { return envelope_of_self(); }

  SystemClock clock;
  GrantLog log;
  LocalBlobStore store = LocalBlobStore({kJob, kEpoch, 0}, MemoryLedger({.budget_bytes = 1 << 20}));
  LocalLink local_link =
      LocalLink({.job = kJob, .epoch = kEpoch}, {.quiet = true}, store, clock, log);
};

// A rank whose agent is a thread that drives a coordinator over the other end of the socket.
struct AgentHost {
  IControlLink& link() { return *agent_link; }
  protocol::Envelope envelope() const { return envelope_of_self(); }

  void lose_coordinator() {
    agent_link->leave(kSelf.rank);  // Else the link ends the whole process.
    agent->hang_up();
  }

  FakeAgent::OnFrame coordinate() {
    return [this](Channel& channel, Frame frame) {
      if (!driver) {
        driver = std::make_unique<CoordinatorDriver>(
            protocol::CoordinatorOptions{.job = kJob, .epoch = kEpoch},
            CoordinatorDriver::Hooks{
                .send =
                    [&channel](std::uint32_t, const std::vector<std::byte>& message) {
                      static_cast<void>(channel.send(number_of(FrameKind::kControl), 0, message));
                    },
                .keep = [](const BlobHandle&) { return Status(); },
                .release = [](const BlobHandle&) {},
                .end_job = [](const protocol::Failure&) {}},
            clock, log);
        driver->rank_joined(kSelf, 1);
      }
      return driver->message_arrived(kSelf, frame.payload).ok();
    };
  }

  SystemClock clock;
  GrantLog log;
  std::unique_ptr<CoordinatorDriver> driver;  // Of the agent's thread.
  std::unique_ptr<FakeAgent> agent = std::make_unique<FakeAgent>(welcoming(coordinate()));
  std::unique_ptr<AgentLink> agent_link = join(*agent);
};

INSTANTIATE_TYPED_TEST_SUITE_P(Local, ControlLinkConformance, LocalHost);
INSTANTIATE_TYPED_TEST_SUITE_P(Agent, ControlLinkConformance, AgentHost);
INSTANTIATE_TYPED_TEST_SUITE_P(Agent, ControlLinkLossConformance, AgentHost);

}  // namespace
}  // namespace pinion
