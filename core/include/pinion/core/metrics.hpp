#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace pinion {

/// Numbers of a Metrics object, which made them.
enum class CounterId : std::uint32_t {};
enum class GaugeId : std::uint32_t {};

/// One metric in a snapshot: the sum over the workers of a counter, or the value of a gauge.
struct MetricValue {
  std::string name;
  std::uint64_t value = 0;

  friend bool operator==(const MetricValue&, const MetricValue&) = default;
};

/// Counts what a process does: counters, which only grow and are kept by worker, and gauges, which
/// are one value each.
///
///     Metrics metrics(executor.worker_count());
///     const CounterId shards = metrics.counter("shards");  // Once, at the start.
///     metrics.add(shards, worker, 1);                      // On the hot path.
///
/// Thread safety: all members may be called from any thread. add(), set() and raise() are wait-free
///   but for raise(), which may have to try again; they allocate nothing, and workers share no
///   cache line. counter() and gauge() take a lock.
class Metrics {
 public:
  /// Counters and gauges together; the next one is a bug of the program.
  static constexpr std::size_t kCountMax = 128;

  explicit Metrics(std::size_t worker_count);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  /// The counter or the gauge of that name, made at the first call.
  /// Precondition: the name is not one of the other kind; kCountMax is not exceeded.
  [[nodiscard]] CounterId counter(std::string_view name);
  [[nodiscard]] GaugeId gauge(std::string_view name);

  /// Precondition: worker <= worker_count; the last number is for all threads that are no workers.
  void add(CounterId counter, std::size_t worker, std::uint64_t amount) noexcept;

  void set(GaugeId gauge, std::uint64_t value) noexcept;

  /// Sets the gauge unless it is higher.
  void raise(GaugeId gauge, std::uint64_t value) noexcept;

  /// The sum over the workers. Numbers that are added meanwhile may be in it.
  [[nodiscard]] std::uint64_t total(CounterId counter) const noexcept;

  /// Everything, in the order in which it was made. Numbers that are added meanwhile may be in it.
  [[nodiscard]] std::vector<MetricValue> snapshot() const;

  [[nodiscard]] std::size_t worker_count() const noexcept;

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace pinion
