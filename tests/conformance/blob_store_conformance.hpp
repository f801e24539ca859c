#pragma once

#include <pinion/core/blob_store.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <string_view>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace pinion {

/// The contract of IBlobStore as tests. `Host` makes the store under test and stands for the job:
///
///   struct Host {
///     IBlobStore& writer();                    // Makes the blobs.
///     IBlobStore& reader();                    // Another process's store, or the same one.
///     void destroy_stores();                   // Ends both; called at most once.
///     Status keep(const BlobHandle&);          // The job accepts the blob,
///     void release(const BlobHandle&);         // and lets go of it.
///     Place place() const;                     // One that the host has.
///     static constexpr std::uint64_t kBudgetBytes;  // Of the writer; at least 1 MiB. Of memory,
///                                                   // or of a disk when everything is spilled.
///   };
///   INSTANTIATE_TYPED_TEST_SUITE_P(Mine, BlobStoreConformance, Host);
template <class Host>
class BlobStoreConformance : public ::testing::Test {
 protected:
  // A blob whose bytes depend on `seed` and on their position.
  Blob seal_pattern(std::uint64_t size_bytes, unsigned seed) {
    Result<BlobWriter> writer = host_.writer().create(size_bytes, host_.place());
    EXPECT_TRUE(writer.has_value()) << writer.error().to_string();
    fill_pattern(writer->bytes(), seed);
    Result<Blob> blob = writer->seal();
    EXPECT_TRUE(blob.has_value()) << blob.error().to_string();
    return *std::move(blob);
  }

  static std::byte pattern_at(std::size_t index, unsigned seed) {
    return static_cast<std::byte>((index * 31 + (index >> 8) + seed) & 0xff);
  }

  static void fill_pattern(std::span<std::byte> bytes, unsigned seed) {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = pattern_at(i, seed);
    }
  }

  static bool has_pattern(std::span<const std::byte> bytes, unsigned seed) {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (bytes[i] != pattern_at(i, seed)) {
        return false;
      }
    }
    return true;
  }

  // Wherever they are.
  std::uint64_t used_bytes() {
    const BlobStoreUsage usage = host_.writer().usage();
    return usage.memory_bytes + usage.spilled_bytes;
  }

  ErrorCode open_code(const BlobHandle& handle) {
    const Result<Blob> opened = host_.reader().open(handle);
    return opened ? ErrorCode::kOk : opened.error().code();
  }

  Host host_;
};
TYPED_TEST_SUITE_P(BlobStoreConformance);

TYPED_TEST_P(BlobStoreConformance, GivesEveryReaderTheBytesThatWereSealed) {
  for (const std::uint64_t size_bytes :
       std::initializer_list<std::uint64_t>{1, 63, 64, 65, 4031, 4032, 4033, 4096, 100000}) {
    SCOPED_TRACE(testing::Message() << size_bytes << " bytes");
    const auto seed = static_cast<unsigned>(size_bytes);
    const Blob sealed = this->seal_pattern(size_bytes, seed);
    EXPECT_EQ(sealed.handle().length_bytes, size_bytes);
    EXPECT_EQ(sealed.home(), this->host_.place());
    ASSERT_EQ(sealed.bytes().size(), size_bytes);
    EXPECT_TRUE(this->has_pattern(sealed.bytes(), seed));

    const Result<Blob> opened = this->host_.reader().open(sealed.handle());
    ASSERT_TRUE(opened.has_value()) << opened.error().to_string();
    EXPECT_EQ(opened->handle(), sealed.handle());
    EXPECT_EQ(opened->home(), sealed.home());
    EXPECT_TRUE(std::ranges::equal(opened->bytes(), sealed.bytes()));
  }
}

TYPED_TEST_P(BlobStoreConformance, StartsAsZerosOnACacheLine) {
  const auto is_zero = [](std::byte byte) { return byte == std::byte{0}; };
  for (const std::uint64_t size_bytes : std::initializer_list<std::uint64_t>{1, 100, 70000}) {
    Result<BlobWriter> writer = this->host_.writer().create(size_bytes, this->host_.place());
    ASSERT_TRUE(writer.has_value()) << writer.error().to_string();
    EXPECT_EQ(writer->bytes().size(), size_bytes);
    EXPECT_TRUE(std::ranges::all_of(writer->bytes(), is_zero));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(writer->bytes().data()) % 64, 0u);
    const Result<Blob> sealed = writer->seal();
    ASSERT_TRUE(sealed.has_value());
    EXPECT_TRUE(writer->bytes().empty());
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(sealed->bytes().data()) % 64, 0u);
  }
}

