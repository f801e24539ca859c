#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "cuda/cuda_runtime.hpp"

namespace pinion::testing {

/// What a FakeCuda does wrong, by CUDA's error numbers; 0: nothing.
struct FakeCudaFaults {
  int driver_version = 13'000;  ///< 0: there is no driver.
  int count_error = 0;
  int describe_error = 0;  ///< Of device 0.
  int memory_error = 0;    ///< Of device 0: when its context is made.
  int stream_error = 0;
  int register_error = 0;
  int launch_error = 0;
  int allocation_error = 0;  ///< Of allocation number `allocation_at`, counted from 1.
  unsigned allocation_at = 1;
  int work_error = 0;  ///< Of copy or kernel number `work_at`, which ends the device; it
                       ///< begins only after let_work_fail().
  unsigned work_at = 1;
  bool work_waits = false;  ///< Copies and kernels begin only when fail() was called.
};

/// CUDA without a device: memory of the host, a thread for each stream, kernels that run here. An
/// error of work ends the device as CUDA says: every call gives it from there on.
///
/// Thread safety: as ICudaRuntime.
class FakeCuda final : public ICudaRuntime {
 public:
  explicit FakeCuda(std::vector<CudaProperties> devices, FakeCudaFaults faults = {});
  ~FakeCuda() override;

  /// A kernel, which gets addresses of the host.
  void add_kernel(std::string name, CudaLaunch kernel) { kernels_[std::move(name)] = kernel; }

  /// Ends the device now.
  void fail(int error);
  void let_work_fail();

  /// What a profiler would show, in its order: "begin 7", "launch", "end 7".
  [[nodiscard]] std::vector<std::string> profile() const;

  /// What was made and not given back: memory, registrations, streams, events and ranges.
  [[nodiscard]] std::size_t live_count() const;
  [[nodiscard]] std::size_t registration_count() const;

  /// Copies to and from registered memory must name memory that is pinned; how many did not.
  [[nodiscard]] std::size_t pageable_copy_count() const;

  [[nodiscard]] std::string error_text(int error) const override;
  [[nodiscard]] int driver_version(int& version) override;
  [[nodiscard]] int count_devices(int& count) override;
  [[nodiscard]] int describe(int device, CudaProperties& properties) override;
  [[nodiscard]] int free_memory(int device, std::uint64_t& size_bytes) override;
  [[nodiscard]] int allocate(int device, std::uint64_t size_bytes, std::uint64_t& address) override;
  [[nodiscard]] int release(int device, std::uint64_t address) override;
  [[nodiscard]] int allocate_host(int device, std::size_t size_bytes, std::byte*& memory) override;
  [[nodiscard]] int release_host(int device, std::byte* memory) override;
  [[nodiscard]] int register_host(int device, std::span<std::byte> memory) override;
  [[nodiscard]] int unregister_host(int device, std::byte* memory) override;
  [[nodiscard]] int create_stream(int device, CudaStream& stream) override;
  [[nodiscard]] int destroy_stream(int device, CudaStream stream) override;
  [[nodiscard]] int create_event(int device, CudaEvent& event) override;
  [[nodiscard]] int destroy_event(int device, CudaEvent event) override;
  [[nodiscard]] int record(int device, CudaStream stream, CudaEvent event) override;
  [[nodiscard]] int wait_in_stream(int device, CudaStream stream, CudaEvent event) override;
  [[nodiscard]] int wait_for(int device, CudaEvent event) override;
  [[nodiscard]] int copy_in(int device, CudaStream stream, std::uint64_t target,
                            std::span<const std::byte> source) override;
  [[nodiscard]] int copy_out(int device, CudaStream stream, std::span<std::byte> target,
                             std::uint64_t source) override;
  [[nodiscard]] int copy_on_host(int device, CudaStream stream, std::span<std::byte> target,
                                 const std::byte* source) override;
  [[nodiscard]] CudaLaunch find_kernel(std::string_view name) const override;
  [[nodiscard]] int launch(int device, CudaStream stream, const CudaCall& call) override;
  [[nodiscard]] std::uint64_t begin_range(int device, std::uint64_t shard) override;
  void end_range(std::uint64_t range) override;

 private:
  // An operation runs under the lock, when its turn has come and `may_begin` says so.
  struct Operation {
    std::function<bool()> may_begin = {};  // Empty: at once.
    std::function<void()> effect = {};
    bool is_work = false;
  };
  struct Stream {
    std::deque<Operation> waiting = {};
    bool ended = false;
    std::thread thread = {};
  };
  struct Event {
    std::uint64_t recorded = 0;
    std::uint64_t happened = 0;
  };

  [[nodiscard]] int put(CudaStream stream, Operation operation);
  [[nodiscard]] bool is_pinned(const std::byte* memory, std::size_t size_bytes) const;
  void run(Stream& stream);
  [[nodiscard]] bool may_run(const Stream& stream) const;

  const std::vector<CudaProperties> devices_;
  const FakeCudaFaults faults_;
  std::map<std::string, CudaLaunch, std::less<>> kernels_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  int error_ = 0;
  bool work_may_fail_ = false;
  unsigned allocation_count_ = 0;
  unsigned work_count_ = 0;
  std::size_t pageable_copy_count_ = 0;
  std::uintptr_t last_name_ = 0;
  std::map<std::uint64_t, std::unique_ptr<std::byte[]>> memory_;
  std::map<const std::byte*, std::size_t, std::less<>> pinned_;
  std::map<std::byte*, std::unique_ptr<std::byte[]>> host_memory_;
  std::map<CudaStream, std::unique_ptr<Stream>> streams_;
  std::map<CudaEvent, Event> events_;
  std::map<std::uint64_t, std::uint64_t> ranges_;  // Their shards.
  std::vector<std::string> profile_;
};

/// Two devices alike but for their names.
[[nodiscard]] std::vector<CudaProperties> two_fake_devices();

}  // namespace pinion::testing
