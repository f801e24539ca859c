#include <pinion/core/detail/checksum.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <gtest/gtest.h>

// What the library makes of it where nobody asks which CPU there is.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace pinion {
namespace {

TEST(Checksum, IsThatOfTheLibraryWhateverTheCpuHas) {
  std::vector<std::byte> bytes((1 << 20) + 77);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(i * 131 + (i >> 9));
  }
  std::vector<std::size_t> sizes = {bytes.size() - 3, 60 << 10, 64 << 10};
  for (std::size_t size = 0; size < 3000; ++size) {
    sizes.push_back(size);
  }
  for (const std::size_t size : sizes) {
    const std::span<const std::byte> some = std::span(bytes).subspan(3, size);
    ASSERT_EQ(detail::checksum(some), XXH3_64bits(some.data(), some.size())) << size << " bytes";
  }
}

TEST(Checksum, IsTheSameOnEveryMachine) {
  EXPECT_EQ(detail::checksum({}), 0x2d06800538d394c2U);  // As the library documents it.
}

}  // namespace
}  // namespace pinion
