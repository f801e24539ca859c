#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <pinion/core/page_pool.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/timer.hpp>
#include <pinion/gpu/kernel_registry.hpp>
#include <pinion/gpu/pipeline.hpp>

namespace pinion::bench {

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr std::size_t kDepth = 3;

struct Options {
  bool quick = false;
  std::string emulated = {};
};

template <class Value>
Value required(Result<Value> result, const char* what) {
  if (!result) {
    exit_with(std::move(result).error().with_context(what));
  }
  return *std::move(result);
}

inline void require(Status status, const char* what) {
  if (!status.ok()) {
    exit_with(std::move(status).with_context(what));
  }
}

inline void require_equal(bool equal, const std::string& what) {
  if (!equal) {
    std::printf("WRONG: %s differs from the CPU twin\n", what.c_str());
    std::fflush(stdout);
    std::_Exit(1);
  }
}

inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Of two measured figures; empty where there is nothing to compare with.
inline std::optional<double> ratio_of(double value, double reference) {
  return reference > 0.0 ? std::optional(value / reference) : std::nullopt;
}

// A row of the table. No ratio: it was not measured. No bound: the figure is for the reader.
inline void print_row(const std::string& work, const std::string& figure,
                      std::optional<double> ratio, double bound, bool at_most = false) {
  std::printf("| %-46s | %-34s | ", work.c_str(), figure.c_str());
  if (ratio) {
    std::printf("%6.3f | ", *ratio);
  } else {
    std::printf("     - | ");
  }
  if (bound <= 0.0 || !ratio) {
    std::printf("%-14s |\n", bound > 0.0 ? "not measured" : "");
  } else {
    const bool reached = at_most ? *ratio <= bound : *ratio >= bound;
    std::printf("%s %.2f %s |\n", at_most ? "<=" : ">=", bound, reached ? "yes   " : "MISSED");
  }
}

inline std::string text(const char* format, double first, double second = 0.0) {
  std::array<char, 128> buffer = {};
  std::snprintf(buffer.data(), buffer.size(), format, first, second);
  return buffer.data();
}

inline std::string size_text(std::uint64_t bytes) {
  return bytes >= kMiB ? std::to_string(bytes / kMiB) + " MiB"
                       : std::to_string(bytes / kKiB) + " KiB";
}

// A device with what a pipeline on it needs. `wait` lets its time pass.
struct Bed {
  Bed(IDevice& used_device, ITimer& used_timer, std::function<void(const Completion&)> waits,
      const KernelRegistry& used_kernels, std::uint64_t staging_bytes)
      : device(used_device), timer(used_timer), wait(std::move(waits)), kernels(used_kernels) {
    staging = required(StagingPool::create(device, pages, device.info().near_memory, staging_bytes),
                       "staging");
  }

  IDevice& device;
  ITimer& timer;
  std::function<void(const Completion&)> wait;
  const KernelRegistry& kernels;
  MemoryLedger ledger{{.budget_bytes = std::uint64_t{64} << 30}};
  PagePool pages{ledger, {}};
  std::unique_ptr<StagingPool> staging;
};

}  // namespace pinion::bench
