#include "transport/engine.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include <pinion/core/bytes.hpp>
#include <pinion/core/detail/checksum.hpp>

namespace pinion::detail {
namespace {

// More is kept back while so much has not left, so that small messages travel together when the way
// is the bottleneck.
constexpr std::uint64_t kLeavingBytesMax = std::uint64_t{256} << 10;

// Replies and words that a peer does not read. Beyond it a reply becomes an error, beyond twice as
// much the peer is given up. Messages have their window.
constexpr std::uint64_t kWaitingBytesMax = 2 * kMessageBytesMax;

// While so much waits, small blobs are lent as large ones are, and so copied when they leave.
constexpr std::uint64_t kInlineWaitingBytesMax = std::uint64_t{1} << 20;

// Blobs that a peer pulls and does not give back.
constexpr std::size_t kLoansMax = 16384;

std::uint64_t random_number() {
  std::uint64_t number = 0;
  PINION_ASSERT(::getentropy(&number, sizeof(number)) == 0);
  return number;
}

Instant add(Instant now, Duration span) {
  return span > Instant::max() - now ? Instant::max() : now + span;
}

}  // namespace

TransportEngine::TransportEngine(ILink& link, const LinkTransportOptions& options, PeerTable& table,
                                 const IClock& clock)
    : link_(link),
      options_(options),
      table_(table),
      clock_(clock),
      incarnation_(random_number()),
      pulls_(options.damage),
      now_(clock_.now()),
      next_check_(now_) {}

TransportEngine::Connection* TransportEngine::find(ConnectionId connection) {
  const auto found = connections_.find(connection);
  return found == connections_.end() ? nullptr : found->second.get();
}

TransportEngine::Connection* TransportEngine::find_host(std::uint32_t host) {
  const auto found = hosts_.find(host);
  return found == hosts_.end() || found->second->phase != Phase::kUp ? nullptr : found->second;
}

TransportEngine::Connection& TransportEngine::add(ConnectionId id, Phase phase,
                                                  std::uint32_t host) {
  auto connection = std::make_unique<Connection>();
  connection->id = id;
  connection->phase = phase;
  connection->host = host;
  connection->begun = connection->heard = connection->moved = clock_.now();
  return *connections_.emplace(id, std::move(connection)).first->second;
}

std::string TransportEngine::describe(const Connection& connection) const {
  return connection.phase == Phase::kAwaitsHello ? "somebody who connected"
                                                 : "host " + std::to_string(connection.host);
}

void TransportEngine::mark_dirty(Connection& connection) {
  if (!connection.dirty) {
    connection.dirty = true;
    dirty_.push_back(connection.id);
  }
}

void TransportEngine::open_batch(Connection& connection) {
  if (connection.out.empty()) {
    connection.out.resize(sizeof(BatchHeader));
    mark_dirty(connection);
  }
}

void TransportEngine::append(Connection& connection, FrameHeader header,
                             std::span<const std::byte> first, std::span<const std::byte> second) {
  open_batch(connection);
  append_frame(connection.out, header, first, second);
}

void TransportEngine::append_error(Connection& connection, FrameKind kind, std::uint64_t id,
                                   const Status& error) {
  open_batch(connection);
  detail::append_error(connection.out, kind, id, error);
}

void TransportEngine::send_out(Connection& connection, bool all) {
  if (!connection.out.empty() && (all || connection.leaving_bytes < kLeavingBytesMax)) {
    const std::uint64_t size = connection.out.size();
    const BatchHeader header = {.sequence = connection.next_out++,
                                .length = static_cast<std::uint32_t>(size - sizeof(BatchHeader))};
    std::memcpy(connection.out.data(), &header, sizeof(header));
    connection.leaving_bytes += size;
    if (connection.traffic != nullptr) {
      connection.traffic->sent_bytes.fetch_add(size, std::memory_order_relaxed);
    }
    link_.send(connection.id, std::exchange(connection.out, {}));
  }
  while (const std::optional<Loans::Chunk> chunk = connection.loans.next(now_)) {
    connection.traffic->sent_bytes.fetch_add(chunk->header.length, std::memory_order_relaxed);
    link_.send_chunk(connection.id, chunk->header, chunk->blob);
  }
}

void TransportEngine::flush() {
  while (!dirty_.empty()) {
    const std::vector<ConnectionId> ids = std::exchange(dirty_, {});
    for (const ConnectionId id : ids) {
      if (Connection* const connection = find(id)) {
        connection->dirty = false;
        send_out(*connection, false);
      }
    }
  }
}

void TransportEngine::send(const PeerLine& line, std::span<const std::byte> message) {
  Connection* const connection = find(line.connection());
  if (connection != nullptr && connection->phase == Phase::kUp) {
    append(*connection, {.kind = FrameKind::kMessage}, message);
  }
}

void TransportEngine::request(std::uint32_t host, std::span<const std::byte> request,
                              Duration timeout, ReplyDone done) {
  Connection* const connection = find_host(host);
  if (stopping_) {
    done(Status(ErrorCode::kCancelled, "the transport is ending"));
  } else if (request.size() > kMessageBytesMax) {
    done(Status(ErrorCode::kInvalidArgument, "a request of " + format_bytes(request.size()) +
                                                 "; at most " + format_bytes(kMessageBytesMax) +
                                                 " are sent"));
  } else if (connection == nullptr || connection->doomed) {
    done(Status(ErrorCode::kUnavailable, "host " + std::to_string(host) + " is not reachable"));
  } else if (!connection->line->take(credit_cost(request.size()))) {
    done(Status(ErrorCode::kResourceExhausted,
                "host " + std::to_string(host) + " has not taken what was sent before"));
  } else {
    const std::uint64_t id = next_id_++;
    const Instant deadline = detail::add(clock_.now(), timeout);
    append(*connection, {.kind = FrameKind::kRequest, .id = id}, request);
    requests_.emplace(id, PendingRequest{connection->id, deadline, std::move(done)});
    request_deadlines_.emplace(deadline, id);
  }
}

void TransportEngine::pull_from(std::uint32_t host, const BlobPart& part, BlobWriter&& into,
                                Pulls::Done done) {
  PINION_ASSERT(part.is_inside() && into.bytes().size() == part.length_bytes);
  Connection* const connection = find_host(host);
  if (stopping_) {
    done(Status(ErrorCode::kCancelled, "the transport is ending"));
  } else if (connection == nullptr || connection->doomed) {
    done(Status(ErrorCode::kUnavailable, "host " + std::to_string(host) + " is not reachable"));
  } else {
    const std::uint64_t id = next_id_++;
    const std::span<const std::byte> whole = std::as_bytes(std::span(&part.blob, 1));
    append(*connection, {.kind = FrameKind::kPull, .id = id},
           part == BlobPart::whole(part.blob) ? whole : std::as_bytes(std::span(&part, 1)));
    if (!pulls_.any(connection->id)) {
      connection->moved = clock_.now();
    }
    if (part.length_bytes >= kBulkBlobBytesMin) {
      count_bulk(*connection, clock_.now());
      ++connection->bulk_pulls;
    }
    BlobHandle name = part.blob;
    name.length_bytes = part.length_bytes;
    pulls_.begin(id, connection->id, name, std::move(into), std::move(done));
  }
}

void TransportEngine::end(std::optional<EndedPull> pull) {
  if (!pull) {
    return;
  }
  Connection* const connection = find(pull->connection);
  if (pull->bulk && connection != nullptr) {
    count_bulk(*connection, clock_.now());
    --connection->bulk_pulls;
  }
  if (pull->lent && connection != nullptr) {
    append(*connection, {.kind = FrameKind::kPullEnd, .id = pull->id});
  }
  pull->call();
}

void TransportEngine::on_batch(ConnectionId id, std::span<const std::byte> batch) {
  Connection* const connection = find(id);
  if (connection == nullptr || connection->doomed) {
    return;
  }
  connection->heard = clock_.now();
  connection->asked = false;
  if (connection->traffic != nullptr) {
    connection->traffic->received_bytes.fetch_add(batch.size(), std::memory_order_relaxed);
  }
  BatchHeader header;
  std::ranges::copy(batch.first(std::min(batch.size(), sizeof(header))),
                    std::as_writable_bytes(std::span(&header, 1)).begin());
  if (batch.size() < sizeof(header) || header.length != batch.size() - sizeof(header) ||
      header.sequence != connection->next_in) {
    doom(*connection, {ErrorCode::kDataLoss, "batch " + std::to_string(connection->next_in) +
                                                 " was expected, and something else arrived"});
    return;
  }
  ++connection->next_in;
  FrameReader reader(batch.subspan(sizeof(header)));
  while (const std::optional<Frame> frame = reader.next()) {
    if (Status status = on_frame(*connection, *frame); !status.ok()) {
      doom(*connection, std::move(status));
    }
    if (connection->doomed) {
      return;
    }
  }
  if (reader.damaged()) {
    doom(*connection, {ErrorCode::kDataLoss, "a batch of it has no whole frames"});
  }
}

Status TransportEngine::on_frame(Connection& connection, const Frame& frame) {
  switch (connection.phase) {
    case Phase::kAwaitsHello:
      if (frame.header.kind == FrameKind::kHello) {
        return on_hello(connection, frame);
      }
      return {ErrorCode::kFailedPrecondition, "it did not introduce itself"};
    case Phase::kAwaitsWelcome:
      if (frame.header.kind == FrameKind::kWelcome) {
        return on_welcome(connection, frame);
      }
      if (frame.header.kind == FrameKind::kRefuse) {
        on_refuse(connection, frame.status());
        return {};
      }
      return {ErrorCode::kFailedPrecondition, "it did not introduce itself"};
    case Phase::kUp:
      return on_frame_of_peer(connection, frame);
  }
  return {};
}

Status TransportEngine::on_frame_of_peer(Connection& connection, const Frame& frame) {
  const FrameHeader& header = frame.header;
  // What it asks for needs an answer each, down to its pings.
  if (const std::uint64_t waiting = connection.out.size() + connection.leaving_bytes;
      waiting > 2 * kWaitingBytesMax) {
    return {ErrorCode::kResourceExhausted,
            "it does not read what it asks for; " + format_bytes(waiting) + " wait for it"};
  }
  switch (header.kind) {
    case FrameKind::kMessage:
      return on_message(connection, frame);
    case FrameKind::kRequest:
      return on_request(connection, frame);
    case FrameKind::kReply:
      return on_reply(connection, frame);
    case FrameKind::kCredit:
      if (!connection.line->credit(header.id)) {
        return {ErrorCode::kDataLoss, "it gave credit for what was never sent"};
      }
      return {};
    case FrameKind::kPull:
      return on_pull(connection, frame);
    case FrameKind::kPullBytes:
      connection.moved = clock_.now();
      end(pulls_.arrived_whole(connection.id, header.id, frame.bytes));
      return {};
    case FrameKind::kPullEnd:
      connection.moved = clock_.now();
      if (header.error != 0) {
        end(pulls_.fail(connection.id, header.id, frame.status()));
      } else {
        connection.loans.end(header.id);
      }
      return {};
    case FrameKind::kPing:
      append(connection, {.kind = FrameKind::kPong});
      return {};
    case FrameKind::kPong:
      return {};
    case FrameKind::kGoodbye:
      return {ErrorCode::kUnavailable, "it has ended"};
    case FrameKind::kHello:
    case FrameKind::kWelcome:
    case FrameKind::kRefuse:
      break;
  }
  return {ErrorCode::kDataLoss, "it introduced itself once more"};
}

Status TransportEngine::take(Connection& connection, const Frame& frame) {
  if (frame.bytes.size() > kMessageBytesMax) {
    return {ErrorCode::kDataLoss, "it sent more at once than is allowed"};
  }
  // Whatever came is dealt with before the next comes, so nothing heaps up here, and a peer that
  // does not wait for credit heaps it up at its own side. Credit is given not for each message, but
  // long before the window is closed; it leaves when the handler is done.
  connection.taken += credit_cost(frame.bytes.size());
  if (connection.taken - connection.granted >= options_.window_bytes / 4) {
    connection.granted = connection.taken;
    append(connection, {.kind = FrameKind::kCredit, .id = connection.taken});
  }
  return {};
}

Status TransportEngine::on_message(Connection& connection, const Frame& frame) {
  PINION_RETURN_IF_ERROR(take(connection, frame));
  if (options_.handlers.on_message) {
    options_.handlers.on_message(connection.host, frame.bytes);
  }
  return {};
}

Status TransportEngine::on_request(Connection& connection, const Frame& frame) {
  PINION_RETURN_IF_ERROR(take(connection, frame));
  const std::uint64_t id = frame.header.id;
  Result<std::vector<std::byte>> reply =
      options_.handlers.on_request
          ? options_.handlers.on_request(connection.host, frame.bytes)
          : Status(ErrorCode::kUnimplemented, "this host answers no requests");
  if (reply && reply->size() > kMessageBytesMax) {
    reply = Status(ErrorCode::kInvalidArgument, "the reply has " + format_bytes(reply->size()) +
                                                    "; at most " + format_bytes(kMessageBytesMax) +
                                                    " are sent");
  }
  const std::uint64_t waiting = connection.out.size() + connection.leaving_bytes;
  if (waiting > kWaitingBytesMax) {
    reply = Status(ErrorCode::kResourceExhausted,
                   format_bytes(waiting) + " of other replies wait to be read");
  }
  if (reply) {
    append(connection, {.kind = FrameKind::kReply, .id = id}, *reply);
  } else {
    append_error(connection, FrameKind::kReply, id, reply.error());
  }
  return {};
}

Status TransportEngine::on_reply(Connection& connection, const Frame& frame) {
  const auto found = requests_.find(frame.header.id);
  if (found == requests_.end() || found->second.connection != connection.id) {
    return {};  // Its deadline had passed.
  }
  const ReplyDone done = std::move(found->second.done);
  request_deadlines_.erase({found->second.deadline, found->first});
  requests_.erase(found);
  if (frame.header.error != 0) {
    done(frame.status());
  } else {
    done(std::vector<std::byte>(frame.bytes.begin(), frame.bytes.end()));
  }
  return {};
}

bool TransportEngine::goes_inline(const Connection& connection, std::uint64_t length_bytes) {
  return length_bytes <= kInlineBlobBytesMax &&
         connection.out.size() + connection.leaving_bytes < kInlineWaitingBytesMax;
}

/// The bytes that a peer pulls.
Result<Blob> TransportEngine::lend(const Connection& connection, const BlobPart& part) {
  if (!options_.handlers.on_pull) {
    return Status(ErrorCode::kUnimplemented, "this host lends no blobs");
  }
  if (connection.loans.size() >= kLoansMax) {
    return Status(ErrorCode::kResourceExhausted, "too many blobs are pulled at once");
  }
  Result<Blob> blob = options_.handlers.on_pull(connection.host, part.blob);
  if (blob && blob->bytes().size() != part.blob.length_bytes) {
    return Status(ErrorCode::kDataLoss, "the handle says " +
                                            std::to_string(part.blob.length_bytes) +
                                            " bytes, and the blob on its host has " +
                                            std::to_string(blob->bytes().size()));
  }
  return blob ? Blob::part_of(*std::move(blob), part.offset, part.length_bytes) : std::move(blob);
}

Status TransportEngine::on_pull(Connection& connection, const Frame& frame) {
  BlobPart part;
  if (frame.bytes.size() == sizeof(part)) {
    std::memcpy(&part, frame.bytes.data(), sizeof(part));
  } else if (frame.bytes.size() == sizeof(part.blob)) {
    std::memcpy(&part.blob, frame.bytes.data(), sizeof(part.blob));
    part.length_bytes = part.blob.length_bytes;
  } else {
    return {ErrorCode::kDataLoss, "it pulls a blob by something that is no handle"};
  }
  if (!part.is_inside()) {
    return {ErrorCode::kDataLoss, "it pulls bytes behind the end of a blob"};
  }
  const std::uint64_t id = frame.header.id;
  Result<Blob> blob = lend(connection, part);
  if (!blob) {
    append_error(connection, FrameKind::kPullEnd, id, blob.error());
  } else if (part.length_bytes == 0 || goes_inline(connection, part.length_bytes)) {
    const std::uint64_t sum = checksum(blob->bytes());
    append(connection, {.kind = FrameKind::kPullBytes, .id = id}, std::as_bytes(std::span(&sum, 1)),
           blob->bytes());
  } else {
    if (connection.loans.size() == 0) {
      connection.moved = clock_.now();
    }
    if (!connection.loans.add(id, *std::move(blob), link_.chunk_bytes(connection.id))) {
      return {ErrorCode::kDataLoss, "it pulls two blobs under one number"};
    }
    mark_dirty(connection);
  }
  return {};
}

ChunkTarget TransportEngine::on_chunk(ConnectionId id, const ChunkHeader& header) {
  Connection* const connection = find(id);
  if (connection == nullptr || connection->doomed || connection->phase != Phase::kUp) {
    return {};
  }
  connection->heard = clock_.now();
  connection->asked = false;
  Result<ChunkTarget> target = pulls_.place(id, header);
  if (!target) {
    doom(*connection, std::move(target).error());
    return {};
  }
  return *std::move(target);
}

void TransportEngine::on_chunk_arrived(ConnectionId id, const ChunkHeader& header) {
  Connection* const connection = find(id);
  if (connection == nullptr || connection->doomed) {
    return;
  }
  connection->heard = connection->moved = clock_.now();
  connection->traffic->received_bytes.fetch_add(header.length, std::memory_order_relaxed);
  if (connection->bulk_pulls > 0) {
    connection->traffic->bulk_bytes.fetch_add(header.length, std::memory_order_relaxed);
  }
  end(pulls_.arrived(header));
}

void TransportEngine::on_chunk_sent(ConnectionId id, const ChunkHeader& header) {
  if (Connection* const connection = find(id)) {
    connection->moved = clock_.now();
    connection->loans.chunk_left(header, connection->moved);
    mark_dirty(*connection);
  }
}

void TransportEngine::on_sent(ConnectionId id, std::uint64_t bytes) {
  if (Connection* const connection = find(id)) {
    connection->leaving_bytes -= bytes;
    mark_dirty(*connection);
  }
}

void TransportEngine::on_lost(ConnectionId id, const Status& reason) {
  Connection* const connection = find(id);
  // One that is doomed ends for the reason that is known already: its words came just before.
  if (connection != nullptr && !connection->doomed) {
    lose(*connection, reason);
  }
}

void TransportEngine::doom(Connection& connection, Status reason, bool refused) {
  if (!connection.doomed) {
    connection.doomed = true;
    doomed_.push_back({connection.id, std::move(reason), refused});
  }
}

void TransportEngine::end_doomed() {
  while (!doomed_.empty()) {
    const std::vector<Doom> doomed = std::exchange(doomed_, {});
    for (const Doom& doom : doomed) {
      Connection* const connection = find(doom.connection);
      if (connection == nullptr) {
        continue;
      }
      if (doom.refused) {
        append_error(*connection, FrameKind::kRefuse, 0, doom.reason);
        send_out(*connection, true);
      } else if (connection->phase == Phase::kAwaitsHello) {
        say_refusal(Status(doom.reason).with_context(describe(*connection)));
      }
      link_.close(doom.connection, doom.refused);
      lose(*connection, doom.reason);
    }
  }
}

void TransportEngine::lose(Connection& connection, const Status& reason) {
  const std::unique_ptr<Connection> gone = std::move(connections_.extract(connection.id).mapped());
  if (gone->phase == Phase::kAwaitsHello) {
    return;
  }
  const auto of_host = hosts_.find(gone->host);
  if (of_host == hosts_.end() || of_host->second != gone.get()) {
    return;  // It made way for another one.
  }
  hosts_.erase(of_host);
  table_.set_gone(gone->host);
  const bool refused = reason.code() == ErrorCode::kFailedPrecondition ||
                       reason.code() == ErrorCode::kUnauthenticated;
  const Status error =
      Status(refused ? reason.code() : ErrorCode::kUnavailable, std::string(reason.message()))
          .with_context(describe(*gone));
  fail_under_way(gone->id, error);
  if (options_.handlers.on_peer) {
    options_.handlers.on_peer(gone->host, error);
  }
}

void TransportEngine::fail_under_way(std::optional<ConnectionId> connection, const Status& error) {
  // In the order in which they were made, and out of the tables before any callback makes new ones.
  std::vector<std::pair<std::uint64_t, ReplyDone>> ended;
  for (auto at = requests_.begin(); at != requests_.end();) {
    if (!connection || at->second.connection == *connection) {
      ended.emplace_back(at->first, std::move(at->second.done));
      request_deadlines_.erase({at->second.deadline, at->first});
      at = requests_.erase(at);
    } else {
      ++at;
    }
  }
  std::ranges::sort(ended, {}, &std::pair<std::uint64_t, ReplyDone>::first);
  std::vector<EndedPull> pulls = pulls_.fail_all(connection, error);
  for (const auto& [id, done] : ended) {
    done(error);
  }
  for (EndedPull& pull : pulls) {
    pull.call();
  }
}

void TransportEngine::stop() {
  stopping_ = true;
  fail_under_way(std::nullopt, Status(ErrorCode::kCancelled, "the transport is ending"));
  end_doomed();
  for (const auto& [id, connection] : connections_) {
    if (connection->phase == Phase::kUp) {
      append(*connection, {.kind = FrameKind::kGoodbye});
      send_out(*connection, true);
      table_.set_gone(connection->host);
    }
    link_.close(id, connection->phase == Phase::kUp);
  }
  connections_.clear();
  hosts_.clear();
  static_cast<void>(link_.drain());  // Who is still there then is stuck, or gone.
}

}  // namespace pinion::detail
