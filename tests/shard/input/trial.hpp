#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <pinion/shard/input.hpp>
#include <pinion/shard/planner.hpp>

#include "shard/input/memory_blob_store.hpp"
#include "temporary_folder.hpp"

namespace pinion::testing_input {

/// Random files, with the contents that they were given.
struct FileTrial {
  TemporaryFolder folder;
  MemoryBlobStore store;
  std::vector<std::string> contents;  // Of the listed sources; empty files have none.
  InputListing listing;
  PartitionPolicy policy;
};

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  std::uint64_t below(std::uint64_t limit) { return engine_() % limit; }

 private:
  std::mt19937_64 engine_;
};

/// Every kind of content that matters to cuts at lines.
inline std::string random_content(Random& random) {
  std::string content;
  switch (random.below(7)) {
    case 0:
      break;
    case 1:
      content.assign(1 + random.below(300), 'x');
      break;
    case 2:
      content.assign(1 + random.below(50), '\n');
      break;
    case 3:
      content = "a\n" + std::string(6000 + random.below(3000), 'y') + "\nb";
      break;
    default:
      for (std::uint64_t line = random.below(40); line > 0; --line) {
        content += std::string(random.below(30), static_cast<char>('a' + line % 26)) + '\n';
      }
      content += std::string(random.below(2) * random.below(20), 'z');
  }
  return content;
}

inline std::unique_ptr<FileTrial> make_file_trial(std::uint64_t seed, Alignment alignment) {
  Random random(seed);
  auto trial = std::make_unique<FileTrial>();
  Input input = files({});
  for (std::uint64_t index = random.below(7); index > 0; --index) {
    const std::string content = random_content(random);
    input.paths.push_back(trial->folder.write("f" + std::to_string(index), content));
    if (!content.empty()) {
      trial->contents.push_back(content);
    }
  }
  trial->listing = InputListing::list(input, trial->store, false).value();
  const std::uint64_t targets[] = {1, 7, 64, 1000, 100'000};
  trial->policy.target_size = targets[random.below(5)];
  trial->policy.alignment = alignment;
  trial->policy.places.clear();
  for (std::uint64_t place = 0; place <= random.below(4); ++place) {
    trial->policy.places.push_back({.index = static_cast<std::uint16_t>(place)});
  }
  return trial;
}

/// The shards as a step gets them.
inline std::vector<ShardRange> plan_shards(const Partitioning& by, const InputListing& listing,
                                           const PartitionPolicy& policy) {
  return by.planner->coalesce(by.planner->partition(listing, policy).value(), policy);
}

}  // namespace pinion::testing_input
