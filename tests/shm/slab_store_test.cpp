#include <pinion/shm/shared_blob_store.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "padded_text.hpp"
#include "shm_host.hpp"
#include "slab_layout.hpp"

// Blobs in slabs as ranks see them: one store makes them, another reads them.

namespace pinion {
namespace {

constexpr std::uint64_t kBudget = std::uint64_t{64} << 20;
constexpr std::uint32_t kWriter = 3;
constexpr std::uint32_t kReader = 4;

class SlabStore : public testing::Test {
 protected:
  ErrorCode open_code(const BlobHandle& handle) {
    const Result<Blob> opened = reader_->open(handle);
    return opened ? ErrorCode::kOk : opened.error().code();
  }

  SegmentState only_slab() {
    const std::vector<SegmentState> states = agent_.table().snapshot();
    EXPECT_EQ(states.size(), 1u);
    return states.empty() ? SegmentState() : states[0];
  }

  TableAgent agent_{1 << 16};
  std::unique_ptr<IBlobStore> writer_ = agent_.make_slab_store(kWriter, kBudget);
  std::unique_ptr<IBlobStore> reader_ = agent_.make_slab_store(kReader, kBudget);
};

TEST_F(SlabStore, AsksTheAgentOncePerSlab) {
  std::vector<Blob> blobs;
  for (int i = 0; i < 200; ++i) {
    blobs.push_back(seal_padded_text(*writer_, "text " + std::to_string(i)));
    const Result<Blob> opened = reader_->open(blobs.back().handle());
    ASSERT_TRUE(opened.has_value()) << opened.error().to_string();
    EXPECT_EQ(padded_text_of(*opened), "text " + std::to_string(i));
  }
  EXPECT_EQ(agent_.slab_request_count(), 1);
  EXPECT_EQ(agent_.fetch_count(), 1);
  EXPECT_EQ(only_slab().blob_count, 200u);
  EXPECT_EQ(only_slab().blob_bytes, 20000u);
}

TEST_F(SlabStore, PutsSmallBlobsOnSharedPagesAndLargeOnesIntoSegments) {
  const Blob first = seal_padded_text(*writer_, "a");
  const Blob second = seal_padded_text(*writer_, "b");
  EXPECT_EQ(first.handle().segment, second.handle().segment);
  EXPECT_EQ(second.bytes().data() - first.bytes().data(), 128);
  EXPECT_NE(first.handle().index, 0u);
  const Blob largest = seal_padded_text(*writer_, "c", kSlabBlobBytesMax);
  EXPECT_EQ(largest.handle().segment, first.handle().segment);
  const Blob larger = seal_padded_text(*writer_, "d", kSlabBlobBytesMax + 1);
  EXPECT_NE(larger.handle().segment, first.handle().segment);
  EXPECT_EQ(larger.handle().index, 0u);
  EXPECT_EQ(padded_text_of(*reader_->open(largest.handle())), "c");
  EXPECT_EQ(padded_text_of(*reader_->open(larger.handle())), "d");
}

// How many pages of a shared mapping have memory; asking takes none.
std::ptrdiff_t taken_page_count(std::span<std::byte> pages) {
  std::vector<unsigned char> taken(pages.size() / kSlabPageBytes);
  EXPECT_EQ(::mincore(pages.data(), pages.size(), taken.data()), 0) << std::strerror(errno);
  return std::ranges::count_if(taken, [](unsigned char page) { return (page & 1) != 0; });
}

// But for the control pages, which the agent has touched before and all processes read.
TEST_F(SlabStore, BindsWhatASlabHoldsBeforeItIsTouched) {
  struct Binding {
    std::span<std::byte> pages;
    Place place;
  };
  constexpr Place kOther = {.kind = PlaceKind::kNuma, .index = 0, .host = kTestPlace.host};
  std::vector<Binding> bindings;
  const auto store =
      agent_.make_slab_store(9, kBudget, 0, [&](std::span<std::byte> pages, Place place) {
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(pages.data()) % kSlabPageBytes, 0u);
        EXPECT_EQ(taken_page_count(pages), 0);
        bindings.push_back({pages, place});
        return Status();
      });
  for (const Place place : {kTestPlace, kOther, kTestPlace}) {
    Result<BlobWriter> writer = store->create(5000, place);
    ASSERT_TRUE(writer.has_value()) << writer.error().to_string();
    const auto bound = std::ranges::find(bindings, place, &Binding::place);
    ASSERT_NE(bound, bindings.end());
    EXPECT_EQ(bound->pages.size(), (std::size_t{1} << 20) - kSlabControlBytes);
    EXPECT_GE(writer->bytes().data(), bound->pages.data());
    EXPECT_LE(&writer->bytes().back(), &bound->pages.back());
    EXPECT_EQ(taken_page_count(bound->pages) * static_cast<std::ptrdiff_t>(kSlabPageBytes),
              static_cast<std::ptrdiff_t>(bound->pages.size()));
    EXPECT_EQ(writer->seal()->home(), place);
  }
  EXPECT_EQ(bindings.size(), 2u);  // The third blob lies in the slab of the first.
}

TEST_F(SlabStore, UsesMemoryAgainAndZeroesIt) {
  std::set<const std::byte*> places;
  std::uint64_t generation = 0;
  for (int i = 0; i < 100; ++i) {
    Result<BlobWriter> writer = writer_->create(4096, kTestPlace);
    ASSERT_TRUE(writer.has_value());
    for (const std::byte byte : writer->bytes()) {
      ASSERT_EQ(byte, std::byte{0});
    }
    std::memset(writer->bytes().data(), 0xee, 4096);
    const Result<Blob> blob = writer->seal();
    places.insert(blob->bytes().data());
    EXPECT_GT(blob->handle().generation, generation);
    generation = blob->handle().generation;
  }
  EXPECT_EQ(places.size(), 1u);
}

TEST_F(SlabStore, AnswersAStaleGenerationWithAFailedPrecondition) {
  const BlobHandle old = seal_padded_text(*writer_, "old").handle();
  EXPECT_EQ(open_code(old), ErrorCode::kNotFound);
  const Blob renewed = seal_padded_text(*writer_, "new");
  ASSERT_EQ(renewed.handle().index, old.index);
  EXPECT_EQ(renewed.handle().generation, old.generation + 1);
  EXPECT_EQ(open_code(old), ErrorCode::kFailedPrecondition);
  EXPECT_EQ(writer_->open(old).error().code(), ErrorCode::kFailedPrecondition);
  EXPECT_EQ(agent_.table().keep(old).code(), ErrorCode::kFailedPrecondition);
  agent_.table().release(old);
  EXPECT_EQ(open_code(renewed.handle()), ErrorCode::kOk);
  BlobHandle later = renewed.handle();
  later.generation = kGenerationMax + 1;
  EXPECT_EQ(open_code(later), ErrorCode::kFailedPrecondition);
}

TEST_F(SlabStore, LeavesABlobAloneThatAnotherProcessReads) {
  std::optional<Blob> sealed = seal_padded_text(*writer_, "read on");
  const Result<Blob> opened = reader_->open(sealed->handle());
  ASSERT_TRUE(opened.has_value());
  const std::uint32_t index = sealed->handle().index;
  sealed.reset();
  EXPECT_EQ(open_code(opened->handle()), ErrorCode::kOk);
  for (int i = 0; i < 2000; ++i) {
    EXPECT_NE(seal_padded_text(*writer_, "other").handle().index, index);
  }
  EXPECT_EQ(padded_text_of(*opened), "read on");
}

// Once its reader is done, memory that the writer dropped earlier is found when it is needed.
TEST_F(SlabStore, FindsWhatOthersHaveDropped) {
  for (int round = 0; round < 20; ++round) {
    std::vector<Blob> opened;
    for (int i = 0; i < 3; ++i) {
      const Blob blob = seal_padded_text(*writer_, "text", kSlabBlobBytesMax);
      opened.push_back(*reader_->open(blob.handle()));
    }
    EXPECT_EQ(only_slab().reference_count, 3u);
  }
  EXPECT_EQ(agent_.slab_request_count(), 1);
}

TEST_F(SlabStore, GrowsAndGivesBackWhatIsEmpty) {
  {
    std::vector<Blob> blobs;
    for (int i = 0; i < 200; ++i) {
      blobs.push_back(seal_padded_text(*writer_, "text", kSlabBlobBytesMax));
    }
    EXPECT_GT(agent_.table().snapshot().size(), 10u);
    for (const Blob& blob : blobs) {
      EXPECT_EQ(padded_text_of(*reader_->open(blob.handle())), "text");
    }
  }
  // One slab of 1 MiB or 4 MiB is kept; what does not fit into it makes the writer look around.
  std::vector<Blob> blobs;
  for (int i = 0; i < 16 * 12 + 4; ++i) {
    blobs.push_back(seal_padded_text(*writer_, "text", kSlabBlobBytesMax));
  }
  blobs.clear();
  const std::vector<Blob> few = {seal_padded_text(*writer_, "a", kSlabBlobBytesMax)};
  EXPECT_EQ(agent_.table().usage().blob_count, 0u);
}

TEST_F(SlabStore, MakesASegmentWhereTheAgentGivesNoSlab) {
  TableAgent strict(1 << 16, 1 << 20);
  const auto store = strict.make_slab_store(kWriter, kBudget);
  const auto reader = strict.make_slab_store(kReader, kBudget);
  std::vector<Blob> blobs;
  std::size_t own_segment_count = 0;
  for (int i = 0; i < 20; ++i) {
    blobs.push_back(seal_padded_text(*store, "text", kSlabBlobBytesMax));
    own_segment_count += blobs.back().handle().index == 0 ? 1 : 0;
    EXPECT_EQ(padded_text_of(*reader->open(blobs.back().handle())), "text");
  }
  EXPECT_EQ(own_segment_count, 17u);
  EXPECT_EQ(strict.slab_request_count(), 2);  // The slab, and the one that was refused.
}

TEST_F(SlabStore, NeedsNoAgentAfterwards) {
  const Blob sealed = seal_padded_text(*writer_, "text");
  const Blob opened = *reader_->open(sealed.handle());
  const Blob again = *writer_->open(sealed.handle());
  EXPECT_EQ(again.bytes().data(), sealed.bytes().data());
  EXPECT_EQ(writer_->usage().blob_count, 1u);
  writer_.reset();
  reader_.reset();
  EXPECT_EQ(padded_text_of(opened), "text");
}

TEST_F(SlabStore, HoldsNoDescriptor) {
  const std::ptrdiff_t before = open_descriptor_count();
  std::vector<Blob> blobs;
  for (int i = 0; i < 100; ++i) {
    blobs.push_back(seal_padded_text(*writer_, "text"));
    blobs.push_back(*reader_->open(blobs.back().handle()));
  }
  EXPECT_EQ(open_descriptor_count(), before + 1);  // The agent's, for the slab.
  agent_.table().client_gone(kWriter);
  EXPECT_EQ(open_descriptor_count(), before - 1);  // Nor has it the row of who is gone.
  EXPECT_EQ(padded_text_of(blobs.back()), "text");
}

TEST_F(SlabStore, CanBeWrittenByNobodyElse) {
  const Blob sealed = seal_padded_text(*writer_, "text");
  const Blob opened = *reader_->open(sealed.handle());
  const Result<SlabView> view = agent_.table().find_slab(kReader, sealed.handle());
  ASSERT_TRUE(view.has_value());
  const Result<int> row = agent_.table().find_row(kReader);
  ASSERT_TRUE(row.has_value());
  for (const int descriptor : {view->descriptor, *row}) {
    EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), MAP_FAILED);
    EXPECT_EQ(errno, EPERM);
    EXPECT_EQ(::pwrite(descriptor, "x", 1, 0), -1);
    EXPECT_EQ(errno, EPERM);
    EXPECT_EQ(::ftruncate(descriptor, 4096), -1);
    EXPECT_EQ(::fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
    const std::string path = "/proc/self/fd/" + std::to_string(descriptor);
    const UniqueFd again(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, again.get(), 0),
              MAP_FAILED);
    EXPECT_EQ(::fcntl(descriptor, F_ADD_SEALS, 0), -1);
  }
  const auto page = reinterpret_cast<std::uintptr_t>(opened.bytes().data()) & ~std::uintptr_t{4095};
  EXPECT_EQ(::mprotect(reinterpret_cast<void*>(page), 4096, PROT_READ | PROT_WRITE), -1);
  EXPECT_EQ(errno, EACCES);
}

