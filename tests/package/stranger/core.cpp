// A stranger who links core alone.
#include <cstdio>

#include <pinion/core/status.hpp>

int main() {
  const pinion::Result<int> answer = 42;
  const pinion::Result<int> refusal = pinion::Status(pinion::ErrorCode::kNotFound, "no such thing");
  if (refusal || refusal.error().to_string() != "NOT_FOUND: no such thing") {
    return 1;
  }
  std::printf("the stranger's answer is %d\n", *answer);
  return 0;
}
