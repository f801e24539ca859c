#pragma once

#include <cstdint>
#include <cstdlib>

namespace pinion {

/// The number in a variable of the environment, or what there is without it.
inline std::uint64_t number_of_environment(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// The seed of the first random kill of a suite, or of all of them: PINION_KILL_SEED.
inline std::uint64_t kill_seed(std::uint64_t otherwise) {
  return number_of_environment("PINION_KILL_SEED", otherwise);
}

/// How many random kills of a process, or an agent, with slabs a test does: PINION_SLAB_KILLS.
inline std::uint64_t slab_kill_count(std::uint64_t otherwise) {
  return number_of_environment("PINION_SLAB_KILLS", otherwise);
}

}  // namespace pinion
