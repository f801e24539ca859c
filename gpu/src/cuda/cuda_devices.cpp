#include "cuda/cuda_devices.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>
#include <set>
#include <utility>

#include "cuda/cuda_device.hpp"
#include "cuda/cuda_errors.hpp"

namespace pinion {
namespace {

constexpr int kLinkersLibrary = 34;

// "01234567-89ab-cdef-0123-456789abcdef".
std::string text_of_uuid(const std::array<unsigned char, 16>& uuid) {
  std::string text;
  for (std::size_t i = 0; i < uuid.size(); ++i) {
    std::array<char, 3> digits = {};
    std::snprintf(digits.data(), digits.size(), "%02x", uuid[i]);
    text += (i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "") + std::string(digits.data(), 2);
  }
  return text;
}

Status no_device(std::string why) {
  return Status(ErrorCode::kNotFound,
                "this process has no GPU: " + std::move(why) + "; work runs on CPUs");
}

// How many devices there are for this process, at least 1.
Result<int> count_devices(ICudaRuntime& runtime) {
  int version = 0;
  if (const Status status =
          cuda_status(runtime, runtime.driver_version(version), "asking for the driver");
      !status.ok()) {
    return no_device(std::string(status.message()));
  }
  int count = 0;
  const int error = runtime.count_devices(count);
  // CUDA itself would speak of a driver that is too old.
  if (version == 0 && error != kLinkersLibrary) {
    return no_device("there is no NVIDIA driver (libcuda.so.1 is not found or not usable)");
  }
  if (const Status status = cuda_status(runtime, error, "asking for the devices"); !status.ok()) {
    return no_device(std::string(status.message()));
  }
  if (count <= 0) {
    return no_device("the driver shows none; CUDA_VISIBLE_DEVICES may hide them");
  }
  return count;
}

std::string words_for(int ordinal) {
  return "CUDA device " + std::to_string(ordinal);
}

// Devices that this process may not use, and why.
class Refusals {
 public:
  explicit Refusals(const DeviceOptions& options) : options_(options) {}

  void add(const Status& status) {
    text_ += (text_.empty() ? "" : "; ") + status.to_string();
    tell("a GPU is left out: " + status.to_string());
  }
  void tell(const std::string& message) const {
    if (options_.on_message) {
      options_.on_message(message);
    }
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  const DeviceOptions& options_;
  std::string text_;
};

// The UUIDs of devices that are not to be used, though CUDA shows them.
std::set<std::string> devices_of_others(const DeviceVariables& variables,
                                        std::span<const DriverDevice> managed,
                                        const Refusals& refusals) {
  std::set<std::string> others;
  if (variables.cuda_visible_devices) {
    return others;
  }
  const VisibleDevices usable = usable_devices(variables, managed);
  for (const std::string& message : usable.messages) {
    refusals.tell(message);
  }
  for (std::size_t index = 0; index < managed.size(); ++index) {
    if (std::find(usable.devices.begin(), usable.devices.end(), index) == usable.devices.end()) {
      others.insert(managed[index].uuid);
    }
  }
  return others;
}

// What can be asked without a context.
struct Described {
  int ordinal = 0;
  DriverDevice driver = {};
  DeviceInfo info = {};
};

// Those that do not answer keep their number, so that a place means the same to all processes.
std::vector<Described> describe_all(ICudaRuntime& runtime, int count,
                                    std::span<const DriverDevice> managed, const Topology& topology,
                                    const DeviceOptions& options, Refusals& refusals) {
  const std::set<std::string> others = devices_of_others(options.variables, managed, refusals);
  std::vector<Described> described;
  std::vector<DriverDevice> drivers;
  std::uint16_t number = 0;
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    CudaProperties properties;
    const Status status =
        cuda_status(runtime, runtime.describe(ordinal, properties), words_for(ordinal));
    if (!status.ok()) {
      refusals.add(status);
      ++number;
      continue;
    }
    DriverDevice device = driver_device(properties, managed);
    if (others.contains(device.uuid)) {
      continue;
    }
    device.number = number++;
    described.push_back({.ordinal = ordinal, .driver = device});
    drivers.push_back(std::move(device));
  }
  DeviceDiscovery discovery = join_devices(drivers, topology, options.host);
  // CUDA lists no device twice, so the joined list is as long and in the same order.
  PINION_ASSERT(discovery.devices.size() == described.size());
  for (std::size_t i = 0; i < described.size(); ++i) {
    described[i].info = std::move(discovery.devices[i]);
  }
  return described;
}

}  // namespace

DriverDevice driver_device(const CudaProperties& properties,
                           std::span<const DriverDevice> managed) {
  DriverDevice device = {
      .pci_bus_id = properties.pci_bus_id,
      .name = properties.name,
      .architecture = "sm_" + std::to_string(properties.major) + std::to_string(properties.minor),
      .memory_bytes = properties.memory_bytes,
      .copy_engine_count = static_cast<unsigned>(std::max(1, properties.copy_engine_count))};
  if (properties.host_numa_id >= 0) {
    device.near_node_os_index = static_cast<unsigned>(properties.host_numa_id);
  }
  // CUDA gives the same 16 bytes for what the management library writes as GPU-... or MIG-...
  const std::string text = text_of_uuid(properties.uuid);
  device.uuid = "GPU-" + text;
  for (const DriverDevice& other : managed) {
    if (other.uuid == "MIG-" + text) {
      device.uuid = other.uuid;
      device.mig_parent_uuid = other.mig_parent_uuid;
    }
  }
  return device;
}

Result<std::vector<std::unique_ptr<IDevice>>> open_cuda_devices(
    std::unique_ptr<ICudaRuntime> runtime, std::span<const DriverDevice> managed,
    const Topology& topology, const DeviceOptions& options) {
  Result<int> count = count_devices(*runtime);
  if (!count) {
    return std::move(count).error();
  }
  const auto session = std::make_shared<CudaSession>(std::move(runtime));
  Refusals refusals(options);
  std::vector<Described> all =
      describe_all(*session->runtime, *count, managed, topology, options, refusals);
  if (all.empty() && refusals.text().empty()) {
    return no_device(
        "SLURM_STEP_GPUS, SLURM_JOB_GPUS or NVIDIA_VISIBLE_DEVICES names none of those that CUDA "
        "shows");
  }
  std::vector<std::unique_ptr<IDevice>> devices;
  for (Described& described : all) {
    if (options.is_wanted && !options.is_wanted(described.info)) {
      continue;
    }
    // Of others nobody needs to know which CPUs are near.
    for (const std::string& message :
         join_devices(std::span(&described.driver, 1), topology, options.host).messages) {
      refusals.tell(message);
    }
    std::uint64_t free_bytes = 0;
    const Status status =
        cuda_status(*session->runtime, session->runtime->free_memory(described.ordinal, free_bytes),
                    words_for(described.ordinal));
    if (!status.ok()) {
      refusals.add(status);
      continue;
    }
    const double budget = static_cast<double>(free_bytes) * options.memory_share;
    devices.push_back(
        std::make_unique<CudaDevice>(session, described.ordinal, std::move(described.info),
                                     CudaBudget{.memory_bytes = static_cast<std::uint64_t>(budget),
                                                .registered_bytes = options.registered_bytes_max}));
  }
  if (devices.empty() && !refusals.text().empty()) {
    return no_device(refusals.text());
  }
  return devices;
}

}  // namespace pinion
