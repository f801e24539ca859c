// NVIDIA's management library as a test has it: three GPUs, the second with two slices, the third
// of somebody else. FAKE_NVML_INIT is what its start gives; FAKE_NVML_OLD leaves out a function.

#include <cstdio>
#include <cstring>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

struct Device {
  const char* uuid;
  const char* name;
  const char* bus_id;  // Null for a slice, which has none of its own.
  unsigned long long memory;
};

Device devices[] = {{"GPU-0a", "NVIDIA H200", "00000000:3B:00.0", 150'000'000'000},
                    {"GPU-1b", "NVIDIA H200", "00000000:5E:00.0", 150'000'000'000}};
Device slices[] = {{"MIG-2c", "NVIDIA H200 MIG 1g.18gb", nullptr, 18'000'000'000},
                   {"MIG-3d", "NVIDIA H200 MIG 2g.35gb", nullptr, 35'000'000'000}};

constexpr int kInvalidArgument = 2;
constexpr int kNotSupported = 3;
constexpr int kNoPermission = 4;
constexpr int kNotFound = 6;

const Device& device_of(void* handle) {
  return *static_cast<const Device*>(handle);
}

int put_text(const char* text, char* buffer, unsigned size) {
  std::snprintf(buffer, size, "%s", text);
  return 0;
}

}  // namespace

EXPORT int nvmlInit_v2() {
  return FAKE_NVML_INIT;
}

EXPORT int nvmlShutdown() {
  return 0;
}

EXPORT const char* nvmlErrorString(int) {
  return "words of the driver";
}

EXPORT int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = 3;
  return 0;
}

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  if (index >= 2) {
    return index == 2 ? kNoPermission : kInvalidArgument;
  }
  *device = &devices[index];
  return 0;
}

#ifndef FAKE_NVML_OLD
EXPORT int nvmlDeviceGetUUID(void* device, char* buffer, unsigned size) {
  return put_text(device_of(device).uuid, buffer, size);
}
#endif

EXPORT int nvmlDeviceGetName(void* device, char* buffer, unsigned size) {
  return put_text(device_of(device).name, buffer, size);
}

EXPORT int nvmlDeviceGetPciInfo_v3(void* device, void* info) {
  if (device_of(device).bus_id == nullptr) {
    return kNotSupported;
  }
  // The bus id is the last member, at byte 36.
  std::memset(info, 0, 68);
  return put_text(device_of(device).bus_id, static_cast<char*>(info) + 36, 32);
}

EXPORT int nvmlDeviceGetMemoryInfo(void* device, unsigned long long* memory) {
  memory[0] = device_of(device).memory;
  memory[1] = memory[2] = 0;
  return 0;
}

EXPORT int nvmlDeviceGetCudaComputeCapability(void* device, int* major, int* minor) {
  if (device_of(device).bus_id == nullptr) {
    return kNotSupported;
  }
  *major = 9;
  *minor = 0;
  return 0;
}

EXPORT int nvmlDeviceGetMaxMigDeviceCount(void* device, unsigned* count) {
  *count = device == &devices[1] ? 7 : 0;
  return device == &devices[0] ? kNotSupported : 0;
}

EXPORT int nvmlDeviceGetMigDeviceHandleByIndex(void* device, unsigned index, void** slice) {
  if (device != &devices[1] || (index != 1 && index != 4)) {
    return kNotFound;
  }
  *slice = &slices[index == 1 ? 0 : 1];
  return 0;
}
