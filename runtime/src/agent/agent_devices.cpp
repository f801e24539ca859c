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
    choice.first =
        gpu_of(rank).visible_as.empty() ? static_cast<std::uint32_t>(gpu_position_of(rank)) : 0;
    choice.stride = std::numeric_limits<std::uint32_t>::max();
    choice.sharer_count = static_cast<std::uint32_t>(
        std::count_if(ranks_.begin(), ranks_.end(),
                      [&gpu](const Rank& other) { return other.placement.gpu == gpu; }));
  }
  return choice;
}

// Among those that ranks are mapped by; behind all for a rank that has none.
std::size_t Agent::gpu_position_of(std::uint32_t rank) const {
  const std::optional<Place>& place = ranks_[rank].placement.gpu;
  const auto& gpus = gpus_.gpus;
  const auto found = std::find_if(gpus.begin(), gpus.end(), [&place](const MappedGpu& mapped) {
    return place && mapped.gpu.place.index == place->index;
  });
  return static_cast<std::size_t>(found - gpus.begin());
}

MappedGpu Agent::gpu_of(std::uint32_t rank) const {
  const std::size_t position = gpu_position_of(rank);
  return position < gpus_.gpus.size() ? gpus_.gpus[position] : MappedGpu();
}

void Agent::say_about_devices() {
  for (const std::string& message : gpus_.messages) {
    say_once(message);
  }
  for (std::uint32_t rank = 0; rank < ranks_.size(); ++rank) {
    const std::optional<Place>& gpu = ranks_[rank].placement.gpu;
    const bool is_first =
        gpu && std::none_of(ranks_.begin(), ranks_.begin() + rank,
                            [&gpu](const Rank& other) { return other.placement.gpu == gpu; });
    const std::uint32_t count = is_first ? device_choice_of(rank).sharer_count : 0;
    if (count > 1) {
      say_once(
          fmt::format("GPU {} is shared by {} ranks; each may use one part in {} of its memory",
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

// Each rank finds the same on a host. What is said is in words of ranks, so it is bounded.
void Agent::say_once(std::string text) {
  constexpr std::size_t kSaidMax = 256;
  constexpr std::size_t kSaidBytesMax = 1024;
  text.resize(std::min(text.size(), kSaidBytesMax));
  if (!settings_.quiet && said_.size() < kSaidMax && said_.insert(text).second) {
    const std::string host = host_count() > 1 ? spec_.hosts[share_.host].name + ": " : "";
    say("pinion: " + host + text);
  }
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
