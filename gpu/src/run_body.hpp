#pragma once

#include <exception>

#include <pinion/core/detail/exception_status.hpp>
#include <pinion/core/status.hpp>

#include <pinion/gpu/kernel_registry.hpp>

namespace pinion {

/// Calls a CPU twin; what it throws becomes an error.
[[nodiscard]] inline Status run_body(const KernelBody& body, const KernelCall& call) {
  try {
    return body(call);
  } catch (...) {
    return detail::status_of(std::current_exception());
  }
}

}  // namespace pinion
