#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace pinion::protocol {

/// The ranks whose claims are open: those that may be served now, the oldest claim first, and
/// those for whom nothing was there the last time.
///
/// Thread safety: none.
class ClaimList {
 public:
  ClaimList() = default;
  explicit ClaimList(std::uint32_t rank_count) : links_(rank_count + 2) {
    for (std::uint32_t at = 0; at < links_.size(); ++at) {
      links_[at] = {at, at};
    }
  }

  [[nodiscard]] bool contains(std::uint32_t rank) const { return links_[rank].next != rank; }

  /// Whether somebody is to be served; then first() is who.
  [[nodiscard]] bool any_ready() const { return links_[ready()].next != ready(); }
  [[nodiscard]] std::uint32_t first() const { return links_[ready()].next; }

  /// Behind all others. A rank stands in one place.
  void make_ready(std::uint32_t rank) { move_before(rank, ready()); }
  void park(std::uint32_t rank) { move_before(rank, parked()); }
  void remove(std::uint32_t rank) {
    unlink(rank);
    links_[rank] = {rank, rank};
  }

  /// Those who were parked are ready again, and come before those who are ready.
  void wake_all() {
    const Link parked_ones = links_[parked()];
    if (parked_ones.next == parked()) {
      return;
    }
    const std::uint32_t after = links_[ready()].next;
    links_[ready()].next = parked_ones.next;
    links_[parked_ones.next].previous = ready();
    links_[parked_ones.previous].next = after;
    links_[after].previous = parked_ones.previous;
    links_[parked()] = {parked(), parked()};
  }

  /// Of those who are parked, the one behind `rank`, or the first; kNobody behind the last.
  static constexpr std::uint32_t kNobody = 0xffffffff;
  [[nodiscard]] std::uint32_t first_parked() const { return parked_or_nobody(links_[parked()]); }
  [[nodiscard]] std::uint32_t parked_after(std::uint32_t rank) const {
    return parked_or_nobody(links_[rank]);
  }

 private:
  struct Link {
    std::uint32_t previous = 0;
    std::uint32_t next = 0;
  };

  [[nodiscard]] std::uint32_t ready() const {
    return static_cast<std::uint32_t>(links_.size()) - 2;
  }
  [[nodiscard]] std::uint32_t parked() const {
    return static_cast<std::uint32_t>(links_.size()) - 1;
  }
  [[nodiscard]] std::uint32_t parked_or_nobody(const Link& link) const {
    return link.next == parked() ? kNobody : link.next;
  }

  void unlink(std::uint32_t rank) {
    links_[links_[rank].previous].next = links_[rank].next;
    links_[links_[rank].next].previous = links_[rank].previous;
  }
  void move_before(std::uint32_t rank, std::uint32_t end) {
    unlink(rank);
    links_[rank] = {links_[end].previous, end};
    links_[links_[end].previous].next = rank;
    links_[end].previous = rank;
  }

  std::vector<Link> links_;  // A ring each; the last two are where the two rings begin.
};

}  // namespace pinion::protocol
