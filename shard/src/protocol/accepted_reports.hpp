#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include <pinion/shard/protocol/messages.hpp>

namespace pinion::protocol {

/// Which reports of the present processes of ranks were accepted, to answer them alike when they
/// come again. A rank numbers its reports upwards, so most come in order.
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
    const std::vector<std::uint64_t>& reports = ranks_[rank].reports[index_of(stage)];
    return !reports.empty() && report <= reports.back() &&
           std::binary_search(reports.begin(), reports.end(), report);
  }

  [[nodiscard]] std::uint64_t size() const noexcept {
    std::uint64_t size = 0;
    for (const OfRank& rank : ranks_) {
      size += rank.reports[0].size() + rank.reports[1].size();
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
    std::vector<std::uint64_t>& reports = ranks_[rank].reports[index_of(stage)];
    if (reports.empty() || report > reports.back()) {
      reports.push_back(report);
      return;
    }
    const auto at = std::lower_bound(reports.begin(), reports.end(), report);
    if (*at != report) {
      reports.insert(at, report);
    }
  }

 private:
  struct OfRank {
    std::uint32_t incarnation = 0;
    std::array<std::vector<std::uint64_t>, 2> reports = {};  // By stage; sorted.
  };

  static std::size_t index_of(Stage stage) { return stage == Stage::kMap ? 0 : 1; }

  std::vector<OfRank> ranks_;
};

}  // namespace pinion::protocol
