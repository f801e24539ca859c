// The devices of the ranks of this host: who has which, and what becomes of those that fail.

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "agent/agent.hpp"

namespace pinion {

DeviceChoice Agent::device_choice_of(std::uint32_t rank) const {
  DeviceChoice choice{.first = rank, .stride = share_.rank_count, .left_out = drained_devices_};
  if (const std::optional<Place>& gpu = ranks_[rank].placement.gpu) {
    // A GPU that the rank sees alone is the first one to it.
    choice.first = settings_.devices == "auto" ? 0 : gpu->index;
    choice.stride = std::numeric_limits<std::uint32_t>::max();
    choice.sharer_count = static_cast<std::uint32_t>(
        std::count_if(ranks_.begin(), ranks_.end(),
                      [&gpu](const Rank& other) { return other.placement.gpu == gpu; }));
  }
  return choice;
}

MappedGpu Agent::gpu_of(std::uint32_t rank) const {
  const std::optional<Place>& place = ranks_[rank].placement.gpu;
  const auto found = std::find_if(gpus_.begin(), gpus_.end(), [&place](const MappedGpu& mapped) {
    return place && mapped.gpu.place.index == place->index;
  });
  return found != gpus_.end() ? *found : MappedGpu();
}

void Agent::say_who_shares_devices() {
  for (std::uint32_t rank = 0; rank < ranks_.size(); ++rank) {
    const std::optional<Place>& gpu = ranks_[rank].placement.gpu;
    const bool is_first =
        gpu && std::none_of(ranks_.begin(), ranks_.begin() + rank,
                            [&gpu](const Rank& other) { return other.placement.gpu == gpu; });
    const std::uint32_t count = is_first ? device_choice_of(rank).sharer_count : 0;
    if (count > 1) {
      say(
          fmt::format("pinion: GPU {} is shared by {} ranks; each may use one part in {} of its "
                      "memory",
                      gpu->index, count, count));
    }
  }
}

// A rank whose device failed ends, to be started again with a device that works; or it is told to
// go on without.
void Agent::handle_device_lost(std::uint32_t rank, const Frame& frame) {
  Rank& it = ranks_[rank];
  const Result<DeviceLoss> loss = decode_device_loss(frame.payload);
  if (!loss) {
    answer(rank, frame.request, loss.error());
    return;
  }
  if (spec_.on_failure != OnFailure::kRespawn || rank == spec_.debug_rank || exit_status_) {
    it.given_up = *loss;
    answer(rank, frame.request,
           Status(ErrorCode::kFailedPrecondition, "this rank is not started again"));
    return;
  }
  it.lost_device = *loss;
  answer(rank, frame.request, Status());
}

// Each rank finds the same on a host.
void Agent::say_once(const Frame& frame) {
  const std::string text(reinterpret_cast<const char*>(frame.payload.data()), frame.payload.size());
  if (settings_.quiet || !said_.insert(text).second) {
    return;
  }
  const std::string where = host_count() > 1 ? spec_.hosts[share_.host].name + ": " : "";
  say("pinion: " + where + text);
}

std::string Agent::describe_loss(const DeviceLoss& loss) {
  return fmt::format("device {} ({}) failed: {}", loss.number, loss.name, loss.error.to_string());
}

// It may have ended for that, or much later.
std::string Agent::describe_given_up(const Rank& rank) {
  return rank.given_up ? ", after " + describe_loss(*rank.given_up) : "";
}

// What is to be said of a rank that ended for its device and comes back.
std::string Agent::note_device_loss(const DeviceLoss& loss) {
  const std::uint32_t count = ++device_loss_counts_[loss.uuid];
  if (count <= spec_.respawn_count_max) {
    return fmt::format("starting it again ({} of {} for this device)", count,
                       spec_.respawn_count_max);
  }
  drained_devices_.push_back(loss.uuid);
  return fmt::format("starting it again without the device, which has failed {} times", count);
}

}  // namespace pinion
