#include "engine/input_stream.hpp"

#include <string>
#include <thread>

#include <fcntl.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "shard/input/compressed.hpp"
#include "shard/input/memory_blob_store.hpp"
#include "shard/input/trial.hpp"
#include "temporary_folder.hpp"

namespace pinion {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing_input::gzip;
using testing_input::MemoryBlobStore;
using testing_input::skippable;
using testing_input::zstd;

class Pipe {
 public:
  explicit Pipe(int flags = O_CLOEXEC) { EXPECT_EQ(::pipe2(ends_, flags), 0); }
  ~Pipe() {
    ::close(ends_[0]);
    close_writer();
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  int reader() const { return ends_[0]; }
  void write(std::string_view text) {
    EXPECT_EQ(::write(ends_[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  void close_writer() {
    if (ends_[1] >= 0) {
      ::close(ends_[1]);
      ends_[1] = -1;
    }
  }

 private:
  int ends_[2] = {-1, -1};
};

std::string text_of(const Blob& blob) {
  return {reinterpret_cast<const char*>(blob.bytes().data()), blob.bytes().size()};
}

TEST(InputStream, BecomesBlobsOfTheBlockSize) {
  Pipe pipe;
  pipe.write("0123456789");
  pipe.close_writer();
  MemoryBlobStore store;
  const std::vector<Blob> blobs = read_stream(pipe.reader(), 4, store).value();
  ASSERT_EQ(blobs.size(), 3u);
  EXPECT_EQ(text_of(blobs[0]) + "|" + text_of(blobs[1]) + "|" + text_of(blobs[2]), "0123|4567|89");
}

TEST(InputStream, MayEndWhereABlockEnds) {
  Pipe pipe;
  pipe.write("01234567");
  pipe.close_writer();
  MemoryBlobStore store;
  EXPECT_EQ(read_stream(pipe.reader(), 4, store).value().size(), 2u);
}

TEST(InputStream, WithoutBytesHasNoBlobs) {
  Pipe pipe;
  pipe.close_writer();
  MemoryBlobStore store;
  EXPECT_TRUE(read_stream(pipe.reader(), 4, store).value().empty());
  EXPECT_EQ(store.usage().blob_count, 0u);
}

TEST(InputStream, BeyondTheBudgetIsAnErrorInWords) {
  Pipe pipe;
  pipe.write("0123456789");
  pipe.close_writer();
  MemoryBlobStore store(6);
  const Result<std::vector<Blob>> blobs = read_stream(pipe.reader(), 4, store);
  ASSERT_FALSE(blobs.has_value());
  EXPECT_EQ(blobs.error().code(), ErrorCode::kResourceExhausted);
  EXPECT_THAT(blobs.error().message(), HasSubstr("after 4 bytes"));
}

// A stream of these bytes, read to its end.
Result<std::string> read_inflated(std::string_view stored, std::size_t block_bytes = 1000,
                                  std::uint64_t budget_bytes = ~std::uint64_t{0}) {
  const TemporaryFolder folder;
  const int descriptor = ::open(folder.write("f", stored).c_str(), O_RDONLY | O_CLOEXEC);
  MemoryBlobStore store(budget_bytes);
  const Result<std::vector<Blob>> blobs = read_inflated_stream(descriptor, block_bytes, store);
  ::close(descriptor);
  if (!blobs) {
    return blobs.error();
  }
  std::string text;
  for (const Blob& blob : *blobs) {
    EXPECT_EQ(text.size() % block_bytes, 0u) << "only the last block is smaller";
    EXPECT_GT(blob.bytes().size(), 0u);
    text += text_of(blob);
  }
  return text;
}

std::string random_text(std::size_t size) {
  testing_input::Random random(size);
  std::string text;
  while (text.size() < size) {
    text += static_cast<char>(random.below(64) + ' ');
  }
  return text;
}

TEST(InflatedStream, IsTheTextThatWasCompressed) {
  for (const std::size_t size : {0u, 1u, 999u, 1000u, 1001u, 600'000u}) {
    SCOPED_TRACE(size);
    const std::string text = random_text(size);
    EXPECT_EQ(read_inflated(gzip(text)).value(), text);
    EXPECT_EQ(read_inflated(zstd(text)).value(), text);
    EXPECT_EQ(read_inflated(gzip(text) + gzip("more"), 64 << 20).value(), text + "more");
    EXPECT_EQ(read_inflated(skippable("x") + zstd(text) + zstd("more")).value(), text + "more");
  }
  EXPECT_EQ(read_inflated(gzip("text") + std::string(1000, '\0')).value(), "text") << "padding";
}

TEST(InflatedStream, IsAsItIsWithoutCompression) {
  for (const std::size_t size : {0u, 1u, 3u, 4u, 1000u, 262'143u, 262'144u, 262'145u, 700'000u}) {
    SCOPED_TRACE(size);
    const std::string text = random_text(size);
    EXPECT_EQ(read_inflated(text).value(), text);
    EXPECT_EQ(read_inflated(text, 300'000).value(), text);
  }
}

// The stream's length does not show before it has ended: here it ends where a piece of it does.
TEST(InflatedStream, MayEndWhereAPieceThatIsReadEnds) {
  constexpr std::size_t kPiece = std::size_t{256} << 10;
  for (const bool is_gzip : {true, false}) {
    const auto pack = [is_gzip](const std::string& text) {
      return is_gzip ? gzip(text) : zstd(text);
    };
    const std::string text = random_text(300'000);
    const std::string front = pack(text);
    ASSERT_LT(front.size(), kPiece);
    // A second member of just the bytes that are left: a skippable frame, or padding.
    const std::size_t left = kPiece - front.size();
    const std::string stored =
        front + (is_gzip ? std::string(left, '\0') : skippable(std::string(left - 8, 'x')));
    ASSERT_EQ(stored.size(), kPiece);
    EXPECT_EQ(read_inflated(stored).value(), text);
  }
}

TEST(InflatedStream, CutShortIsDataLoss) {
  for (const std::string& stored : {gzip("some text, some text"), zstd("some text, some text"),
                                    gzip(random_text(600'000)), zstd(random_text(600'000))}) {
    const std::size_t stride = 1 + stored.size() / 50;
    for (std::size_t size = 4; size < stored.size(); size += stride) {
      const Result<std::string> text = read_inflated(std::string_view(stored).substr(0, size));
      ASSERT_FALSE(text.has_value()) << size << " of " << stored.size();
      ASSERT_EQ(text.error().code(), ErrorCode::kDataLoss);
      ASSERT_THAT(text.error().message(), AllOf(HasSubstr("standard input is cut short"),
                                                HasSubstr("byte " + std::to_string(size))));
    }
  }
}

TEST(InflatedStream, SaysWhereItIsDamaged) {
  std::string stored = gzip(random_text(1'000'000));
  stored[700'000] = static_cast<char>(stored[700'000] ^ 0x55);
  const Result<std::string> text = read_inflated(stored);
  ASSERT_FALSE(text.has_value());
  EXPECT_EQ(text.error().code(), ErrorCode::kDataLoss);
  EXPECT_THAT(text.error().message(), HasSubstr("gzip standard input is damaged at byte "));
  EXPECT_EQ(read_inflated(gzip("text") + "more").error().code(), ErrorCode::kDataLoss);
  EXPECT_EQ(read_inflated(zstd("text") + "more").error().code(), ErrorCode::kDataLoss);
  EXPECT_EQ(read_inflated(zstd(random_text(100'000), 30)).error().code(),
            ErrorCode::kResourceExhausted);
}

TEST(InflatedStream, BeyondTheBudgetIsAnErrorInWords) {
  const Result<std::string> text = read_inflated(gzip(std::string(1 << 20, '\0')), 10'000, 100'000);
  ASSERT_FALSE(text.has_value());
  EXPECT_EQ(text.error().code(), ErrorCode::kResourceExhausted);
  EXPECT_THAT(text.error().message(), HasSubstr("after 100000 bytes"));
}

TEST(InputStream, WaitsOnANonBlockingDescriptor) {
  Pipe pipe(O_CLOEXEC | O_NONBLOCK);
  MemoryBlobStore store;
  std::thread writer([&pipe] {
    pipe.write("0123");
    pipe.write("45");
    pipe.close_writer();
  });
  const Result<std::vector<Blob>> blobs = read_stream(pipe.reader(), 100, store);
  writer.join();
  ASSERT_TRUE(blobs.has_value()) << blobs.error().to_string();
  ASSERT_EQ(blobs->size(), 1u);
  EXPECT_EQ(text_of(blobs->front()), "012345");
}

}  // namespace
}  // namespace pinion
