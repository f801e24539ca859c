#include <pinion/core/metrics.hpp>

#include <array>
#include <atomic>

#include <pinion/core/assert.hpp>
#include <pinion/core/thread_annotations.hpp>

namespace pinion {
namespace {

// Whole cache lines, so that what one worker counts disturbs no other.
struct alignas(64) Slots {
  std::array<std::atomic<std::uint64_t>, Metrics::kCountMax> values = {};
};

}  // namespace

struct Metrics::State {
  // One more for the threads that are no workers; gauges are there too.
  explicit State(std::size_t worker_count) : slots(worker_count + 1) {}

  struct Metric {
    std::string name;
    bool is_gauge = false;
  };

  std::vector<Slots> slots;
  mutable Mutex mutex;
  std::vector<Metric> metrics PINION_GUARDED_BY(mutex);

  std::uint32_t find_or_make(std::string_view name, bool is_gauge) {
    MutexLock lock(mutex);
    for (std::size_t i = 0; i < metrics.size(); ++i) {
      if (metrics[i].name == name) {
        PINION_ASSERT(metrics[i].is_gauge == is_gauge);
        return static_cast<std::uint32_t>(i);
      }
    }
    PINION_ASSERT(metrics.size() < kCountMax);
    metrics.push_back({std::string(name), is_gauge});
    return static_cast<std::uint32_t>(metrics.size() - 1);
  }

  // A gauge is in one slot only, so the sum is its value.
  [[nodiscard]] std::uint64_t sum(std::size_t index) const noexcept {
    std::uint64_t value = 0;
    for (const Slots& worker : slots) {
      value += worker.values[index].load(std::memory_order_relaxed);
    }
    return value;
  }

  std::atomic<std::uint64_t>& gauge(GaugeId id) noexcept {
    return slots.back().values[static_cast<std::size_t>(id)];
  }
};

Metrics::Metrics(std::size_t worker_count) : state_(std::make_unique<State>(worker_count)) {}

Metrics::~Metrics() = default;

CounterId Metrics::counter(std::string_view name) {
  return CounterId{state_->find_or_make(name, false)};
}

GaugeId Metrics::gauge(std::string_view name) {
  return GaugeId{state_->find_or_make(name, true)};
}

// All relaxed: a number says nothing about other memory.
void Metrics::add(CounterId counter, std::size_t worker, std::uint64_t amount) noexcept {
  PINION_ASSERT(worker < state_->slots.size());
  state_->slots[worker].values[static_cast<std::size_t>(counter)].fetch_add(
      amount, std::memory_order_relaxed);
}

void Metrics::set(GaugeId gauge, std::uint64_t value) noexcept {
  state_->gauge(gauge).store(value, std::memory_order_relaxed);
}

void Metrics::raise(GaugeId gauge, std::uint64_t value) noexcept {
  std::atomic<std::uint64_t>& target = state_->gauge(gauge);
  std::uint64_t seen = target.load(std::memory_order_relaxed);
  while (seen < value && !target.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

std::uint64_t Metrics::total(CounterId counter) const noexcept {
  return state_->sum(static_cast<std::size_t>(counter));
}

std::vector<MetricValue> Metrics::snapshot() const {
  MutexLock lock(state_->mutex);
  std::vector<MetricValue> values;
  values.reserve(state_->metrics.size());
  for (std::size_t i = 0; i < state_->metrics.size(); ++i) {
    values.push_back({state_->metrics[i].name, state_->sum(i)});
  }
  return values;
}

std::size_t Metrics::worker_count() const noexcept {
  return state_->slots.size() - 1;
}

}  // namespace pinion
