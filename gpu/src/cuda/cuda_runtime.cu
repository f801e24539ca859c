#include "cuda/cuda_runtime.hpp"

#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include <cuda_runtime.h>
#include <nvtx3/nvtx3.hpp>

#include "cuda/pinion_kernels.hpp"

namespace pinion {
namespace {

struct NvtxDomain {
  static constexpr const char* name = "pinion";
};

// An error that ends nothing stays the thread's last one until it is asked for, and would be taken
// for that of the next launch.
int settle(cudaError_t error) {
  if (error != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
  }
  return error;
}

cudaStream_t native(CudaStream stream) {
  return reinterpret_cast<cudaStream_t>(stream);
}

cudaEvent_t native(CudaEvent event) {
  return reinterpret_cast<cudaEvent_t>(event);
}

void* pointer(std::uint64_t address) {
  return reinterpret_cast<void*>(address);
}

struct HostCopy {
  std::byte* target;
  const std::byte* source;
  std::size_t size_bytes;
};

void CUDART_CB run_host_copy(void* argument) {
  const std::unique_ptr<HostCopy> copy(static_cast<HostCopy*>(argument));
  std::memcpy(copy->target, copy->source, copy->size_bytes);
}

// Each call makes its device the current one, which costs nothing when it is.
class CudaRuntime final : public ICudaRuntime {
 public:
  CudaRuntime() = default;
  ~CudaRuntime() override;
  CudaRuntime(const CudaRuntime&) = delete;
  CudaRuntime& operator=(const CudaRuntime&) = delete;

  std::string error_text(int error) const override {
    const auto code = static_cast<cudaError_t>(error);
    return std::string(cudaGetErrorName(code)) + ", " + cudaGetErrorString(code);
  }

  int driver_version(int& version) override { return settle(cudaDriverGetVersion(&version)); }
  int count_devices(int& count) override { return settle(cudaGetDeviceCount(&count)); }
  int describe(int device, CudaProperties& properties) override;

  int free_memory(int device, std::uint64_t& size_bytes) override {
    return on(device, [&] {
      std::size_t free_bytes = 0;
      std::size_t total_bytes = 0;
      const cudaError_t error = cudaMemGetInfo(&free_bytes, &total_bytes);
      size_bytes = free_bytes;
      return error;
    });
  }

  int allocate(int device, std::uint64_t size_bytes, std::uint64_t& address) override;
  int release(int device, std::uint64_t address) override;

  int allocate_host(int device, std::size_t size_bytes, std::byte*& memory) override {
    return on(device, [&] {
      return cudaHostAlloc(reinterpret_cast<void**>(&memory), size_bytes, cudaHostAllocPortable);
    });
  }
  int release_host(int device, std::byte* memory) override {
    return on(device, [&] { return cudaFreeHost(memory); });
  }
  int register_host(int device, std::span<std::byte> memory) override {
    return on(device, [&] {
      return cudaHostRegister(memory.data(), memory.size(), cudaHostRegisterPortable);
    });
  }
  int unregister_host(int device, std::byte* memory) override {
    return on(device, [&] { return cudaHostUnregister(memory); });
  }

  int create_stream(int device, CudaStream& stream) override {
    return on(device, [&] {
      cudaStream_t made = nullptr;
      const cudaError_t error = cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking);
      stream = CudaStream{reinterpret_cast<std::uintptr_t>(made)};
      return error;
    });
  }
  int destroy_stream(int device, CudaStream stream) override {
    return on(device, [&] { return cudaStreamDestroy(native(stream)); });
  }

