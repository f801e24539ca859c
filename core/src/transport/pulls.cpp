#include "transport/pulls.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include <pinion/core/detail/checksum.hpp>

namespace pinion::detail {
namespace {

// A chunk is summed just before it leaves and just after it arrived, while it is in a cache.
// Several under way hide the way of the answers between them.
constexpr unsigned kChunksUnderWay = 4;

// Chunks end where pages do.
constexpr std::uint64_t kPageBytes = 4096;

Status damaged(const BlobHandle& handle, std::uint64_t offset, std::uint64_t length) {
  return {ErrorCode::kDataLoss,
          "bytes " + std::to_string(offset) + " to " + std::to_string(offset + length) +
              " of a blob of " + std::to_string(handle.length_bytes) + " bytes from host " +
              std::to_string(handle.host) +
              " have another checksum here than there; the way between damages data"};
}

}  // namespace

void Pulls::begin(std::uint64_t id, ConnectionId connection, const BlobHandle& handle,
                  BlobWriter&& writer, Done done) {
  ++counts_[connection];
  pulls_.emplace(
      id, std::make_shared<Pull>(Pull{connection, handle, std::move(writer), std::move(done)}));
}

Pulls::Table::iterator Pulls::find(ConnectionId connection, std::uint64_t id) {
  const auto found = pulls_.find(id);
  return found == pulls_.end() || found->second->connection != connection ? pulls_.end() : found;
}

EndedPull Pulls::end(Table::iterator found, std::optional<Status> error, bool lent) {
  const std::shared_ptr<Pull> pull = found->second;
  const std::uint64_t id = found->first;
  pulls_.erase(found);
  if (--counts_.at(pull->connection) == 0) {
    counts_.erase(pull->connection);
  }
  return {.id = id,
          .connection = pull->connection,
          .done = std::move(pull->done),
          .result = error ? Result<Blob>(*std::move(error)) : pull->writer.seal(),
          .lent = lent,
          .bulk = pull->handle.length_bytes >= kBulkBlobBytesMin};
}

bool Pulls::verify(std::span<std::byte> bytes, std::uint64_t expected) const {
  if (damage_) {
    damage_(bytes);
  }
  return checksum(bytes) == expected;
}

Result<ChunkTarget> Pulls::place(ConnectionId connection, const ChunkHeader& header) {
  const auto found = find(connection, header.pull);
  if (found == pulls_.end()) {
    return ChunkTarget();
  }
  Pull& pull = *found->second;
  const std::span<std::byte> bytes = pull.writer.bytes();
  if (header.offset != pull.placed_bytes || header.length == 0 ||
      header.length > bytes.size() - header.offset) {
    return Status(ErrorCode::kDataLoss, "it sent " + std::to_string(header.length) +
                                            " bytes for offset " + std::to_string(header.offset) +
                                            " of a blob of " + std::to_string(bytes.size()) +
                                            ", of which it had sent " +
                                            std::to_string(pull.placed_bytes));
  }
  pull.placed_bytes += header.length;
  return ChunkTarget{.bytes = bytes.subspan(header.offset, header.length),
                     .keep_alive = found->second};
}

std::optional<EndedPull> Pulls::arrived(const ChunkHeader& header) {
  const auto found = pulls_.find(header.pull);
  if (found == pulls_.end()) {
    return std::nullopt;
  }
  Pull& pull = *found->second;
  const std::span<std::byte> bytes = pull.writer.bytes();
  if (!verify(bytes.subspan(header.offset, header.length), header.checksum)) {
    return end(found, damaged(pull.handle, header.offset, header.length), true);
  }
  pull.arrived_bytes += header.length;
  if (pull.arrived_bytes < bytes.size()) {
    return std::nullopt;
  }
  return end(found, std::nullopt, true);
}

std::optional<EndedPull> Pulls::arrived_whole(ConnectionId connection, std::uint64_t id,
                                              std::span<const std::byte> bytes) {
  const auto found = find(connection, id);
  if (found == pulls_.end()) {
    return std::nullopt;
  }
  Pull& pull = *found->second;
  const std::span<std::byte> into = pull.writer.bytes();
  std::uint64_t expected = 0;
  const bool fits = bytes.size() == sizeof(expected) + into.size() && pull.placed_bytes == 0;
  if (fits) {
    std::memcpy(&expected, bytes.data(), sizeof(expected));
    std::ranges::copy(bytes.subspan(sizeof(expected)), into.begin());
  }
  if (!fits || !verify(into, expected)) {
    return end(found, damaged(pull.handle, 0, into.size()), false);
  }
  return end(found, std::nullopt, false);
}

std::optional<EndedPull> Pulls::fail(ConnectionId connection, std::uint64_t id,
                                     const Status& error) {
  const auto found = find(connection, id);
  if (found == pulls_.end()) {
    return std::nullopt;
  }
  return end(found, error, false);  // Its owner said so.
}

std::vector<EndedPull> Pulls::fail_all(std::optional<ConnectionId> connection,
                                       const Status& error) {
  std::vector<EndedPull> ended;
  for (auto at = pulls_.begin(); at != pulls_.end();) {
    const auto here = at++;
    if (!connection || here->second->connection == *connection) {
      ended.push_back(end(here, error, true));
    }
  }
  // In the order in which they began.
  std::ranges::sort(ended, {}, &EndedPull::id);
  return ended;
}

bool Loans::add(std::uint64_t id, Blob blob, std::uint64_t chunk_bytes) {
  // Chunks of one blob are about equal, so that none of them is left alone at its end.
  const std::uint64_t size = blob.bytes().size();
  const std::uint64_t pieces = (size + chunk_bytes - 1) / chunk_bytes;
  const std::uint64_t piece =
      std::min(chunk_bytes, (size / pieces + kPageBytes) / kPageBytes * kPageBytes);
  if (!loans_.try_emplace(id, Loan{std::move(blob), piece}).second) {
    return false;
  }
  unsent_.push_back(id);
  return true;
}

void Loans::end(std::uint64_t id) {
  loans_.erase(id);
}

void Loans::chunk_left(const ChunkHeader& header, Instant now) {
  const auto chunk = std::ranges::find_if(under_way_, [&header](const ChunkUnderWay& it) {
    return it.id == header.pull && it.offset == header.offset;
  });
  if (chunk != under_way_.end()) {
    under_way_.erase(chunk);
  }
  if (const auto found = loans_.find(header.pull); found != loans_.end()) {
    found->second.moved = now;
  }
}

bool Loans::has_left(std::uint64_t id, const Loan& loan) const {
  return loan.next_offset == loan.blob.bytes().size() &&
         std::ranges::find(under_way_, id, &ChunkUnderWay::id) == under_way_.end();
}

std::vector<std::uint64_t> Loans::end_kept(Instant now, Duration patience) {
  std::vector<std::uint64_t> ended;
  std::erase_if(loans_, [&](const auto& entry) {
    const auto& [id, loan] = entry;
    const bool is_kept = now - loan.moved >= patience && has_left(id, loan);
    if (is_kept) {
      ended.push_back(id);
    }
    return is_kept;
  });
  std::ranges::sort(ended);
  return ended;
}

bool Loans::any_stuck(Instant now, Duration patience) const {
  return std::ranges::any_of(under_way_, [&](const ChunkUnderWay& chunk) {
    // It shares the way with the others.
    return (now - chunk.since) / kChunksUnderWay >= patience;
  });
}

void Loans::forgive(Instant now) {
  for (auto& [id, loan] : loans_) {
    loan.moved = now;
  }
  for (ChunkUnderWay& chunk : under_way_) {
    chunk.since = now;
  }
}

std::optional<Loans::Chunk> Loans::next(Instant now) {
  while (under_way_.size() < kChunksUnderWay && !unsent_.empty()) {
    const std::uint64_t id = unsent_.front();
    unsent_.pop_front();
    const auto found = loans_.find(id);
    if (found == loans_.end()) {
      continue;
    }
    Loan& loan = found->second;
    const std::span<const std::byte> rest = loan.blob.bytes().subspan(loan.next_offset);
    const std::span<const std::byte> bytes =
        rest.first(std::min<std::uint64_t>(rest.size(), loan.chunk_bytes));
    const ChunkHeader header = {.pull = id,
                                .offset = loan.next_offset,
                                .length = bytes.size(),
                                .checksum = checksum(bytes)};
    under_way_.push_back({.id = id, .offset = loan.next_offset, .since = now});
    loan.next_offset += bytes.size();
    if (bytes.size() < rest.size()) {
      unsent_.push_back(id);
    }
    return Chunk{header, loan.blob};
  }
  return std::nullopt;
}

}  // namespace pinion::detail
