// Two steps whose planner tells of which hosts it knows places, and of the second, whose input are
// the partitions of the first, how many of them it is to deal to another host than they lie on. No
// body of the first ends before one has begun in each rank, or a minute has passed: the file
// DIR/body.<rank> appears then.
//
//   placed_program DIR

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <pinion/pinion.hpp>

namespace {

class TellingPlanner final : public pinion::IShardPlanner {
 public:
  explicit TellingPlanner(std::shared_ptr<const pinion::IShardPlanner> planner)
      : planner_(std::move(planner)) {}

  pinion::Result<std::vector<pinion::ShardRange>> partition(
      const pinion::InputListing& input, const pinion::PartitionPolicy& policy) const override {
    auto shards = planner_->partition(input, policy);
    std::set<std::uint32_t> hosts;
    for (const pinion::Place& place : policy.places) {
      hosts.insert(place.host);
    }
    std::printf("hosts");
    for (const std::uint32_t host : hosts) {
      std::printf(" %u", host);
    }
    std::size_t away = 0;
    for (std::size_t i = 0; shards && i < input.sources().size(); ++i) {
      away += shards->at(i).place.host != input.sources()[i].blob.host ? 1 : 0;
    }
    std::printf(", %zu away\n", away);
    std::fflush(stdout);
    return shards;
  }

  std::vector<pinion::ShardRange> coalesce(std::vector<pinion::ShardRange> shards,
                                           const pinion::PartitionPolicy& policy) const override {
    return planner_->coalesce(std::move(shards), policy);
  }

 private:
  std::shared_ptr<const pinion::IShardPlanner> planner_;
};

pinion::Partitioning telling(pinion::Partitioning by) {
  by.planner = std::make_shared<TellingPlanner>(by.planner);
  return by;
}

void touch(const std::string& path) {
  close(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

void wait_for(const std::string& path) {
  for (int round = 0; round < 6000 && access(path.c_str(), F_OK) != 0; ++round) {
    poll(nullptr, 0, 10);
  }
}

}  // namespace

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (argc != 2) {
    std::fputs("usage: placed_program DIR\n", stderr);
    return 64;
  }
  const std::string body = argv[1] + std::string("/body.");
  const auto counts = pinion::map_reduce(
      job, pinion::indices(100'000), telling(pinion::by_index_range(1000)),
      [&](const pinion::Shard& shard, auto& emit) {
        touch(body + std::to_string(job->rank()));
        for (std::uint32_t rank = 0; rank < job->rank_count(); ++rank) {
          wait_for(body + std::to_string(rank));
        }
        for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) {
          emit(i);
        }
      },
      pinion::distributed(pinion::count_by_key<std::uint64_t>()));
  const pinion::Status read =
      pinion::for_each_shard(*job, pinion::partitions(*counts), telling(pinion::by_partition()),
                             [](const pinion::Shard&) {});
  return pinion::report(read);
}
