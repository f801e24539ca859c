#pragma once

#include <memory>
#include <span>

#include <pinion/core/completion.hpp>
#include <pinion/core/device.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/timer.hpp>
#include <pinion/gpu/emulation_spec.hpp>
#include <pinion/gpu/kernel_registry.hpp>
#include <pinion/gpu/virtual_time.hpp>

namespace pinion {

/// Devices that a machine does not have: budgets, streams, rates and faults as a spec says, with
/// real memory behind and the CPU twins as kernels.
///
///     EmulationSpec spec = parse_emulation_spec("emu:2,mem=64m,fault=1:sticky@5").value();
///     auto devices = EmulatedDevices::create(spec, kernels).value();
///     IDevice& first = *devices->devices()[0];
///
/// One copy of each direction runs at a time, or one at all with one copy engine, and one kernel.
/// What waits for an engine gets it in the order of the calls. All callbacks, kernels and copies of
/// a group of devices happen on one thread: that of its timer in real time, and the one that lets
/// time pass in virtual time. In virtual time the destructor of a stream lets it pass.
///
/// Thread safety: all members may be called from any thread.
/// Lifetime: outlives all that its devices gave. What waits when it ends does not happen.
class EmulatedDevices {
 public:
  /// Errors: kInvalidArgument for a spec without devices, or with a rate, a factor or a number of
  ///   copy engines that is not above 0; kResourceExhausted when the system has no thread for a
  ///   timer.
  /// Lifetime: borrows `kernels`.
  [[nodiscard]] static Result<std::unique_ptr<EmulatedDevices>> create(
      const EmulationSpec& spec, const KernelRegistry& kernels);
  ~EmulatedDevices();
  EmulatedDevices(const EmulatedDevices&) = delete;
  EmulatedDevices& operator=(const EmulatedDevices&) = delete;

  /// In the order of the spec.
  [[nodiscard]] std::span<IDevice* const> devices() const noexcept;

  /// The time line of the devices.
  [[nodiscard]] ITimer& timer() noexcept;

  /// Null in real time.
  [[nodiscard]] VirtualTime* virtual_time() noexcept;

  /// Blocks: until `completion` is ready. In virtual time it lets time pass until then.
  /// Precondition: in virtual time, something that waits for its time makes it ready.
  void wait(const Completion& completion);

 private:
  struct State;
  explicit EmulatedDevices(std::unique_ptr<State> state) noexcept;

  const std::unique_ptr<State> state_;
};

}  // namespace pinion
