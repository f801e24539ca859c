#include "hosts/host_messages.hpp"

#include <cstring>
#include <type_traits>
#include <utility>

namespace pinion {
namespace {

constexpr std::uint32_t kMagic = 0x48494e50;  // "PNIH" in a dump.
constexpr std::uint16_t kVersion = 2;

class Writer {
 public:
  template <class Number>
  void number(Number value) {
    static_assert(std::is_integral_v<Number>);
    auto bits = static_cast<std::make_unsigned_t<Number>>(value);
    for (std::size_t i = 0; i < sizeof(Number); ++i) {
      bytes_.push_back(static_cast<std::byte>(static_cast<std::uint64_t>(bits) >> (8 * i)));
    }
  }
  void operator()(std::uint16_t& value) { number(value); }
  void operator()(std::uint32_t& value) { number(value); }
  void operator()(std::uint64_t& value) { number(value); }
  void operator()(std::int32_t& value) { number(value); }
  void operator()(std::int64_t& value) { number(value); }
  void operator()(bool& value) { number<std::uint8_t>(value ? 1 : 0); }
  void operator()(std::string& value) {
    const auto text = std::as_bytes(std::span(value.data(), value.size()));
    number<std::uint64_t>(text.size());
    bytes_.insert(bytes_.end(), text.begin(), text.end());
  }
  void operator()(std::vector<std::byte>& value) {
    number<std::uint64_t>(value.size());
    bytes_.insert(bytes_.end(), value.begin(), value.end());
  }
  template <class Value, class Each>
  void list(std::vector<Value>& values, Each each) {
    number<std::uint64_t>(values.size());
    for (Value& value : values) {
      each(value);
    }
  }

  [[nodiscard]] std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

// Bounded by what is there: no length is believed before it is compared with that.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : rest_(bytes) {}

