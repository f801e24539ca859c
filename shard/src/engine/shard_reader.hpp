#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>

#include <pinion/core/status.hpp>
#include <pinion/shard/shard.hpp>

#include "engine/input_file.hpp"
#include "engine/plan.hpp"

namespace pinion {

/// Brings shards into memory, one at a time, always the same memory.
///
/// Thread safety: none; each worker has its own.
class ShardReader {
 public:
  /// Reads shard `id` of the plan.
  /// Blocks: for the file system.
  /// Lifetime: the shard's bytes are valid until the next load() and while the reader lives.
  /// Errors: kOutOfRange for an id that is not in the plan; kDataLoss when a file has become
  /// shorter
  ///   than listed; kResourceExhausted when there is no memory for a shard of this size; those of
  ///   the file system.
  [[nodiscard]] Result<Shard> load(const StepPlan& plan, std::uint64_t id, std::uint32_t attempt,
                                   std::uint64_t job_seed);

  [[nodiscard]] std::uint64_t memory_bytes() const noexcept { return capacity_bytes_; }

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept {
      ::operator delete[](memory, std::align_val_t{64});
    }
  };

  [[nodiscard]] Status reserve(std::uint64_t size_bytes);
  [[nodiscard]] Status read(const InputListing& listing, std::size_t source, std::uint64_t offset,
                            std::span<std::byte> out);

  std::unique_ptr<std::byte[], Free> memory_;
  std::uint64_t capacity_bytes_ = 0;

  // The file that was read last: most often the next shard lies in it too.
  std::optional<InputFile> file_;
  std::string file_path_;
};

/// The seed of a shard: depends on nothing else, and differs between the shards of a job.
[[nodiscard]] std::uint64_t shard_seed(std::uint64_t job_seed, std::uint64_t id) noexcept;

}  // namespace pinion
