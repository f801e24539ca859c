#include "engine/plan.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <string_view>
#include <type_traits>
#include <utility>

#include <pinion/core/assert.hpp>

#include "engine/inflate.hpp"
#include "engine/input_source.hpp"
#include "plan_generated.h"

namespace pinion {
namespace {

// FlatBuffers end below 2 GiB. Half of that for names leaves the other half for the shards.
constexpr std::uint64_t kSourceBytesMax = std::uint64_t{1} << 30;

// What a source costs in the encoded plan beside its path, with room to spare.
constexpr std::uint64_t kSourceOverheadBytes = 96;

std::string find_source_flaw(const InputListing& listing) {
  if (listing.kind() == InputKind::kIndices) {
    return listing.sources().empty() ? "" : "a range of indices has sources";
  }
  std::uint64_t at = 0;
  std::uint64_t encoded_bytes = 0;
  for (const InputSource& source : listing.sources()) {
    if (source.begin != at || source.size_bytes == 0 || source.size_bytes > listing.size() - at) {
      return "source '" + source.path + "' begins at " + std::to_string(source.begin) + " with " +
             std::to_string(source.size_bytes) + " bytes; expected were at least one from " +
             std::to_string(at) + " on, up to " + std::to_string(listing.size());
    }
    if (lies_in_blob(source) && source.blob.length_bytes != source.size_bytes) {
      return "source '" + source.path + "' of " + std::to_string(source.size_bytes) +
             " bytes lies in a blob of " + std::to_string(source.blob.length_bytes);
    }
    if (lies_in_blob(source) && source.compression != Compression::kNone) {
      return "source '" + source.path + "' lies in a blob and is compressed";
    }
    if (source.is_partition && !lies_in_blob(source)) {
      return "source '" + source.path + "' is a partition and lies in no blob";
    }
    at += source.size_bytes;
    encoded_bytes += source.path.size() + kSourceOverheadBytes;
  }
  if (at != listing.size()) {
    return "the sources have " + std::to_string(at) + " bytes and the input " +
           std::to_string(listing.size());
  }
  if (encoded_bytes > kSourceBytesMax) {
    return "the names of the " + std::to_string(listing.sources().size()) +
           " input files are too long for one step; make several steps of them";
  }
  return "";
}

std::string find_shard_flaw(const StepPlan& plan) {
  if (plan.shards.size() > kShardCountMax) {
    return "there are " + std::to_string(plan.shards.size()) + " shards; at most " +
           std::to_string(kShardCountMax) + " are possible";
  }
  std::uint64_t at = 0;
  for (std::size_t id = 0; id < plan.shards.size(); ++id) {
    const ShardRange& shard = plan.shards[id];
    if (shard.begin != at || shard.end <= at || shard.end > plan.listing.size()) {
      return "shard " + std::to_string(id) + " is [" + std::to_string(shard.begin) + ", " +
             std::to_string(shard.end) + "); it must begin at " + std::to_string(at) +
             ", hold something, and end by " + std::to_string(plan.listing.size());
    }
    if (shard.priority > ShardPriority::kLow) {
      return "shard " + std::to_string(id) + " has priority " +
             std::to_string(static_cast<unsigned>(shard.priority)) + ", which does not exist";
    }
    at = shard.end;
  }
  if (at != plan.listing.size()) {
    return "the shards cover " + std::to_string(at) + " of " + std::to_string(plan.listing.size());
  }
  return "";
}

// The source that a cut at `offset` goes through although it must stay whole; null if none.
const InputSource* find_cut_source(std::span<const InputSource> sources,
                                   std::uint64_t offset) noexcept {
  const InputSource& source = sources[source_at(sources, offset)];
  const bool stays_whole = source.compression != Compression::kNone || source.is_partition;
  return stays_whole && source.begin != offset ? &source : nullptr;
}

// Whether it shares the shard with others.
bool joins_partition(std::span<const InputSource> sources, const ShardRange& shard) noexcept {
  const std::size_t first = source_at(sources, shard.begin);
  const std::size_t last = source_at(sources, shard.end - 1);
  return first != last &&
         std::any_of(sources.begin() + static_cast<std::ptrdiff_t>(first),
                     sources.begin() + static_cast<std::ptrdiff_t>(last) + 1,
                     [](const InputSource& source) { return source.is_partition; });
}

std::string find_cut_flaw(const StepPlan& plan) {
  if (plan.listing.kind() == InputKind::kIndices) {
    return "";
  }
  const std::span<const InputSource> sources = plan.listing.sources();
  for (std::size_t id = 0; id < plan.shards.size(); ++id) {
    const ShardRange& shard = plan.shards[id];
    if (const InputSource* cut = find_cut_source(sources, shard.begin); cut != nullptr) {
      return "shard " + std::to_string(id) + " begins inside '" + cut->path + "', which is " +
             (cut->is_partition ? "a partition" : "compressed") + " and cannot be cut";
    }
    if (joins_partition(sources, shard)) {
      return "shard " + std::to_string(id) +
             " holds more than one partition of an answer; cut them with by_partition()";
    }
  }
  return "";
}

engine::schema::BlobHandle to_wire(const BlobHandle& handle) noexcept {
  return {handle.job,  handle.generation, handle.length_bytes, handle.epoch,
          handle.host, handle.segment,    handle.index};
}

// The verifier checks where a struct lies, but not that it is aligned there.
template <class Struct>
Struct aligned_copy(const Struct* lying) noexcept {
  static_assert(std::is_trivially_copyable_v<Struct>);
  std::array<std::byte, sizeof(Struct)> bytes;
  std::memcpy(bytes.data(), static_cast<const void*>(lying), sizeof(Struct));
  return std::bit_cast<Struct>(bytes);
}

BlobHandle from_wire(const engine::schema::BlobHandle& handle) noexcept {
  return {.job = handle.job(),
          .generation = handle.generation(),
          .length_bytes = handle.length_bytes(),
          .epoch = handle.epoch(),
          .host = handle.host(),
          .segment = handle.segment(),
          .index = handle.index()};
}

Status not_a_plan(const std::string& reason) {
  return {ErrorCode::kDataLoss, "the plan of the step is damaged: " + reason};
}

// The listing without its blobs.
Result<InputListing> read_listing(const engine::schema::StepPlan& wire) {
  if (wire.kind() > static_cast<std::uint8_t>(InputKind::kIndices)) {
    return not_a_plan("input kind " + std::to_string(wire.kind()) + " is unknown");
  }
  std::vector<InputSource> sources;
  sources.reserve(wire.sources()->size());
  std::uint64_t at = 0;
  for (const engine::schema::Source* source : *wire.sources()) {
    if (source->size_bytes() > std::numeric_limits<std::uint64_t>::max() - at) {
      return not_a_plan("the sources have more than 2^64 bytes");
    }
    if (source->compression() > static_cast<std::uint8_t>(Compression::kZstd)) {
      return not_a_plan("compression " + std::to_string(source->compression()) + " is unknown");
    }
    sources.push_back(
        {.path = source->path()->str(),
         .blob = source->blob() == nullptr ? BlobHandle{} : from_wire(aligned_copy(source->blob())),
         .begin = at,
         .size_bytes = source->size_bytes(),
         .compression = static_cast<Compression>(source->compression()),
         .is_partition = source->is_partition()});
    at += source->size_bytes();
  }
  return InputListing(static_cast<InputKind>(wire.kind()), std::move(sources), wire.size());
}

// None where all are normal.
std::vector<std::uint8_t> priorities_of(const std::vector<ShardRange>& shards) {
  std::vector<std::uint8_t> priorities;
  if (std::any_of(shards.begin(), shards.end(), [](const ShardRange& shard) {
        return shard.priority != ShardPriority::kNormal;
      })) {
    priorities.reserve(shards.size());
    for (const ShardRange& shard : shards) {
      priorities.push_back(static_cast<std::uint8_t>(shard.priority));
    }
  }
  return priorities;
}

Result<std::vector<ShardRange>> read_shards(const engine::schema::StepPlan& wire) {
  std::vector<ShardRange> shards;
  shards.reserve(wire.shards()->size());
  for (const engine::schema::ShardRange* lying : *wire.shards()) {
    const auto shard = aligned_copy(lying);
    if (shard.place_kind() > static_cast<std::uint8_t>(PlaceKind::kDevice)) {
      return not_a_plan("place kind " + std::to_string(shard.place_kind()) + " is unknown");
    }
    shards.push_back({.begin = shard.begin(),
                      .end = shard.end(),
                      .weight = shard.weight(),
                      .place = {.kind = static_cast<PlaceKind>(shard.place_kind()),
                                .index = shard.place_index(),
                                .host = shard.place_host()}});
  }
  const auto* const priorities = wire.shard_priorities();
  if (priorities != nullptr && priorities->size() != shards.size()) {
    return not_a_plan("it has " + std::to_string(priorities->size()) + " priorities for " +
                      std::to_string(shards.size()) + " shards");
  }
  for (flatbuffers::uoffset_t id = 0; priorities != nullptr && id < priorities->size(); ++id) {
    shards[id].priority = static_cast<ShardPriority>(priorities->Get(id));
  }
  return shards;
}

Result<Alignment> read_alignment(const engine::schema::StepPlan& wire) {
  Alignment alignment;
  switch (wire.alignment_kind()) {
    case static_cast<std::uint8_t>(Alignment::Kind::kNone):
      break;
    case static_cast<std::uint8_t>(Alignment::Kind::kDelimiter):
      if (wire.delimiter() != nullptr) {
        alignment = align_to(std::string_view(
            reinterpret_cast<const char*>(wire.delimiter()->data()), wire.delimiter()->size()));
      } else {
        alignment = align_to(std::string_view());
      }
      break;
    case static_cast<std::uint8_t>(Alignment::Kind::kRecords):
      alignment = align_to_records(wire.record_bytes());
      break;
    default:
      return not_a_plan("alignment kind " + std::to_string(wire.alignment_kind()) + " is unknown");
  }
  return alignment;
}

// The listing again, with the blobs that its sources lie in, but for partitions: those are opened
// by whoever reads them.
Result<InputListing> open_blobs(const InputListing& listing, IBlobStore& store) {
  std::vector<Blob> blobs(listing.sources().size());
  for (std::size_t index = 0; index < blobs.size(); ++index) {
    const InputSource& source = listing.sources()[index];
    if (!lies_in_blob(source) || source.is_partition) {
      continue;
    }
    Result<Blob> blob = store.open(source.blob);
    if (!blob) {
      return std::move(blob).error().with_context("cannot open input '" + source.path + "'");
    }
    if (blob->bytes().size() != source.size_bytes) {
      return not_a_plan("the blob of '" + source.path + "' has another size");
    }
    blobs[index] = std::move(blob).value();
  }
  return InputListing(listing.kind(), {listing.sources().begin(), listing.sources().end()},
                      listing.size(), std::move(blobs), &store);
}

// FlatBuffers reads integers where they lie, so the bytes must lie at a multiple of eight.
Result<StepPlan> decode_aligned(std::span<const std::byte> bytes, IBlobStore& store) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  const auto table_count_max = static_cast<flatbuffers::uoffset_t>(bytes.size());
  flatbuffers::Verifier verifier(data, bytes.size(), 64, table_count_max);
  if (!engine::schema::VerifyStepPlanBuffer(verifier)) {
    return not_a_plan(std::to_string(bytes.size()) + " bytes are not of its schema");
  }
  const engine::schema::StepPlan& wire = *engine::schema::GetStepPlan(data);
  Result<InputListing> listing = read_listing(wire);
  if (!listing) {
    return std::move(listing).error();
  }
  Result<std::vector<ShardRange>> shards = read_shards(wire);
  if (!shards) {
    return std::move(shards).error();
  }
  const Result<Alignment> alignment = read_alignment(wire);
  if (!alignment) {
    return alignment.error();
  }
  StepPlan plan = {.listing = std::move(listing).value(),
                   .shards = std::move(shards).value(),
                   .partition_count = wire.partition_count(),
                   .alignment = *alignment};
  if (const std::string flaw = find_flaw(plan); !flaw.empty()) {
    return not_a_plan(flaw);
  }
  listing = open_blobs(plan.listing, store);
  if (!listing) {
    return std::move(listing).error();
  }
  plan.listing = std::move(listing).value();
  return plan;
}

// Which file, or what a person calls it.
std::string name_of(const InputSource& source) {
  if (is_stream(source)) {
    return "standard input";
  }
  const std::string_view compression = name_of(source.compression);
  return compression.empty() ? source.path : source.path + " as " + std::string(compression);
}

// Where the file or stream begins that `source` is a block of.
std::uint64_t origin_of(std::span<const InputSource> sources, std::size_t source) {
  while (source > 0 && continues(sources[source - 1], sources[source])) {
    --source;
  }
  return sources[source].begin;
}

}  // namespace

