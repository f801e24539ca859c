#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include <pinion/core/place.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

/// Binds whole pages of memory to a place before anybody touches them. The span begins at a page.
/// Errors: kInvalidArgument for a place that this host does not have.
using BindMemory = std::function<Status(std::span<std::byte>, Place)>;

}  // namespace pinion
