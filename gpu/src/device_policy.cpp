#include <pinion/gpu/device_policy.hpp>

#include <algorithm>
#include <limits>
#include <utility>

#include <pinion/core/assert.hpp>
#include <pinion/core/bytes.hpp>

#include "balance.hpp"

namespace pinion {
namespace {

// Of a rate that was measured just now; the rest is what it was before.
constexpr double kNewShare = 0.3;

// What a kernel is thought to take that nobody has run: only what is equal counts then.
constexpr double kUnknownRate = 1.0;

std::uint64_t bytes_on_device(const PolicyShard& shard) {
  return shard.input_bytes + shard.other_bytes;
}

}  // namespace

// In nanoseconds.
double DevicePolicy::Queue::backlog(Instant now) const {
  double sum = 0.0;
  if (!running.empty() && busy_until > now) {
    sum = static_cast<double>((busy_until - now).count());
  }
  for (const Ticket& ticket : waiting) {
    sum += ticket.time;
  }
  return sum;
}

DevicePolicy::DevicePolicy(std::vector<PolicyDevice> devices, PolicyOptions options)
    : devices_(std::move(devices)), options_(options), queues_(devices_.size()) {}

bool DevicePolicy::near(std::size_t device, const PolicyShard& shard) const {
  return devices_[device].near_memory == shard.home;
}

bool DevicePolicy::fits(std::size_t device, const PolicyShard& shard) const {
  const std::uint64_t most = devices_[device].memory_bytes;
  return !queues_[device].retired && (most == 0 || bytes_on_device(shard) <= most);
}

// A rate for input that is near is better than none for input that is far, and the other way round.
std::optional<double> DevicePolicy::rate(std::size_t device, const PolicyShard& shard) const {
  const bool is_near = near(device, shard);
  for (const bool wanted : {is_near, !is_near}) {
    const auto found = rates_.find({shard.kernel, device, wanted});
    if (found != rates_.end()) {
      return found->second;
    }
  }
  return std::nullopt;
}

std::optional<Duration> DevicePolicy::expected(std::size_t device, const PolicyShard& shard) const {
  const std::optional<double> known = rate(device, shard);
  if (!known) {
    return std::nullopt;
  }
  return Duration(static_cast<Duration::rep>(*known * static_cast<double>(shard.input_bytes)));
}

// Where it is unknown, as long as on the others.
double DevicePolicy::time_of(std::size_t device, const PolicyShard& shard) const {
  std::optional<double> known = rate(device, shard);
  if (!known) {
    double sum = 0.0;
    double count = 0.0;
    for (std::size_t other = 0; other < devices_.size(); ++other) {
      if (const std::optional<double> theirs = rate(other, shard)) {
        sum += *theirs;
        count += 1.0;
      }
    }
    known = count > 0.0 ? sum / count : kUnknownRate;
  }
  return *known * static_cast<double>(shard.input_bytes);
}

bool DevicePolicy::is_being_tried(std::size_t device, const std::string& kernel) const {
  const Queue& queue = queues_[device];
  return std::any_of(queue.waiting.begin(), queue.waiting.end(),
                     [&](const Ticket& ticket) { return ticket.shard.kernel == kernel; }) ||
         std::any_of(queue.running.begin(), queue.running.end(),
                     [&](const auto& entry) { return entry.second.kernel == kernel; });
}

std::optional<std::size_t> DevicePolicy::untried(const PolicyShard& shard) const {
  for (const bool wanted : {true, false}) {
    for (std::size_t device = 0; device < devices_.size(); ++device) {
      if (near(device, shard) == wanted && fits(device, shard) && !rate(device, shard) &&
          !is_being_tried(device, shard.kernel)) {
        return device;
      }
    }
  }
  return std::nullopt;
}

std::optional<PolicyChoice> DevicePolicy::misfit(const PolicyShard& shard) const {
  bool fits_device = false;
  bool fits_host = false;
  std::uint64_t most = 0;
  for (std::size_t device = 0; device < devices_.size(); ++device) {
    const bool is_host = devices_[device].memory_bytes == 0;
    (is_host ? fits_host : fits_device) |= fits(device, shard);
    most = queues_[device].retired ? most : std::max(most, devices_[device].memory_bytes);
  }
  if (fits_device || (fits_host && (most == 0 || !shard.can_be_split))) {
    return std::nullopt;
  }
  const std::string needed = "the shard needs " + format_bytes(bytes_on_device(shard));
  const std::string largest =
      most > 0 ? "; the largest device has " + format_bytes(most) : "; no device is left";
  return PolicyChoice{
      .verdict = shard.can_be_split && most > 0 ? PolicyVerdict::kSplit : PolicyVerdict::kRefused,
      .reason = needed + largest};
}

void DevicePolicy::put(std::size_t device, PolicyChoice& choice, const PolicyShard& shard) {
  choice.device = device;
  choice.ticket = ++last_ticket_;
  queues_[device].waiting.push_back(
      {.number = choice.ticket, .shard = shard, .time = time_of(device, shard)});
}

std::vector<PolicyChoice> DevicePolicy::place(std::span<const PolicyShard> shards, Instant now) {
  std::vector<PolicyChoice> choices(shards.size());
  std::vector<std::size_t> rest;
  for (std::size_t index = 0; index < shards.size(); ++index) {
    if (std::optional<PolicyChoice> choice = misfit(shards[index])) {
      choices[index] = *std::move(choice);
    } else if (const std::optional<std::size_t> device = untried(shards[index])) {
      put(*device, choices[index], shards[index]);
    } else {
      rest.push_back(index);
    }
  }
  BalanceProblem problem;
  for (const Queue& queue : queues_) {
    problem.loads.push_back(queue.backlog(now));
  }
  for (const std::size_t index : rest) {
    std::vector<BalanceOption>& options = problem.tasks.emplace_back(devices_.size());
    for (std::size_t device = 0; device < devices_.size(); ++device) {
      options[device] = {.time = fits(device, shards[index])
                                     ? time_of(device, shards[index])
                                     : std::numeric_limits<double>::infinity(),
                         .preferred = near(device, shards[index])};
    }
  }
  const std::vector<std::size_t> devices = balance(problem);
  for (std::size_t position = 0; position < rest.size(); ++position) {
    put(devices[position], choices[rest[position]], shards[rest[position]]);
  }
  return choices;
}

// The last one of the longest queue, which would end there when all of the queue has.
bool DevicePolicy::steal(std::size_t device, Instant now) {
  std::optional<std::size_t> victim;
  for (std::size_t other = 0; other < queues_.size(); ++other) {
    if (other != device && !queues_[other].waiting.empty() &&
        (!victim || queues_[other].backlog(now) > queues_[*victim].backlog(now))) {
      victim = other;
    }
  }
  if (!victim) {
    return false;
  }
  Ticket& last = queues_[*victim].waiting.back();
  const double time_here = time_of(device, last.shard);
  const bool sooner = queues_[device].backlog(now) + time_here < queues_[*victim].backlog(now);
  if (!fits(device, last.shard) || !sooner) {
    return false;
  }
  last.time = time_here;
  queues_[device].waiting.push_back(std::move(last));
  queues_[*victim].waiting.pop_back();
  ++steal_count_;
  return true;
}

std::vector<std::uint64_t> DevicePolicy::next(std::size_t device, Instant now) {
  Queue& queue = queues_[device];
  std::vector<std::uint64_t> given;
  if (queue.retired || (queue.waiting.empty() && !steal(device, now))) {
    return given;
  }
  const std::string kernel = queue.waiting.front().shard.kernel;
  std::uint64_t bytes = 0;
  Instant end = queue.running.empty() ? now : std::max(now, queue.busy_until);
  while (!queue.waiting.empty() && given.size() < options_.batch_count_max) {
    Ticket& first = queue.waiting.front();
    const bool fits_batch = bytes + first.shard.input_bytes <= options_.batch_bytes;
    if (!given.empty() && (first.shard.kernel != kernel || !fits_batch)) {
      break;
    }
    bytes += first.shard.input_bytes;
    given.push_back(first.number);
    end += Duration(static_cast<Duration::rep>(first.time));
    queue.running.emplace(first.number, std::move(first.shard));
    queue.waiting.pop_front();
  }
  queue.busy_until = end;
  return given;
}

std::size_t DevicePolicy::queue_of(std::uint64_t ticket) const {
  const auto found = std::find_if(queues_.begin(), queues_.end(), [&](const Queue& queue) {
    return queue.running.contains(ticket);
  });
  PINION_ASSERT(found != queues_.end());
  return static_cast<std::size_t>(found - queues_.begin());
}

void DevicePolicy::ended(std::uint64_t ticket, Duration time) {
  const std::size_t device = queue_of(ticket);
  const auto taken = queues_[device].running.extract(ticket);
  const PolicyShard& shard = taken.mapped();
  const double measured = static_cast<double>(time.count()) /
                          static_cast<double>(std::max<std::uint64_t>(shard.input_bytes, 1));
  const auto [position, is_first] =
      rates_.try_emplace({shard.kernel, device, near(device, shard)}, measured);
  if (!is_first) {
    position->second += kNewShare * (measured - position->second);
  }
}

void DevicePolicy::dropped(std::uint64_t ticket) {
  queues_[queue_of(ticket)].running.erase(ticket);
}

std::vector<std::uint64_t> DevicePolicy::retire(std::size_t device) {
  Queue& queue = queues_[device];
  queue.retired = true;
  std::vector<std::uint64_t> tickets;
  for (const Ticket& ticket : queue.waiting) {
    tickets.push_back(ticket.number);
  }
  queue.waiting.clear();
  return tickets;
}

}  // namespace pinion
