#include <pinion/gpu/driver_report.hpp>

#include <dlfcn.h>

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <utility>

// The functions of NVML are declared here as its documentation has them: no toolkit that Pinion is
// built with brings its header along.

namespace pinion {
namespace {

using NvmlDevice = void*;

// Results of all functions.
constexpr int kSuccess = 0;
constexpr int kNoPermission = 4;
constexpr int kInsufficientSize = 7;
constexpr int kDriverNotLoaded = 9;

struct NvmlPciInfo {
  std::array<char, 16> bus_id_legacy;
  unsigned domain;
  unsigned bus;
  unsigned device;
  unsigned pci_device_id;
  unsigned pci_subsystem_id;
  std::array<char, 32> bus_id;
};
static_assert(sizeof(NvmlPciInfo) == 68);

struct NvmlMemory {
  unsigned long long total;
  unsigned long long free;
  unsigned long long used;
};

using TextOfDevice = int(NvmlDevice, char* text, unsigned size);

struct CloseLibrary {
  void operator()(void* library) const noexcept { dlclose(library); }
};
using Library = std::unique_ptr<void, CloseLibrary>;

// NVML while it is in use.
class Nvml {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Nvml>> load(const std::string& name);
  ~Nvml() {
    if (begun_) {
      static_cast<void>(shutdown_());
    }
  }
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  [[nodiscard]] Result<DriverReport> report() const;

 private:
  explicit Nvml(Library library) : library_(std::move(library)) {}

  template <class Function>
  [[nodiscard]] bool find(const char* name, Function*& function) {
    function = reinterpret_cast<Function*>(dlsym(library_.get(), name));
    return function != nullptr;
  }
  [[nodiscard]] const char* find_all();
  [[nodiscard]] Status status(int result, const std::string& what) const;
  [[nodiscard]] std::optional<std::string> text(TextOfDevice* function, NvmlDevice device) const;
  [[nodiscard]] DriverDevice describe(NvmlDevice device) const;
  void add_slices(NvmlDevice device, const DriverDevice& whole, DriverReport& report) const;

  const Library library_;
  bool begun_ = false;

  int (*init_)() = nullptr;
  int (*shutdown_)() = nullptr;
  const char* (*error_string_)(int) = nullptr;
  int (*count_)(unsigned*) = nullptr;
  int (*by_index_)(unsigned, NvmlDevice*) = nullptr;
  TextOfDevice* uuid_ = nullptr;
  TextOfDevice* name_ = nullptr;
  int (*pci_info_)(NvmlDevice, NvmlPciInfo*) = nullptr;
  int (*memory_)(NvmlDevice, NvmlMemory*) = nullptr;
  int (*capability_)(NvmlDevice, int*, int*) = nullptr;

