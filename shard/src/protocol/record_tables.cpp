#include "protocol/record_tables.hpp"

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "journal_generated.h"
#include "protocol/shard_traits.hpp"

namespace pinion::protocol {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;

// Values to tables.

schema::BlobHandle write(const BlobHandle& blob) {
  return {blob.job,  blob.generation, blob.length_bytes, blob.epoch,
          blob.host, blob.segment,    blob.index};
}

schema::ShardEntry write(const ShardEntry& shard) {
  return {shard.weight, shard.place.host, shard.place.index,
          static_cast<std::uint8_t>(shard.place.kind)};
}

template <class Value>
auto write(FlatBufferBuilder& to, const std::vector<Value>& values) {
  std::vector<decltype(write(std::declval<Value>()))> written;
  written.reserve(values.size());
  for (const Value& value : values) {
    written.push_back(write(value));
  }
  return to.CreateVectorOfStructs(written);
}

auto write(FlatBufferBuilder& to, const EpochBegun& from) {
  return schema::CreateEpochBegun(to, from.epoch);
}

auto write(FlatBufferBuilder& to, const StepOpened& from) {
  return schema::CreateStepOpened(to, from.step, from.fingerprint,
                                  to.CreateString(from.description));
}

auto write(FlatBufferBuilder& to, const StepPlanned& from) {
  const PlanReady& ready = from.ready;
  const schema::BlobHandle plan = write(ready.plan);
  const std::vector<std::uint8_t> traits = pack_traits(ready.shards);
  return schema::CreateStepPlanned(
      to,
      schema::CreatePlanReady(
          to, ready.step, &plan, ready.partition_count, write(to, ready.shards),
          write(to, ready.streams), ready.ordered_batch_shard_count,
          traits.empty() ? Offset<flatbuffers::Vector<std::uint8_t>>() : to.CreateVector(traits)));
}

auto write(FlatBufferBuilder& to, const UnitsAccepted& from) {
  const schema::BlobHandle output = write(from.output);
  const auto units = to.CreateVector(from.units);
  return schema::CreateUnitsAccepted(to, from.step, static_cast<std::uint8_t>(from.stage),
                                     from.rank, from.incarnation, from.report, &output, from.digest,
                                     from.input_bytes, units);
}

auto write(FlatBufferBuilder& to, const Failure& from) {
  return schema::CreateFailure(to, static_cast<std::uint8_t>(from.code),
                               to.CreateString(from.text));
}

auto write(FlatBufferBuilder& to, const UnitSkipped& from) {
  return schema::CreateUnitSkipped(to, from.step, from.unit, write(to, from.failure));
}

auto write(FlatBufferBuilder& to, const StepEnded& from) {
  const auto failure = write(to, from.failure);
  return schema::CreateStepEnded(to, from.step, failure, write(to, from.results), from.shard_count,
                                 from.input_bytes);
}

auto write(FlatBufferBuilder& to, const JobEnded&) {
  return schema::CreateJobEnded(to);
}

template <class Table>
Offset<schema::Record> wrap(FlatBufferBuilder& to, Offset<Table> body) {
  return schema::CreateRecord(to, schema::RecordBodyTraits<Table>::enum_value, body.Union());
}

// Tables to values. The verifier has proved that everything lies inside the bytes; what is left to
// check is whether it is there and whether it means something. The first thing that does not is
// kept.
class Reader {
 public:
  [[nodiscard]] const char* problem() const noexcept { return problem_; }

