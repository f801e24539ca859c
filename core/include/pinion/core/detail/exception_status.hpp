#pragma once

#include <exception>

#include <pinion/core/status.hpp>

namespace pinion::detail {

/// The words of an exception that code of the program has thrown, as kUnknown.
/// Precondition: not null.
[[nodiscard]] Status status_of(const std::exception_ptr& exception);

}  // namespace pinion::detail
