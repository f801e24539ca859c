// A process of a launch that comes to its launcher by PMIx, and of which process 1 then goes
// without taking its leave.

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>

#include <pmix.h>

namespace {

template <class Function>
Function find(void* library, const char* name) {
  void* const found = library != nullptr ? dlsym(library, name) : nullptr;
  if (found == nullptr) {
    _exit(EXIT_FAILURE);
  }
  return reinterpret_cast<Function>(found);
}

}  // namespace

int main() {
  void* const library = dlopen("libpmix.so.2", RTLD_NOW | RTLD_GLOBAL);
  pmix_proc_t self{};
  if (find<decltype(&PMIx_Init)>(library, "PMIx_Init")(&self, nullptr, 0) != PMIX_SUCCESS) {
    return EXIT_FAILURE;
  }
  if (self.rank == 1) {
    _exit(EXIT_SUCCESS);
  }
  static_cast<void>(find<decltype(&PMIx_Finalize)>(library, "PMIx_Finalize")(nullptr, 0));
  return EXIT_SUCCESS;
}
