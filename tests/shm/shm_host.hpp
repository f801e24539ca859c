#pragma once

#include <fcntl.h>

#include <cstdint>
#include <filesystem>
#include <iterator>
#include <memory>
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

/// A table behind a lock, as an agent that answers one request at a time, with the exchange that
/// each client uses.
class TableAgent {
 public:
  explicit TableAgent(std::uint32_t segments_per_client)
      : segments_per_client_(segments_per_client), table_(kTestIdentity, segments_per_client) {}

  SegmentExchange exchange(std::uint32_t client) {
    return {.publish =
                [this, client](const BlobHandle& handle, Place home, int descriptor) {
                  MutexLock lock(mutex_);
                  return table_.publish(client, handle, home, duplicate(descriptor));
                },
            .fetch = [this](const BlobHandle& handle) -> Result<std::pair<UniqueFd, Place>> {
              MutexLock lock(mutex_);
              const Result<std::pair<int, Place>> found = table_.find(handle);
              if (!found) {
                return found.error();
              }
              ++fetch_count_;
              return std::pair(duplicate(found->first), found->second);
            }};
  }

  SharedBlobStoreOptions options(std::uint32_t client, std::uint64_t budget_bytes) {
    MutexLock lock(mutex_);
    return {.identity = kTestIdentity,
            .first_segment = table_.first_segment(client),
            .segment_count = segments_per_client_,
            .memory = MemoryLedger({.budget_bytes = budget_bytes})};
  }

  std::unique_ptr<IBlobStore> make_store(std::uint32_t client, std::uint64_t budget_bytes) {
    return make_shared_blob_store(options(client, budget_bytes), exchange(client));
  }

  /// For the one thread that drives the test.
  SegmentTable& table() PINION_TSA(no_thread_safety_analysis) { return table_; }
  int fetch_count() const PINION_TSA(no_thread_safety_analysis) { return fetch_count_; }

 private:
  static UniqueFd duplicate(int descriptor) {
    return UniqueFd(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
  }

  const std::uint32_t segments_per_client_;
  Mutex mutex_;
  SegmentTable table_ PINION_GUARDED_BY(mutex_);
  int fetch_count_ PINION_GUARDED_BY(mutex_) = 0;
};

}  // namespace pinion
