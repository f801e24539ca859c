#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <tuple>
#include <utility>
#include <vector>

#include <pinion/shard/protocol/messages.hpp>

namespace pinion::protocol {

/// Which reports of the present processes of ranks were accepted, to answer them alike when they
/// come again while their step goes on. A rank numbers its reports upwards, so they are few runs of
/// numbers.
///
/// Thread safety: none.
class AcceptedReports {
 public:
  /// Rank, incarnation, stage, the rank's number of the report.
  using Key = std::tuple<std::uint32_t, std::uint32_t, Stage, std::uint64_t>;

  [[nodiscard]] bool contains(const Key& key) const {
    const auto& [rank, incarnation, stage, report] = key;
    if (rank >= ranks_.size() || ranks_[rank].incarnation != incarnation) {
      return false;
    }
    const std::vector<Run>& runs = ranks_[rank].runs[index_of(stage)];
    const auto behind = first_after(runs, report);
    return behind != runs.begin() && report <= std::prev(behind)->last;
  }

  /// How many runs there are.
  [[nodiscard]] std::uint64_t size() const noexcept {
    std::uint64_t size = 0;
    for (const OfRank& rank : ranks_) {
      for (const std::vector<Run>& runs : rank.runs) {
        size += runs.size();
      }
    }
    return size;
  }

  /// Precondition: no later incarnation of the rank was inserted before.
  void insert(const Key& key) {
    const auto& [rank, incarnation, stage, report] = key;
    if (rank >= ranks_.size()) {
      ranks_.resize(std::size_t{rank} + 1);
    }
    if (ranks_[rank].incarnation != incarnation) {
      ranks_[rank] = {.incarnation = incarnation};
    }
    std::vector<Run>& runs = ranks_[rank].runs[index_of(stage)];
    if (!runs.empty() && report == runs.back().last + 1) {
      runs.back().last = report;
      return;
    }
    const auto behind = first_after(runs, report);
    if (behind == runs.begin() || report > std::prev(behind)->last) {
      runs.insert(behind, {.first = report, .last = report});
    }
  }

 private:
  /// Numbers that follow each other; two runs may meet.
  struct Run {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
  };
  struct OfRank {
    std::uint32_t incarnation = 0;
    std::array<std::vector<Run>, kStageCount> runs = {};  // By stage; in order.
  };

  static std::vector<Run>::const_iterator first_after(const std::vector<Run>& runs,
                                                      std::uint64_t report) {
    return std::upper_bound(
        runs.begin(), runs.end(), report,
        [](std::uint64_t number, const Run& run) { return number < run.first; });
  }
  static std::size_t index_of(Stage stage) { return static_cast<std::size_t>(stage); }

  std::vector<OfRank> ranks_;
};

}  // namespace pinion::protocol
