#pragma once

#include <cstddef>

#include <pinion/gpu/kernel_registry.hpp>

namespace pinion::testing {

/// Makes each byte b of its buffer 2 b + a, a being its argument.
inline Status twice_plus(const KernelCall& call) {
  for (std::byte& byte : call.buffers[0]) {
    const unsigned doubled = 2 * static_cast<unsigned>(byte);
    byte = static_cast<std::byte>((doubled + static_cast<unsigned>(call.arguments[0])) & 0xff);
  }
  return {};
}

}  // namespace pinion::testing
