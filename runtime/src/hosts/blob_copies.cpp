#include "hosts/blob_copies.hpp"

#include <algorithm>
#include <string>

namespace pinion {

BlobCopies::BlobCopies(CopyTableOptions options, HostLink& link, Answer answer)
    : epoch_(options.identity.epoch),
      table_(std::move(options)),
      link_(link),
      answer_(std::move(answer)) {}

std::vector<BlobCopies::Pull>::iterator BlobCopies::find(const BlobHandle& handle) {
  return std::find_if(pulls_.begin(), pulls_.end(),
                      [&handle](const Pull& pull) { return pull.handle == handle; });
}

void BlobCopies::fetch(const Asker& asker, const BlobHandle& handle, Place home,
                       const BlobMemory* memory) {
  if (table_.has(handle)) {
    answer_(asker, handle, table_.fetch(asker.client, handle));
    return;
  }
  if (const auto pull = find(handle); pull != pulls_.end()) {
    pull->askers.push_back(asker);
    return;
  }
  Result<BlobCopy> copy = table_.make(handle, home, memory);
  if (!copy) {
    answer_(asker, handle, std::move(copy).error());
    return;
  }
  pulls_.push_back({.handle = handle, .home = home, .segment = copy->segment, .askers = {asker}});
  link_.pull(host_with(handle, epoch_), BlobPart::whole(handle), std::move(copy->writer));
}

void BlobCopies::count_pulled(std::uint32_t host, std::uint64_t bytes) {
  HostTraffic& traffic = traffic_[host];
  traffic.host = host;
  ++traffic.pulled_count;
  traffic.pulled_bytes += bytes;
}

void BlobCopies::pulled(const BlobPulled& event) {
  const auto found = find(event.part.blob);
  if (found == pulls_.end()) {
    return;
  }
  const Pull pull = std::move(*found);
  pulls_.erase(found);
  const std::uint32_t host = host_with(pull.handle, epoch_);
  Status outcome = event.outcome;
  if (outcome.ok()) {
    outcome = table_.add(pull.handle, pull.home, std::move(*pull.segment));
  }
  if (outcome.ok()) {
    count_pulled(host, pull.handle.length_bytes);
  } else {
    outcome = std::move(outcome).with_context("pulling a blob of " +
                                              std::to_string(pull.handle.length_bytes) +
                                              " bytes from host " + std::to_string(host));
  }
  for (const Asker& asker : pull.askers) {
    answer_(asker, pull.handle,
            outcome.ok() ? table_.fetch(asker.client, pull.handle)
                         : Result<std::pair<int, Place>>(outcome));
  }
}

}  // namespace pinion
