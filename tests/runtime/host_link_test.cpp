#include "hosts/host_link.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/core/in_process_transport.hpp>
#include <pinion/runtime/version.hpp>
#include <pinion/shm/part_room.hpp>

#include "hosts/blob_copies.hpp"
#include "hosts/blob_parts.hpp"

namespace pinion {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kJob = 77;
constexpr Duration kKeepalive = std::chrono::seconds(60);  // Nobody is given up for a slow test.

HostIdentity identity_of(std::uint32_t host) {
  return {.job = kJob, .epoch = 1, .host = host, .host_count = 3, .token = "secret"};
}

BlobHandle handle_of(std::uint32_t host, std::uint32_t segment, std::uint64_t length_bytes) {
  return {.job = kJob,
          .generation = 1,
          .length_bytes = length_bytes,
          .epoch = 1,
          .host = host,
          .segment = segment};
}

// The agent of one host, as far as others see it. Its blobs are of their length in the letter 'x',
// but for segment 404.
class Host {
 public:
  Host(InProcessHub& hub, const HostIdentity& identity,
       std::uint64_t waiting_bytes_max = HostLink::kWaitingBytesMax)
      : link_(*HostLink::create(
            identity,
            [&](const JobKey& job_key, TransportHandlers handlers) {
              return hub.join({.host = identity.host,
                               .keepalive = kKeepalive,
                               .job_key = job_key,
                               .handlers = std::move(handlers)});
            },
            [this](const BlobHandle& handle) { return serve(handle); }, waiting_bytes_max)) {}

  HostLink& link() { return *link_; }

  bool has_next() {
    pollfd watched{link_->descriptor(), POLLIN, 0};
    if (events_.empty() && poll(&watched, 1, 1) == 1) {
      events_ = link_->take_events();
    }
    return !events_.empty();
  }

  // The next event; those that came with it wait.
  HostEvent next() {
    while (events_.empty()) {
      link_->flush();
      pollfd watched{link_->descriptor(), POLLIN, 0};
      if (poll(&watched, 1, 60'000) != 1) {
        ADD_FAILURE() << "nothing has happened for a minute";
        return HostGone{};
      }
      events_ = link_->take_events();
    }
    const HostEvent event = std::move(events_.front());
    events_.erase(events_.begin());
    return event;
  }
  template <class Event>
  Event next_as() {
    const HostEvent event = next();
    if (!std::holds_alternative<Event>(event)) {
      ADD_FAILURE() << "an event of kind " << event.index();
      return {};
    }
    return std::get<Event>(event);
  }

  [[nodiscard]] int served_count() const { return served_count_; }

 private:
  Result<Blob> serve(const BlobHandle& handle) {
    ++served_count_;
    if (handle.segment == 404) {
      return Status(ErrorCode::kNotFound, "no such blob");
    }
    const auto bytes =
        std::make_shared<std::vector<std::byte>>(handle.length_bytes, std::byte{'x'});
    return Blob(handle, {}, *bytes, bytes);
  }

  std::vector<HostEvent> events_;
  std::atomic<int> served_count_ = 0;
  std::unique_ptr<HostLink> link_;
};

class TwoHosts : public ::testing::Test {
 protected:
  void join() {
    ASSERT_TRUE(second_.link().join(0, first_.link().address()).ok());
    const auto came = first_.next_as<HostCame>();
    EXPECT_EQ(came.host, 1u);
    EXPECT_EQ(came.address, second_.link().address());
    EXPECT_EQ(second_.next_as<HostCame>().host, 0u);
  }

