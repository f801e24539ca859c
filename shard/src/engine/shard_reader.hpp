#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include <pinion/core/device.hpp>
#include <pinion/core/page_scope.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/shard.hpp>

#include "engine/input_file.hpp"
#include "engine/plan.hpp"
#include "engine/shard_text.hpp"

namespace pinion {

struct ShardReaderOptions {
  /// Most bytes of input, inflated, that the worker holds; a shard of more is refused.
  std::uint64_t shard_bytes_max = std::uint64_t{4} << 30;

  /// Of an input of more bytes than this, what was read leaves the page cache at once: under a
  /// memory limit the system would otherwise stop readers to make room. A smaller input stays for
  /// the next step.
  std::uint64_t page_cache_bytes_max = std::numeric_limits<std::uint64_t>::max();

  /// Where the memory for shards comes from.
  PageSource pages = {.use = MemoryUse::kInput};
};

/// Brings shards into memory, one at a time, always the same memory. A shard that lies in one blob
/// is not copied: it is given as it is mapped. A partition is opened for its shard, and let go of
/// with the next one.
///
/// Thread safety: none; each worker has its own.
class ShardReader {
 public:
  explicit ShardReader(const ShardReaderOptions& options = {}) noexcept
      : options_(options), text_(options.shard_bytes_max, options.pages) {}

  /// Reads shard `id` of the plan.
  /// Blocks: for the file system.
  /// Lifetime: the shard's bytes are valid until the next load() and while reader and plan live.
  /// Errors: kOutOfRange for an id that is not in the plan; kDataLoss when a file has become
  ///   shorter than listed, and for a compressed file that is damaged; kResourceExhausted when
  ///   there is no memory for a shard of this size; kInvalidArgument when a compressed file does
  ///   not hold whole records; those of the file system.
  [[nodiscard]] Result<Shard> load(const StepPlan& plan, std::uint64_t id, std::uint32_t attempt,
                                   std::uint64_t job_seed);

  /// Uses from here on the file that the other has open, so that many readers have one.
  void take_file(ShardReader& other) noexcept;

  /// What shards are read into, but for those that are given as they are mapped. Valid until load()
  /// and drop_memory().
  [[nodiscard]] std::span<std::byte> memory() const noexcept { return text_.memory(); }
  [[nodiscard]] std::uint64_t memory_bytes() const noexcept { return memory().size(); }

  /// Keeps what a device was told of that memory, until just before it moves or goes.
  void keep(HostRegistration registration) noexcept { text_.keep(std::move(registration)); }
  [[nodiscard]] bool is_registered() const noexcept { return text_.is_registered(); }

  /// Whether the last load() failed for want of memory that others have; what exceeds
  /// `shard_bytes_max` does not.
  [[nodiscard]] bool lacked_memory() const noexcept { return lacked_memory_; }

  /// Gives the memory back: the bytes of the last shard are gone.
  void drop_memory() noexcept {
    text_.drop();
    partition_ = Blob();
  }

 private:
  [[nodiscard]] Status read(const StepPlan& plan, const ShardRange& range);
  [[nodiscard]] Status read_part(const InputListing& listing, std::size_t index,
                                 const ShardRange& range);
  [[nodiscard]] Status inflate_source(const StepPlan& plan, const InputSource& source);
  [[nodiscard]] Status open(const std::string& path);

  ShardReaderOptions options_;
  ShardText text_;
  bool lacked_memory_ = false;

  // The partition that was given last.
  Blob partition_;

  // The file that was read last: most often the next shard lies in it too.
  std::optional<InputFile> file_;
  std::string file_path_;
};

/// The seed of a shard: depends on nothing else, and differs between the shards of a job.
[[nodiscard]] std::uint64_t shard_seed(std::uint64_t job_seed, std::uint64_t id) noexcept;

}  // namespace pinion
