#pragma once

#include <string>
#include <string_view>

#include <zlib.h>
#include <zstd.h>

#include <gtest/gtest.h>

namespace pinion::testing_input {

/// One gzip member.
[[nodiscard]] inline std::string gzip(std::string_view content) {
  z_stream stream = {};
  EXPECT_EQ(::deflateInit2(&stream, 6, Z_DEFLATED, 16 + 15, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(::deflateBound(&stream, content.size()) + 64, '\0');
  std::string in(content);
  stream.next_in = reinterpret_cast<Bytef*>(in.data());
  stream.avail_in = static_cast<uInt>(in.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(::deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  ::deflateEnd(&stream);
  return out;
}

/// One zstd frame, with a checksum.
[[nodiscard]] inline std::string zstd(std::string_view content, int window_log = 0) {
  ZSTD_CCtx* const context = ::ZSTD_createCCtx();
  ::ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  if (window_log > 0) {
    ::ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window_log);
    // Without the content's size, which would make the window smaller.
    ::ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
  }
  std::string out(::ZSTD_compressBound(content.size()), '\0');
  ZSTD_inBuffer from = {content.data(), content.size(), 0};
  ZSTD_outBuffer to = {out.data(), out.size(), 0};
  if (window_log > 0) {
    // A first piece by itself keeps the library from learning the size.
    from.size = content.size() / 2;
    ::ZSTD_compressStream2(context, &to, &from, ZSTD_e_continue);
    from.size = content.size();
  }
  EXPECT_EQ(::ZSTD_compressStream2(context, &to, &from, ZSTD_e_end), 0u);
  ::ZSTD_freeCCtx(context);
  out.resize(to.pos);
  return out;
}

/// A zstd frame that decoders skip.
[[nodiscard]] inline std::string skippable(std::string_view content) {
  std::string out("\x52\x2a\x4d\x18", 4);
  for (int shift = 0; shift < 32; shift += 8) {
    out += static_cast<char>(content.size() >> shift);
  }
  return out.append(content);
}

}  // namespace pinion::testing_input
