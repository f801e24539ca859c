#include "sim/sim_faults.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include <pinion/core/assert.hpp>

namespace pinion::sim {
namespace {

using enum FaultUnit;

/// In the order of Fault.
constexpr std::array<FaultInfo, kFaultCount> kFaults = {{
    {"drop", kPerMessage, 0.004, "a connection breaks with what is in flight on it"},
    {"duplicate", kPerMessage, 0.4, "a message arrives twice"},
    {"stall", kPerMessage, 0.05, "a message, and what follows it, is up to two leases late"},
    {"partition", kPerRankSecond, 0.8, "a group of ranks is cut off for up to 2.5 leases"},
    {"one_way", kPerRankSecond, 0.8, "the same in one direction"},
    {"crash", kPerRankSecond, 2, "a rank is killed"},
    {"gone", kPerCase, 0.3, "it never returns"},
    {"pause", kPerRankSecond, 2, "a rank stands still for up to 2.5 leases"},
    {"slow", kPerCase, 0.3, "a life of a rank computes at an eighth of the speed"},
    {"drift", kShare, 0.3, "how wrong clocks of ranks run at most; the bound is 0.05"},
    {"clock_jump", kPerRankSecond, 1, "the clock of a rank jumps, back or ahead"},
    {"fail", kPerCase, 0.1, "a body fails"},
    {"hang", kPerCase, 0.05, "a body takes two leases longer"},
    {"discard", kPerCase, 0.06, "a worker gives its batch back"},
    {"differs", kPerCase, 0.3, "an output has another digest than that of another run"},
    {"poison", kPerCase, 0.2, "a step has a shard whose body never succeeds"},
    {"head_crash", kPerSecond, 2, "the coordinator dies with all ranks, and is resumed"},
    {"torn_write", kPerCase, 0.8, "its last write is on the disk in part, or as rubbish"},
    {"bit_flip", kPerCase, 0.4, "a bit of its last write is wrong"},
    {"short_write", kPerCase, 0.05, "the disk takes a part of a write"},
    {"no_space", kPerCase, 0.02, "a write fails, as the disk is full"},
    {"write_error", kPerCase, 0.02, "a write fails"},
    {"host_crash", kPerSecond, 4, "a host is lost with its ranks and blobs"},
    {"drain", kPerRankSecond, 0.3, "a rank asks to be given nothing more"},
    {"stuck", kPerCase, 0.02, "a body never ends, where shards have a deadline"},
}};

std::string names() {
  return std::accumulate(kFaults.begin(), kFaults.end(), std::string(),
                         [](std::string all, const FaultInfo& fault) {
                           all += all.empty() ? "" : ", ";
                           return all.append(fault.name);
                         });
}

}  // namespace

const FaultInfo& info(Fault fault) {
  return kFaults[static_cast<std::size_t>(fault)];
}

std::span<const FaultInfo> fault_table() {
  return kFaults;
}

bool Faults::any() const {
  return std::any_of(values_.begin(), values_.end(), [](double value) { return value > 0; });
}

Faults Faults::draw(Random& random) {
  Faults faults;
  for (std::size_t i = 0; i < kFaultCount; ++i) {
    const bool comes = random.chance(0.5);
    // Four digits are what a person can copy.
    faults.values_[i] =
        comes ? std::ceil(random.fraction() * kFaults[i].most * 10'000) / 10'000 : 0;
  }
  return faults;
}

Result<Faults> Faults::parse(std::string_view text) {
  Faults faults;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    const std::string_view name = item.substr(0, item.find('='));
    const auto found = std::find_if(kFaults.begin(), kFaults.end(),
                                    [name](const FaultInfo& fault) { return fault.name == name; });
    if (found == kFaults.end()) {
      return Status(ErrorCode::kInvalidArgument,
                    "there is no fault '" + std::string(name) + "'; there are " + names());
    }
    const std::string_view number = item.substr(std::min(item.size(), name.size() + 1));
    double value = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    const double most = found->unit == kPerRankSecond || found->unit == kPerSecond ? 1000 : 1;
    if (error != std::errc() || end != number.data() + number.size() || !(value >= 0) ||
        value > most) {
      return Status(ErrorCode::kInvalidArgument, "the fault '" + std::string(item) +
                                                     "' must be NAME=NUMBER with a number of 0 " +
                                                     "to " +
                                                     std::to_string(static_cast<int>(most)));
    }
    faults.values_[static_cast<std::size_t>(found - kFaults.begin())] = value;
  }
  return faults;
}

std::string Faults::to_string() const {
  std::string text;
  for (std::size_t i = 0; i < kFaultCount; ++i) {
    if (values_[i] == 0) {
      continue;
    }
    std::array<char, 32> number = {};
    const auto [end, error] =
        std::to_chars(number.data(), number.data() + number.size(), values_[i]);
    PINION_ASSERT(error == std::errc());
    text += text.empty() ? "" : ",";
    text.append(kFaults[i].name).append("=").append(number.data(), end);
  }
  return text;
}

std::uint64_t FaultCounts::total() const {
  return std::accumulate(of.begin(), of.end(), std::uint64_t{0});
}

FaultCounts& FaultCounts::operator+=(const FaultCounts& other) {
  std::transform(of.begin(), of.end(), other.of.begin(), of.begin(), std::plus<>());
  return *this;
}

}  // namespace pinion::sim
