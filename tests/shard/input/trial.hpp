#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <string_view>
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

  // By offset of the input: whether the alignment lets a shard end there.
  std::vector<bool> may_end;
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
  switch (random.below(9)) {
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
    case 4:
    case 5:
      for (std::uint64_t length = random.below(400); length > 0; --length) {
        content += "ab\n\r"[random.below(4)];
      }
      break;
    default:
      for (std::uint64_t line = random.below(40); line > 0; --line) {
        content += std::string(random.below(30), static_cast<char>('a' + line % 26)) + '\n';
      }
      content += std::string(random.below(2) * random.below(20), 'z');
  }
  return content;
}

/// Text cut behind each delimiter, as it is met when reading from the begin.
inline std::vector<std::string_view> records_of(std::string_view text, std::string_view delimiter) {
  std::vector<std::string_view> records;
  while (!text.empty()) {
    const std::size_t found = text.find(delimiter);
    const std::size_t length =
        found == std::string_view::npos ? text.size() : found + delimiter.size();
    records.push_back(text.substr(0, length));
    text.remove_prefix(length);
  }
  return records;
}

inline std::vector<bool> find_ends(const std::vector<std::string>& contents,
                                   const Alignment& alignment) {
  std::vector<bool> may_end = {true};
  for (const std::string& content : contents) {
    const std::size_t origin = may_end.size() - 1;
    may_end.resize(may_end.size() + content.size(), alignment == Alignment());
    may_end.back() = true;
    if (alignment.kind() == Alignment::Kind::kDelimiter) {
      std::size_t at = origin;
      for (const std::string_view record : records_of(content, alignment.delimiter())) {
        at += record.size();
        may_end[at] = true;
      }
    }
    for (std::size_t at = origin; alignment.record_bytes() > 0 && at < may_end.size();
         at += alignment.record_bytes()) {
      may_end[at] = true;
    }
  }
  return may_end;
}

inline std::unique_ptr<FileTrial> make_file_trial(std::uint64_t seed, Alignment alignment) {
  Random random(seed);
  auto trial = std::make_unique<FileTrial>();
  Input input = files({});
  for (std::uint64_t index = random.below(7); index > 0; --index) {
    std::string content = random_content(random);
    if (const std::uint64_t record_bytes = alignment.record_bytes(); record_bytes > 0) {
      content.resize(content.size() / record_bytes * record_bytes);
    }
    input.paths.push_back(trial->folder.write("f" + std::to_string(index), content));
    if (!content.empty()) {
      trial->contents.push_back(content);
    }
  }
  trial->listing = InputListing::list(input, trial->store, false, 1).value();
  const std::uint64_t targets[] = {1, 7, 64, 1000, 100'000};
  trial->policy.target_size = targets[random.below(5)];
  trial->policy.alignment = alignment;
  trial->policy.places.clear();
  for (std::uint64_t place = 0; place <= random.below(4); ++place) {
    trial->policy.places.push_back({.index = static_cast<std::uint16_t>(place)});
    if (seed % 2 == 0) {
      trial->policy.place_worker_counts.push_back(1 + random.below(4));
    }
  }
  trial->may_end = find_ends(trial->contents, alignment);
  return trial;
}

/// The shards as a step gets them.
inline std::vector<ShardRange> plan_shards(const Partitioning& by, const InputListing& listing,
                                           const PartitionPolicy& policy) {
  return by.planner->coalesce(by.planner->partition(listing, policy).value(), policy);
}

}  // namespace pinion::testing_input
