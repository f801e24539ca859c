#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <pinion/core/job_context.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/input.hpp>
#include <pinion/shard/map_reduce.hpp>
#include <pinion/shard/planner.hpp>
#include <pinion/shard/shard.hpp>
#include <pinion/shard/step.hpp>

// Answers and the output of maps as files: one a partition or shard, named part-00000 and so on.
//
// A file is written without a name, flushed to the disk, and then given its name: whoever sees
// part-00007 sees all of it, and whatever ends a rank, nothing half-written stays. (Where the file
// system has no files without a name, as NFS, it has one that begins with a dot meanwhile.) Work
// may run more than once, so a part may be written more than once; each time it has the same
// content, as long as a body's output depends on its shard alone.

namespace pinion {

/// A file of a job's output while it is written. Large pieces are not copied.
///
/// Thread safety: none for one object.
class OutputFile {
 public:
  /// Opens a file that is to become part `index` of `directory`.
  /// Errors: those of the file system, naming the file.
  [[nodiscard]] static Result<OutputFile> create(const std::string& directory, std::uint64_t index);

  /// Removes what commit() did not give its name.
  ~OutputFile();
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;

  /// Appends. What goes wrong is told by commit(); nothing more is then written.
  /// Blocks: for the file system.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }

  /// Flushes the file to the disk and gives it its name.
  /// Blocks: for the disk.
  /// Precondition: called at most once.
  /// Errors: those of the file system, naming the file; it is then gone, and an earlier file of
  ///   that name is as it was.
  [[nodiscard]] Status commit();

 private:
  // `temporary` is empty for a file without a name.
  OutputFile(int descriptor, std::string path, std::string temporary) noexcept
      : descriptor_(descriptor), path_(std::move(path)), temporary_(std::move(temporary)) {}

  [[nodiscard]] Status give_name();
  void flush();
  void write_out(std::span<const std::byte> bytes);

  int descriptor_;
  std::string path_;
  std::string temporary_;
  std::vector<std::byte> buffer_;
  Status failure_;
};

/// Makes `directory` and those above it, unless it is there and empty.
/// Errors: kAlreadyExists when it holds anything; kFailedPrecondition when it is not a directory;
///   those of the file system.
[[nodiscard]] Status prepare_output(const std::string& directory);

namespace detail {

// Runs prepare_output() on one rank, then `write(index, file)` for [0, count), or for every shard
// of the input. Errors keep their codes.
[[nodiscard]] Status write_parts(IJobContext& job, StepSpec spec, const std::string& directory,
                                 const std::function<void(const Shard&, OutputFile&)>& write);

}  // namespace detail

/// Calls `body(shard, out)` for every shard of `input` and writes what it gives to
/// `out.write(text or bytes)` to one file a shard: `directory`/part-00000 for shard 0 and so on.
/// The directory is made; one that holds something is refused. What a body writes may depend on its
/// shard alone, as a shard may run more than once: its file is then replaced by an equal one.
///
/// When the step fails, files of shards that were done stay, each whole; nothing half-written does.
///
/// A collective operation like map_reduce(). Blocks and fails as run_step() does.
/// Errors: beside these kAlreadyExists for a directory that is not empty, and those of the file
///   system.
template <class Body>
[[nodiscard]] Status map_to_files(IJobContext& job, Input input, Partitioning partitioning,
                                  Body body, const std::string& directory,
                                  CallSite where = CallSite::current()) {
  static_assert(std::invocable<const Body&, const Shard&, OutputFile&>,
                "the body must be callable as body(const pinion::Shard&, auto& out); it runs on "
                "several threads at once, so it must not be mutable");
  return detail::write_parts(job,
                             detail::make_step("map_to_files to " + directory, std::move(input),
                                               std::move(partitioning), where),
                             directory, std::ref(std::as_const(body)));
}

/// What write_files() takes: partitions of bytes, like SortedResult.
template <class R>
concept PartitionedBytes = requires(const R& result, std::size_t partition) {
  { result.partition_count() } -> std::convertible_to<std::size_t>;
  { result.bytes(partition) } -> std::convertible_to<std::span<const std::byte>>;
};

/// Writes each partition of an answer to a file of its own, as it lies in memory:
/// `directory`/part-00000 and so on, which one after the other are the whole answer. Otherwise like
/// map_to_files().
template <PartitionedBytes R>
[[nodiscard]] Status write_files(IJobContext& job, const R& result, const std::string& directory,
                                 CallSite where = CallSite::current()) {
  const auto write = [&result](const Shard& shard, OutputFile& out) {
    out.write(result.bytes(static_cast<std::size_t>(shard.id())));
  };
  return detail::write_parts(
      job,
      detail::make_step("write_files to " + directory, indices(result.partition_count()),
                        by_index_range(1), where),
      directory, write);
}

/// Writes the records of an answer that is a range of them, `format(record, out)` each, in equal
/// pieces, to one file a piece: `write_files(job, counts, "out", 4, [](auto& r, auto& out) {...})`.
/// Otherwise like map_to_files().
template <class R, class Format>
[[nodiscard]] Status write_files(IJobContext& job, const R& result, const std::string& directory,
                                 std::uint32_t file_count, Format format,
                                 CallSite where = CallSite::current()) {
  const auto write = [&](const Shard& shard, OutputFile& out) {
    const std::uint64_t size = result.size();
    const std::uint64_t begin = shard.id() * size / file_count;
    const std::uint64_t end = (shard.id() + 1) * size / file_count;
    std::uint64_t at = 0;
    for (const auto& record : result) {
      if (at >= begin && at < end) {
        format(record, out);
      }
      ++at;
    }
  };
  return detail::write_parts(job,
                             detail::make_step("write_files to " + directory, indices(file_count),
                                               by_index_range(1), where),
                             directory, write);
}

}  // namespace pinion
