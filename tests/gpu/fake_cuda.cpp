#include "fake_cuda.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace pinion::testing {
namespace {

constexpr int kInvalidValue = 1;
constexpr int kAlreadyRegistered = 712;
constexpr std::uint64_t kFreeBytes = std::uint64_t{1} << 30;
constexpr std::uint64_t kAlignment = 256;

std::byte* pointer(std::uint64_t address) {
  return reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(address));
}

}  // namespace

std::vector<CudaProperties> two_fake_devices() {
  CudaProperties first = {.name = "NVIDIA Fake 1",
                          .uuid = {0x11, 0x11, 0x11, 0x11},
                          .pci_bus_id = "0000:3B:00.0",
                          .major = 9,
                          .minor = 0,
                          .memory_bytes = kFreeBytes,
                          .copy_engine_count = 3};
  CudaProperties second = first;
  second.name = "NVIDIA Fake 2";
  second.uuid[0] = 0x22;
  second.pci_bus_id = "0000:5E:00.0";
  return {first, second};
}

FakeCuda::FakeCuda(std::vector<CudaProperties> devices, FakeCudaFaults faults)
    : devices_(std::move(devices)), faults_(faults) {}

FakeCuda::~FakeCuda() {
  for (auto& [name, stream] : streams_) {
    {
      const std::lock_guard lock(mutex_);
      stream->ended = true;
      stream->waiting.clear();
    }
    changed_.notify_all();
    stream->thread.join();
  }
}

void FakeCuda::fail(int error) {
  {
    const std::lock_guard lock(mutex_);
    error_ = error_ != 0 ? error_ : error;
  }
  changed_.notify_all();
}

void FakeCuda::let_work_fail() {
  {
    const std::lock_guard lock(mutex_);
    work_may_fail_ = true;
  }
  changed_.notify_all();
}

std::size_t FakeCuda::live_count() const {
  const std::lock_guard lock(mutex_);
  return memory_.size() + pinned_.size() + streams_.size() + events_.size() + ranges_.size();
}

std::size_t FakeCuda::registration_count() const {
  const std::lock_guard lock(mutex_);
  return pinned_.size() - host_memory_.size();
}

std::size_t FakeCuda::pageable_copy_count() const {
  const std::lock_guard lock(mutex_);
  return pageable_copy_count_;
}

std::string FakeCuda::error_text(int error) const {
  return "fake error " + std::to_string(error);
}

int FakeCuda::driver_version(int& version) {
  version = faults_.driver_version;
  return 0;
}

int FakeCuda::count_devices(int& count) {
  // An error leaves the count as it is, as CUDA does.
  if (faults_.count_error == 0) {
    count = static_cast<int>(devices_.size());
  }
  return faults_.count_error;
}

int FakeCuda::describe(int device, CudaProperties& properties) {
  if (device == 0 && faults_.describe_error != 0) {
    return faults_.describe_error;
  }
  properties = devices_[static_cast<std::size_t>(device)];
  return 0;
}

int FakeCuda::free_memory(int device, std::uint64_t& size_bytes) {
  if (device == 0 && faults_.memory_error != 0) {
    return faults_.memory_error;
  }
  size_bytes = kFreeBytes;
  return 0;
}

int FakeCuda::allocate(int, std::uint64_t size_bytes, std::uint64_t& address) {
  const std::lock_guard lock(mutex_);
  if (error_ != 0) {
    return error_;
  }
  if (++allocation_count_ == faults_.allocation_at && faults_.allocation_error != 0) {
    return faults_.allocation_error;
  }
  auto memory = std::make_unique<std::byte[]>(size_bytes + 2 * kAlignment);
  const auto begin = reinterpret_cast<std::uintptr_t>(memory.get());
  address = (begin + kAlignment - 1) / kAlignment * kAlignment;
  memory_.emplace(address, std::move(memory));
  return 0;
}

int FakeCuda::release(int, std::uint64_t address) {
  const std::lock_guard lock(mutex_);
  return memory_.erase(address) == 1 ? error_ : kInvalidValue;
}

