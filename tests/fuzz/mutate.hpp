#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <pinion/core/clock.hpp>

// Fuzzing without help from a compiler: valid examples, changed in the ways that break decoders.
//
//   PINION_FUZZ_SECONDS=120  how long each test goes on, instead of 2
//   PINION_FUZZ_SEED=123     begins with the trial of that seed, to replay it

namespace pinion::fuzz {

/// Changes bytes at random, the same for the same seed.
class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : engine_(seed) {}

  std::uint64_t below(std::uint64_t limit) { return engine_() % limit; }

  /// One of the examples after one to eight changes.
  [[nodiscard]] std::string mutate(const std::vector<std::string>& examples) {
    std::string bytes = examples[below(examples.size())];
    for (std::uint64_t left = 1 + below(8); left > 0; --left) {
      change(bytes, examples[below(examples.size())]);
    }
    return bytes;
  }

 private:
  void change(std::string& bytes, const std::string& other) {
    switch (below(7)) {
      case 0:
        flip_bit(bytes);
        break;
      case 1:
        overwrite_number(bytes);
        break;
      case 2:
        bytes.resize(below(bytes.size() + 1));
        break;
      case 3:
        bytes.erase(below(bytes.size() + 1), below(16));
        break;
      case 4:
        bytes.insert(below(bytes.size() + 1), below(16), static_cast<char>(engine_()));
        break;
      case 5:
        bytes.insert(below(bytes.size() + 1), piece_of(bytes));
        break;
      default:
        bytes.insert(below(bytes.size() + 1), piece_of(other));
    }
  }

  void flip_bit(std::string& bytes) {
    if (!bytes.empty()) {
      char& byte = bytes[below(bytes.size())];
      byte = static_cast<char>(static_cast<unsigned char>(byte) ^ (1u << below(8)));
    }
  }

  // Sizes and offsets break at their limits.
  void overwrite_number(std::string& bytes) {
    const std::uint64_t limits[] = {0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, ~0ull >> 1};
    const std::uint64_t value = limits[below(std::size(limits))] + below(3) - 1;
    const std::size_t width = std::size_t{1} << below(4);
    if (bytes.size() < width) {
      return;
    }
    const std::size_t at = below(bytes.size() - width + 1);
    for (std::size_t index = 0; index < width; ++index) {
      bytes[at + index] = static_cast<char>(value >> (8 * index));
    }
  }

  std::string piece_of(const std::string& bytes) {
    const std::size_t begin = below(bytes.size() + 1);
    return bytes.substr(begin, below(std::min<std::size_t>(bytes.size() - begin, 64) + 1));
  }

  std::mt19937_64 engine_;
};

/// Calls `trial(mutator, seed)` until the time is over or a check fails, at least once.
template <class Trial>
void for_each_trial(Trial trial) {
  const char* const seconds = std::getenv("PINION_FUZZ_SECONDS");
  const char* const one = std::getenv("PINION_FUZZ_SEED");
  // A change is checked with the same trials each time; a long run goes where none was before.
  const std::uint64_t first = one != nullptr       ? std::strtoull(one, nullptr, 10)
                              : seconds != nullptr ? std::random_device()()
                                                   : 1;
  const SystemClock clock{};
  const Instant end =
      clock.now() +
      std::chrono::seconds(seconds != nullptr ? std::strtoll(seconds, nullptr, 10) : 2);
  std::printf("the first seed is %llu\n", static_cast<unsigned long long>(first));
  std::fflush(stdout);  // Before a crash.
  std::uint64_t seed = first;
  do {
    SCOPED_TRACE("replay with PINION_FUZZ_SEED=" + std::to_string(seed));
    Mutator mutator(seed);
    trial(mutator, seed);
    ++seed;
  } while (clock.now() < end && !testing::Test::HasFailure());
  std::printf("%llu trials\n", static_cast<unsigned long long>(seed - first));
}

}  // namespace pinion::fuzz
