#include <pinion/shard/protocol/wire.hpp>

#include <cstring>

#include "job_generated.h"
#include "protocol/schema_values.hpp"

namespace pinion::protocol {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;
using protocol::write;  // Else those below hide it.

// Values to the wire.

auto write(FlatBufferBuilder& to, const EnterStep& from) {
  return schema::CreateEnterStep(to, from.step, from.fingerprint,
                                 to.CreateString(from.description));
}

auto write(FlatBufferBuilder& to, const PlanFailed& from) {
  return schema::CreatePlanFailed(to, from.step, write(to, from.failure));
}

auto write(FlatBufferBuilder& to, const Claim& from) {
  return schema::CreateClaim(to, from.step, from.unit_count);
}

auto write(FlatBufferBuilder& to, const Heartbeat& from) {
  Offset<flatbuffers::Vector<Offset<flatbuffers::String>>> observations;
  if (!from.observations.empty()) {
    observations = to.CreateVectorOfStrings(from.observations);
  }
  return schema::CreateHeartbeat(to, from.step, from.sent_ns, write(to, from.held),
                                 from.unit_count_done, from.input_bytes, observations);
}

auto write(FlatBufferBuilder& to, const Report& from) {
  const schema::BlobHandle output = write(from.output);
  return schema::CreateReport(to, from.step, number_of(from.stage), from.report, &output,
                              from.digest, from.input_bytes, write(to, from.batch));
}

auto write(FlatBufferBuilder& to, const BatchFailed& from) {
  const auto failure = write(to, from.failure);
  return schema::CreateBatchFailed(to, from.step, number_of(from.stage), from.bad_unit, failure,
                                   write(to, from.batch));
}

auto write(FlatBufferBuilder& to, const GiveBack& from) {
  return schema::CreateGiveBack(to, from.step, number_of(from.stage), write(to, from.leases));
}

auto write(FlatBufferBuilder& to, const CancelJob& from) {
  return schema::CreateCancelJob(to, write(to, from.failure));
}

auto write(FlatBufferBuilder& to, const MakePlan& from) {
  return schema::CreateMakePlan(to, from.step, write(to, from.workers));
}

auto write(FlatBufferBuilder& to, const StepStarted& from) {
  const schema::BlobHandle plan = write(from.plan);
  return schema::CreateStepStarted(to, from.step, &plan, from.shard_count, from.partition_count,
                                   from.lease_duration.count(), from.ordered_batch_shard_count);
}

auto write(FlatBufferBuilder& to, const Grant& from) {
  return schema::CreateGrant(to, from.step, number_of(from.stage), from.unit_count_left,
                             from.lease_duration.count(), write(to, from.leases),
                             from.second_attempt);
}

auto write(FlatBufferBuilder& to, const MergeInputs& from) {
  std::vector<Offset<schema::CombinedPartials>> combined;
  for (const CombinedPartials& one : from.combined) {
    const auto members = to.CreateVector(one.members);
    combined.push_back(schema::CreateCombinedPartials(to, members, write(to, one.outputs)));
  }
  Offset<flatbuffers::Vector<Offset<schema::CombinedPartials>>> list;
  if (!combined.empty()) {
    list = to.CreateVector(combined);
  }
  return schema::CreateMergeInputs(to, from.step, write(to, from.partials), list);
}

auto write(FlatBufferBuilder& to, const HeartbeatAck& from) {
  return schema::CreateHeartbeatAck(to, from.step, from.sent_ns, write(to, from.lost));
}

auto write(FlatBufferBuilder& to, const Verdict& from) {
  return schema::CreateVerdict(to, from.step, number_of(from.stage), from.report,
                               write(to, from.failure));
}

auto write(FlatBufferBuilder& to, const StepDone& from) {
  return schema::CreateStepDone(to, from.step, write(to, from.partitions), from.shard_count,
                                from.input_bytes, from.skipped_shard_count);
}

auto write(FlatBufferBuilder& to, const StepFailed& from) {
  return schema::CreateStepFailed(to, from.step, write(to, from.failure),
                                  from.shard ? *from.shard + 1 : 0);
}

auto write(FlatBufferBuilder& to, const JobFailed& from) {
  return schema::CreateJobFailed(to, write(to, from.failure));
}

auto write(FlatBufferBuilder& to, const Register& from) {
  const schema::ProcessId process = write(from.process);
  Offset<flatbuffers::Vector<std::uint32_t>> worker_counts;
  if (!from.worker_counts.empty()) {
    worker_counts = to.CreateVector(from.worker_counts);
  }
  return schema::CreateRegister(to, &process, from.protocol_version, from.topology_digest,
                                from.capacities.cpu_count, from.capacities.gpu_count,
                                from.capacities.memory_bytes, write(to, from.places),
                                worker_counts);
}

auto write(FlatBufferBuilder& to, const Drain& from) {
  return schema::CreateDrain(to, to.CreateString(from.reason));
}

auto write(FlatBufferBuilder& to, const Leave& from) {
  return schema::CreateLeave(to, to.CreateString(from.reason));
}

auto write(FlatBufferBuilder& to, const Registered& from) {
  return schema::CreateRegistered(to, write(to, from.failure), from.lease_duration.count());
}

auto write(FlatBufferBuilder& to, const Drained&) {
  return schema::CreateDrained(to);
}

auto write(FlatBufferBuilder& to, const ShardSkipped& from) {
  return schema::CreateShardSkipped(to, from.step, from.shard, write(to, from.failure));
}

template <class Table>
Offset<schema::Message> wrap(FlatBufferBuilder& to, const Envelope& envelope, Offset<Table> body) {
  return schema::CreateMessage(to, kProtocolVersion, envelope.job, envelope.epoch, envelope.rank,
                               envelope.incarnation, schema::BodyTraits<Table>::enum_value,
                               body.Union());
}

Message read(SchemaReader& to, const schema::EnterStep& from) {
  return EnterStep{.step = from.step(),
                   .fingerprint = from.fingerprint(),
                   .description = to.text(from.description())};
}

Message read(SchemaReader& to, const schema::PlanFailed& from) {
  return PlanFailed{.step = from.step(), .failure = to.failure(from.failure())};
}

Message read(SchemaReader&, const schema::Claim& from) {
  return Claim{.step = from.step(), .unit_count = from.unit_count()};
}

Message read(SchemaReader& to, const schema::Heartbeat& from) {
  return Heartbeat{.step = from.step(),
                   .sent_ns = from.sent_ns(),
                   .held = to.values(from.held()),
                   .unit_count_done = from.unit_count_done(),
                   .input_bytes = from.input_bytes(),
                   .observations = to.texts(from.observations())};
}

Message read(SchemaReader& to, const schema::Report& from) {
  Report report{.step = from.step(),
                .stage = to.stage(from.stage()),
                .report = from.report(),
                .output = to.value(from.output()),
                .digest = from.digest(),
                .input_bytes = from.input_bytes(),
                .batch = to.values(from.batch())};
  to.require(!report.batch.empty(), "a report without a lease");
  to.require(report.stage == Stage::kMap || report.batch.size() == 1,
             "a report of a partition with more than one lease");
  return report;
}

Message read(SchemaReader& to, const schema::BatchFailed& from) {
  return BatchFailed{.step = from.step(),
                     .stage = to.stage(from.stage()),
                     .bad_unit = from.bad_unit(),
                     .failure = to.failure(from.failure()),
                     .batch = to.values(from.batch())};
}

Message read(SchemaReader& to, const schema::GiveBack& from) {
  return GiveBack{
      .step = from.step(), .stage = to.stage(from.stage()), .leases = to.values(from.leases())};
}

Message read(SchemaReader& to, const schema::CancelJob& from) {
  return CancelJob{.failure = to.failure(from.failure())};
}

Message read(SchemaReader& to, const schema::MakePlan& from) {
  return MakePlan{.step = from.step(), .workers = to.workers(from.workers())};
}

Message read(SchemaReader& to, const schema::StepStarted& from) {
  return StepStarted{.step = from.step(),
                     .plan = to.value(from.plan()),
                     .shard_count = from.shard_count(),
                     .partition_count = to.partition_count(from.partition_count()),
                     .lease_duration = to.duration(from.lease_duration_ns()),
                     .ordered_batch_shard_count = from.ordered_batch_shard_count()};
}

Message read(SchemaReader& to, const schema::Grant& from) {
  return Grant{.step = from.step(),
               .stage = to.stage(from.stage()),
               .unit_count_left = from.unit_count_left(),
               .lease_duration = to.duration(from.lease_duration_ns()),
               .leases = to.values(from.leases()),
               .second_attempt = from.second_attempt()};
}

Message read(SchemaReader& to, const schema::MergeInputs& from) {
  MergeInputs inputs{.step = from.step(), .partials = to.values(from.partials())};
  inputs.combined = to.combined(from.combined(), inputs.partials.size());
  return inputs;
}

Message read(SchemaReader& to, const schema::HeartbeatAck& from) {
  return HeartbeatAck{
      .step = from.step(), .sent_ns = from.sent_ns(), .lost = to.values(from.lost())};
}

Message read(SchemaReader& to, const schema::Verdict& from) {
  return Verdict{.step = from.step(),
                 .stage = to.stage(from.stage()),
                 .report = from.report(),
                 .failure = to.failure(from.failure())};
}

Message read(SchemaReader& to, const schema::StepDone& from) {
  return StepDone{.step = from.step(),
                  .partitions = to.values(from.partitions()),
                  .shard_count = from.shard_count(),
                  .input_bytes = from.input_bytes(),
                  .skipped_shard_count = from.skipped_shard_count()};
}

Message read(SchemaReader& to, const schema::StepFailed& from) {
  return StepFailed{.step = from.step(),
                    .failure = to.failure(from.failure()),
                    .shard = from.shard() > 0 ? std::optional(from.shard() - 1) : std::nullopt};
}

Message read(SchemaReader& to, const schema::JobFailed& from) {
  return JobFailed{.failure = to.failure(from.failure())};
}

Message read(SchemaReader& to, const schema::Register& from) {
  Register registration{.process = to.value(from.process()),
                        .protocol_version = from.protocol_version(),
                        .topology_digest = from.topology_digest(),
                        .capacities = {.cpu_count = from.cpu_count(),
                                       .gpu_count = from.gpu_count(),
                                       .memory_bytes = from.memory_bytes()},
                        .places = to.values(from.places())};
  registration.worker_counts = to.worker_counts(from.worker_counts(), registration.places.size());
  return registration;
}

Message read(SchemaReader& to, const schema::Drain& from) {
  return Drain{.reason = to.text(from.reason())};
}

Message read(SchemaReader& to, const schema::Leave& from) {
  return Leave{.reason = to.text(from.reason())};
}

Message read(SchemaReader& to, const schema::Registered& from) {
  return Registered{.failure = to.failure(from.failure()),
                    .lease_duration = to.duration(from.lease_duration_ns())};
}

Message read(SchemaReader&, const schema::Drained&) {
  return Drained{};
}

Message read(SchemaReader& to, const schema::ShardSkipped& from) {
  return ShardSkipped{
      .step = from.step(), .shard = from.shard(), .failure = to.failure(from.failure())};
}

Message read_body(SchemaReader& to, const schema::Message& from) {
  switch (from.body_type()) {
    case schema::Body::EnterStep:
      return read(to, *from.body_as_EnterStep());
    case schema::Body::PlanReady:
      return to.plan(*from.body_as_PlanReady());
    case schema::Body::PlanFailed:
      return read(to, *from.body_as_PlanFailed());
    case schema::Body::Claim:
      return read(to, *from.body_as_Claim());
    case schema::Body::Heartbeat:
      return read(to, *from.body_as_Heartbeat());
    case schema::Body::Report:
      return read(to, *from.body_as_Report());
    case schema::Body::BatchFailed:
      return read(to, *from.body_as_BatchFailed());
    case schema::Body::GiveBack:
      return read(to, *from.body_as_GiveBack());
    case schema::Body::CancelJob:
      return read(to, *from.body_as_CancelJob());
    case schema::Body::MakePlan:
      return read(to, *from.body_as_MakePlan());
    case schema::Body::StepStarted:
      return read(to, *from.body_as_StepStarted());
    case schema::Body::Grant:
      return read(to, *from.body_as_Grant());
    case schema::Body::MergeInputs:
      return read(to, *from.body_as_MergeInputs());
    case schema::Body::HeartbeatAck:
      return read(to, *from.body_as_HeartbeatAck());
    case schema::Body::Verdict:
      return read(to, *from.body_as_Verdict());
    case schema::Body::StepDone:
      return read(to, *from.body_as_StepDone());
    case schema::Body::StepFailed:
      return read(to, *from.body_as_StepFailed());
    case schema::Body::JobFailed:
      return read(to, *from.body_as_JobFailed());
    case schema::Body::Register:
      return read(to, *from.body_as_Register());
    case schema::Body::Drain:
      return read(to, *from.body_as_Drain());
    case schema::Body::Leave:
      return read(to, *from.body_as_Leave());
    case schema::Body::Registered:
      return read(to, *from.body_as_Registered());
    case schema::Body::Drained:
      return read(to, *from.body_as_Drained());
    case schema::Body::ShardSkipped:
      return read(to, *from.body_as_ShardSkipped());
    case schema::Body::NONE:
      break;
  }
  to.require(false, "no body of a known kind");
  return JobFailed{};
}

Status not_a_message(std::size_t size_bytes, const char* problem) {
  return {ErrorCode::kInvalidArgument,
          "the " + std::to_string(size_bytes) + " bytes are not a message of a job: " + problem};
}

/// Precondition: `bytes` start at an address that every scalar of the schema may have.
Result<Decoded> decode_aligned(std::span<const std::byte> bytes) {
  // Past this the offsets of the format, which are signed and of 32 bits, would wrap.
  if (bytes.size() >= FLATBUFFERS_MAX_BUFFER_SIZE) {
    return not_a_message(bytes.size(), "a message is shorter than 2 GiB");
  }
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  flatbuffers::Verifier preamble_verifier(data, bytes.size());
  if (!preamble_verifier.VerifyBuffer<schema::Preamble>(schema::MessageIdentifier())) {
    return not_a_message(bytes.size(), "they do not start like one");
  }
  const std::uint32_t version = flatbuffers::GetRoot<schema::Preamble>(data)->version();
  if (version != kProtocolVersion) {
    return Status(ErrorCode::kUnimplemented,
                  "the message has protocol version " + std::to_string(version) +
                      ", this program speaks version " + std::to_string(kProtocolVersion) +
                      "; use the same Pinion version for every program of a job");
  }
  flatbuffers::Verifier verifier(data, bytes.size());
  if (!schema::VerifyMessageBuffer(verifier)) {
    return not_a_message(bytes.size(), "they are cut short or damaged");
  }
  const schema::Message& from = *schema::GetMessage(data);
  SchemaReader reader;
  reader.require(from.body() != nullptr, "no body");
  if (!reader.ok()) {
    return not_a_message(bytes.size(), reader.problem());
  }
  Decoded decoded{.envelope = {.job = from.job(),
                               .epoch = from.epoch(),
                               .rank = from.rank(),
                               .incarnation = from.incarnation()},
                  .message = read_body(reader, from)};
  if (!reader.ok()) {
    return not_a_message(bytes.size(), reader.problem());
  }
  return decoded;
}

}  // namespace

std::vector<std::byte> encode(const Envelope& envelope, const Message& message) {
  FlatBufferBuilder builder;
  const Offset<schema::Message> root = std::visit(
      [&](const auto& body) { return wrap(builder, envelope, write(builder, body)); }, message);
  schema::FinishMessageBuffer(builder, root);
  const auto* begin = reinterpret_cast<const std::byte*>(builder.GetBufferPointer());
  return {begin, begin + builder.GetSize()};
}

Result<Decoded> decode(std::span<const std::byte> bytes) {
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(std::uint64_t) == 0) {
    return decode_aligned(bytes);
  }
  std::vector<std::uint64_t> aligned(bytes.size() / sizeof(std::uint64_t) + 1);
  std::memcpy(aligned.data(), bytes.data(), bytes.size());
  return decode_aligned({reinterpret_cast<const std::byte*>(aligned.data()), bytes.size()});
}

}  // namespace pinion::protocol