TYPED_TEST_P(BlobStoreConformance, HoldsABlobOfNoBytes) {
  const Blob sealed = this->seal_pattern(0, 0);
  EXPECT_TRUE(sealed.bytes().empty());
  const Result<Blob> opened = this->host_.reader().open(sealed.handle());
  ASSERT_TRUE(opened.has_value()) << opened.error().to_string();
  EXPECT_TRUE(opened->bytes().empty());
  EXPECT_EQ(opened->handle(), sealed.handle());
}

TYPED_TEST_P(BlobStoreConformance, GivesEveryBlobAHandleOfItsOwn) {
  const Blob first = this->seal_pattern(10, 1);
  const Blob second = this->seal_pattern(10, 2);
  EXPECT_NE(first.handle(), second.handle());
  EXPECT_GE(first.handle().generation, 1u);
  EXPECT_TRUE(this->has_pattern(this->host_.reader().open(first.handle())->bytes(), 1));
  EXPECT_TRUE(this->has_pattern(this->host_.reader().open(second.handle())->bytes(), 2));
}

TYPED_TEST_P(BlobStoreConformance, ForgetsAWriterThatIsDroppedUnsealed) {
  const Blob before = this->seal_pattern(10, 1);
  const std::uint64_t used_bytes = this->used_bytes();
  const std::uint64_t blob_count = this->host_.writer().usage().blob_count;
  {
    Result<BlobWriter> writer = this->host_.writer().create(1000, this->host_.place());
    ASSERT_TRUE(writer.has_value());
    EXPECT_EQ(this->used_bytes(), used_bytes + 1000);
    EXPECT_EQ(this->host_.writer().usage().blob_count, blob_count + 1);
  }
  EXPECT_EQ(this->used_bytes(), used_bytes);
  EXPECT_EQ(this->host_.writer().usage().blob_count, blob_count);

  // Whatever number the dropped one would have had, no handle near the first finds its bytes.
  for (std::uint32_t distance = 1; distance < 4; ++distance) {
    BlobHandle handle = before.handle();
    handle.segment += distance;
    handle.length_bytes = 1000;
    EXPECT_EQ(this->open_code(handle), ErrorCode::kNotFound);
  }
}

TYPED_TEST_P(BlobStoreConformance, RefusesAHandleWithAnyFieldChanged) {
  const Blob sealed = this->seal_pattern(100, 1);
  const BlobHandle handle = sealed.handle();
  struct Change {
    std::string_view field;
    std::function<void(BlobHandle&, std::uint32_t)> apply;
    ErrorCode code;
  };
  const std::array<Change, 7> changes = {{
      {"job", [](BlobHandle& h, std::uint32_t bits) { h.job ^= bits; },
       ErrorCode::kFailedPrecondition},
      {"generation", [](BlobHandle& h, std::uint32_t bits) { h.generation ^= bits; },
       ErrorCode::kFailedPrecondition},
      {"length_bytes", [](BlobHandle& h, std::uint32_t bits) { h.length_bytes ^= bits; },
       ErrorCode::kInvalidArgument},
      {"epoch", [](BlobHandle& h, std::uint32_t bits) { h.epoch ^= bits; },
       ErrorCode::kFailedPrecondition},
      {"host", [](BlobHandle& h, std::uint32_t bits) { h.host ^= bits; },
       ErrorCode::kFailedPrecondition},
      {"segment", [](BlobHandle& h, std::uint32_t bits) { h.segment ^= bits; },
       ErrorCode::kNotFound},
      {"index", [](BlobHandle& h, std::uint32_t bits) { h.index ^= bits; }, ErrorCode::kNotFound},
  }};
  for (const Change& change : changes) {
    for (const std::uint32_t bits : {0x1u, 0x100u, 0x80000000u, 0xffffffffu}) {
      SCOPED_TRACE(testing::Message() << change.field << " xor " << bits);
      BlobHandle changed = handle;
      change.apply(changed, bits);
      EXPECT_EQ(this->open_code(changed), change.code);
      const Result<Blob> own = this->host_.writer().open(changed);
      ASSERT_FALSE(own.has_value());
      EXPECT_EQ(own.error().code(), change.code);
    }
  }
  EXPECT_EQ(this->open_code(BlobHandle()), ErrorCode::kFailedPrecondition);
  EXPECT_EQ(this->open_code(handle), ErrorCode::kOk);
}

