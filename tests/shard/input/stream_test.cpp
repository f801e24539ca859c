#include "engine/input_stream.hpp"

#include <string>
#include <thread>

#include <fcntl.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "shard/input/memory_blob_store.hpp"

namespace pinion {
namespace {

using testing::HasSubstr;
using testing_input::MemoryBlobStore;

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
