#include "protocol/record_tables.hpp"

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "journal_generated.h"
#include "protocol/schema_values.hpp"

namespace pinion::protocol {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;
using protocol::write;  // Else those below hide it.

// Values to tables.

auto write(FlatBufferBuilder& to, const EpochBegun& from) {
  return schema::CreateEpochBegun(to, from.epoch);
}

auto write(FlatBufferBuilder& to, const StepOpened& from) {
  return schema::CreateStepOpened(to, from.step, from.fingerprint,
                                  to.CreateString(from.description));
}

auto write(FlatBufferBuilder& to, const StepPlanned& from) {
  return schema::CreateStepPlanned(to, write(to, from.ready));
}

auto write(FlatBufferBuilder& to, const UnitsAccepted& from) {
  const schema::BlobHandle output = write(from.output);
  const auto units = to.CreateVector(from.units);
  return schema::CreateUnitsAccepted(to, from.step, static_cast<std::uint8_t>(from.stage),
                                     from.rank, from.incarnation, from.report, &output, from.digest,
                                     from.input_bytes, units);
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

auto write(FlatBufferBuilder& to, const BlobsLost& from) {
  return schema::CreateBlobsLost(to, from.step, from.host, from.epoch);
}

template <class Table>
Offset<schema::Record> wrap(FlatBufferBuilder& to, Offset<Table> body) {
  return schema::CreateRecord(to, schema::RecordBodyTraits<Table>::enum_value, body.Union());
}

Record read(SchemaReader&, const schema::EpochBegun& from) {
  return EpochBegun{.epoch = from.epoch()};
}

Record read(SchemaReader& to, const schema::StepOpened& from) {
  return StepOpened{.step = from.step(),
                    .fingerprint = from.fingerprint(),
                    .description = to.text(from.description())};
}

Record read(SchemaReader& to, const schema::StepPlanned& from) {
  if (from.ready() == nullptr) {
    to.require(false, "no plan where there must be one");
    return StepPlanned{};
  }
  return StepPlanned{.ready = to.plan(*from.ready())};
}

Record read(SchemaReader& to, const schema::UnitsAccepted& from) {
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

Record read(SchemaReader& to, const schema::StepEnded& from) {
  return StepEnded{.step = from.step(),
                   .failure = to.failure(from.failure()),
                   .results = to.values(from.results()),
                   .shard_count = from.shard_count(),
                   .input_bytes = from.input_bytes()};
}

Record read(SchemaReader& to, const schema::UnitSkipped& from) {
  return UnitSkipped{
      .step = from.step(), .unit = from.unit(), .failure = to.failure(from.failure())};
}

Record read(SchemaReader&, const schema::BlobsLost& from) {
  return BlobsLost{.step = from.step(), .host = from.host(), .epoch = from.epoch()};
}

Record read_body(SchemaReader& to, const schema::Record& from) {
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
      case schema::RecordBody::BlobsLost:
        return read(to, *from.body_as_BlobsLost());
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
  SchemaReader reader;
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