// The other blobs have other lengths: no single bit makes one of their handles.
TYPED_TEST_P(BlobStoreConformance, RefusesAHandleWithAnyBitChanged) {
  std::vector<Blob> others;
  for (unsigned i = 0; i < 40; ++i) {
    others.push_back(this->seal_pattern(1000 + i, i));
  }
  const Blob sealed = this->seal_pattern(100, 1);
  for (std::size_t bit = 0; bit < 8 * sizeof(BlobHandle); ++bit) {
    SCOPED_TRACE(testing::Message() << "bit " << bit);
    std::array<unsigned char, sizeof(BlobHandle)> image = {};
    BlobHandle changed = sealed.handle();
    std::memcpy(image.data(), &changed, sizeof(changed));
    image[bit / 8] = static_cast<unsigned char>(image[bit / 8] ^ 1u << bit % 8);
    std::memcpy(&changed, image.data(), sizeof(changed));
    EXPECT_NE(this->open_code(changed), ErrorCode::kOk);
    EXPECT_FALSE(this->host_.writer().open(changed).has_value());
    EXPECT_FALSE(this->host_.keep(changed).ok());
    this->host_.release(changed);
  }
  EXPECT_EQ(this->open_code(sealed.handle()), ErrorCode::kOk);
  EXPECT_TRUE(this->has_pattern(sealed.bytes(), 1));
}

// Memory is used again, whatever the store does with it; a handle never is.
TYPED_TEST_P(BlobStoreConformance, NeverFindsOtherBytesByAStaleHandle) {
  std::vector<BlobHandle> stale;
  for (unsigned round = 0; round < 50; ++round) {
    const Blob blob = this->seal_pattern(5000, round);
    ASSERT_TRUE(this->host_.keep(blob.handle()).ok());
    ASSERT_EQ(this->open_code(blob.handle()), ErrorCode::kOk);
    for (const BlobHandle& handle : stale) {
      ASSERT_NE(handle, blob.handle());
      const ErrorCode code = this->open_code(handle);
      EXPECT_TRUE(code == ErrorCode::kNotFound || code == ErrorCode::kFailedPrecondition)
          << error_info(code).name;
      EXPECT_FALSE(this->host_.keep(handle).ok());
      this->host_.release(handle);
    }
    EXPECT_TRUE(this->has_pattern(blob.bytes(), round));
    this->host_.release(blob.handle());
    stale.push_back(blob.handle());
  }
}

TYPED_TEST_P(BlobStoreConformance, RefusesAPlaceThatTheHostDoesNotHave) {
  Place elsewhere = this->host_.place();
  ++elsewhere.host;
  const Result<BlobWriter> writer = this->host_.writer().create(10, elsewhere);
  ASSERT_FALSE(writer.has_value());
  EXPECT_EQ(writer.error().code(), ErrorCode::kInvalidArgument);
}

TYPED_TEST_P(BlobStoreConformance, RefusesMoreThanItsBudgetWithTheNumbers) {
  constexpr std::uint64_t kBudget = TypeParam::kBudgetBytes;
  IBlobStore& store = this->host_.writer();
  Result<BlobWriter> most = store.create(kBudget - 1000, this->host_.place());
  ASSERT_TRUE(most.has_value()) << most.error().to_string();

  const Result<BlobWriter> refused = store.create(1001, this->host_.place());
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
  for (const std::uint64_t number : {std::uint64_t{1001}, kBudget - 1000, kBudget}) {
    EXPECT_NE(refused.error().message().find(std::to_string(number)), std::string_view::npos)
        << refused.error().to_string();
  }
  for (const std::uint64_t huge : {kBudget + 1, ~std::uint64_t{0}, ~std::uint64_t{0} >> 1}) {
    const Result<BlobWriter> writer = store.create(huge, this->host_.place());
    ASSERT_FALSE(writer.has_value());
    EXPECT_EQ(writer.error().code(), ErrorCode::kResourceExhausted);
  }

  EXPECT_TRUE(store.create(1000, this->host_.place()).has_value());
  { const Result<Blob> sealed = most->seal(); }
  EXPECT_TRUE(store.create(kBudget, this->host_.place()).has_value());
  EXPECT_EQ(this->used_bytes(), 0u);
}

TYPED_TEST_P(BlobStoreConformance, FindsAKeptBlobAfterItsLastReferenceIsGone) {
  BlobHandle handle;
  {
    const Blob sealed = this->seal_pattern(5000, 9);
    handle = sealed.handle();
    ASSERT_TRUE(this->host_.keep(handle).ok());
    ASSERT_TRUE(this->host_.keep(handle).ok());
  }
  {
    const Result<Blob> opened = this->host_.reader().open(handle);
    ASSERT_TRUE(opened.has_value()) << opened.error().to_string();
    EXPECT_TRUE(this->has_pattern(opened->bytes(), 9));
    this->host_.release(handle);
    EXPECT_TRUE(this->has_pattern(opened->bytes(), 9));
  }
  EXPECT_EQ(this->open_code(handle), ErrorCode::kNotFound);
  EXPECT_EQ(this->host_.keep(handle).code(), ErrorCode::kNotFound);
  this->host_.release(handle);
}