  template <class Number>
  void number(Number& value) {
    std::uint64_t bits = 0;
    const std::span<const std::byte> bytes = take(sizeof(Number));
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      bits |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
    }
    value = static_cast<Number>(bits);
  }
  void operator()(std::uint16_t& value) { number(value); }
  void operator()(std::uint32_t& value) { number(value); }
  void operator()(std::uint64_t& value) { number(value); }
  void operator()(std::int32_t& value) { number(value); }
  void operator()(std::int64_t& value) { number(value); }
  void operator()(bool& value) {
    std::uint8_t bits = 0;
    number(bits);
    failed_ = failed_ || bits > 1;
    value = bits == 1;
  }
  void operator()(std::string& value) {
    const std::span<const std::byte> bytes = take_counted();
    value.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  void operator()(std::vector<std::byte>& value) {
    const std::span<const std::byte> bytes = take_counted();
    value.assign(bytes.begin(), bytes.end());
  }
  template <class Value, class Each>
  void list(std::vector<Value>& values, Each each) {
    std::uint64_t count = 0;
    number(count);
    for (std::uint64_t i = 0; i < count && !failed_; ++i) {
      each(values.emplace_back());
    }
  }

  [[nodiscard]] bool is_whole() const noexcept { return !failed_ && rest_.empty(); }
  void fail() noexcept { failed_ = true; }

 private:
  std::span<const std::byte> take(std::uint64_t count) {
    failed_ = failed_ || count > rest_.size();
    if (failed_) {
      return {};
    }
    const std::span<const std::byte> taken = rest_.first(static_cast<std::size_t>(count));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }
  std::span<const std::byte> take_counted() {
    std::uint64_t count = 0;
    number(count);
    return take(count);
  }

  std::span<const std::byte> rest_;
  bool failed_ = false;
};

// The fields of each message, in the order in which they travel; the same for both directions.

template <class Pass>
void pass(Pass& field, BlobHandle& blob) {
  field(blob.job);
  field(blob.generation);
  field(blob.length_bytes);
  field(blob.epoch);
  field(blob.host);
  field(blob.segment);
  field(blob.index);
}

template <class Pass>
void pass(Pass& field, HostHello& message) {
  field(message.version);
  field(message.host);
  field(message.address);
}

template <class Pass>
void pass(Pass& field, HostRankJoined& message) {
  field(message.rank);
  field(message.incarnation);
  field(message.pid);
}

template <class Pass>
void pass(Pass& field, HostRankLost& message) {
  field(message.rank);
  field(message.incarnation);
  field(message.returns);
  field(message.reason);
}

template <class Pass>
void pass(Pass& field, HostRankLeft& message) {
  field(message.rank);
  field(message.incarnation);
}

template <class Pass>
void pass(Pass& field, FromRank& message) {
  field(message.rank);
  field(message.incarnation);
  field(message.output_bytes);
  field(message.message);
}

template <class Pass>
void pass(Pass& field, HostRankFailed& message) {
  field(message.exit_status);
  field(message.others_go_on);
}

template <class Pass>
void pass(Pass& field, HostBroken& message) {
  auto code = static_cast<std::uint16_t>(message.code);
  field(code);
  message.code = error_info(static_cast<ErrorCode>(code)).code;
  field(message.text);
}

template <class Pass>
void pass(Pass& field, HostTraffic& traffic) {
  field(traffic.host);
  field(traffic.path);
  field(traffic.pulled_count);
  field(traffic.pulled_bytes);
  field(traffic.slow);
  field(traffic.bulk_bytes);
  std::int64_t nanoseconds = traffic.bulk_time.count();
  field(nanoseconds);
  traffic.bulk_time = Duration(nanoseconds);
}

template <class Pass>
void pass(Pass& field, HostRanksOver& message) {
  field.list(message.traffic, [&field](HostTraffic& traffic) { pass(field, traffic); });
}

template <class Pass>
void pass(Pass& field, BeginJob& message) {
  field.list(message.addresses, [&field](std::string& address) { field(address); });
}

template <class Pass>
void pass(Pass& field, ToRank& message) {
  field(message.rank);
  field(message.incarnation);
  field(message.message);
}

template <class Pass>
void pass(Pass& field, KeepBlob& message) {
  pass(field, message.blob);
}

template <class Pass>
void pass(Pass& field, ReleaseBlob& message) {
  pass(field, message.blob);
}

template <class Pass>
void pass(Pass& field, EndRanks& message) {
  field(message.exit_status);
  std::int64_t patience = message.patience.count();
  field(patience);
  message.patience = Duration(patience);
}

template <class Pass>
void pass(Pass& field, SignalRanks& message) {
  field(message.signal);
}

template <class Pass>
void pass(Pass& /*field*/, LeaveJob& /*message*/) {}

template <class Pass>
void pass(Pass& /*field*/, HostTookInput& /*message*/) {}

template <class Pass>
void pass(Pass& field, HostPlaced& message) {
  field.list(message.lines, [&field](std::string& line) { field(line); });
}

template <class Pass>
void pass(Pass& field, JobInput& message) {
  field(message.bytes);
}

template <class Pass>
void pass(Pass& field, HostPrinted& message) {
  field(message.on_errors);
  field(message.bytes);
}

template <class Pass>
void pass(Pass& field, HeadTookOutput& message) {
  field(message.of_errors);
  field(message.byte_count);
  field(message.is_closed);
}

template <class Pass>
void pass(Pass& field, HostNotStarted& message) {
  field(message.host);
  field(message.exit_status);
  field(message.reason);
}

template <class Pass>
void pass(Pass& field, HostMissed& message) {
  field(message.host);
  field(message.reason);
}

template <class Pass>
void pass(Pass& field, HostIsLost& message) {
  field(message.host);
  field(message.reason);
}

template <std::size_t Index = 0>
void read_body(std::size_t kind, Reader& reader, HostMessage& message) {
  if constexpr (Index == std::variant_size_v<HostMessage>) {
    reader.fail();
  } else if (kind == Index) {
    std::variant_alternative_t<Index, HostMessage> body;
    pass(reader, body);
    message = std::move(body);
  } else {
    read_body<Index + 1>(kind, reader, message);
  }
}

}  // namespace

std::vector<std::byte> encode(const HostMessage& message) {
  Writer writer;
  writer.number(kMagic);
  writer.number(kVersion);
  writer.number(static_cast<std::uint16_t>(message.index()));
  HostMessage copy = message;
  std::visit([&writer](auto& body) { pass(writer, body); }, copy);
  return writer.take();
}

Result<HostMessage> decode_host_message(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  std::uint32_t magic = 0;
  std::uint16_t version = 0;
  std::uint16_t kind = 0;
  reader(magic);
  reader(version);
  reader(kind);
  if (magic != kMagic) {
    return Status(ErrorCode::kInvalidArgument,
                  "what another host sent is no message of an agent of Pinion");
  }
  if (version != kVersion) {
    return Status(ErrorCode::kFailedPrecondition,
                  "a message between agents is of version " + std::to_string(version) +
                      "; this agent speaks version " + std::to_string(kVersion));
  }
  HostMessage message;
  read_body(kind, reader, message);
  if (!reader.is_whole()) {
    return Status(ErrorCode::kInvalidArgument,
                  "a message between agents, of kind " + std::to_string(kind) + " and " +
                      std::to_string(bytes.size()) + " bytes, has not the fields of its kind");
  }
  return message;
}

}  // namespace pinion
