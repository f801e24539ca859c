#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <pinion/core/job_context.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/distributed.hpp>
#include <pinion/shard/input.hpp>
#include <pinion/shard/keyed_result.hpp>
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

// Runs prepare_output() on one rank, then `write(shard, file)` for every shard of `spec`. Errors
// keep their codes.
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

/// What write_files() takes: an answer that partitions() makes the input of a step, in memory or
/// Distributed.
template <class Answer>
concept WrittenByPartition = requires(const Answer& answer) {
  { partitions(answer) } -> std::same_as<Input>;
};

namespace detail {

template <class Partition>
concept HasRecords = requires(const Partition& partition) {
  *partition.begin();
  partition.end();
};

// A partition whose records lie in memory one after the other, as in a SortedResult.
template <class Partition>
concept HasBytes = requires(const Partition& partition) {
  { partition.bytes(std::size_t{}) } -> std::same_as<std::span<const std::byte>>;
};

template <class Record>
inline constexpr bool kIsKeyValue = false;
template <class Key, class Value>
inline constexpr bool kIsKeyValue<KeyValue<Key, Value>> = true;

template <class Range>
[[nodiscard]] auto iterator_at(const Range& records, std::uint64_t index) {
  auto at = records.begin();
  if constexpr (requires { at.skip(std::size_t{}); }) {
    at.skip(static_cast<std::size_t>(index));
  } else {
    std::advance(at, static_cast<std::ptrdiff_t>(index));
  }
  return at;
}

}  // namespace detail

/// How write_files() writes records unless told: their bytes as they lie in memory, with nothing
/// between two. A record by key is its key and then its value; a collected text is what was
/// emitted; a sorted line has its line feed.
struct RawRecords {
  template <class Record>
  void operator()(const Record& record, OutputFile& out) const {
    if constexpr (detail::kIsKeyValue<Record>) {
      static_assert(!std::same_as<decltype(record.key), std::string_view>,
                    "where a key of text ends does not show in a raw file; pass a function "
                    "format(record, out) that writes a record");
      (*this)(record.key, out);
      (*this)(record.value, out);
    } else if constexpr (std::same_as<Record, std::string_view>) {
      out.write(record);
    } else {
      static_assert(std::is_trivially_copyable_v<Record>,
                    "such records have no bytes to write; pass a function format(record, out) "
                    "that writes one");
      out.write(std::as_bytes(std::span(&record, 1)));
    }
  }
};

/// Writes each partition of an answer to a file of its own, partition 0 to `directory`/part-00000
/// and so on: with `format(record, out)` for each of its records, or their bytes.
///
///     write_files(job, *counts, "out", [](const auto& record, auto& out) {
///       out.write(record.key);
///       out.write(" " + std::to_string(record.value) + "\n");
///     });
///
/// Each partition is a shard of a step over partitions(): one rank opens it and writes it, and a
/// Distributed answer is not gathered. An empty partition is an empty file. The files of a sorted
/// answer, one after the other, are in order; those of others have an order that means nothing.
///
/// Otherwise like map_to_files(). Errors: beside those the ones of partitions() and
/// read_partition().
template <WrittenByPartition Answer, class Format = RawRecords>
[[nodiscard]] Status write_files(IJobContext& job, const Answer& answer,
                                 const std::string& directory, Format format = {},
                                 CallSite where = CallSite::current()) {
  using Partition = decltype(read_partition(answer, std::declval<const Shard&>()));
  const auto write = [&](const Shard& shard, OutputFile& out) {
    const Partition partition = read_partition(answer, shard);
    if constexpr (std::same_as<Format, RawRecords> && detail::HasBytes<Partition>) {
      out.write(partition.bytes(0));
    } else {
      static_assert(detail::HasRecords<Partition>,
                    "this answer is no range of records; write it in once()");
      using Record = std::remove_cvref_t<decltype(*partition.begin())>;
      static_assert(std::invocable<const Format&, const Record&, OutputFile&>,
                    "the format must be callable as format(record, auto& out); it runs on several "
                    "threads at once, so it must not be mutable");
      for (const Record& record : partition) {
        std::as_const(format)(record, out);
      }
    }
  };
  return detail::write_parts(
      job,
      detail::make_step("write_files to " + directory, partitions(answer), by_partition(), where),
      directory, write);
}

/// Writes records in their order, cut into `file_count` pieces of equal size, one file a piece, by
/// `format(record, out)` each: of an answer in memory, or of any range that is equal on all ranks.
///
///     write_files(job, counts->by_key(), "out", 4, [](const auto& record, auto& out) { ... });
///
/// Otherwise like map_to_files().
template <class Range, class Format>
[[nodiscard]] Status write_files(IJobContext& job, const Range& records,
                                 const std::string& directory, std::uint32_t file_count,
                                 Format format, CallSite where = CallSite::current()) {
  const auto write = [&](const Shard& shard, OutputFile& out) {
    const std::uint64_t size = records.size();
    const std::uint64_t begin = shard.id() * size / file_count;
    const std::uint64_t end = (shard.id() + 1) * size / file_count;
    auto at = detail::iterator_at(records, begin);
    for (std::uint64_t left = end - begin; left > 0; --left, ++at) {
      const auto& record = *at;
      std::as_const(format)(record, out);
    }
  };
  return detail::write_parts(job,
                             detail::make_step("write_files to " + directory, indices(file_count),
                                               by_index_range(1), where),
                             directory, write);
}

}  // namespace pinion
