#include "engine/device_feed.hpp"

#include <algorithm>
#include <functional>
#include <utility>

#include <pinion/core/assert.hpp>

namespace pinion::engine {
namespace {

// Less is copied by the host in the time of a few calls to a device.
constexpr std::size_t kRegisteredBytesMin = std::size_t{1} << 20;

}  // namespace

DeviceFeed::DeviceFeed(const FeedWork& work)
    : work_(work),
      depth_(work.devices.depth()),
      batch_(work.kernel.takes_batches ? work.devices.batch() : DeviceBatch()) {}

DeviceFeed::~DeviceFeed() {
  cancel_.cancel();
  for (const Lane* lane : flying_) {
    wait_for(*lane);
  }
}

void DeviceFeed::cancel() {
  std::exchange(cancel_, CancelSource()).cancel();
}

// Before the first has come back it is not known whether the device is worth many: what it has is
// nobody else's. Then a launch more than it has at once waits for it, so that none is small.
bool DeviceFeed::is_full() const noexcept {
  if (flying_.size() < depth_ || last_end_ == Instant()) {
    return flying_.size() >= depth_;
  }
  const std::size_t launches = batch_.count_max > 1 ? depth_ + 1 : depth_;
  return flying_.size() >= launches * batch_.count_max ||
         flying_bytes_ >= launches * batch_.bytes_max;
}

Status DeviceFeed::start(const protocol::Lease& lease, std::shared_ptr<const OpenedPlan> plan) {
  PINION_ASSERT(!is_full());
  if (free_.empty()) {
    free_.push_back(lanes_.emplace_back(std::make_unique<Lane>(work_.reader)).get());
  }
  Lane& lane = *free_.back();
  if (last_read_ != nullptr && last_read_ != &lane) {
    lane.reader.take_file(last_read_->reader);
  }
  last_read_ = &lane;
  Result<Shard> shard = lane.reader.load(**plan, lease.unit, lease.attempt, work_.job_seed);
  if (!shard) {
    return std::move(shard).error();
  }
  if (!describe_) {
    // A step has one plan.
    describe_ = [plan](std::span<const std::uint64_t> shards) {
      return describe_shards(**plan, shards);
    };
  }
  register_memory(lane, shard->bytes());
  free_.pop_back();
  flying_.push_back(&lane);
  lane.plan = std::move(plan);
  lane.lease = lease;
  lane.shard = *shard;
  lane.size_bytes = shard->bytes().size() + work_.kernel.sizes(shard->bytes().size()).output_bytes;
  flying_bytes_ += lane.size_bytes;
  lane.begun = clock_.now();
  lane.busy = {};
  lane.output_bytes = 0;
  lane.refusal = {};
  lane.pieces.clear();
  lane.over = false;
  Status refused = work_.devices.submit(
      work_.device, {.kernel = &work_.kernel,
                     .shard = lease.unit,
                     .input = shard->bytes(),
                     .describe = &describe_,
                     .cancel = cancel_.token(),
                     .on_piece = [this, &lane](const DevicePiece& piece) { keep(lane, piece); },
                     .on_done = [this, &lane](const Status& status) { end(lane, status); }});
  if (!refused.ok()) {
    end(lane, refused);
  }
  return {};
}

// What the device reads by itself is not copied to its staging. Registering memory takes as long as
// copying it once or twice, so it is done when a second unit comes to lie in it.
void DeviceFeed::register_memory(Lane& lane, std::span<const std::byte> input) {
  const std::span<std::byte> memory = lane.reader.memory();
  const bool is_used_again = std::exchange(lane.memory, memory.data()) == memory.data();
  if (!is_used_again || !may_register_ || lane.reader.is_registered() ||
      input.size() < kRegisteredBytesMin) {
    return;
  }
  const bool is_read = std::less_equal<>()(memory.data(), input.data()) &&
                       std::less<>()(input.data(), memory.data() + memory.size());
  if (!is_read) {
    return;  // It lies in a blob.
  }
  Result<HostRegistration> registration =
      work_.devices.devices()[work_.device]->register_host(memory);
  if (registration) {
    lane.reader.keep(*std::move(registration));
  } else {
    may_register_ = false;
  }
}

// The lanes for small units are many. A large one, of which few are on the way, must not leave its
// memory in each of them: only where the next unit takes the lane at once.
void DeviceFeed::trim_landed() {
  if (free_.empty() || lanes_.size() <= depth_) {
    return;
  }
  Lane& lane = *free_.back();
  if (lane.reader.memory().size() + lane.output.bytes().size() > 2 * batch_.bytes_max) {
    lane.reader.drop_memory();
    lane.output = {};
  }
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

// Units that have come back by now share the time since the one before them by their bytes: those
// of one launch come back at once.
void DeviceFeed::share_time() {
  const MutexLock lock(mutex_);
  const auto end =
      std::find_if(flying_.begin(), flying_.end(), [](const Lane* lane) { return !lane->over; });
  const Instant begun = std::max(flying_.front()->begun, last_end_);
  double bytes = 0.0;
  for (auto lane = flying_.begin(); lane != end; ++lane) {
    bytes += static_cast<double>((*lane)->size_bytes + 1);
    last_end_ = std::max(last_end_, (*lane)->ended);
  }
  const auto time = static_cast<double>((last_end_ - begun).count());
  for (auto lane = flying_.begin(); lane != end; ++lane) {
    const double part = static_cast<double>((*lane)->size_bytes + 1) / bytes;
    (*lane)->busy = std::max(Duration(static_cast<Duration::rep>(time * part)), Duration(1));
  }
}

LandedUnit DeviceFeed::land() {
  PINION_ASSERT(!flying_.empty());
  trim_landed();
  Lane& lane = *flying_.front();
  wait_for(lane);
  if (lane.busy == Duration()) {
    share_time();
  }
  flying_.pop_front();
  flying_bytes_ -= lane.size_bytes;
  free_.push_back(&lane);
  LandedUnit unit = {.lease = lane.lease,
                     .shard = *lane.shard,
                     .status = lane.status,
                     .begun = lane.begun,
                     .on_device = std::max(lane.ended - lane.begun, Duration(1)),
                     .busy = lane.busy,
                     .plan = std::move(lane.plan)};
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

std::vector<std::uint64_t> DeviceFeed::undone() const {
  const MutexLock lock(mutex_);
  std::vector<std::uint64_t> units;
  for (const Lane* lane : flying_) {
    if (!lane->over || !lane->status.ok()) {
      units.push_back(lane->lease.unit);
    }
  }
  return units;
}

}  // namespace pinion::engine