std::string find_flaw(const StepPlan& plan) {
  std::string flaw = find_source_flaw(plan.listing);
  if (flaw.empty()) {
    flaw = find_shard_flaw(plan);
  }
  if (flaw.empty()) {
    flaw = find_cut_flaw(plan);
  }
  return flaw.empty() ? plan.alignment.find_flaw() : flaw;
}

std::vector<std::byte> encode(const StepPlan& plan) {
  flatbuffers::FlatBufferBuilder builder;
  std::vector<flatbuffers::Offset<engine::schema::Source>> sources;
  sources.reserve(plan.listing.sources().size());
  for (const InputSource& source : plan.listing.sources()) {
    const engine::schema::BlobHandle blob = to_wire(source.blob);
    sources.push_back(engine::schema::CreateSource(
        builder, builder.CreateString(source.path), source.size_bytes,
        lies_in_blob(source) ? &blob : nullptr, static_cast<std::uint8_t>(source.compression),
        source.is_partition));
  }
  std::vector<engine::schema::ShardRange> shards;
  shards.reserve(plan.shards.size());
  for (const ShardRange& shard : plan.shards) {
    shards.emplace_back(shard.begin, shard.end, shard.weight, shard.place.host, shard.place.index,
                        static_cast<std::uint8_t>(shard.place.kind));
  }
  const auto wire_sources = builder.CreateVector(sources);
  const auto wire_shards = builder.CreateVectorOfStructs(shards);
  const std::vector<std::uint8_t> priorities = priorities_of(plan.shards);
  const auto wire_priorities = priorities.empty()
                                   ? flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>>()
                                   : builder.CreateVector(priorities);
  const std::string_view delimiter = plan.alignment.delimiter();
  const auto wire_delimiter = builder.CreateVector(
      reinterpret_cast<const std::uint8_t*>(delimiter.data()), delimiter.size());
  engine::schema::FinishStepPlanBuffer(
      builder, engine::schema::CreateStepPlan(
                   builder, static_cast<std::uint8_t>(plan.listing.kind()), plan.listing.size(),
                   plan.partition_count, wire_sources, wire_shards,
                   static_cast<std::uint8_t>(plan.alignment.kind()), wire_delimiter,
                   plan.alignment.record_bytes(), wire_priorities));
  const auto* begin = reinterpret_cast<const std::byte*>(builder.GetBufferPointer());
  return {begin, begin + builder.GetSize()};
}

