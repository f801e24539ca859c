#pragma once

#include <fcntl.h>
#include <sys/resource.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <limits>
#include <memory>
#include <span>
#include <utility>

#include <pinion/core/thread_annotations.hpp>
#include <pinion/shm/segment_table.hpp>
#include <pinion/shm/shared_blob_store.hpp>

namespace pinion {

inline constexpr BlobStoreIdentity kTestIdentity = {.job = 77, .epoch = 3, .host = 2};
inline constexpr Place kTestPlace = {.kind = PlaceKind::kNuma, .index = 1, .host = 2};

inline std::ptrdiff_t open_descriptor_count() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                       std::filesystem::directory_iterator());
}

/// A look at a byte of each page, and how many pages had to be entered for it. Not instrumented:
/// what a sanitizer looks at would be counted too.
struct PageLook {
  long fault_count = 0;
  std::uint64_t sum = 0;
};
[[gnu::no_sanitize_address]] inline PageLook look_at_pages(std::span<const std::byte> bytes) {
  constexpr std::size_t kPageBytes = 4096;
  rusage before = {};
  rusage after = {};
  PageLook look;
  const std::byte* const data = bytes.data();
  const std::size_t size = bytes.size();
  ::getrusage(RUSAGE_THREAD, &before);
  for (std::size_t i = 0; i < size; i += kPageBytes) {
    look.sum += static_cast<std::uint64_t>(data[i]);
  }
  ::getrusage(RUSAGE_THREAD, &after);
  look.fault_count = after.ru_minflt - before.ru_minflt;
  return look;
}

/// A table behind a lock, as an agent that answers one request at a time, with the exchange that
/// each client uses.
class TableAgent {
 public:
  explicit TableAgent(
      std::uint32_t segments_per_client,
      std::uint64_t slab_bytes_per_client_max = std::numeric_limits<std::uint64_t>::max(),
      const BlobStoreIdentity& identity = kTestIdentity)
      : identity_(identity),
        segments_per_client_(segments_per_client),
        table_(identity, segments_per_client, slab_bytes_per_client_max) {}

  SegmentExchange exchange(std::uint32_t client) {
    return {
        .publish =
            [this, client](const BlobHandle& handle, Place home, int descriptor) {
              MutexLock lock(mutex_);
              return table_.publish(client, handle, home, duplicate(descriptor));
            },
        .fetch = [this, client](const BlobHandle& handle) -> Result<std::pair<UniqueFd, Place>> {
          MutexLock lock(mutex_);
          const Result<std::pair<int, Place>> found = table_.fetch(client, handle);
          if (!found) {
            return found.error();
          }
          ++fetch_count_;
          return std::pair(duplicate(found->first), found->second);
        },
        .let_go =
            [this, client](const BlobHandle& handle) {
              MutexLock lock(mutex_);
              table_.let_go(client, handle);
            }};
  }

  SharedBlobStoreOptions options(std::uint32_t client, std::uint64_t budget_bytes) {
    MutexLock lock(mutex_);
    return {.identity = identity_,
            .first_segment = table_.first_segment(client),
            .segment_count = segments_per_client_,
            .memory = MemoryLedger({.budget_bytes = budget_bytes})};
  }

  std::unique_ptr<IBlobStore> make_store(std::uint32_t client, std::uint64_t budget_bytes) {
    return make_shared_blob_store(options(client, budget_bytes), exchange(client));
  }

  SlabExchange slab_exchange(std::uint32_t client) {
    return {.make = [this, client](std::uint32_t segment, Place home,
                                   std::uint64_t size_bytes) -> Result<SlabGrant> {
              MutexLock lock(mutex_);
              ++slab_request_count_;
              return grant_of(table_.make_slab(client, segment, home, size_bytes));
            },
            .fetch = [this, client](const BlobHandle& handle) -> Result<SlabGrant> {
              MutexLock lock(mutex_);
              ++fetch_count_;
              return grant_of(table_.find_slab(client, handle));
            },
            .fetch_row = [this](std::uint32_t other) -> Result<UniqueFd> {
              MutexLock lock(mutex_);
              const Result<int> found = table_.find_row(other);
              if (!found) {
                return found.error();
              }
              return duplicate(*found);
            },
            .give_back =
                [this, client](std::uint32_t segment) {
                  MutexLock lock(mutex_);
                  table_.give_back_slab(client, segment);
                }};
  }

  /// With slabs. Once for each client. `process` is who inspects is told that it is.
  std::unique_ptr<IBlobStore> make_slab_store(std::uint32_t client, std::uint64_t budget_bytes,
                                              std::int64_t process = 0,
                                              BindMemory bind_memory = {}) {
    SharedBlobStoreOptions with_row = options(client, budget_bytes);
    with_row.bind_memory = std::move(bind_memory);
    SegmentExchange with_slabs = exchange(client);
    with_slabs.slabs = slab_exchange(client);
    {
      MutexLock lock(mutex_);
      with_row.row_descriptor = *table_.admit(client, process);
    }
    return make_shared_blob_store(with_row, with_slabs);
  }

  /// What it gives to another host.
  Result<Blob> view(const BlobHandle& handle) {
    MutexLock lock(mutex_);
    return table_.view(handle);
  }

  /// For the one thread that drives the test.
  SegmentTable& table() PINION_TSA(no_thread_safety_analysis) { return table_; }
  int fetch_count() const PINION_TSA(no_thread_safety_analysis) { return fetch_count_; }
  int slab_request_count() const PINION_TSA(no_thread_safety_analysis) {
    return slab_request_count_;
  }

 private:
  static UniqueFd duplicate(int descriptor) {
    return UniqueFd(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
  }

  static Result<SlabGrant> grant_of(const Result<SlabView>& view) {
    if (!view) {
      return view.error();
    }
    return SlabGrant{duplicate(view->descriptor), view->home, view->slot};
  }

  const BlobStoreIdentity identity_;
  const std::uint32_t segments_per_client_;
  Mutex mutex_;
  SegmentTable table_ PINION_GUARDED_BY(mutex_);
  int fetch_count_ PINION_GUARDED_BY(mutex_) = 0;
  int slab_request_count_ PINION_GUARDED_BY(mutex_) = 0;
};

}  // namespace pinion
