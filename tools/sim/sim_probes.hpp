#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pinion::sim {

/// What is rare: a simulation that never gets there proves nothing.
inline constexpr std::array kProbeNames = std::to_array<std::string_view>({
    "a rank died for good",
    "a life joined before the death of the one before was known",
    "a pause was longer than a lease",
    "messages were lost with their connection",
    "a message of a dead life arrived",
    "a message of another epoch arrived",
    "a message waited for the end of a partition",
    "the clock of a rank went back",
    "a step was planned again after its planner had died",
    "a rank could not plan",
    "a rank had a step that was done before it came",
    "a step had no shards",
    "a step had no partitions",
    "a step was ordered",
    "a step failed for a bad shard",
    "a claim had to wait",
    "a unit was granted again",
    "a unit was granted again after silence",
    "a late unit was given to a second rank",
    "outputs of a unit differed",
    "a lease that had run out was extended",
    "a heartbeat was told of lost leases",
    "a rank dropped leases",
    "a batch was sealed in vain",
    "a batch failed",
    "a batch was given back",
    "a report was refused",
    "a report came twice",
    "a rank got a grant twice",
    "a report was refused because a unit was accepted before",
    "partials were gone when they were to be merged",
    "the head was resumed in the middle of a step",
    "the head was resumed with a step that was done",
    "decisions were lost with the head",
    "a frame of the journal was torn",
    "a damaged frame or blob was left out",
    "an older snapshot had to do",
    "a shard missed its deadline",
    "a shard missed its deadline whose lease had run out",
    "a shard missed its deadline while a second rank tried it",
    "a step failed as a shard missed its deadline too often",
    "a step failed as ranks died with a unit",
    "a rank was drained",
    "a bad shard was left out",
    "a rank named a shard that is left out",
    "one shard was run alone",
    "a shard that needs a device was granted",
    "a unit was open again as its output was lost with its host",
    "merging had to wait for partials that were made again",
    "partials could not be read, as their host was lost",
    "partials of a lost host were read, as they were mapped",
    "a plan was lost with its host",
    "a plan was made again",
    "a rank could not read its plan",
    "a program had a result that was lost with its host",
    "the job ended, as a result was lost with its host",
    "partials were combined on their host",
    "hosts combined what others had combined",
    "a combined partition was merged",
    "partials were merged beside combined ones that were there before",
    "a host was lost while partials were combined",
    "combined partials were lost with their host",
    "a host had some partitions combined and others not",
});

/// One of kProbeNames; another does not compile.
class ProbeName {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): made where a probe is marked.
  consteval ProbeName(const char* name) : index_(find(name)) {}

  [[nodiscard]] std::size_t index() const noexcept { return index_; }

 private:
  static consteval std::size_t find(std::string_view name) {
    for (std::size_t i = 0; i < kProbeNames.size(); ++i) {
      if (kProbeNames[i] == name) {
        return i;
      }
    }
    throw "there is no such probe";
  }

  std::size_t index_;
};

/// How often each probe was reached.
class Probes {
 public:
  void reached(ProbeName name) { ++counts_[name.index()]; }
  void reached(ProbeName name, bool condition) { counts_[name.index()] += condition ? 1 : 0; }

  [[nodiscard]] std::uint64_t count(ProbeName name) const { return counts_[name.index()]; }
  [[nodiscard]] std::vector<std::string_view> never_reached() const {
    std::vector<std::string_view> names;
    for (std::size_t i = 0; i < kProbeNames.size(); ++i) {
      if (counts_[i] == 0) {
        names.push_back(kProbeNames[i]);
      }
    }
    return names;
  }
  Probes& operator+=(const Probes& other) {
    std::transform(counts_.begin(), counts_.end(), other.counts_.begin(), counts_.begin(),
                   std::plus<>());
    return *this;
  }

 private:
  std::array<std::uint64_t, kProbeNames.size()> counts_ = {};
};

}  // namespace pinion::sim
