#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <pinion/shard/protocol/messages.hpp>

#include "job_generated.h"
#include "protocol/shard_traits.hpp"

// What messages (wire.cpp) and the records of a journal (record_tables.cpp) are both made of.

namespace pinion::protocol {

inline std::uint8_t number_of(Stage stage) {
  return static_cast<std::uint8_t>(stage);
}

inline schema::BlobHandle write(const BlobHandle& blob) {
  return {blob.job,  blob.generation, blob.length_bytes, blob.epoch,
          blob.host, blob.segment,    blob.index};
}

inline schema::Lease write(const Lease& lease) {
  return {lease.unit, schema::Fence(lease.fence.counter, lease.fence.epoch), lease.attempt};
}

inline schema::ProcessId write(const ProcessId& process) {
  return {process.high, process.low};
}

inline schema::Place write(const Place& place) {
  return {place.host, place.index, static_cast<std::uint8_t>(place.kind)};
}

inline schema::PlaceWorkers write(const PlaceWorkers& workers) {
  return {write(workers.place), workers.worker_count};
}

inline schema::ShardEntry write(const ShardEntry& shard) {
  return {shard.weight, shard.place.host, shard.place.index,
          static_cast<std::uint8_t>(shard.place.kind)};
}

template <class Value>
auto write(flatbuffers::FlatBufferBuilder& to, const std::vector<Value>& values) {
  std::vector<decltype(write(std::declval<Value>()))> written;
  written.reserve(values.size());
  for (const Value& value : values) {
    written.push_back(write(value));
  }
  return to.CreateVectorOfStructs(written);
}

/// Nothing when no shard has traits of its own.
inline flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>> write_traits(
    flatbuffers::FlatBufferBuilder& to, const std::vector<ShardEntry>& shards) {
  const std::vector<std::uint8_t> traits = pack_traits(shards);
  return traits.empty() ? flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>>()
                        : to.CreateVector(traits);
}

inline flatbuffers::Offset<schema::Failure> write(flatbuffers::FlatBufferBuilder& to,
                                                  const Failure& failure) {
  return schema::CreateFailure(to, static_cast<std::uint8_t>(failure.code),
                               to.CreateString(failure.text));
}

inline auto write(flatbuffers::FlatBufferBuilder& to, const PlanReady& from) {
  const schema::BlobHandle plan = write(from.plan);
  return schema::CreatePlanReady(to, from.step, &plan, from.partition_count, write(to, from.shards),
                                 write(to, from.streams), from.ordered_batch_shard_count,
                                 write_traits(to, from.shards), from.shard_deadline.count(),
                                 from.combines);
}

/// Whether there is a partition that both have combined.
inline bool share_a_partition(const CombinedPartials& a, const CombinedPartials& b) {
  const std::size_t count = std::min(a.outputs.size(), b.outputs.size());
  for (std::size_t i = 0; i < count; ++i) {
    if (a.outputs[i] != BlobHandle{} && b.outputs[i] != BlobHandle{}) {
      return true;
    }
  }
  return false;
}

/// Takes values out of tables. The verifier has proved that everything lies inside the bytes; what
/// is left to check is whether it is there and whether it means something. The first thing that
/// does not is kept.
class SchemaReader {
 public:
  [[nodiscard]] bool ok() const noexcept { return problem_ == nullptr; }
  [[nodiscard]] const char* problem() const noexcept { return problem_; }

  Stage stage(std::uint8_t number) {
    require(number <= number_of(Stage::kCombine), "a stage that does not exist");
    return static_cast<Stage>(number);
  }

  Duration duration(std::int64_t nanoseconds) {
    require(nanoseconds > 0, "a lease duration that is not positive");
    return Duration(nanoseconds);
  }

  std::uint32_t partition_count(std::uint32_t count) {
    require(count <= kPartitionCountMax, "more partitions than a step may have");
    return count;
  }

  std::string text(const flatbuffers::String* from) {
    return from == nullptr ? std::string() : from->str();
  }

  Failure failure(const schema::Failure* from) {
    if (from == nullptr) {
      require(false, "no failure where there must be one");
      return {};
    }
    require(from->code() <= static_cast<std::uint8_t>(ErrorCode::kUnauthenticated),
            "an error code that does not exist");
    return {.code = static_cast<ErrorCode>(from->code()), .text = text(from->text())};
  }

  BlobHandle value(const schema::BlobHandle* from) {
    if (from == nullptr) {
      require(false, "no blob handle where there must be one");
      return {};
    }
    return {.job = from->job(),
            .generation = from->generation(),
            .length_bytes = from->length_bytes(),
            .epoch = from->epoch(),
            .host = from->host(),
            .segment = from->segment(),
            .index = from->index()};
  }

  Lease value(const schema::Lease* from) {
    return {.unit = from->unit(),
            .fence = {.epoch = from->fence().epoch(), .counter = from->fence().counter()},
            .attempt = from->attempt()};
  }

  Place place(std::uint32_t host, std::uint16_t index, std::uint8_t kind) {
    require(kind <= static_cast<std::uint8_t>(PlaceKind::kDevice),
            "a kind of place that does not exist");
    return {.kind = static_cast<PlaceKind>(kind), .index = index, .host = host};
  }

  Place value(const schema::Place* from) {
    return place(from->host(), from->index(), from->kind());
  }

  PlaceWorkers value(const schema::PlaceWorkers* from) {
    return {.place = value(&from->place()), .worker_count = from->worker_count()};
  }

  ShardEntry value(const schema::ShardEntry* from) {
    return {.weight = from->weight(),
            .place = place(from->place_host(), from->place_index(), from->place_kind())};
  }