  // Who waits for it sleeps: there is a thread for each stream, and CPUs have work of their own.
  int create_event(int device, CudaEvent& event) override {
    return on(device, [&] {
      cudaEvent_t made = nullptr;
      const cudaError_t error =
          cudaEventCreateWithFlags(&made, cudaEventDisableTiming | cudaEventBlockingSync);
      event = CudaEvent{reinterpret_cast<std::uintptr_t>(made)};
      return error;
    });
  }
  int destroy_event(int device, CudaEvent event) override {
    return on(device, [&] { return cudaEventDestroy(native(event)); });
  }
  int record(int device, CudaStream stream, CudaEvent event) override {
    return on(device, [&] { return cudaEventRecord(native(event), native(stream)); });
  }
  int wait_in_stream(int device, CudaStream stream, CudaEvent event) override {
    return on(device, [&] { return cudaStreamWaitEvent(native(stream), native(event), 0); });
  }
  int wait_for(int device, CudaEvent event) override {
    return on(device, [&] { return cudaEventSynchronize(native(event)); });
  }

  int copy_in(int device, CudaStream stream, std::uint64_t target,
              std::span<const std::byte> source) override {
    return on(device, [&] {
      return cudaMemcpyAsync(pointer(target), source.data(), source.size(), cudaMemcpyHostToDevice,
                             native(stream));
    });
  }
  int copy_out(int device, CudaStream stream, std::span<std::byte> target,
               std::uint64_t source) override {
    return on(device, [&] {
      return cudaMemcpyAsync(target.data(), pointer(source), target.size(), cudaMemcpyDeviceToHost,
                             native(stream));
    });
  }
  int copy_on_host(int device, CudaStream stream, std::span<std::byte> target,
                   const std::byte* source) override {
    return on(device, [&] {
      auto copy = std::make_unique<HostCopy>(HostCopy{target.data(), source, target.size()});
      const cudaError_t error = cudaLaunchHostFunc(native(stream), run_host_copy, copy.get());
      if (error == cudaSuccess) {
        static_cast<void>(copy.release());  // run_host_copy() has it.
      }
      return error;
    });
  }

  CudaLaunch find_kernel(std::string_view name) const override { return find_pinion_kernel(name); }
  int launch(int device, CudaStream stream, const CudaCall& call) override {
    const std::string name(call.name);
    const nvtx3::scoped_range_in<NvtxDomain> range(nvtx3::message{name});
    // What the thread has from somebody else's call is not this launch's.
    static_cast<void>(cudaGetLastError());
    return on(device, [&] {
      return static_cast<cudaError_t>(call.launch(native(stream), call.arguments, call.buffers));
    });
  }

  // Where nobody profiles there is no domain, and a name would be made for nobody.
  std::uint64_t begin_range(int device, std::uint64_t shard) override {
    if (static_cast<nvtxDomainHandle_t>(nvtx3::domain::get<NvtxDomain>()) == nullptr) {
      return 0;
    }
    const std::string name =
        "shard " + std::to_string(shard) + " on device " + std::to_string(device);
    return nvtx3::start_range_in<NvtxDomain>(nvtx3::message{name}, nvtx3::payload{shard})
        .get_value();
  }
  void end_range(std::uint64_t range) override {
    nvtx3::end_range_in<NvtxDomain>(nvtx3::range_handle{range});
  }

 private:
  // Memory in the order of a stream of its own, so that giving it back waits for nobody's work.
  struct DeviceMemory {
    cudaMemPool_t pool = nullptr;  // Null for a device that has none.
    cudaStream_t stream = nullptr;
  };

  template <class Call>
  static int on(int device, const Call& call) {
    const cudaError_t error = cudaSetDevice(device);
    return settle(error != cudaSuccess ? error : call());
  }

  cudaError_t memory_of(int device, DeviceMemory& memory);

