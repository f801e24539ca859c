#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/shard/protocol/messages.hpp>

// What a coordinator has decided, as values: enough of it to decide on from there. Their form on a
// disk is shard/schema/journal.fbs; journal_format.hpp translates.

namespace pinion::protocol {

/// A coordinator begins to decide. Its epoch is greater than all before.
struct EpochBegun {
  std::uint32_t epoch = 0;

  friend bool operator==(const EpochBegun&, const EpochBegun&) = default;
};

/// A rank has come to the step. Forgets what was decided of an earlier step of that number.
struct StepOpened {
  std::uint64_t step = 0;
  std::uint64_t fingerprint = 0;
  std::string description = {};

  friend bool operator==(const StepOpened&, const StepOpened&) = default;
};

struct StepPlanned {
  PlanReady ready = {};

  friend bool operator==(const StepPlanned&, const StepPlanned&) = default;
};

/// A report counts, for all of its units.
struct UnitsAccepted {
  std::uint64_t step = 0;
  Stage stage = Stage::kMap;
  std::uint32_t rank = 0;  ///< Who reported, in which life, and by which number of its own.
  std::uint32_t incarnation = 0;
  std::uint64_t report = 0;
  BlobHandle output = {};
  std::uint64_t digest = 0;
  std::uint64_t input_bytes = 0;
  std::vector<std::uint64_t> units = {};

  friend bool operator==(const UnitsAccepted&, const UnitsAccepted&) = default;
};

/// A unit of the map stage was given up, and the step goes on without it.
struct UnitSkipped {
  std::uint64_t step = 0;
  std::uint64_t unit = 0;
  Failure failure = {};

  friend bool operator==(const UnitSkipped&, const UnitSkipped&) = default;
};

/// The step has its results, or has failed.
struct StepEnded {
  std::uint64_t step = 0;
  Failure failure = {};                  ///< kOk, or why it failed.
  std::vector<BlobHandle> results = {};  ///< Index = partition; empty when it failed.
  std::uint64_t shard_count = 0;
  std::uint64_t input_bytes = 0;

  friend bool operator==(const StepEnded&, const StepEnded&) = default;
};

/// The host is gone with what it held in this epoch. Units of the step whose outputs lay there are
/// open again.
struct BlobsLost {
  std::uint64_t step = 0;
  std::uint32_t host = 0;
  std::uint32_t epoch = 0;

  friend bool operator==(const BlobsLost&, const BlobsLost&) = default;
};

/// Every rank has ended in good order; nothing is left to do.
struct JobEnded {
  friend bool operator==(const JobEnded&, const JobEnded&) = default;
};

using Record = std::variant<EpochBegun, StepOpened, StepPlanned, UnitsAccepted, StepEnded, JobEnded,
                            UnitSkipped, BlobsLost>;

/// Collects records, without those that later ones have made needless. A coordinator restored from
/// records() decides as one that is restored from all that were added.
///
/// Thread safety: none.
class RecordHistory {
 public:
  /// The step whose work (its plan, and what was accepted of it) is needless from here on, if the
  /// record makes one so.
  std::optional<std::uint64_t> add(Record record);

  /// By step, and within a step in the order in which they were added.
  [[nodiscard]] std::vector<Record> records() const;

 private:
  struct Step {
    StepOpened opened = {};
    std::vector<Record> work = {};
    std::optional<StepEnded> ended = {};
  };

  std::optional<std::uint64_t> open(StepOpened opened);
  std::optional<std::uint64_t> end(StepEnded ended);

  std::optional<EpochBegun> epoch_;
  std::map<std::uint64_t, Step> steps_;
  bool job_ended_ = false;
};

/// The blobs that a coordinator restored from the record needs on its account; none of them null.
[[nodiscard]] std::vector<BlobHandle> blobs_of(const Record& record);

}  // namespace pinion::protocol
