#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/blob_store.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/thread_annotations.hpp>
#include <pinion/shard/partitioned_blob.hpp>
#include <pinion/shard/protocol/messages.hpp>

namespace pinion::engine {

/// Where the partials of a step are opened.
struct PartialsAt {
  IBlobStore& store;
  std::uint32_t host = 0;
  std::uint32_t epoch = 0;
  std::uint64_t expected_bytes_max = 0;  ///< The most that comes before it is needed.
};

/// The accepted partials of a step, whose partitions are to be merged. Those that are here are
/// mapped. Large ones of other hosts are not brought here as a whole: of them only the tables are
/// here, and each partition comes to whoever merges it. Of those that are combined nothing is
/// needed where that was done; the combined partition is opened by whoever merges it.
///
/// Thread safety: all members may be called from any thread; moving is for one.
/// Lifetime: borrows the store.
class OpenedPartials {
 public:
  /// Blocks: until all is here that is to be. Errors: those of the store; kDataLoss for what is no
  /// sealed state.
  [[nodiscard]] static Result<OpenedPartials> open(const PartialsAt& at,
                                                   const protocol::MergeInputs& inputs,
                                                   std::uint32_t partition_count);

  /// Begins to bring a partition here that is merged soon, unless too much is expected already.
  void expect(std::uint32_t index) const;

  /// What was expected is not kept ready any more.
  void forget_expected() const;

  /// A partition of each partial, or of what some are combined into, in their order. Blocks and
  /// fails as open().
  [[nodiscard]] Result<std::vector<Blob>> partition(std::uint32_t index) const;

 private:
  struct Partial {
    BlobHandle handle;
    Blob whole;                              // Without bytes where only the table is here.
    std::vector<PartitionSlot> slots;        // Of one that is not here.
    std::vector<std::size_t> combined = {};  // Where it is a member.
  };
  using Wait = std::function<Result<std::vector<Blob>>()>;
  struct Coming {
    std::uint64_t size_bytes = 0;
    std::vector<Wait> waits = {};
  };
  struct Expected {
    Mutex mutex;
    std::map<std::uint32_t, Coming> coming PINION_GUARDED_BY(mutex);  // By partition.
    std::uint64_t size_bytes PINION_GUARDED_BY(mutex) = 0;
  };

  explicit OpenedPartials(const PartialsAt& at)
      : at_(at), expected_(std::make_unique<Expected>()) {}

  [[nodiscard]] bool is_far(const BlobHandle& handle) const;
  [[nodiscard]] bool comes_in_parts(const BlobHandle& handle, std::uint32_t partition_count) const;
  [[nodiscard]] Coming begin(const std::vector<BlobPart>& parts) const;
  [[nodiscard]] static Result<std::vector<Blob>> wait_for(const Coming& coming);
  [[nodiscard]] Status open_tables(std::uint32_t partition_count);
  [[nodiscard]] std::vector<BlobPart> far_parts(std::uint32_t index) const;
  [[nodiscard]] const protocol::CombinedPartials* find_combined(const Partial& partial,
                                                                std::uint32_t index) const;
  [[nodiscard]] bool is_first(const protocol::CombinedPartials& of, const Partial& partial) const;
  [[nodiscard]] Status take_members(std::uint32_t partition_count);
  [[nodiscard]] bool is_needed(const Partial& partial, std::uint32_t partition_count) const;
  [[nodiscard]] Result<Blob> part_of(const Partial& partial, std::uint32_t index,
                                     std::span<Blob>& far) const;

  PartialsAt at_;
  std::vector<Partial> partials_;
  std::vector<protocol::CombinedPartials> combined_;
  std::unique_ptr<Expected> expected_;
};

}  // namespace pinion::engine