  ProcessId value(const schema::ProcessId* from) {
    if (from == nullptr) {
      require(false, "no process where there must be one");
      return {};
    }
    return {.high = from->high(), .low = from->low()};
  }

  /// Null for none.
  void add_traits(const flatbuffers::Vector<std::uint8_t>* traits,
                  std::vector<ShardEntry>& shards) {
    if (traits == nullptr) {
      return;
    }
    if (const char* problem = unpack_traits({traits->data(), traits->size()}, shards)) {
      require(false, problem);
    }
  }

  std::vector<std::string> texts(
      const flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>* from) {
    std::vector<std::string> read;
    for (flatbuffers::uoffset_t i = 0; from != nullptr && i < from->size(); ++i) {
      read.push_back(text(from->Get(i)));
    }
    return read;
  }

  template <class Struct>
  auto values(const flatbuffers::Vector<const Struct*>* from) {
    std::vector<decltype(value(std::declval<const Struct*>()))> read;
    if (!is_there<Struct>(from)) {
      return read;
    }
    read.reserve(from->size());
    for (const Struct* one : *from) {
      read.push_back(value(one));
    }
    return read;
  }

  template <class Number>
  std::vector<Number> numbers(const flatbuffers::Vector<Number>* from) {
    return is_there<Number>(from) ? std::vector<Number>(from->begin(), from->end())
                                  : std::vector<Number>();
  }

  /// Of `place_count` places.
  std::vector<std::uint32_t> worker_counts(const flatbuffers::Vector<std::uint32_t>* from,
                                           std::size_t place_count) {
    std::vector<std::uint32_t> read = numbers(from);
    require(read.empty() || read.size() == place_count,
            "counts of workers that do not go with the places");
    for (const std::uint32_t count : read) {
      require(count > 0 && count <= kPlaceWorkerCountMax, "a place with no workers, or too many");
    }
    return read;
  }

  /// Planners reckon with the sum of all.
  std::vector<PlaceWorkers> workers(const flatbuffers::Vector<const schema::PlaceWorkers*>* from) {
    std::vector<PlaceWorkers> read = values(from);
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < read.size(); ++i) {
      require(i == 0 || before_by_host(read[i - 1].place, read[i].place),
              "workers of places that are not in their order, or there twice");
      require(read[i].worker_count > 0, "a place without a worker");
      sum += read[i].worker_count;
    }
    require(sum <= std::numeric_limits<std::uint32_t>::max(), "more workers than a job may have");
    return read;
  }

  /// Each member must be one of `partial_count`, and no partition of it may have two outputs. Ends
  /// at what is wrong, as a few bytes can name much again and again.
  std::vector<CombinedPartials> combined(
      const flatbuffers::Vector<flatbuffers::Offset<schema::CombinedPartials>>* from,
      std::size_t partial_count) {
    // Of pairs of hosts, and pairs of these: more than there can be hosts for.
    constexpr std::size_t kDepthMax = 32;
    std::vector<CombinedPartials> read;
    std::vector<std::vector<std::uint32_t>> around(from == nullptr ? 0 : partial_count);
    std::set<std::pair<std::uint32_t, std::uint32_t>> compared;
    std::size_t output_count = 0;
    for (flatbuffers::uoffset_t i = 0; from != nullptr && i < from->size(); ++i) {
      const schema::CombinedPartials& one = *from->Get(i);
      output_count += one.outputs() == nullptr ? 0 : one.outputs()->size();
      require(output_count <= MergeInputs::kOutputCountMax,
              "more combined partials than there are");
      if (problem_ != nullptr) {
        return read;
      }
      read.push_back({.members = numbers(one.members()), .outputs = values(one.outputs())});
      require(!read.back().members.empty(), "combined partials without a member");
      for (const std::uint32_t member : read.back().members) {
        bool good = member < partial_count && around[member].size() < kDepthMax &&
                    (around[member].empty() || around[member].back() != i);
        for (std::size_t k = 0; good && k < around[member].size(); ++k) {
          const std::uint32_t other = around[member][k];
          good = !compared.insert({other, i}).second || !share_a_partition(read[other], read[i]);
        }
        require(good, "a member of combined partials that does not exist, or is one of others");
        if (!good) {
          return read;
        }
        around[member].push_back(i);
      }
    }
    return read;
  }

  PlanReady plan(const schema::PlanReady& from) {
    PlanReady ready{.step = from.step(),
                    .plan = value(from.plan()),
                    .partition_count = partition_count(from.partition_count()),
                    .shards = values(from.shards()),
                    .streams = values(from.streams()),
                    .ordered_batch_shard_count = from.ordered_batch_shard_count(),
                    .shard_deadline = Duration(from.shard_deadline_ns()),
                    .combines = from.combines()};
    require(ready.shard_deadline >= Duration::zero(), "a deadline of shards that is negative");
    add_traits(from.shard_traits(), ready.shards);
    return ready;
  }

  void require(bool condition, const char* problem) {
    if (!condition && problem_ == nullptr) {
      problem_ = problem;
    }
  }

 private:
  // Whether there is something in the list, at a place where it can be: the verifier checks the
  // alignment of the count only, not of what follows it.
  template <class Element, class Vector>
  bool is_there(const Vector* from) {
    if (from == nullptr || from->size() == 0) {
      return false;
    }
    const bool good = reinterpret_cast<std::uintptr_t>(from->Data()) % alignof(Element) == 0;
    require(good, "a list at a place where it cannot be");
    return good;
  }

  const char* problem_ = nullptr;
};

}  // namespace pinion::protocol