int FakeCuda::allocate_host(int, std::size_t size_bytes, std::byte*& memory) {
  const std::lock_guard lock(mutex_);
  if (error_ != 0) {
    return error_;
  }
  auto made = std::make_unique<std::byte[]>(size_bytes);
  memory = made.get();
  host_memory_.emplace(memory, std::move(made));
  pinned_.emplace(memory, size_bytes);
  return 0;
}

int FakeCuda::release_host(int, std::byte* memory) {
  const std::lock_guard lock(mutex_);
  pinned_.erase(memory);
  return host_memory_.erase(memory) == 1 ? error_ : kInvalidValue;
}

int FakeCuda::register_host(int, std::span<std::byte> memory) {
  const std::lock_guard lock(mutex_);
  if (error_ != 0 || faults_.register_error != 0) {
    return error_ != 0 ? error_ : faults_.register_error;
  }
  for (const auto& [begin, size_bytes] : pinned_) {
    if (memory.data() < begin + size_bytes && begin < memory.data() + memory.size()) {
      return kAlreadyRegistered;
    }
  }
  pinned_.emplace(memory.data(), memory.size());
  return 0;
}

int FakeCuda::unregister_host(int, std::byte* memory) {
  const std::lock_guard lock(mutex_);
  return pinned_.erase(memory) == 1 ? error_ : kInvalidValue;
}

int FakeCuda::create_stream(int, CudaStream& stream) {
  const std::lock_guard lock(mutex_);
  if (error_ != 0 || faults_.stream_error != 0) {
    return error_ != 0 ? error_ : faults_.stream_error;
  }
  stream = CudaStream{++last_name_};
  auto made = std::make_unique<Stream>();
  Stream& raw = *made;
  streams_.emplace(stream, std::move(made));
  raw.thread = std::thread([this, &raw] { run(raw); });
  return 0;
}

int FakeCuda::destroy_stream(int, CudaStream stream) {
  std::unique_ptr<Stream> ended;
  {
    const std::lock_guard lock(mutex_);
    const auto found = streams_.find(stream);
    if (found == streams_.end()) {
      return kInvalidValue;
    }
    ended = std::move(found->second);
    streams_.erase(found);
    ended->ended = true;
  }
  changed_.notify_all();
  ended->thread.join();
  return 0;
}

int FakeCuda::create_event(int, CudaEvent& event) {
  const std::lock_guard lock(mutex_);
  if (error_ != 0) {
    return error_;
  }
  event = CudaEvent{++last_name_};
  events_.emplace(event, Event());
  return 0;
}

int FakeCuda::destroy_event(int, CudaEvent event) {
  const std::lock_guard lock(mutex_);
  return events_.erase(event) == 1 ? error_ : kInvalidValue;
}

int FakeCuda::record(int, CudaStream stream, CudaEvent event) {
  std::uint64_t number = 0;
  {
    const std::lock_guard lock(mutex_);
    if (error_ != 0) {
      return error_;
    }
    number = ++events_.at(event).recorded;
  }
  return put(stream, {.effect = [this, event, number] {
               const auto found = events_.find(event);
               if (found != events_.end()) {
                 found->second.happened = std::max(found->second.happened, number);
               }
             }});
}

int FakeCuda::wait_in_stream(int, CudaStream stream, CudaEvent event) {
  std::uint64_t number = 0;
  {
    const std::lock_guard lock(mutex_);
    number = events_.at(event).recorded;
  }
  // An event that was destroyed had happened, or its stream has ended.
  return put(stream, {.may_begin = [this, event, number] {
               const auto found = events_.find(event);
               return found == events_.end() || found->second.happened >= number;
             }});
}

int FakeCuda::wait_for(int, CudaEvent event) {
  std::unique_lock lock(mutex_);
  const Event& waited = events_.at(event);
  changed_.wait(lock, [&] { return waited.happened == waited.recorded || error_ != 0; });
  return waited.happened == waited.recorded ? 0 : error_;
}

