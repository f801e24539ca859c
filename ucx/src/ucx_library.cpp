#include "ucx_library.hpp"

#include <dlfcn.h>

#include <string>

namespace pinion {
namespace {

// Never changed once it is loaded.
UcxLibrary library;

Status load() {
  // The name that the loader would have been given for the headers that this was compiled with.
  // What libucp needs itself, libucs among it, is found through it.
  void* const handle = ::dlopen("libucp.so.0", RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    return {ErrorCode::kUnimplemented,
            std::string("UCX, which carries what goes between hosts, cannot be loaded: ") +
                ::dlerror() + "; install it (package libucx0), or run the job on one host"};
  }
  std::string missing;
#define PINION_UCX_FUNCTION(name)                                             \
  library.name = reinterpret_cast<decltype(&::name)>(::dlsym(handle, #name)); \
  missing += library.name == nullptr ? " " #name : ""
  PINION_UCX_FUNCTIONS(PINION_UCX_FUNCTION);
#undef PINION_UCX_FUNCTION
  if (!missing.empty()) {
    return {ErrorCode::kUnimplemented,
            "the UCX that is installed has no" + missing +
                "; install the version that Pinion was built with, or run the job on one host"};
  }
  return {};
}

}  // namespace

Status load_ucx() {
  static const Status loaded = load();
  return loaded;
}

const UcxLibrary& ucx() noexcept {
  return library;
}

}  // namespace pinion
