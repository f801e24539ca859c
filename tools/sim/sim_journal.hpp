#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include <pinion/shard/protocol/journal_format.hpp>

#include "sim/sim_faults.hpp"
#include "sim/sim_random.hpp"

namespace pinion::sim {

/// A file on a disk: what was written, and how much of it is there after a crash.
struct SimFile {
  std::vector<std::byte> bytes = {};
  std::size_t safe_size = 0;  ///< What a sync has made safe.
};

/// The journal of a coordinator on a simulated disk: the order in which records, snapshots and
/// syncs go to the disk is that of production, their form is protocol/journal_format.hpp itself.
class SimJournal {
 public:
  struct Terms {
    const Faults& faults;
    bool cut_log_early = false;  ///< Mutation: before the snapshot that replaces it is safe.
    protocol::JournalMutations mutations = {};
  };

  SimJournal(Random& random, FaultCounts& counts, const Terms& terms);

  /// The number of the record, from 1; it is safe once safe_count() has reached it.
  std::uint64_t add(protocol::Record record);
  [[nodiscard]] std::uint64_t safe_count() const noexcept { return safe_count_; }
  [[nodiscard]] bool idle() const noexcept { return stage_ == Stage::kIdle; }
  [[nodiscard]] bool has_waiting() const noexcept { return !waiting_.empty(); }

  /// Writes what waits. False when the disk refuses: the journal, and so the job, cannot go on.
  /// Precondition: idle(), and something waits.
  [[nodiscard]] bool begin_commit();
  /// What was begun is on the disk. False as above; else what comes next has begun, or it is idle.
  [[nodiscard]] bool end_stage();

  /// Steps whose work is needless since the last call.
  [[nodiscard]] std::vector<std::uint64_t> take_needless() { return std::exchange(needless_, {}); }

  /// The host dies: of what was not safe a part is there, or rubbish, or nothing.
  void crash();

  struct Recovery {
    std::vector<protocol::Record> records = {};
    bool damaged = false;  ///< What was safe once is not what it was.
    bool torn = false;
    bool older_snapshot = false;
  };
  /// Reads what the disk has, without what later records have made needless.
  Recovery recover();
  /// Goes on from these records of those that recover() has read.
  void restart(const std::vector<protocol::Record>& records);

 private:
  enum class Stage : std::uint8_t { kIdle, kLog, kSnapshot };

  [[nodiscard]] bool write(SimFile& file, const std::vector<std::byte>& bytes);
  void spoil(SimFile& file);

  Random& random_;
  FaultCounts& counts_;
  Terms terms_;
  SimFile log_ = {};
  std::uint64_t log_first_ = 1;  ///< The number of its first record: the name of its file.
  std::array<SimFile, 2> slots_ = {};
  std::size_t newer_slot_ = 0;
  protocol::RecordHistory history_;
  std::vector<protocol::Record> waiting_;
  std::vector<std::uint64_t> needless_;
  Stage stage_ = Stage::kIdle;
  std::uint64_t given_count_ = 0;
  std::uint64_t written_count_ = 0;
  std::uint64_t safe_count_ = 0;
  std::uint64_t next_ = 1;            ///< The number of the record behind those that were read.
  std::uint64_t snapshot_count_ = 0;  ///< Of the records in the newer slot.
  bool damaged_ = false;
};

}  // namespace pinion::sim
