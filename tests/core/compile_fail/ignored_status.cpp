#include <pinion/core/status.hpp>

pinion::Status send();
pinion::Result<int> receive();

void use() {
#if defined(PINION_IGNORE_STATUS)
  send();
#elif defined(PINION_IGNORE_RESULT)
  receive();
#else
  static_cast<void>(send());
  static_cast<void>(receive());
#endif
}