  std::mutex mutex_;
  std::map<int, DeviceMemory> memories_;
};

// At the end of the program the driver may have ended first; it then says so and nothing is lost.
CudaRuntime::~CudaRuntime() {
  for (const auto& [device, memory] : memories_) {
    if (memory.pool == nullptr) {
      continue;
    }
    static_cast<void>(on(device, [&memory = memory] {
      static_cast<void>(cudaStreamSynchronize(memory.stream));
      static_cast<void>(cudaMemPoolDestroy(memory.pool));
      return cudaStreamDestroy(memory.stream);
    }));
  }
}

int CudaRuntime::describe(int device, CudaProperties& properties) {
  cudaDeviceProp told = {};
  if (const cudaError_t error = cudaGetDeviceProperties(&told, device); error != cudaSuccess) {
    return settle(error);
  }
  properties.name = told.name;
  std::memcpy(properties.uuid.data(), told.uuid.bytes, properties.uuid.size());
  properties.major = told.major;
  properties.minor = told.minor;
  properties.memory_bytes = told.totalGlobalMem;
  properties.copy_engine_count = told.asyncEngineCount;
  std::array<char, 32> bus_id = {};
  if (const cudaError_t error =
          cudaDeviceGetPCIBusId(bus_id.data(), static_cast<int>(bus_id.size()), device);
      error != cudaSuccess) {
    return settle(error);
  }
  properties.pci_bus_id = bus_id.data();
#if CUDART_VERSION >= 12020
  // Drivers that do not know the attribute leave the number as it is.
  if (settle(cudaDeviceGetAttribute(&properties.host_numa_id, cudaDevAttrHostNumaId, device)) !=
      cudaSuccess) {
    properties.host_numa_id = -1;
  }
#endif
  return cudaSuccess;
}

cudaError_t CudaRuntime::memory_of(int device, DeviceMemory& memory) {
  const std::lock_guard lock(mutex_);
  if (const auto found = memories_.find(device); found != memories_.end()) {
    memory = found->second;
    return cudaSuccess;
  }
  int has_pools = 0;
  cudaError_t error = cudaDeviceGetAttribute(&has_pools, cudaDevAttrMemoryPoolsSupported, device);
  if (error == cudaSuccess && has_pools != 0) {
    error = cudaStreamCreateWithFlags(&memory.stream, cudaStreamNonBlocking);
    cudaMemPoolProps properties = {};
    properties.allocType = cudaMemAllocationTypePinned;
    properties.location = {cudaMemLocationTypeDevice, device};
    if (error == cudaSuccess) {
      error = cudaMemPoolCreate(&memory.pool, &properties);
    }
    // What was given back stays for what comes next: the system is asked as seldom as can be.
    std::uint64_t threshold = ~std::uint64_t{0};
    if (error == cudaSuccess) {
      error = cudaMemPoolSetAttribute(memory.pool, cudaMemPoolAttrReleaseThreshold, &threshold);
    }
  }
  if (error == cudaSuccess) {
    memories_.emplace(device, memory);
  }
  return error;
}

int CudaRuntime::allocate(int device, std::uint64_t size_bytes, std::uint64_t& address) {
  return on(device, [&] {
    DeviceMemory memory;
    if (const cudaError_t error = memory_of(device, memory); error != cudaSuccess) {
      return error;
    }
    void* made = nullptr;
    cudaError_t error = cudaSuccess;
    if (memory.pool == nullptr) {
      error = cudaMalloc(&made, size_bytes);
    } else {
      error = cudaMallocFromPoolAsync(&made, size_bytes, memory.pool, memory.stream);
      if (error == cudaSuccess) {
        error = cudaStreamSynchronize(memory.stream);  // Other streams may use it from here on.
      }
    }
    address = reinterpret_cast<std::uint64_t>(made);
    return error;
  });
}

int CudaRuntime::release(int device, std::uint64_t address) {
  return on(device, [&] {
    DeviceMemory memory;
    if (const cudaError_t error = memory_of(device, memory); error != cudaSuccess) {
      return error;
    }
    return memory.pool == nullptr ? cudaFree(pointer(address))
                                  : cudaFreeAsync(pointer(address), memory.stream);
  });
}

}  // namespace

Result<std::unique_ptr<ICudaRuntime>> load_cuda_runtime() {
  return std::unique_ptr<ICudaRuntime>(std::make_unique<CudaRuntime>());
}

}  // namespace pinion