  InProcessHub hub_;
  Host first_{hub_, identity_of(0)};
  Host second_{hub_, identity_of(1)};
};

TEST_F(TwoHosts, ExchangeMessagesInOrder) {
  join();
  for (std::uint32_t i = 0; i < 100; ++i) {
    second_.link().send(0, HostRankLeft{i, 1});
    first_.link().send(1, ToRank{i, 1, {std::byte{1}}});
  }
  for (std::uint32_t i = 0; i < 100; ++i) {
    const auto left = first_.next_as<HostSaid>();
    EXPECT_EQ(left.host, 1u);
    EXPECT_EQ(left.message, HostMessage(HostRankLeft{i, 1}));
    EXPECT_EQ(second_.next_as<HostSaid>().message, HostMessage(ToRank{i, 1, {std::byte{1}}}));
  }
}

TEST_F(TwoHosts, KeepMessagesForOneThatIsStillToCome) {
  first_.link().send(1, SignalRanks{15});
  join();
  EXPECT_EQ(second_.next_as<HostSaid>().message, HostMessage(SignalRanks{15}));
}

TEST_F(TwoHosts, KeepMoreMessagesThanTheOtherGivesCreditFor) {
  join();
  const std::vector<std::byte> large(1u << 20);
  for (std::uint32_t i = 0; i < 16; ++i) {
    first_.link().send(1, ToRank{i, 1, large});
  }
  for (std::uint32_t i = 0; i < 16; ++i) {
    while (!second_.has_next()) {
      first_.link().flush();
    }
    const auto said = second_.next_as<HostSaid>();
    ASSERT_TRUE(std::holds_alternative<ToRank>(said.message));
    EXPECT_EQ(std::get<ToRank>(said.message).rank, i);
  }
}

TEST_F(TwoHosts, LearnThatTheOtherIsGone) {
  join();
  auto third = std::make_unique<Host>(hub_, identity_of(2));
  ASSERT_TRUE(third->link().join(0, first_.link().address()).ok());
  EXPECT_EQ(first_.next_as<HostCame>().host, 2u);
  third.reset();
  const auto gone = first_.next_as<HostGone>();
  EXPECT_EQ(gone.host, 2u);
  EXPECT_FALSE(gone.reason.ok());
  first_.link().pull(2, BlobPart::whole(handle_of(2, 1, 8)), BlobWriter({}, {}));
  EXPECT_EQ(first_.next_as<BlobPulled>().outcome.code(), ErrorCode::kUnavailable);
}

TEST_F(TwoHosts, AreLeftAloneByAStrangerOfAnotherJobThatSaysItIsOneOfThem) {
  join();
  HostIdentity identity = identity_of(1);
  identity.job = kJob + 1;
  Host stranger(hub_, identity);
  ASSERT_TRUE(stranger.link().join(0, first_.link().address()).ok());
  EXPECT_THAT(first_.next_as<StrangerRefused>().reason.to_string(), HasSubstr("job 78"));
  EXPECT_EQ(stranger.next_as<HostGone>().reason.code(), ErrorCode::kFailedPrecondition);
  first_.link().send(1, ToRank{1, 1, {std::byte{1}}});
  EXPECT_EQ(second_.next_as<HostSaid>().message, HostMessage(ToRank{1, 1, {std::byte{1}}}));
  second_.link().send(0, HostRankLeft{1, 1});
  EXPECT_EQ(first_.next_as<HostSaid>().message, HostMessage(HostRankLeft{1, 1}));
}

TEST(JobKey, IsMadeOfAllThatMakesAJobAndTellsNothingOfItsToken) {
  const HostIdentity identity = identity_of(1);
  const JobKey key = job_key_of(identity);
  EXPECT_EQ(key, job_key_of(identity_of(2))) << "all hosts have one";
  HostIdentity other_job = identity;
  HostIdentity other_epoch = identity;
  HostIdentity other_token = identity;
  ++other_job.job;
  ++other_epoch.epoch;
  other_token.token = "secres";
  for (const HostIdentity& other : {other_job, other_epoch, other_token}) {
    EXPECT_NE(key.proof, job_key_of(other).proof);
  }
  const std::string proof(reinterpret_cast<const char*>(key.proof.data()), key.proof.size());
  EXPECT_EQ(proof.find(identity.token), std::string::npos);
}

TEST_F(TwoHosts, DoNotWaitForOneThatIsGivenUp) {
  first_.link().pull(2, BlobPart::whole(handle_of(2, 1, 8)), BlobWriter({}, {}), 5);
  first_.link().give_up(2, Status(ErrorCode::kUnavailable, "the power failed"));
  first_.link().give_up(7, Status(ErrorCode::kUnavailable, "no host of this job"));
  const auto gone = first_.next_as<HostGone>();
  EXPECT_EQ(gone.host, 2u);
  const auto pulled = first_.next_as<BlobPulled>();
  EXPECT_EQ(pulled.number, 5u);
  EXPECT_THAT(pulled.outcome.to_string(), HasSubstr("the power failed"));
  first_.link().give_up(2, Status(ErrorCode::kUnavailable, "again"));
  EXPECT_FALSE(first_.has_next());
}

TEST_F(TwoHosts, HearNothingMoreOfOneThatIsGivenUp) {
  join();
  first_.link().give_up(1, Status(ErrorCode::kUnavailable, "it is not wanted"));
  EXPECT_EQ(first_.next_as<HostGone>().host, 1u);
  second_.link().send(0, HostRankLeft{1, 1});
  second_.link().pull(0, BlobPart::whole(handle_of(0, 1, 0)), BlobWriter({}, {}));
  EXPECT_EQ(second_.next_as<BlobPulled>().outcome.code(), ErrorCode::kUnauthenticated);
  EXPECT_FALSE(first_.has_next());
}

struct Refusal {
  const char* name;
  HostIdentity identity;
  ErrorCode code;
  const char* words;
};

class Stranger : public ::testing::TestWithParam<Refusal> {};

TEST_P(Stranger, IsRefusedInWordsOnBothSidesAndGivenNothing) {
  InProcessHub hub;
  Host head(hub, identity_of(0));
  Host stranger(hub, GetParam().identity);
  ASSERT_TRUE(stranger.link().join(0, head.link().address()).ok());
  EXPECT_THAT(head.next_as<StrangerRefused>().reason.to_string(), HasSubstr(GetParam().words));
  const auto gone = stranger.next_as<HostGone>();
  EXPECT_EQ(gone.host, 0u);
  EXPECT_EQ(gone.reason.code(), GetParam().code);
  EXPECT_THAT(gone.reason.to_string(), HasSubstr(GetParam().words));
}

INSTANTIATE_TEST_SUITE_P(
    Each, Stranger,
    ::testing::Values(Refusal{"WithoutTheToken",
                              {.job = kJob, .host = 1, .host_count = 3, .token = "guessed"},
                              ErrorCode::kUnauthenticated,
                              "cannot prove it"},
                      Refusal{"OfAnotherJob",
                              {.job = kJob + 1, .host = 1, .host_count = 3, .token = "secret"},
                              ErrorCode::kFailedPrecondition,
                              "host 1 is of job 78"},
                      Refusal{
                          "OfAnotherEpoch",
                          {.job = kJob, .epoch = 2, .host = 1, .host_count = 3, .token = "secret"},
                          ErrorCode::kFailedPrecondition,
                          "epoch 2"},
                      Refusal{"OfAHostThatTheJobDoesNotHave",
                              {.job = kJob, .host = 3, .host_count = 4, .token = "secret"},
                              ErrorCode::kInvalidArgument,
                              "host 3 of 3"}),
    [](const auto& it) { return it.param.name; });

void wait_until_connected(const ITransport& transport) {
  while (transport.peers().empty()) {
    std::this_thread::yield();
  }
}

TEST(UnknownAgent, IsNeitherHeardNorServedBeforeItsHello) {
  InProcessHub hub;
  Host head(hub, identity_of(0));
  Result<std::unique_ptr<ITransport>> stranger =
      hub.join({.host = 1, .job_key = job_key_of(identity_of(1))});
  ASSERT_TRUE(stranger.has_value());
  ASSERT_TRUE((*stranger)->connect(0, head.link().address()).ok());
  wait_until_connected(**stranger);
  std::vector<std::byte> bytes(8);
  std::promise<Status> pulled;
  (*stranger)->pull(
      handle_of(0, 1, 8), BlobWriter(bytes, [] { return Result<Blob>(Blob()); }),
      [&](const Result<Blob>& blob) { pulled.set_value(blob ? Status() : Status(blob.error())); });
  EXPECT_EQ(pulled.get_future().get().code(), ErrorCode::kUnauthenticated);
  EXPECT_EQ(head.served_count(), 0);
}

// Has the job's token, and a number that no host of the job has.
class KnownStranger : public ::testing::Test {
 protected:
  KnownStranger() {
    stranger_ = *hub_.join({.host = 7, .job_key = job_key_of(identity_of(1))});
    EXPECT_TRUE(stranger_->connect(0, head_.link().address()).ok());
    wait_until_connected(*stranger_);
  }

