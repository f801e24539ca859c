#include <algorithm>
#include <cstring>
#include <utility>

#include "ucx_worker_link.hpp"

// What goes over the connections of a UcxWorkerLink.

namespace pinion {
namespace {

using detail::ChunkHeader;
using detail::ChunkTarget;
using detail::ConnectionId;

// Of the active messages.
constexpr unsigned kBatchId = 1;
constexpr unsigned kChunkId = 2;
constexpr unsigned kOfferId = 3;
constexpr unsigned kTakenId = 4;
constexpr unsigned kWaitingId = 5;

// What leaves as one piece of UCX over TCP, with what UCX and this link put before it.
constexpr std::uint64_t kMessageChunkBytes = std::uint64_t{60} << 10;

// Of chunks that are read, which several round trips go with.
constexpr std::uint64_t kReadChunkBytes = std::uint64_t{1} << 20;

// A copy on each side costs less than the round trips of a read.
constexpr std::uint64_t kUnreadChunkBytesMax = std::uint64_t{64} << 10;

// Of a key, which has no length in itself: what a peer sent is followed by zeros up to that.
constexpr std::size_t kKeyBytesMax = 1024;

// The start of an offer; the key follows.
struct OfferHead {
  ChunkHeader chunk = {};
  std::uint64_t address = 0;
};
static_assert(sizeof(OfferHead) == 40);

void append(std::vector<std::byte>& to, std::span<const std::byte> bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

}  // namespace

Status UcxWorkerLink::set_handlers() {
  const std::pair<unsigned, ucp_am_recv_callback_t> handlers[] = {{kBatchId, on_batch},
                                                                  {kChunkId, on_chunk},
                                                                  {kOfferId, on_offer},
                                                                  {kTakenId, on_taken},
                                                                  {kWaitingId, on_waiting}};
  for (const auto& [id, handler] : handlers) {
    ucp_am_handler_param_t params = {};
    params.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS |
                        UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
    params.id = id;
    params.flags = UCP_AM_FLAG_WHOLE_MSG;
    params.cb = handler;
    params.arg = this;
    if (const ucs_status_t status = ucx().ucp_worker_set_am_recv_handler(worker_.get(), &params);
        status != UCS_OK) {
      return ucx_error(status, "set a handler of messages");
    }
  }
  return {};
}

UcxWorkerLink::Operation& UcxWorkerLink::begin(ConnectionId connection, What what) {
  ++ends_.at(connection).operations;
  operations_.push_front({.link = this, .connection = connection, .what = what});
  operations_.front().self = operations_.begin();
  return operations_.front();
}

void UcxWorkerLink::post(End& end, Operation& operation, unsigned id,
                         std::span<const std::byte> header, std::span<const std::byte> bytes,
                         unsigned flags) {
  ucp_request_param_t param = {};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA |
                       UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_MEMORY_TYPE;
  // The receiver learns from which endpoint it is.
  param.flags = flags | UCP_AM_SEND_FLAG_REPLY;
  param.memory_type = UCS_MEMORY_TYPE_HOST;
  param.cb.send = on_sent;
  param.user_data = &operation;
  const ucs_status_ptr_t request = ucx().ucp_am_send_nbx(
      end.endpoint, id, header.data(), header.size(), bytes.data(), bytes.size(), &param);
  if (!UCS_PTR_IS_PTR(request)) {
    finish_send(operation, UCS_PTR_STATUS(request));
  }
}

void UcxWorkerLink::send(ConnectionId connection, std::vector<std::byte> batch) {
  End* const end = find(connection);
  if (end == nullptr || end->failed) {
    return;
  }
  Operation& operation = begin(connection, What::kBatch);
  operation.batch = std::move(batch);
  // Eager whatever the size: a rendezvous could be overtaken.
  post(*end, operation, kBatchId, {}, operation.batch, UCP_AM_SEND_FLAG_EAGER);
}

ChunkWay UcxWorkerLink::way_of(End& end) {
  if (!end.way) {
    end.way = way_ ? *way_ : chunk_way_of(lanes_of_endpoint(end.endpoint));
  }
  return *end.way;
}

std::uint64_t UcxWorkerLink::chunk_bytes(ConnectionId connection) {
  End* const end = find(connection);
  return end != nullptr && way_of(*end) == ChunkWay::kGet ? kReadChunkBytes : kMessageChunkBytes;
}

void UcxWorkerLink::send_chunk(ConnectionId connection, const ChunkHeader& header,
                               const Blob& blob) {
  End* const end = find(connection);
  if (end == nullptr || end->failed) {
    return;
  }
  if (way_of(*end) == ChunkWay::kGet && header.length > kUnreadChunkBytesMax) {
    offer(*end, header, blob);
    return;
  }
  Operation& operation = begin(connection, What::kChunk);
  operation.header = header;
  operation.blob = blob;
  // Eager, and so copied at the other end: the round trips of a rendezvous cost more, and meanwhile
  // the cache loses what was summed. UCX 1.13 also ends processes that close during one.
  post(*end, operation, kChunkId, std::as_bytes(std::span(&operation.header, 1)),
       blob.bytes().subspan(header.offset, header.length), UCP_AM_SEND_FLAG_EAGER);
}

void UcxWorkerLink::offer(End& end, const ChunkHeader& header, const Blob& blob) {
  Result<std::unique_ptr<Stage>> stage = stages_.take(context_.get(), header.length);
  if (!stage) {
    fail(end, stage.error());
    return;
  }
  std::memcpy((*stage)->bytes().data(), blob.bytes().data() + header.offset, header.length);
  const OfferHead head = {header, (*stage)->address()};
  Operation& operation = begin(end.id, What::kControl);
  append(operation.batch, std::as_bytes(std::span(&head, 1)));
  append(operation.batch, (*stage)->key());
  ++end.operations;
  offers_.push_back({end.id, header, *std::move(stage)});
  post(end, operation, kOfferId, {}, operation.batch, UCP_AM_SEND_FLAG_EAGER);
}

void UcxWorkerLink::forget_offers(ConnectionId connection) {
  // Whoever still reads gets what the next chunk has, and that connection is over.
  for (auto at = offers_.begin(); at != offers_.end();) {
    const auto here = at++;
    if (here->connection == connection) {
      stages_.give_back(std::move(here->stage));
      offers_.erase(here);
      --ends_.at(connection).operations;
    }
  }
}

void UcxWorkerLink::on_sent(void* request, ucs_status_t status, void* operation) {
  ucx().ucp_request_free(request);
  Operation& sent = *static_cast<Operation*>(operation);
  sent.link->finish_send(sent, status);
}

void UcxWorkerLink::finish_send(Operation& operation, ucs_status_t status) {
  if (status == UCS_OK) {
    if (operation.what == What::kChunk) {
      notes_.push_back({operation.connection, ChunkSent{operation.header}});
    } else if (operation.what == What::kBatch) {
      notes_.push_back({operation.connection, BatchSent{operation.batch.size()}});
    }
  } else if (End* const end = find(operation.connection)) {
    fail(*end, ucx_error(status, "send"));
  }
  finish(operation);
}

void UcxWorkerLink::finish(Operation& operation) {
  --ends_.at(operation.connection).operations;
  if (operation.stage != nullptr) {
    stages_.give_back(std::move(operation.stage));
  }
  operations_.erase(operation.self);
}

// Also of one that is ending, as long as something can be sent.
UcxWorkerLink::End* UcxWorkerLink::end_of(const ucp_am_recv_param_t& param) {
  if ((param.recv_attr & UCP_AM_RECV_ATTR_FIELD_REPLY_EP) == 0) {
    return nullptr;
  }
  const auto found = ids_.find(param.reply_ep);
  End* const end = found == ids_.end() ? nullptr : &ends_.at(found->second);
  return end == nullptr || end->failed ? nullptr : end;
}

UcxWorkerLink::End* UcxWorkerLink::sender_of(const ucp_am_recv_param_t& param) {
  End* const end = end_of(param);
  return end == nullptr || !end->open ? nullptr : end;
}

ucs_status_t UcxWorkerLink::on_batch(void* link, const void* /*header*/,
                                     std::size_t /*header_length*/, void* data, std::size_t length,
                                     const ucp_am_recv_param_t* param) {
  UcxWorkerLink& self = *static_cast<UcxWorkerLink*>(link);
  End* const end = self.sender_of(*param);
  if (end == nullptr || self.events_ == nullptr) {
    return UCS_OK;
  }
  if ((param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0) {
    self.fail(*end, {ErrorCode::kDataLoss, "it sent a message in the way of blobs"});
    return UCS_OK;
  }
  end->heard = true;
  self.events_->on_batch(end->id, {static_cast<const std::byte*>(data), length});
  return UCS_OK;
}

ucs_status_t UcxWorkerLink::on_chunk(void* link, const void* header, std::size_t header_length,
                                     void* data, std::size_t length,
                                     const ucp_am_recv_param_t* param) {
  UcxWorkerLink& self = *static_cast<UcxWorkerLink*>(link);
  End* const end = self.sender_of(*param);
  if (end == nullptr || self.events_ == nullptr) {
    return UCS_OK;
  }
  ChunkHeader chunk;
  if (header_length == sizeof(chunk)) {
    std::memcpy(&chunk, header, sizeof(chunk));
  }
  if (header_length != sizeof(chunk) || chunk.length != length ||
      (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0) {
    self.fail(*end, {ErrorCode::kDataLoss, "it sent a piece of a blob under a damaged header"});
    return UCS_OK;
  }
  // Told at once: what comes next would push it out of the cache.
  if (const ChunkTarget target = self.events_->on_chunk(end->id, chunk); target.keep_alive) {
    std::memcpy(target.bytes.data(), data, target.bytes.size());
    self.events_->on_chunk_arrived(end->id, chunk);
  }
  return UCS_OK;
}

void UcxWorkerLink::finish_get(Operation& operation, ucs_status_t status) {
  End& end = ends_.at(operation.connection);
  if (status != UCS_OK) {
    fail(end, ucx_error(status, "receive a blob"));
  } else {
    std::memcpy(operation.target.bytes.data(), operation.stage->bytes().data(),
                operation.target.bytes.size());
    notes_.push_back({operation.connection, ChunkArrived{operation.header}});
    if (!end.failed && !end.closed) {
      say_taken(end, operation.header);
    }
  }
  finish(operation);
}

ucs_status_t UcxWorkerLink::on_offer(void* link, const void* /*header*/,
                                     std::size_t /*header_length*/, void* data, std::size_t length,
                                     const ucp_am_recv_param_t* param) {
  UcxWorkerLink& self = *static_cast<UcxWorkerLink*>(link);
  End* const end = self.end_of(*param);
  if (end == nullptr) {
    return UCS_OK;
  }
  OfferHead head;
  if ((param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0 || length < sizeof(head) ||
      length > sizeof(head) + kKeyBytesMax) {
    self.fail(*end, {ErrorCode::kDataLoss, "it offered a piece of a blob under a damaged header"});
    return UCS_OK;
  }
  std::memcpy(&head, data, sizeof(head));
  const std::span<const std::byte> bytes(static_cast<const std::byte*>(data), length);
  self.get(*end, head.chunk, head.address, bytes.subspan(sizeof(head)));
  return UCS_OK;
}

void UcxWorkerLink::get(End& end, const ChunkHeader& header, std::uint64_t address,
                        std::span<const std::byte> key) {
  // One that is ending wants nothing, and lets the owner end, too.
  ChunkTarget target =
      events_ != nullptr && end.open ? events_->on_chunk(end.id, header) : ChunkTarget();
  if (target.keep_alive == nullptr) {
    say_taken(end, header);
    return;
  }
  std::vector<std::byte> padded(key.begin(), key.end());
  padded.resize(kKeyBytesMax);
  ucp_rkey_h unpacked = nullptr;
  if (const ucs_status_t status = ucx().ucp_ep_rkey_unpack(end.endpoint, padded.data(), &unpacked);
      status != UCS_OK) {
    fail(end, ucx_error(status, "take the key of a piece of a blob"));
    return;
  }
  UcpRemoteKey owned_key(unpacked);
  Result<std::unique_ptr<Stage>> stage = stages_.take(context_.get(), header.length);
  if (!stage) {
    fail(end, stage.error());
    return;
  }
  Operation& operation = begin(end.id, What::kChunk);
  operation.header = header;
  operation.target = std::move(target);
  operation.key = std::move(owned_key);
  operation.stage = *std::move(stage);
  ucp_request_param_t param = {};
  param.op_attr_mask =
      UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_MEMORY_TYPE;
  param.cb.send = on_got;
  param.user_data = &operation;
  param.memory_type = UCS_MEMORY_TYPE_HOST;
  const ucs_status_ptr_t request = ucx().ucp_get_nbx(end.endpoint, operation.stage->bytes().data(),
                                                     header.length, address, unpacked, &param);
  if (!UCS_PTR_IS_PTR(request)) {
    finish_get(operation, UCS_PTR_STATUS(request));
  }
}

void UcxWorkerLink::on_got(void* request, ucs_status_t status, void* operation) {
  ucx().ucp_request_free(request);
  Operation& got = *static_cast<Operation*>(operation);
  got.link->finish_get(got, status);
}

void UcxWorkerLink::say_taken(End& end, const ChunkHeader& header) {
  Operation& operation = begin(end.id, What::kControl);
  append(operation.batch, std::as_bytes(std::span(&header, 1)));
  post(end, operation, kTakenId, {}, operation.batch, UCP_AM_SEND_FLAG_EAGER);
}

ucs_status_t UcxWorkerLink::on_taken(void* link, const void* /*header*/,
                                     std::size_t /*header_length*/, void* data, std::size_t length,
                                     const ucp_am_recv_param_t* param) {
  UcxWorkerLink& self = *static_cast<UcxWorkerLink*>(link);
  End* const end = self.end_of(*param);
  if (end == nullptr) {
    return UCS_OK;
  }
  ChunkHeader chunk;
  if ((param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) == 0 && length == sizeof(chunk)) {
    std::memcpy(&chunk, data, sizeof(chunk));
  }
  const auto taken = std::ranges::find_if(self.offers_, [&](const Offer& offer) {
    return offer.connection == end->id && offer.header.pull == chunk.pull &&
           offer.header.offset == chunk.offset;
  });
  if (taken == self.offers_.end()) {
    self.fail(*end, {ErrorCode::kDataLoss, "it took a piece of a blob that was not offered"});
    return UCS_OK;
  }
  self.notes_.push_back({end->id, ChunkSent{taken->header}});
  self.stages_.give_back(std::move(taken->stage));
  self.offers_.erase(taken);
  --end->operations;
  return UCS_OK;
}

void UcxWorkerLink::say_waiting(End& end) {
  Operation& operation = begin(end.id, What::kControl);
  post(end, operation, kWaitingId, {}, operation.batch, UCP_AM_SEND_FLAG_EAGER);
}

ucs_status_t UcxWorkerLink::on_waiting(void* link, const void* /*header*/,
                                       std::size_t /*header_length*/, void* /*data*/,
                                       std::size_t /*length*/, const ucp_am_recv_param_t* param) {
  UcxWorkerLink& self = *static_cast<UcxWorkerLink*>(link);
  if (End* const end = self.end_of(*param)) {
    end->other_waits = true;
  }
  return UCS_OK;
}

}  // namespace pinion
