#include <pinion/gpu/emulation_spec.hpp>

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <utility>

#include <pinion/gpu/device_discovery.hpp>

#include "spec_values.hpp"

namespace pinion {
namespace {

constexpr std::uint64_t kAnyCount = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kCopyEngineCountMax = 16;
constexpr std::string_view kPrefix = "emu:";
constexpr std::string_view kAllDevices = "auto";

EmulatedDeviceSpec usual_device() {
  return {.info = {.name = "emulated device",
                   .architecture = "sm_90",
                   .memory_bytes = std::uint64_t{1} << 30,
                   .copy_engine_count = 2},
          .registered_bytes_max = std::uint64_t{1} << 30,
          .copy_in_rate = 25'000'000'000,
          .copy_out_rate = 25'000'000'000,
          .pageable_rate = 6'000'000'000};
}

Status refuse(std::string message) {
  return Status(ErrorCode::kInvalidArgument, std::move(message));
}

template <class T>
Status store(Result<T> value, T& target) {
  if (!value) {
    return std::move(value).error();
  }
  target = *std::move(value);
  return {};
}

template <class T>
Status store(Result<T> value, std::optional<T>& target) {
  T read = {};
  PINION_RETURN_IF_ERROR(store(std::move(value), read));
  target = read;
  return {};
}

// The part before the first `mark`; the rest stays in `text`, empty when there is no mark.
std::string_view cut(std::string_view& text, char mark) {
  const std::size_t at = text.find(mark);
  const std::string_view part = text.substr(0, at);
  text = at == std::string_view::npos ? std::string_view() : text.substr(at + 1);
  return part;
}

Status read_operation(std::string_view text, std::optional<EmulatedOperation>& target) {
  constexpr std::array<std::string_view, 3> kNames = {"in", "kernel", "out"};  // In their order.
  const auto found = std::find(kNames.begin(), kNames.end(), text);
  if (found == kNames.end()) {
    return refuse("'" + std::string(text) + "' is no operation; there are in, kernel and out");
  }
  target = static_cast<EmulatedOperation>(found - kNames.begin());
  return {};
}

Status read_fault(std::string_view text, EmulatedFaults& faults) {
  std::string_view value = text;
  const std::string_view name = cut(value, '@');
  if (name == "oom") {
    return store(parse_count(value, 1, kAnyCount), faults.out_of_memory_at);
  }
  if (name == "sticky") {
    return store(parse_count(value, 1, kAnyCount), faults.sticky_at);
  }
  if (name == "hang") {
    return store(parse_count(value, 1, kAnyCount), faults.hang_at);
  }
  if (name == "lost") {
    return store(parse_time(value), faults.lost_at);
  }
  if (name == "stop") {
    return read_operation(value, faults.stop_amid);
  }
  if (name == "slow") {
    return store(parse_factor(value), faults.slow_factor);
  }
  if (text == "regfail") {
    faults.registration_refused = true;
    return {};
  }
  if (text == "wrongarch") {
    faults.wrong_architecture = true;
    return {};
  }
  if (text == "noabandon") {
    faults.cannot_be_abandoned = true;
    return {};
  }
  return refuse("'" + std::string(text) +
                "' is no fault; there are oom@N, sticky@N, hang@N, lost@TIME, stop@in, "
                "stop@kernel, stop@out, slow@FACTORx, regfail, wrongarch and noabandon");
}

// "sticky@5" of all devices, "1:sticky@5" of the second.
Status add_fault(std::string_view text, std::vector<EmulatedDeviceSpec>& devices) {
  if (text.find(':') == std::string_view::npos) {
    for (EmulatedDeviceSpec& device : devices) {
      PINION_RETURN_IF_ERROR(read_fault(text, device.faults));
    }
    return {};
  }
  std::uint64_t index = 0;
  PINION_RETURN_IF_ERROR(store(parse_count(cut(text, ':'), 0, devices.size() - 1), index));
  return read_fault(text, devices[static_cast<std::size_t>(index)].faults);
}

template <class Choice>
Status choose(std::string_view text, std::pair<std::string_view, Choice> first,
              std::pair<std::string_view, Choice> second, Choice& target) {
  if (text != first.first && text != second.first) {
    return refuse("'" + std::string(text) + "' is neither " + std::string(first.first) + " nor " +
                  std::string(second.first));
  }
  target = text == first.first ? first.second : second.second;
  return {};
}

// What all devices have in common.
Status read_setting(std::string_view name, std::string_view value, EmulatedDeviceSpec& device,
                    EmulationSpec& spec) {
  if (name == "mem") {
    return store(parse_size(value), device.info.memory_bytes);
  }
  if (name == "pinned") {
    return store(parse_size(value), device.registered_bytes_max);
  }
  if (name == "h2d") {
    return store(parse_rate(value), device.copy_in_rate);
  }
  if (name == "d2h") {
    return store(parse_rate(value), device.copy_out_rate);
  }
  if (name == "pageable") {
    return store(parse_rate(value), device.pageable_rate);
  }
  if (name == "latency") {
    return store(parse_time(value), device.latency);
  }
  if (name == "kern") {
    return store(parse_factor(value), device.kernel_factor);
  }
  if (name == "copy_engines") {
    std::uint64_t count = 0;
    PINION_RETURN_IF_ERROR(store(parse_count(value, 1, kCopyEngineCountMax), count));
    device.info.copy_engine_count = static_cast<unsigned>(count);
    return {};
  }
  if (name == "arch") {
    device.info.architecture = std::string(value);
    return value.empty() ? refuse("it needs a name, such as sm_90") : Status();
  }
  if (name == "time") {
    return choose<EmulatedTime>(value, {"virtual", EmulatedTime::kVirtual},
                                {"real", EmulatedTime::kReal}, spec.time);
  }
  if (name == "effects") {
    return choose<EmulatedEffects>(value, {"all", EmulatedEffects::kAll},
                                   {"none", EmulatedEffects::kNone}, spec.effects);
  }
  return refuse(
      "there is no such setting; there are mem, pinned, h2d, d2h, pageable, latency, "
      "kern, copy_engines, arch, time, effects and fault");
}

Status read_settings(std::string_view text, EmulatedDeviceSpec& device, EmulationSpec& spec,
                     std::vector<std::string_view>& faults) {
  std::set<std::string_view> seen;
  while (!text.empty()) {
    std::string_view value = cut(text, ',');
    const std::string_view word = value;
    const std::string_view name = cut(value, '=');
    if (name == "fault") {
      faults.push_back(value);
      continue;
    }
    if (!seen.insert(name).second) {
      return refuse("emulated devices: '" + std::string(name) + "' is set twice");
    }
    PINION_RETURN_IF_ERROR(read_setting(name, value, device, spec)
                               .with_context("emulated devices: '" + std::string(word) + "'"));
  }
  return {};
}

// `gpus` are the devices that a machine has; without, any number may be asked for.
Result<EmulationSpec> parse(std::string_view text, const std::vector<DeviceInfo>* gpus) {
  if (!text.starts_with(kPrefix)) {
    return refuse("emulated devices: '" + std::string(text) +
                  "' does not begin with emu:, as in emu:4,mem=2g");
  }
  text.remove_prefix(kPrefix.size());
  const std::string_view count_text = cut(text, ',');
  std::uint64_t count = gpus != nullptr ? gpus->size() : 0;
  if (gpus == nullptr || count_text != kAllDevices) {
    PINION_RETURN_IF_ERROR(store(parse_count(count_text, 1, kEmulatedDeviceCountMax), count)
                               .with_context("emulated devices: how many"));
  }
  if (gpus != nullptr && (count == 0 || count > gpus->size())) {
    return refuse("emulated devices: the machine has " + std::to_string(gpus->size()) + " GPUs; " +
                  (count == 0 ? "at least 1" : std::to_string(count)) + " are asked for");
  }

  EmulationSpec spec;
  EmulatedDeviceSpec device = usual_device();
  std::vector<std::string_view> faults;
  PINION_RETURN_IF_ERROR(read_settings(text, device, spec, faults));
  for (std::size_t index = 0; index < count; ++index) {
    EmulatedDeviceSpec& added = spec.devices.emplace_back(device);
    added.info.uuid = "EMU-" + std::to_string(index);
    added.info.place = {PlaceKind::kDevice, static_cast<std::uint16_t>(index), 0};
    if (gpus != nullptr) {
      const DeviceInfo& gpu = (*gpus)[index];
      added.info.place = gpu.place;
      added.info.name = gpu.name;
      added.info.uuid = gpu.uuid.empty() ? added.info.uuid : gpu.uuid;
      added.info.pci_bus_id = gpu.pci_bus_id;
      added.info.near_memory = gpu.near_memory;
      added.info.near_cpus = gpu.near_cpus;
    }
  }
  for (const std::string_view fault : faults) {
    PINION_RETURN_IF_ERROR(add_fault(fault, spec.devices)
                               .with_context("emulated devices: fault=" + std::string(fault)));
  }
  return spec;
}

}  // namespace

Result<EmulationSpec> parse_emulation_spec(std::string_view text) {
  return parse(text, nullptr);
}

Result<EmulationSpec> parse_emulation_spec(std::string_view text, const Topology& topology) {
  const std::vector<DeviceInfo> gpus = discover_devices(topology, 0).devices;
  return parse(text, &gpus);
}

}  // namespace pinion
