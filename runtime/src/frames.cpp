#include "frames.hpp"

#include <cstring>
#include <string_view>

#include <nlohmann/json.hpp>

namespace pinion {
namespace {

using nlohmann::json;

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto* const begin = reinterpret_cast<const std::byte*>(text.data());
  return {begin, begin + text.size()};
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Runs `read`; whatever it throws becomes a Status.
template <class T, class Read>
Result<T> parse(const char* what, Read read) {
  try {
    return read();
  } catch (const json::exception& error) {
    return Status(ErrorCode::kInvalidArgument,
                  std::string("a ") + what + " frame cannot be read: " + error.what());
  }
}

json json_of(Place place) {
  return {static_cast<unsigned>(place.kind), place.index, place.host};
}

Place place_of(const json& value) {
  return Place{value.at(0).get<unsigned>() == 0 ? PlaceKind::kNuma : PlaceKind::kDevice,
               value.at(1).get<std::uint16_t>(), value.at(2).get<std::uint32_t>()};
}

// Both ends are of one build, on one machine.
template <class T>
std::vector<std::byte> image_of(const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  std::vector<std::byte> bytes(sizeof(T));
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

template <class T>
RingMessage message_of(FrameKind kind, std::uint64_t request, const T& value) noexcept {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= kRingPayloadBytesMax);
  RingMessage message{
      .kind = static_cast<std::uint32_t>(kind), .length_bytes = sizeof(T), .request = request};
  std::memcpy(message.payload.data(), &value, sizeof(T));
  return message;
}

std::span<const std::byte> payload_of(const RingMessage& message) noexcept {
  return std::span(message.payload).first(message.length_bytes);
}

template <class T>
Result<T> from_image(const char* what, std::span<const std::byte> payload) {
  if (payload.size() != sizeof(T)) {
    return Status(ErrorCode::kInvalidArgument,
                  std::string("a ") + what + " has " + std::to_string(payload.size()) +
                      " bytes; it must have " + std::to_string(sizeof(T)));
  }
  T value;
  std::memcpy(&value, payload.data(), sizeof(T));
  return value;
}

}  // namespace

std::vector<std::byte> encode_hello(const Hello& hello) {
  return bytes_of(json{{"version", hello.version}, {"pid", hello.pid}}.dump());
}

Result<Hello> decode_hello(std::span<const std::byte> payload) {
  return parse<Hello>("hello", [payload] {
    const json value = json::parse(text_of(payload));
    return Hello{value.at("version"), value.at("pid")};
  });
}

std::vector<std::byte> encode_welcome(const Welcome& welcome) {
  const JobInfo& info = welcome.info;
  json groups = json::array();
  for (const WorkerGroup& group : welcome.groups) {
    groups.push_back({{"place", json_of(group.place)},
                      {"cpus", group.cpus},
                      {"workers", group.worker_count},
                      {"shared_cpus", group.shared_cpus},
                      {"distances", group.distances}});
  }
  // Not as text: a path need not be UTF-8.
  std::string encoded;
  json::to_cbor(json{{"job", info.job},
                     {"seed", info.seed},
                     {"epoch", info.epoch},
                     {"host", info.host},
                     {"rank", info.rank},
                     {"rank_count", info.rank_count},
                     {"incarnation", info.incarnation},
                     {"host_count", welcome.host_count},
                     {"local_rank_count", welcome.local_rank_count},
                     {"batch_shard_count", info.batch_shard_count},
                     {"batch_ns", info.batch_duration.count()},
                     {"batch_bytes", info.batch_bytes},
                     {"has_standard_input", info.has_standard_input},
                     {"groups", groups},
                     {"first_segment", welcome.first_segment},
                     {"segment_count", welcome.segment_count},
                     {"memory_bytes", welcome.memory_bytes},
                     {"spill_directory", welcome.spill_directory},
                     {"spill_bytes_max", welcome.spill_bytes_max},
                     {"memory_wait_ns", welcome.memory_wait.count()},
                     {"trace_directory", welcome.trace_directory},
                     {"binds_memory", welcome.binds_memory},
                     {"devices", welcome.devices},
                     {"first_device", welcome.device_choice.first},
                     {"device_stride", welcome.device_choice.stride},
                     {"device_sharers", welcome.device_choice.sharer_count},
                     {"devices_left_out", welcome.device_choice.left_out},
                     {"hang_factor", welcome.hang.factor},
                     {"hang_least_ns", welcome.hang.least.count()},
                     {"hang_first_ns", welcome.hang.first.count()}},
                encoded);
  return bytes_of(encoded);
}

Result<Welcome> decode_welcome(std::span<const std::byte> payload) {
  return parse<Welcome>("welcome", [payload] {
    const json value = json::from_cbor(text_of(payload));
    Welcome welcome;
    JobInfo& info = welcome.info;
    value.at("job").get_to(info.job);
    value.at("seed").get_to(info.seed);
    value.at("epoch").get_to(info.epoch);
    value.at("host").get_to(info.host);
    value.at("rank").get_to(info.rank);
    value.at("rank_count").get_to(info.rank_count);
    value.at("incarnation").get_to(info.incarnation);
    value.at("host_count").get_to(welcome.host_count);
    value.at("local_rank_count").get_to(welcome.local_rank_count);
    value.at("batch_shard_count").get_to(info.batch_shard_count);
    info.batch_duration = Duration(value.at("batch_ns").get<std::int64_t>());
    value.at("batch_bytes").get_to(info.batch_bytes);
    value.at("has_standard_input").get_to(info.has_standard_input);
    for (const json& group : value.at("groups")) {
      welcome.groups.push_back({place_of(group.at("place")), group.at("cpus"), group.at("workers"),
                                group.at("shared_cpus"), group.at("distances")});
    }
    value.at("first_segment").get_to(welcome.first_segment);
    value.at("segment_count").get_to(welcome.segment_count);
    value.at("memory_bytes").get_to(welcome.memory_bytes);
    value.at("spill_directory").get_to(welcome.spill_directory);
    value.at("spill_bytes_max").get_to(welcome.spill_bytes_max);
    welcome.memory_wait = Duration(value.at("memory_wait_ns").get<std::int64_t>());
    value.at("trace_directory").get_to(welcome.trace_directory);
    value.at("binds_memory").get_to(welcome.binds_memory);
    value.at("devices").get_to(welcome.devices);
    value.at("first_device").get_to(welcome.device_choice.first);
    value.at("device_stride").get_to(welcome.device_choice.stride);
    value.at("device_sharers").get_to(welcome.device_choice.sharer_count);
    value.at("devices_left_out").get_to(welcome.device_choice.left_out);
    value.at("hang_factor").get_to(welcome.hang.factor);
    welcome.hang.least = Duration(value.at("hang_least_ns").get<std::int64_t>());
    welcome.hang.first = Duration(value.at("hang_first_ns").get<std::int64_t>());
    return welcome;
  });
}

std::vector<std::byte> encode_reference(const BlobReference& reference) {
  static_assert(sizeof(BlobReference) == 48);
  return image_of(reference);
}

Result<BlobReference> decode_reference(std::span<const std::byte> payload) {
  return from_image<BlobReference>("blob reference", payload);
}

std::vector<std::byte> encode_parts(std::span<const BlobPart> parts) {
  const std::span<const std::byte> bytes = std::as_bytes(parts);
  return {bytes.begin(), bytes.end()};
}

Result<std::vector<BlobPart>> decode_parts(std::span<const std::byte> payload) {
  if (payload.empty() || payload.size() % sizeof(BlobPart) != 0) {
    return Status(ErrorCode::kInvalidArgument,
                  "parts of blobs are asked for with " + std::to_string(payload.size()) +
                      " bytes; each has " + std::to_string(sizeof(BlobPart)));
  }
  std::vector<BlobPart> parts(payload.size() / sizeof(BlobPart));
  std::memcpy(parts.data(), payload.data(), payload.size());
  return parts;
}

std::vector<std::byte> encode_slab_request(const SlabRequest& request) {
  return image_of(request);
}

Result<SlabRequest> decode_slab_request(std::span<const std::byte> payload) {
  return from_image<SlabRequest>("request for a slab", payload);
}

std::vector<std::byte> encode_slab_reply(const SlabReply& reply) {
  return image_of(reply);
}

Result<SlabReply> decode_slab_reply(std::span<const std::byte> payload) {
  return from_image<SlabReply>("reply with a slab", payload);
}

std::vector<std::byte> encode_ring_address(const RingAddress& address) {
  std::vector<std::byte> bytes(sizeof(RingAddress));
  std::memcpy(bytes.data(), &address, sizeof(RingAddress));
  return bytes;
}

Result<RingAddress> decode_ring_address(std::span<const std::byte> payload) {
  RingAddress address;
  if (payload.size() != sizeof(RingAddress)) {
    return Status(ErrorCode::kInvalidArgument,
                  "the address of a ring has " + std::to_string(payload.size()) +
                      " bytes; it must have " + std::to_string(sizeof(RingAddress)));
  }
  std::memcpy(&address, payload.data(), sizeof(RingAddress));
  return address;
}

std::vector<std::byte> encode_held(std::uint64_t bytes) {
  std::vector<std::byte> payload(sizeof(bytes));
  std::memcpy(payload.data(), &bytes, sizeof(bytes));
  return payload;
}

Result<std::uint64_t> decode_held(std::span<const std::byte> payload) {
  std::uint64_t bytes = 0;
  if (payload.size() != sizeof(bytes)) {
    return Status(ErrorCode::kInvalidArgument,
                  "the answer to a publication has " + std::to_string(payload.size()) +
                      " bytes; it must have " + std::to_string(sizeof(bytes)));
  }
  std::memcpy(&bytes, payload.data(), sizeof(bytes));
  return bytes;
}

RingMessage make_let_go(const BlobHandle& handle) noexcept {
  return message_of(FrameKind::kLetGo, 0, handle);
}

Result<BlobHandle> read_let_go(const RingMessage& message) {
  return from_image<BlobHandle>("message that lets go of a blob", payload_of(message));
}

RingMessage make_give_back_slab(std::uint32_t segment) noexcept {
  return message_of(FrameKind::kGiveBackSlab, 0, segment);
}

Result<std::uint32_t> read_give_back_slab(const RingMessage& message) {
  return from_image<std::uint32_t>("message that gives back a slab", payload_of(message));
}

RingMessage make_ask_held(std::uint64_t request) noexcept {
  return {.kind = static_cast<std::uint32_t>(FrameKind::kAskHeld), .request = request};
}

Status check_ask_held(const RingMessage& message) {
  return message.length_bytes == 0
             ? Status()
             : Status(ErrorCode::kInvalidArgument, "a question for held memory has " +
                                                       std::to_string(message.length_bytes) +
                                                       " bytes; it must have none");
}

RingMessage make_held(std::uint64_t request, std::uint64_t bytes) noexcept {
  return message_of(FrameKind::kHeld, request, bytes);
}

Result<std::uint64_t> read_held(const RingMessage& message) {
  return from_image<std::uint64_t>("message with the memory that is held", payload_of(message));
}

std::vector<std::byte> encode_device_loss(const DeviceLoss& loss) {
  // Not as text: words of a driver need not be UTF-8.
  std::string encoded;
  json::to_cbor(json{{"uuid", loss.uuid},
                     {"name", loss.name},
                     {"number", loss.number},
                     {"code", static_cast<int>(loss.error.code())},
                     {"text", loss.error.message()}},
                encoded);
  return bytes_of(encoded);
}

Result<DeviceLoss> decode_device_loss(std::span<const std::byte> payload) {
  return parse<DeviceLoss>("device loss", [payload]() -> Result<DeviceLoss> {
    const json value = json::from_cbor(text_of(payload));
    DeviceLoss loss;
    value.at("uuid").get_to(loss.uuid);
    value.at("name").get_to(loss.name);
    value.at("number").get_to(loss.number);
    const auto number = value.at("code").get<std::uint64_t>();
    const ErrorCode code =
        number < error_table().size() ? error_table()[number].code : ErrorCode::kUnknown;
    if (code == ErrorCode::kOk) {
      return Status(ErrorCode::kInvalidArgument,
                    "a device loss frame says code 0, which is no error");
    }
    loss.error = Status(code, value.at("text").get<std::string>());
    return loss;
  });
}

std::vector<std::byte> encode_status(const Status& status) {
  std::vector<std::byte> bytes = bytes_of(status.message());
  bytes.insert(bytes.begin(), static_cast<std::byte>(status.code()));
  return bytes;
}

Status decode_status(std::span<const std::byte> payload) {
  if (payload.empty()) {
    return Status(ErrorCode::kInvalidArgument, "an answer without a code");
  }
  const auto code = static_cast<ErrorCode>(payload[0]);
  if (code == ErrorCode::kOk) {
    return {};
  }
  return Status(error_info(code).code, std::string(text_of(payload.subspan(1))));
}

}  // namespace pinion