TYPED_TEST_P(BlobStoreConformance, LeavesBytesMappedAfterTheStoresAreGone) {
  const Blob sealed = this->seal_pattern(5000, 4);
  Result<Blob> opened = this->host_.reader().open(sealed.handle());
  ASSERT_TRUE(opened.has_value());
  Result<BlobWriter> writer = this->host_.writer().create(100, this->host_.place());
  ASSERT_TRUE(writer.has_value());
  this->host_.destroy_stores();
  EXPECT_TRUE(this->has_pattern(sealed.bytes(), 4));
  EXPECT_TRUE(this->has_pattern(opened->bytes(), 4));
  this->fill_pattern(writer->bytes(), 5);
}

TYPED_TEST_P(BlobStoreConformance, MakesAndOpensBlobsInSeveralThreads) {
  constexpr unsigned kThreadCount = 4;
  constexpr unsigned kBlobCount = 25;
  std::vector<std::vector<Blob>> made(kThreadCount);
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < kThreadCount; ++thread) {
    threads.emplace_back([&, thread] {
      for (unsigned i = 0; i < kBlobCount; ++i) {
        Blob sealed = this->seal_pattern(1000 + i, thread * 64 + i);
        Result<Blob> opened = this->host_.reader().open(sealed.handle());
        EXPECT_TRUE(opened.has_value() && this->has_pattern(opened->bytes(), thread * 64 + i));
        made[thread].push_back(std::move(sealed));
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(this->host_.writer().usage().blob_count, kThreadCount * kBlobCount);
  for (unsigned thread = 0; thread < kThreadCount; ++thread) {
    for (unsigned i = 0; i < kBlobCount; ++i) {
      EXPECT_TRUE(this->has_pattern(made[thread][i].bytes(), thread * 64 + i));
    }
  }
  made.clear();
  EXPECT_EQ(this->host_.writer().usage().blob_count, 0u);
}

TYPED_TEST_P(BlobStoreConformance, OpensAndDropsOneBlobInSeveralThreads) {
  BlobHandle handle;
  {
    const Blob sealed = this->seal_pattern(1000, 3);
    handle = sealed.handle();
    ASSERT_TRUE(this->host_.keep(handle).ok());
  }
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      for (unsigned i = 0; i < 50; ++i) {
        const Result<Blob> opened = this->host_.reader().open(handle);
        EXPECT_TRUE(opened.has_value() && this->has_pattern(opened->bytes(), 3));
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  this->host_.release(handle);
  EXPECT_EQ(this->open_code(handle), ErrorCode::kNotFound);
}

TYPED_TEST_P(BlobStoreConformance, LetsSeveralThreadsFillDisjointParts) {
  constexpr std::size_t kPartBytes = 10000;
  Result<BlobWriter> writer = this->host_.writer().create(4 * kPartBytes, this->host_.place());
  ASSERT_TRUE(writer.has_value());
  const std::span<std::byte> bytes = writer->bytes();
  std::vector<std::thread> threads;
  for (unsigned part = 0; part < 4; ++part) {
    threads.emplace_back(
        [&, part] { this->fill_pattern(bytes.subspan(part * kPartBytes, kPartBytes), part); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  const Result<Blob> sealed = writer->seal();
  ASSERT_TRUE(sealed.has_value());
  for (unsigned part = 0; part < 4; ++part) {
    EXPECT_TRUE(this->has_pattern(sealed->bytes().subspan(part * kPartBytes, kPartBytes), part));
  }
}

// The write goes to the mapping itself: only the pages can refuse it.
TYPED_TEST_P(BlobStoreConformance, FaultsWhenAReaderWrites) {
  const Blob sealed = this->seal_pattern(100, 1);
  const Result<Blob> opened = this->host_.reader().open(sealed.handle());
  ASSERT_TRUE(opened.has_value());
  for (const Blob& blob : {sealed, *opened}) {
    EXPECT_DEATH(std::memset(const_cast<std::byte*>(blob.bytes().data()), 0, 1), "");
  }
  EXPECT_TRUE(this->has_pattern(sealed.bytes(), 1));
}

REGISTER_TYPED_TEST_SUITE_P(BlobStoreConformance, GivesEveryReaderTheBytesThatWereSealed,
                            StartsAsZerosOnACacheLine, HoldsABlobOfNoBytes,
                            GivesEveryBlobAHandleOfItsOwn, ForgetsAWriterThatIsDroppedUnsealed,
                            RefusesAHandleWithAnyFieldChanged, RefusesAHandleWithAnyBitChanged,
                            NeverFindsOtherBytesByAStaleHandle, RefusesAPlaceThatTheHostDoesNotHave,
                            RefusesMoreThanItsBudgetWithTheNumbers,
                            FindsAKeptBlobAfterItsLastReferenceIsGone,
                            LeavesBytesMappedAfterTheStoresAreGone,
                            MakesAndOpensBlobsInSeveralThreads,
                            OpensAndDropsOneBlobInSeveralThreads,
                            LetsSeveralThreadsFillDisjointParts, FaultsWhenAReaderWrites);

}  // namespace pinion