bool FakeCuda::is_pinned(const std::byte* memory, std::size_t size_bytes) const {
  const auto after = pinned_.upper_bound(memory);
  return after != pinned_.begin() &&
         memory + size_bytes <= std::prev(after)->first + std::prev(after)->second;
}

int FakeCuda::copy_in(int, CudaStream stream, std::uint64_t target,
                      std::span<const std::byte> source) {
  return put(stream, {.effect =
                          [this, target, source] {
                            pageable_copy_count_ += is_pinned(source.data(), source.size()) ? 0 : 1;
                            std::memcpy(pointer(target), source.data(), source.size());
                          },
                      .is_work = true});
}

int FakeCuda::copy_out(int, CudaStream stream, std::span<std::byte> target, std::uint64_t source) {
  return put(stream, {.effect =
                          [this, target, source] {
                            pageable_copy_count_ += is_pinned(target.data(), target.size()) ? 0 : 1;
                            std::memcpy(target.data(), pointer(source), target.size());
                          },
                      .is_work = true});
}

int FakeCuda::copy_on_host(int, CudaStream stream, std::span<std::byte> target,
                           const std::byte* source) {
  return put(stream,
             {.effect = [target, source] { std::memcpy(target.data(), source, target.size()); }});
}

CudaLaunch FakeCuda::find_kernel(std::string_view name) const {
  const auto found = kernels_.find(name);
  return found == kernels_.end() ? nullptr : found->second;
}

int FakeCuda::launch(int, CudaStream stream, const CudaCall& call) {
  if (faults_.launch_error != 0) {
    return faults_.launch_error;
  }
  {
    const std::lock_guard lock(mutex_);
    profile_.emplace_back("launch");
  }
  return put(stream, {.effect =
                          [kernel = call.launch,
                           arguments = std::vector(call.arguments.begin(), call.arguments.end()),
                           buffers = std::vector(call.buffers.begin(), call.buffers.end())] {
                            static_cast<void>(kernel(nullptr, arguments, buffers));
                          },
                      .is_work = true});
}

std::uint64_t FakeCuda::begin_range(int, std::uint64_t shard) {
  const std::lock_guard lock(mutex_);
  ranges_.emplace(++last_name_, shard);
  profile_.push_back("begin " + std::to_string(shard));
  return last_name_;
}

void FakeCuda::end_range(std::uint64_t range) {
  const std::lock_guard lock(mutex_);
  const auto found = ranges_.find(range);
  profile_.push_back("end " + (found != ranges_.end() ? std::to_string(found->second) : "nothing"));
  if (found != ranges_.end()) {
    ranges_.erase(found);
  }
}

std::vector<std::string> FakeCuda::profile() const {
  const std::lock_guard lock(mutex_);
  return profile_;
}

int FakeCuda::put(CudaStream stream, Operation operation) {
  {
    const std::lock_guard lock(mutex_);
    if (error_ != 0) {
      return error_;
    }
    streams_.at(stream)->waiting.push_back(std::move(operation));
  }
  changed_.notify_all();
  return 0;
}

bool FakeCuda::may_run(const Stream& stream) const {
  if (error_ != 0 || stream.waiting.empty()) {
    return false;
  }
  const Operation& next = stream.waiting.front();
  if (next.is_work) {
    const bool fails = faults_.work_error != 0 && work_count_ + 1 == faults_.work_at;
    return !faults_.work_waits && (!fails || work_may_fail_);
  }
  return !next.may_begin || next.may_begin();
}

void FakeCuda::run(Stream& stream) {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stream.ended || may_run(stream); });
    if (!may_run(stream)) {
      return;
    }
    const Operation next = std::move(stream.waiting.front());
    stream.waiting.pop_front();
    if (next.is_work && ++work_count_ == faults_.work_at && faults_.work_error != 0) {
      error_ = faults_.work_error;
    } else if (next.effect) {
      next.effect();
    }
    changed_.notify_all();
  }
}

}  // namespace pinion::testing
