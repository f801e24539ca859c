#include "engine/device_feed.hpp"

#include <algorithm>
#include <utility>

#include <pinion/core/assert.hpp>

namespace pinion::engine {

DeviceFeed::DeviceFeed(const FeedWork& work) : work_(work) {
  for (std::size_t i = 0; i < work_.devices.depth(); ++i) {
    free_.push_back(lanes_.emplace_back(std::make_unique<Lane>(work_.reader)).get());
  }
}

DeviceFeed::~DeviceFeed() {
  for (const Lane* lane : flying_) {
    wait_for(*lane);
  }
}

Status DeviceFeed::start(const protocol::Lease& lease, std::shared_ptr<const OpenedPlan> plan) {
  PINION_ASSERT(!free_.empty());
  Lane& lane = *free_.front();
  Result<Shard> shard = lane.reader.load(**plan, lease.unit, lease.attempt, work_.job_seed);
  if (!shard) {
    return std::move(shard).error();
  }
  free_.pop_front();
  flying_.push_back(&lane);
  lane.plan = std::move(plan);
  lane.lease = lease;
  lane.shard = *shard;
  lane.begun = clock_.now();
  lane.output_bytes = 0;
  lane.refusal = {};
  lane.pieces.clear();
  lane.over = false;
  Status refused = work_.devices.submit(
      work_.device, {.kernel = &work_.kernel,
                     .shard = lease.unit,
                     .input = shard->bytes(),
                     .on_piece = [this, &lane](const DevicePiece& piece) { keep(lane, piece); },
                     .on_done = [this, &lane](const Status& status) { end(lane, status); }});
  if (!refused.ok()) {
    end(lane, refused);
  }
  return {};
}

void DeviceFeed::keep(Lane& lane, const DevicePiece& piece) {
  const std::size_t begin = lane.output_bytes;
  if (lane.refusal.ok()) {
    lane.refusal = make_room(lane, begin + piece.output.size());
  }
  if (!lane.refusal.ok()) {
    return;
  }
  std::copy(piece.output.begin(), piece.output.end(), lane.output.bytes().subspan(begin).begin());
  lane.output_bytes += piece.output.size();
  lane.pieces.push_back({.offset = piece.offset,
                         .input_bytes = piece.input.size(),
                         .output_begin = begin,
                         .output_bytes = piece.output.size()});
}

Status DeviceFeed::make_room(Lane& lane, std::size_t output_bytes) const {
  if (lane.output.bytes().size() >= output_bytes) {
    return {};
  }
  if (!lane.output.bytes().empty()) {
    return lane.output.grow(output_bytes);
  }
  Result<Pages> pages = work_.reader.pages.take(output_bytes);
  if (!pages) {
    return std::move(pages).error();
  }
  lane.output = *std::move(pages);
  return {};
}

void DeviceFeed::end(Lane& lane, const Status& status) {
  const MutexLock lock(mutex_);
  lane.status = status.ok() ? lane.refusal : status;
  lane.ended = clock_.now();
  lane.over = true;
  // Under the lock: whoever waits may end the feed as soon as it sees this.
  landed_.notify_all();
}

void DeviceFeed::wait_for(const Lane& lane) {
  const MutexLock lock(mutex_);
  while (!lane.over) {
    landed_.wait(mutex_);
  }
}

LandedUnit DeviceFeed::land() {
  PINION_ASSERT(!flying_.empty());
  Lane& lane = *flying_.front();
  wait_for(lane);
  flying_.pop_front();
  // The last to be used again: its bytes stay for the caller.
  free_.push_back(&lane);
  LandedUnit unit = {.lease = lane.lease,
                     .shard = *lane.shard,
                     .status = lane.status,
                     .begun = lane.begun,
                     .on_device = std::max(lane.ended - lane.begun, Duration(1)),
                     .busy = std::max(lane.ended - std::max(lane.begun, last_end_), Duration(1)),
                     .plan = std::move(lane.plan)};
  last_end_ = std::max(last_end_, lane.ended);
  if (unit.status.ok()) {
    std::sort(lane.pieces.begin(), lane.pieces.end(),
              [](const Piece& a, const Piece& b) { return a.offset < b.offset; });
    for (const Piece& piece : lane.pieces) {
      unit.pieces.push_back(
          {.offset = piece.offset,
           .input = unit.shard.bytes().subspan(piece.offset, piece.input_bytes),
           .output = lane.output.bytes().subspan(piece.output_begin, piece.output_bytes)});
    }
  }
  return unit;
}

bool DeviceFeed::is_lost() const {
  return ends_device(work_.devices.devices()[work_.device]->fault());
}

}  // namespace pinion::engine
