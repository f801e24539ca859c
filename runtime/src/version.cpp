#include <pinion/runtime/version.hpp>

namespace pinion {

std::string_view version() noexcept {
  return PINION_VERSION;
}

}  // namespace pinion
