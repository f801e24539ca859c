#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>

#include <pinion/core/blob.hpp>
#include <pinion/core/status.hpp>

#include "hosts/blob_copies.hpp"
#include "hosts/host_link.hpp"

namespace pinion {

/// Brings parts of other hosts' blobs into memory of the ranks that ask for them, all parts of one
/// rank's request at once. Nothing is kept here.
///
/// Thread safety: none; driven by the thread that owns the link.
class BlobParts {
 public:
  using Answer = std::function<void(const BlobCopies::Asker&, const Status&)>;

  /// `answer` is called once for each fetch(), from it or from pulled(); it must not call back.
  /// Lifetime: `copies` and `link` must outlive this object.
  BlobParts(std::uint32_t epoch, BlobCopies& copies, HostLink& link, Answer answer);

  /// Fills `room`, which is of make_part_room() for these parts. Of a blob that is here as a copy
  /// nothing is pulled. `room` is for the call.
  void fetch(const BlobCopies::Asker& asker, std::span<const BlobPart> parts, int room);

  /// What the link says of a pull. False when it is not one of this object's.
  bool pulled(const BlobPulled& event);

 private:
  struct Fetch {
    BlobCopies::Asker asker;
    std::size_t under_way = 0;
    Status outcome = {};  // The first that failed.
  };

  [[nodiscard]] Status begin(std::uint64_t number, std::span<const BlobPart> parts, int room);

  const std::uint32_t epoch_;
  BlobCopies& copies_;
  HostLink& link_;
  Answer answer_;
  std::map<std::uint64_t, Fetch> fetches_;  // By the number that their pulls have.
  std::uint64_t fetch_count_ = 0;           // That were ever begun.
};

}  // namespace pinion