  // What it is answered.
  ErrorCode say_hello(const std::string& version) {
    std::promise<ErrorCode> answered;
    stranger_->request(0, encode(HostHello{.version = version, .host = 7}), std::chrono::hours(1),
                       [&answered](const Result<std::vector<std::byte>>& reply) {
                         answered.set_value(reply ? ErrorCode::kOk : reply.error().code());
                       });
    return answered.get_future().get();
  }

  // What the agent's owner was told, all of it refusals.
  std::vector<std::string> refusals() {
    std::vector<std::string> words;
    for (const HostEvent& event : head_.link().take_events()) {
      const auto* const refused = std::get_if<StrangerRefused>(&event);
      EXPECT_NE(refused, nullptr) << "an event of kind " << event.index();
      words.push_back(refused == nullptr ? "" : refused->reason.to_string());
    }
    return words;
  }

  InProcessHub hub_;
  Host head_{hub_, identity_of(0)};
  std::unique_ptr<ITransport> stranger_;
};

TEST_F(KnownStranger, IsNamedOnceHoweverOftenItSaysHello) {
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(say_hello(std::string(version())), ErrorCode::kInvalidArgument);
  }
  EXPECT_THAT(refusals(), testing::ElementsAre(HasSubstr("an agent that called itself host 7 was "
                                                         "refused: it says it is host 7 of 3")));
}

TEST_F(KnownStranger, WithEverNewWordsIsNamedNoMoreThanSomeTimesAndBriefly) {
  for (int i = 0; i < 1000; ++i) {
    const std::string version = std::to_string(i) + std::string(100'000, 'x');
    ASSERT_EQ(say_hello(version), ErrorCode::kFailedPrecondition);
  }
  const std::vector<std::string> named = refusals();
  ASSERT_EQ(named.size(), 65u);
  EXPECT_THAT(named.back(), HasSubstr("strangers were refused for 64 reasons"));
  for (const std::string& words : named) {
    EXPECT_LT(words.size(), 1100u);
  }
}

// Its link stands, and its agent takes one message and no more.
TEST(SlowHost, IsGivenUpOnceTooMuchWaitsForIt) {
  InProcessHub hub;
  Host head(hub, identity_of(0), 8u << 20);
  std::promise<void> end;
  const std::unique_ptr<ITransport> slow = *hub.join(
      {.host = 1,
       .keepalive = kKeepalive,
       .job_key = job_key_of(identity_of(1)),
       .handlers = {.on_message = [ended = end.get_future().share()](auto...) { ended.wait(); }}});
  EXPECT_TRUE(slow->connect(0, head.link().address()).ok());
  wait_until_connected(*slow);
  slow->request(0, encode(HostHello{.version = std::string(version()), .host = 1}), kKeepalive,
                [](const Result<std::vector<std::byte>>& reply) { EXPECT_TRUE(reply); });
  EXPECT_EQ(head.next_as<HostCame>().host, 1u);
  std::uint32_t sent = 0;
  for (; sent < 100 && !head.has_next(); ++sent) {
    head.link().send(1, ToRank{sent, 1, std::vector<std::byte>(1u << 20)});
  }
  EXPECT_EQ(sent, 12u) << "4 MiB for which there is credit, and 8 MiB that wait";
  const auto gone = head.next_as<HostGone>();
  EXPECT_EQ(gone.host, 1u);
  EXPECT_EQ(gone.reason.code(), ErrorCode::kResourceExhausted);
  EXPECT_THAT(gone.reason.to_string(), HasSubstr("it does not take what it is sent: 8.00 MiB in 8 "
                                                 "messages wait for it, and at most 8.00 MiB may"));
  EXPECT_TRUE(head.link().peers().at(0).reachable);
  head.link().send(1, SignalRanks{15});
  EXPECT_FALSE(head.link().flush()) << "something is kept for a host that was given up";
  end.set_value();
}

TEST(SlowHost, IsGivenUpAlsoBeforeItHasCome) {
  InProcessHub hub;
  Host head(hub, identity_of(0), 8u << 20);
  std::uint32_t sent = 0;
  for (; sent < 1000 && !head.has_next(); ++sent) {
    head.link().send(2, ToRank{sent, 1, std::vector<std::byte>(100'000)});
  }
  EXPECT_EQ(sent, 84u);
  EXPECT_EQ(head.next_as<HostGone>().host, 2u);
}

// What ranks of a host were answered.
struct Answers {
  std::vector<std::pair<std::uint64_t, ErrorCode>> all = {};  // Request and outcome.

  BlobCopies::Answer collector() {
    return [this](const BlobCopies::Asker& asker, const BlobHandle&,
                  const Result<std::pair<int, Place>>& copy) {
      all.emplace_back(asker.request, copy ? ErrorCode::kOk : copy.error().code());
    };
  }
};

class CopiesOnASecondHost : public TwoHosts {
 protected:
  void SetUp() override { join(); }

  Answers answers_;
  BlobCopies copies_{{.identity = {.job = kJob, .epoch = 1, .host = 1}, .host_count = 3},
                     second_.link(),
                     answers_.collector()};
  const Place home_ = {.host = 1};
};

TEST_F(CopiesOnASecondHost, ArePulledOnceHoweverManyAsk) {
  const BlobHandle handle = handle_of(0, 5, 3'000'000);
  for (std::uint64_t request = 1; request <= 3; ++request) {
    copies_.fetch({.client = 4, .request = request}, handle, home_, nullptr);
  }
  EXPECT_THAT(answers_.all, testing::IsEmpty());
  copies_.pulled(second_.next_as<BlobPulled>());
  using Answer = std::pair<std::uint64_t, ErrorCode>;
  EXPECT_THAT(answers_.all,
              testing::ElementsAre(Answer(1, ErrorCode::kOk), Answer(2, ErrorCode::kOk),
                                   Answer(3, ErrorCode::kOk)));
  copies_.fetch({.client = 4, .request = 4}, handle, home_, nullptr);
  EXPECT_EQ(answers_.all.back(), Answer(4, ErrorCode::kOk));
  EXPECT_EQ(first_.served_count(), 1);
  EXPECT_EQ(copies_.traffic().at(0).pulled_count, 1u);
  EXPECT_EQ(copies_.traffic().at(0).pulled_bytes, 3'000'000u);
  EXPECT_EQ(copies_.table().usage().memory_bytes, 3'000'000u);
}

TEST_F(CopiesOnASecondHost, OfABlobThatIsNotThereAreAnError) {
  copies_.fetch({.client = 4, .request = 1}, handle_of(0, 404, 10), home_, nullptr);
  copies_.pulled(second_.next_as<BlobPulled>());
  ASSERT_EQ(answers_.all.size(), 1u);
  EXPECT_EQ(answers_.all[0].second, ErrorCode::kNotFound);
  EXPECT_EQ(copies_.table().usage().blob_count, 0u);
  copies_.fetch({.client = 4, .request = 2}, handle_of(0, 6, 10), home_, nullptr);
  copies_.pulled(second_.next_as<BlobPulled>());
  EXPECT_EQ(answers_.all.back().second, ErrorCode::kOk);
}

TEST_F(CopiesOnASecondHost, WaitForAHostThatIsStillToCome) {
  copies_.fetch({.client = 4, .request = 1}, handle_of(2, 5, 10), home_, nullptr);
  Host third(hub_, identity_of(2));
  ASSERT_TRUE(third.link().join(1, second_.link().address()).ok());
  EXPECT_EQ(second_.next_as<HostCame>().host, 2u);
  copies_.pulled(second_.next_as<BlobPulled>());
  ASSERT_EQ(answers_.all.size(), 1u);
  EXPECT_EQ(answers_.all[0].second, ErrorCode::kOk);
}

TEST_F(CopiesOnASecondHost, OfAHostThatTheJobDoesNotHaveAreRefused) {
  copies_.fetch({.client = 4, .request = 1}, handle_of(3, 5, 10), home_, nullptr);
  ASSERT_EQ(answers_.all.size(), 1u);
  EXPECT_EQ(answers_.all[0].second, ErrorCode::kFailedPrecondition);
}

class PartsOnASecondHost : public CopiesOnASecondHost {
 protected:
  // Asks for the parts in memory of their size; `request` is the number of the question.
  void ask(std::uint64_t request, const std::vector<BlobPart>& parts) {
    room_ = make_part_room(PartRoomLayout::of(parts).value().size_bytes).value();
    parts_.fetch({.client = 4, .request = request}, parts, room_.get());
  }

  // How many of the first bytes of the memory are those of the blobs.
  std::size_t filled_count() {
    std::string bytes(4096, ' ');
    bytes.resize(static_cast<std::size_t>(
        std::max<ssize_t>(::pread(room_.get(), bytes.data(), bytes.size(), 0), 0)));
    return std::min(bytes.find_first_not_of('x'), bytes.size());
  }

  UniqueFd room_;
  std::vector<std::pair<std::uint64_t, ErrorCode>> outcomes_;
  BlobParts parts_{1, copies_, second_.link(),
                   [this](const BlobCopies::Asker& asker, const Status& outcome) {
                     outcomes_.emplace_back(asker.request, outcome.code());
                   }};
};

TEST_F(PartsOnASecondHost, ComeAloneAndTogether) {
  using Outcome = std::pair<std::uint64_t, ErrorCode>;
  const BlobHandle handle = handle_of(0, 5, 3'000'000);
  ask(7, {{handle, 100, 64}, {handle_of(0, 6, 1000), 0, 10}});
  EXPECT_TRUE(parts_.pulled(second_.next_as<BlobPulled>()));
  EXPECT_THAT(outcomes_, testing::IsEmpty()) << "one is still to come";
  EXPECT_TRUE(parts_.pulled(second_.next_as<BlobPulled>()));
  EXPECT_THAT(outcomes_, testing::ElementsAre(Outcome(7, ErrorCode::kOk)));
  EXPECT_EQ(filled_count(), 74u);
  EXPECT_EQ(copies_.traffic().at(0).pulled_count, 2u);
  EXPECT_EQ(copies_.traffic().at(0).pulled_bytes, 74u);
  EXPECT_EQ(copies_.table().usage().blob_count, 0u) << "nothing of it is kept";
}

TEST_F(PartsOnASecondHost, AreTakenFromACopyThatIsHere) {
  const BlobHandle handle = handle_of(0, 5, 3'000'000);
  copies_.fetch({.client = 4, .request = 1}, handle, home_, nullptr);
  const auto copied = second_.next_as<BlobPulled>();
  EXPECT_FALSE(parts_.pulled(copied));
  copies_.pulled(copied);
  ask(2, {{handle, 2'999'900, 100}});
  ASSERT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(outcomes_[0].second, ErrorCode::kOk);
  EXPECT_EQ(filled_count(), 100u);
  EXPECT_EQ(first_.served_count(), 1);
}

TEST_F(PartsOnASecondHost, HaveTheFirstErrorOfAnyOnceAllHaveEnded) {
  ask(1, {{handle_of(0, 404, 100), 0, 100}, {handle_of(0, 5, 100), 0, 100}});
  EXPECT_TRUE(parts_.pulled(second_.next_as<BlobPulled>()));
  EXPECT_THAT(outcomes_, testing::IsEmpty());
  EXPECT_TRUE(parts_.pulled(second_.next_as<BlobPulled>()));
  ASSERT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(outcomes_[0].second, ErrorCode::kNotFound);
}

TEST_F(PartsOnASecondHost, AreRefusedWhereNothingCanCome) {
  ask(1, {{handle_of(0, 5, 100), 0, 100}, {handle_of(3, 5, 100), 0, 100}});
  ask(2, {{handle_of(1, 5, 100), 0, 100}});
  const std::vector<BlobPart> longer = {{handle_of(0, 5, 1000), 0, 1000}};
  parts_.fetch({.client = 4, .request = 3}, longer, room_.get());
  ASSERT_EQ(outcomes_.size(), 3u);
  EXPECT_EQ(outcomes_[0].second, ErrorCode::kFailedPrecondition);
  EXPECT_EQ(outcomes_[1].second, ErrorCode::kFailedPrecondition);
  EXPECT_EQ(outcomes_[2].second, ErrorCode::kInvalidArgument);
  EXPECT_EQ(first_.served_count(), 0);
}

}  // namespace
}  // namespace pinion