  void require(bool condition, const char* problem) {
    if (!condition && problem_ == nullptr) {
      problem_ = problem;
    }
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

  ShardEntry value(const schema::ShardEntry* from) {
    require(from->place_kind() <= static_cast<std::uint8_t>(PlaceKind::kDevice),
            "a kind of place that does not exist");
    return {.weight = from->weight(),
            .place = {.kind = static_cast<PlaceKind>(from->place_kind()),
                      .index = from->place_index(),
                      .host = from->place_host()}};
  }

  template <class Struct>
  auto values(const flatbuffers::Vector<const Struct*>* from) {
    std::vector<decltype(value(std::declval<const Struct*>()))> read;
    if (!aligned<Struct>(from)) {
      return read;
    }
    read.reserve(from->size());
    for (const Struct* one : *from) {
      read.push_back(value(one));
    }
    return read;
  }

  std::vector<std::uint64_t> numbers(const flatbuffers::Vector<std::uint64_t>* from) {
    return aligned<std::uint64_t>(from) ? std::vector(from->begin(), from->end())
                                        : std::vector<std::uint64_t>();
  }

 private:
  // The verifier checks the alignment of the count only, not of what follows it.
  template <class Element, class Vector>
  bool aligned(const Vector* from) {
    if (from == nullptr || from->size() == 0) {
      return false;
    }
    const bool good = reinterpret_cast<std::uintptr_t>(from->Data()) % alignof(Element) == 0;
    require(good, "a list at a place where it cannot be");
    return good;
  }

  const char* problem_ = nullptr;
};

Record read(Reader&, const schema::EpochBegun& from) {
  return EpochBegun{.epoch = from.epoch()};
}

Record read(Reader& to, const schema::StepOpened& from) {
  return StepOpened{.step = from.step(),
                    .fingerprint = from.fingerprint(),
                    .description = to.text(from.description())};
}

Record read(Reader& to, const schema::StepPlanned& from) {
  if (from.ready() == nullptr) {
    to.require(false, "no plan where there must be one");
    return StepPlanned{};
  }
  const schema::PlanReady& ready = *from.ready();
  to.require(ready.partition_count() <= kPartitionCountMax, "more partitions than a step may have");
  StepPlanned planned{.ready = {.step = ready.step(),
                                .plan = to.value(ready.plan()),
                                .partition_count = ready.partition_count(),
                                .shards = to.values(ready.shards()),
                                .streams = to.values(ready.streams()),
                                .ordered_batch_shard_count = ready.ordered_batch_shard_count()}};
  if (const auto* traits = ready.shard_traits()) {
    const char* const problem =
        unpack_traits({traits->data(), traits->size()}, planned.ready.shards);
    to.require(problem == nullptr, problem);
  }
  return planned;
}

Record read(Reader& to, const schema::UnitsAccepted& from) {
  to.require(from.stage() <= static_cast<std::uint8_t>(Stage::kMerge),
             "a stage that does not exist");
  return UnitsAccepted{.step = from.step(),
                       .stage = static_cast<Stage>(from.stage()),
                       .rank = from.rank(),
                       .incarnation = from.incarnation(),
                       .report = from.report(),
                       .output = to.value(from.output()),
                       .digest = from.digest(),
                       .input_bytes = from.input_bytes(),
                       .units = to.numbers(from.units())};
}

Record read(Reader& to, const schema::StepEnded& from) {
  return StepEnded{.step = from.step(),
                   .failure = to.failure(from.failure()),
                   .results = to.values(from.results()),
                   .shard_count = from.shard_count(),
                   .input_bytes = from.input_bytes()};
}

Record read(Reader& to, const schema::UnitSkipped& from) {
  return UnitSkipped{
      .step = from.step(), .unit = from.unit(), .failure = to.failure(from.failure())};
}

Record read_body(Reader& to, const schema::Record& from) {
  if (from.body() != nullptr) {
    switch (from.body_type()) {
      case schema::RecordBody::EpochBegun:
        return read(to, *from.body_as_EpochBegun());
      case schema::RecordBody::StepOpened:
        return read(to, *from.body_as_StepOpened());
      case schema::RecordBody::StepPlanned:
        return read(to, *from.body_as_StepPlanned());
      case schema::RecordBody::UnitsAccepted:
        return read(to, *from.body_as_UnitsAccepted());
      case schema::RecordBody::StepEnded:
        return read(to, *from.body_as_StepEnded());
      case schema::RecordBody::JobEnded:
        return JobEnded{};
      case schema::RecordBody::UnitSkipped:
        return read(to, *from.body_as_UnitSkipped());
      case schema::RecordBody::NONE:
        break;
    }
  }
  to.require(false, "a record of no known kind");
  return JobEnded{};
}

/// Precondition: `bytes` start at an address that every scalar of the schema may have.
const char* decode_aligned(std::span<const std::byte> bytes, std::vector<Record>& records) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  constexpr flatbuffers::uoffset_t kDepthMax = 64;
  // A record has at least two tables of four bytes.
  const auto table_count_max = static_cast<flatbuffers::uoffset_t>(bytes.size() / 4 + 1);
  flatbuffers::Verifier verifier(data, bytes.size(), kDepthMax, table_count_max);
  if (!schema::VerifyFrameBuffer(verifier)) {
    return "what are no records";
  }
  const auto* from = schema::GetFrame(data)->records();
  if (from == nullptr) {
    return "no records";
  }
  Reader reader;
  records.reserve(from->size());
  for (const schema::Record* record : *from) {
    records.push_back(read_body(reader, *record));
    if (reader.problem() != nullptr) {
      return reader.problem();
    }
  }
  return nullptr;
}

}  // namespace

void encode_records(std::span<const Record> records, std::vector<std::byte>& bytes) {
  FlatBufferBuilder builder(records.size() * 192);  // Most records take less.
  std::vector<Offset<schema::Record>> written;
  written.reserve(records.size());
  for (const Record& record : records) {
    written.push_back(
        std::visit([&](const auto& body) { return wrap(builder, write(builder, body)); }, record));
  }
  schema::FinishFrameBuffer(builder, schema::CreateFrame(builder, builder.CreateVector(written)));
  const auto* begin = reinterpret_cast<const std::byte*>(builder.GetBufferPointer());
  bytes.insert(bytes.end(), begin, begin + builder.GetSize());
}

const char* decode_records(std::span<const std::byte> bytes, std::vector<Record>& records) {
  if (bytes.size() >= kPayloadBytesMax) {
    return "more than a frame can";
  }
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(std::uint64_t) == 0) {
    return decode_aligned(bytes, records);
  }
  std::vector<std::uint64_t> aligned(bytes.size() / sizeof(std::uint64_t) + 1);
  std::memcpy(aligned.data(), bytes.data(), bytes.size());
  return decode_aligned({reinterpret_cast<const std::byte*>(aligned.data()), bytes.size()},
                        records);
}

}  // namespace pinion::protocol
