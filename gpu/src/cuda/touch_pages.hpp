#pragma once

#include <cstddef>
#include <span>

namespace pinion {

/// Lets the system put memory behind all pages, by several threads where there are many pages; what
/// is in them stays. Only a wish: where the system does not know how, or the memory may not be
/// written, nothing happens. Blocks: until it is there.
void touch_pages(std::span<std::byte> memory);

}  // namespace pinion