TEST_F(SlabStore, MakesAndReadsInSeveralThreads) {
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([this, thread] {
      std::vector<Blob> held;
      for (int i = 0; i < 2000; ++i) {
        const std::string text = std::to_string(thread) + "." + std::to_string(i);
        const std::uint64_t size = 64 + static_cast<std::uint64_t>(i * 37 % 20000);
        Blob blob = seal_padded_text(*writer_, text, size);
        const Result<Blob> opened = reader_->open(blob.handle());
        ASSERT_TRUE(opened.has_value()) << opened.error().to_string();
        ASSERT_EQ(padded_text_of(*opened), text);
        held.push_back(i % 2 == 0 ? std::move(blob) : *opened);
        if (held.size() > 30) {
          held.erase(held.begin(), held.begin() + 20);
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(writer_->usage().blob_count, 0u);
  for (const SegmentState& state : agent_.table().snapshot()) {
    EXPECT_EQ(state.reference_count, 0u);
  }
}

// Who looks at a blob that he then refuses may be the last to let go of it.
TEST_F(SlabStore, RefusesHandlesWhileTheirBlobsEnd) {
  const BlobHandle first = seal_padded_text(*writer_, "first").handle();
  std::atomic<bool> over = false;
  std::thread asking([&] {
    BlobHandle longer = first;
    ++longer.length_bytes;
    while (!over.load()) {
      for (std::uint64_t ahead = 0; ahead < 3; ++ahead) {
        EXPECT_FALSE(writer_->open(longer).has_value());
        ++longer.generation;
      }
      longer.generation -= 2;
    }
  });
  for (int i = 0; i < 20000; ++i) {
    EXPECT_EQ(padded_text_of(seal_padded_text(*writer_, "next")), "next");
  }
  over = true;
  asking.join();
  EXPECT_EQ(writer_->usage().blob_count, 0u);
}

// A slab that says what it is not is refused before anything in it is believed.
TEST_F(SlabStore, RefusesASlabOfAnotherSegmentAndOneThatCanBeWritten) {
  const Blob sealed = seal_padded_text(*writer_, "text");
  SharedBlobStoreOptions options = agent_.options(9, 0);
  options.row_descriptor = *agent_.table().admit(9);
  SegmentExchange exchange = agent_.exchange(9);
  exchange.slabs = agent_.slab_exchange(9);
  SlabGrant answer;
  exchange.slabs.fetch = [&](const BlobHandle&) -> Result<SlabGrant> {
    return SlabGrant{UniqueFd(::fcntl(answer.descriptor.get(), F_DUPFD_CLOEXEC, 0)), answer.home,
                     answer.slot};
  };
  const auto misled = make_shared_blob_store(options, exchange);
  const auto code_of = [&](const BlobHandle& handle) {
    const Result<Blob> opened = misled->open(handle);
    return opened ? ErrorCode::kOk : opened.error().code();
  };
  BlobHandle other = sealed.handle();
  ++other.segment;
  answer = *agent_.slab_exchange(9).fetch(sealed.handle());
  EXPECT_EQ(code_of(other), ErrorCode::kDataLoss);
  ++answer.slot;
  EXPECT_EQ(code_of(sealed.handle()), ErrorCode::kDataLoss);
  answer.slot = kSlabSlotCount;
  EXPECT_EQ(code_of(sealed.handle()), ErrorCode::kDataLoss);
  answer.descriptor = UniqueFd(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(answer.descriptor.get(), 1 << 20), 0);
  EXPECT_EQ(code_of(sealed.handle()), ErrorCode::kFailedPrecondition);
  answer.descriptor = UniqueFd(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(code_of(sealed.handle()), ErrorCode::kDataLoss);
}

}  // namespace
}  // namespace pinion
