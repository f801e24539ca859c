#include <pinion/shard/protocol/checksum.hpp>

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace pinion::protocol {
namespace {

constexpr std::uint32_t kPolynomial = 0x82f63b78;  // Castagnoli's, with its bits turned round.
constexpr std::size_t kTableCount = 8;             // As many bytes are taken at once.

using Tables = std::array<std::array<std::uint32_t, 256>, kTableCount>;

// tables[n][b] is the checksum of the byte b with n zero bytes behind it.
constexpr Tables make_tables() {
  Tables tables = {};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t rest = byte;
    for (int bit = 0; bit < 8; ++bit) {
      rest = (rest >> 1) ^ ((rest & 1) != 0 ? kPolynomial : 0);
    }
    tables[0][byte] = rest;
  }
  for (std::size_t table = 1; table < kTableCount; ++table) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t before = tables[table - 1][byte];
      tables[table][byte] = (before >> 8) ^ tables[0][before & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = make_tables();

std::uint64_t load(const std::byte* from) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, from, sizeof(word));
  return word;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) std::uint32_t crc32c_by_instruction(
    std::span<const std::byte> bytes, std::uint32_t before) noexcept {
  std::uint64_t rest = ~before;
  std::size_t at = 0;
  for (; at + sizeof(std::uint64_t) <= bytes.size(); at += sizeof(std::uint64_t)) {
    rest = _mm_crc32_u64(rest, load(bytes.data() + at));
  }
  auto narrow = static_cast<std::uint32_t>(rest);
  for (; at < bytes.size(); ++at) {
    narrow = _mm_crc32_u8(narrow, static_cast<unsigned char>(bytes[at]));
  }
  return ~narrow;
}
#endif

}  // namespace

std::uint32_t crc32c_by_table(std::span<const std::byte> bytes, std::uint32_t before) noexcept {
  std::uint32_t rest = ~before;
  std::size_t at = 0;
  for (; at + kTableCount <= bytes.size(); at += kTableCount) {
    const std::uint64_t word = load(bytes.data() + at) ^ rest;
    rest = 0;
    for (std::size_t byte = 0; byte < kTableCount; ++byte) {
      rest ^= kTables[kTableCount - 1 - byte][(word >> (8 * byte)) & 0xff];
    }
  }
  for (; at < bytes.size(); ++at) {
    rest = (rest >> 8) ^ kTables[0][(rest ^ static_cast<unsigned char>(bytes[at])) & 0xff];
  }
  return ~rest;
}

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before) noexcept {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2")) {
    return crc32c_by_instruction(bytes, before);
  }
#endif
  return crc32c_by_table(bytes, before);
}

}  // namespace pinion::protocol