Result<StepPlan> decode(std::span<const std::byte> bytes, IBlobStore& store) {
  if (bytes.size() >= FLATBUFFERS_MAX_BUFFER_SIZE) {
    return not_a_plan(std::to_string(bytes.size()) + " bytes are too many");
  }
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(std::uint64_t) == 0) {
    return decode_aligned(bytes, store);
  }
  std::vector<std::uint64_t> aligned((bytes.size() + 7) / 8);
  std::memcpy(aligned.data(), bytes.data(), bytes.size());
  return decode_aligned(std::as_bytes(std::span(aligned)).first(bytes.size()), store);
}

std::string describe_shard(const StepPlan& plan, std::uint64_t id) {
  std::string words = "shard " + std::to_string(id);
  if (id >= plan.shards.size()) {
    return words + " (not in the plan)";
  }
  const ShardRange& shard = plan.shards[id];
  if (plan.listing.kind() == InputKind::kIndices) {
    return words + " (indices " + std::to_string(shard.begin) + "-" + std::to_string(shard.end) +
           ")";
  }
  const std::span<const InputSource> sources = plan.listing.sources();
  const std::size_t first = source_at(sources, shard.begin);
  const std::size_t last = source_at(sources, shard.end - 1);
  const std::uint64_t first_origin = origin_of(sources, first);
  const std::uint64_t last_origin = origin_of(sources, last);
  words += " (bytes " + std::to_string(shard.begin - first_origin);
  if (first_origin == last_origin) {
    words += "-" + std::to_string(shard.end - last_origin) + " of " + name_of(sources[first]);
  } else {
    words += " of " + name_of(sources[first]) + " to " + std::to_string(shard.end - last_origin) +
             " of " + name_of(sources[last]);
  }
  return words + ")";
}

std::string describe_shards(const StepPlan& plan, std::span<const std::uint64_t> ids) {
  const std::string first = describe_shard(plan, ids.front());
  return ids.size() == 1 ? first : first + " and " + std::to_string(ids.size() - 1) + " more";
}

}  // namespace pinion
