#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

#include <gtest/gtest.h>

#include "shm_host.hpp"

namespace pinion {

/// A blob of `size_bytes` that begins with `text`; the rest is zero.
inline Blob seal_padded_text(IBlobStore& store, std::string_view text,
                             std::uint64_t size_bytes = 100) {
  Result<BlobWriter> writer = store.create(size_bytes, kTestPlace);
  EXPECT_TRUE(writer.has_value()) << writer.error().to_string();
  std::memcpy(writer->bytes().data(), text.data(), text.size());
  Result<Blob> blob = writer->seal();
  EXPECT_TRUE(blob.has_value()) << blob.error().to_string();
  return *std::move(blob);
}

/// That text, up to the first zero.
inline std::string_view padded_text_of(const Blob& blob) {
  return {reinterpret_cast<const char*>(blob.bytes().data())};
}

}  // namespace pinion
