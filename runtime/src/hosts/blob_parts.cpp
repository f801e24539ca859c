#include "hosts/blob_parts.hpp"

#include <string>
#include <utility>
#include <vector>

#include <pinion/shm/part_room.hpp>

namespace pinion {

BlobParts::BlobParts(std::uint32_t epoch, BlobCopies& copies, HostLink& link, Answer answer)
    : epoch_(epoch), copies_(copies), link_(link), answer_(std::move(answer)) {}

void BlobParts::fetch(const BlobCopies::Asker& asker, std::span<const BlobPart> parts, int room) {
  const std::uint64_t number = ++fetch_count_;
  fetches_.emplace(number, Fetch{.asker = asker});
  Status begun = begin(number, parts, room);
  if (!begun.ok() || fetches_.at(number).under_way == 0) {
    fetches_.erase(number);
    answer_(asker, begun);
  }
}

// Nothing is under way when it fails.
Status BlobParts::begin(std::uint64_t number, std::span<const BlobPart> parts, int room) {
  CopyTable& table = copies_.table();
  for (const BlobPart& part : parts) {
    PINION_RETURN_IF_ERROR(table.check(part.blob));
  }
  Result<std::vector<BlobWriter>> writers = write_into_part_room(room, parts);
  if (!writers) {
    return std::move(writers).error();
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (table.has(parts[i].blob)) {
      PINION_RETURN_IF_ERROR(table.read(parts[i], (*writers)[i].bytes()));
    }
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (!table.has(parts[i].blob)) {
      ++fetches_.at(number).under_way;
      link_.pull(host_with(parts[i].blob, epoch_), parts[i], std::move((*writers)[i]), number);
    }
  }
  return {};
}

bool BlobParts::pulled(const BlobPulled& event) {
  const auto found = fetches_.find(event.number);
  if (found == fetches_.end()) {
    return false;
  }
  const std::uint32_t host = host_with(event.part.blob, epoch_);
  Fetch& fetch = found->second;
  if (event.outcome.ok()) {
    copies_.count_pulled(host, event.part.length_bytes);
  } else if (fetch.outcome.ok()) {
    fetch.outcome = Status(event.outcome)
                        .with_context("pulling " + std::to_string(event.part.length_bytes) +
                                      " bytes of a blob from host " + std::to_string(host));
  }
  if (--fetch.under_way == 0) {
    const Fetch ended = std::move(fetch);
    fetches_.erase(found);
    answer_(ended.asker, ended.outcome);
  }
  return true;
}

}  // namespace pinion