  // Drivers without slices lack these.
  int (*slice_count_max_)(NvmlDevice, unsigned*) = nullptr;
  int (*slice_by_index_)(NvmlDevice, unsigned, NvmlDevice*) = nullptr;
};

// The name of a function that is not there, or null.
const char* Nvml::find_all() {
  const auto missing = [this](const char* name, auto*& function) {
    return find(name, function) ? nullptr : name;
  };
  const std::array names = {missing("nvmlInit_v2", init_),
                            missing("nvmlShutdown", shutdown_),
                            missing("nvmlErrorString", error_string_),
                            missing("nvmlDeviceGetCount_v2", count_),
                            missing("nvmlDeviceGetHandleByIndex_v2", by_index_),
                            missing("nvmlDeviceGetUUID", uuid_),
                            missing("nvmlDeviceGetName", name_),
                            missing("nvmlDeviceGetPciInfo_v3", pci_info_),
                            missing("nvmlDeviceGetMemoryInfo", memory_),
                            missing("nvmlDeviceGetCudaComputeCapability", capability_)};
  if (!find("nvmlDeviceGetMaxMigDeviceCount", slice_count_max_) ||
      !find("nvmlDeviceGetMigDeviceHandleByIndex", slice_by_index_)) {
    slice_count_max_ = nullptr;
  }
  for (const char* const name : names) {
    if (name != nullptr) {
      return name;
    }
  }
  return nullptr;
}

Result<std::unique_ptr<Nvml>> Nvml::load(const std::string& name) {
  Library library(dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL));
  if (library == nullptr) {
    const char* const error = dlerror();
    return Status(ErrorCode::kNotFound,
                  "no NVIDIA driver is installed: " + std::string(error != nullptr ? error : name));
  }
  std::unique_ptr<Nvml> nvml(new Nvml(std::move(library)));
  if (const char* const missing = nvml->find_all(); missing != nullptr) {
    return Status(ErrorCode::kFailedPrecondition,
                  name + " has no function " + missing + "; the driver is too old to be asked");
  }
  const int result = nvml->init_();
  if (result == kDriverNotLoaded) {
    return Status(ErrorCode::kFailedPrecondition,
                  name + " is there, but the kernel has no NVIDIA driver loaded");
  }
  PINION_RETURN_IF_ERROR(nvml->status(result, "nvmlInit_v2"));
  nvml->begun_ = true;
  return nvml;
}

Status Nvml::status(int result, const std::string& what) const {
  if (result == kSuccess) {
    return {};
  }
  const char* const words = error_string_(result);
  return Status(ErrorCode::kUnavailable, what + ": " + (words != nullptr ? words : "no words") +
                                             " (NVML error " + std::to_string(result) + ")");
}

std::optional<std::string> Nvml::text(TextOfDevice* function, NvmlDevice device) const {
  std::array<char, 128> buffer = {};
  const int result = function(device, buffer.data(), static_cast<unsigned>(buffer.size() - 1));
  if (result != kSuccess && result != kInsufficientSize) {
    return std::nullopt;
  }
  return std::string(buffer.data());
}

DriverDevice Nvml::describe(NvmlDevice device) const {
  DriverDevice described;
  described.uuid = text(uuid_, device).value_or("");
  described.name = text(name_, device).value_or("");
  NvmlPciInfo pci = {};
  if (pci_info_(device, &pci) == kSuccess) {
    pci.bus_id.back() = '\0';
    described.pci_bus_id = pci.bus_id.data();
  }
  NvmlMemory memory = {};
  if (memory_(device, &memory) == kSuccess) {
    described.memory_bytes = memory.total;
  }
  int major = 0;
  int minor = 0;
  if (capability_(device, &major, &minor) == kSuccess) {
    described.architecture = "sm_" + std::to_string(major) + std::to_string(minor);
  }
  return described;
}

// Numbers of slices have gaps; a device without slices says that it has none.
void Nvml::add_slices(NvmlDevice device, const DriverDevice& whole, DriverReport& report) const {
  unsigned count_max = 0;
  if (slice_count_max_ == nullptr || slice_count_max_(device, &count_max) != kSuccess) {
    return;
  }
  for (unsigned index = 0; index < count_max; ++index) {
    NvmlDevice slice = nullptr;
    if (slice_by_index_(device, index, &slice) != kSuccess) {
      continue;
    }
    DriverDevice described = describe(slice);
    described.mig_parent_uuid = whole.uuid;
    // What a slice does not tell is that of the whole.
    if (described.pci_bus_id.empty()) {
      described.pci_bus_id = whole.pci_bus_id;
    }
    if (described.architecture.empty()) {
      described.architecture = whole.architecture;
    }
    report.devices.push_back(std::move(described));
  }
}

Result<DriverReport> Nvml::report() const {
  unsigned count = 0;
  PINION_RETURN_IF_ERROR(status(count_(&count), "nvmlDeviceGetCount_v2"));
  DriverReport report;
  for (unsigned index = 0; index < count; ++index) {
    NvmlDevice device = nullptr;
    const int result = by_index_(index, &device);
    if (result != kSuccess) {
      const std::string why = result == kNoPermission
                                  ? "this process may not use it"
                                  : std::string(status(result, "the driver says").message());
      report.messages.push_back("GPU " + std::to_string(index) + " of the driver: " + why);
      continue;
    }
    const DriverDevice whole = describe(device);
    report.devices.push_back(whole);
    add_slices(device, whole, report);
  }
  return report;
}

}  // namespace

Result<DriverReport> report_of_driver(const std::string& library) {
  Result<std::unique_ptr<Nvml>> nvml = Nvml::load(library);
  if (!nvml) {
    return std::move(nvml).error();
  }
  return (*nvml)->report();
}

Result<DeviceDiscovery> usable_gpus(const GpuSources& sources, const Topology& topology,
                                    std::uint32_t host) {
  const Result<DriverReport> report = report_of_driver(sources.nvml_library);
  if (!report) {
    return Status(report.error());
  }
  const VisibleDevices usable = usable_devices(sources.variables, report->devices);
  std::vector<DriverDevice> devices;
  for (const std::size_t index : usable.devices) {
    devices.push_back(report->devices[index]);
  }
  DeviceDiscovery discovery = join_devices(devices, topology, host);
  for (const auto* const messages : {&report->messages, &usable.messages}) {
    discovery.messages.insert(discovery.messages.end(), messages->begin(), messages->end());
  }
  return discovery;
}

}  // namespace pinion
