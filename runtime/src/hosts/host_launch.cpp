#include "hosts/host_launch.hpp"

#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>

#include <nlohmann/json.hpp>

#include "launch_spec.hpp"

namespace pinion {
namespace {

using nlohmann::json;

constexpr std::string_view kBegin = "pinion-launch ";
constexpr std::size_t kDigitCount = 10;
constexpr std::size_t kHeadBytes = kBegin.size() + kDigitCount;
constexpr std::uint64_t kLaunchBytesMax = std::uint64_t{64} << 20;

bool is_of_host(std::string_view entry) {
  return entry.starts_with("SSH_") || entry.starts_with("HOSTNAME=") ||
         entry.starts_with("SLURMD_NODENAME=");
}

Status read_all(int descriptor, std::string& text) {
  std::size_t count = 0;
  while (count < text.size()) {
    const ssize_t now = read(descriptor, text.data() + count, text.size() - count);
    if (now < 0 && errno == EINTR) {
      continue;
    }
    if (now < 0) {
      return Status::from_errno(errno, "cannot read the launch description");
    }
    if (now == 0) {
      return {ErrorCode::kDataLoss, "the launch description ends after " + std::to_string(count) +
                                        " of " + std::to_string(text.size()) + " bytes"};
    }
    count += static_cast<std::size_t>(now);
  }
  return {};
}

Status not_a_launch(const std::string& why) {
  return {ErrorCode::kInvalidArgument,
          "what came to the agent's standard input is no launch description: " + why};
}

}  // namespace

std::string encode_host_launch(const HostLaunch& launch) {
  std::string body;
  // Not as text: nothing in it need be UTF-8.
  const std::string spec = encode_launch_spec(launch.spec);
  json::to_cbor(json{{"spec", json::binary({spec.begin(), spec.end()})},
                     {"host", launch.host},
                     {"job", launch.job},
                     {"epoch", launch.epoch},
                     {"token", launch.token},
                     {"head_address", launch.head_address},
                     {"remote_shell", launch.remote_shell},
                     {"start_width", launch.start_width},
                     {"start_directory", launch.start_directory},
                     {"environment", launch.environment}},
                body);
  std::string digits = std::to_string(body.size());
  digits.insert(0, kDigitCount - digits.size(), '0');
  return std::string(kBegin) + digits + body;
}

Result<HostLaunch> decode_host_launch(std::string_view text) {
  try {
    const json value = json::from_cbor(text);
    const json::binary_t& spec_bytes = value.at("spec").get_binary();
    Result<LaunchSpec> spec = decode_launch_spec(std::string(spec_bytes.begin(), spec_bytes.end()));
    if (!spec) {
      return std::move(spec).error();
    }
    HostLaunch launch{.spec = *std::move(spec)};
    value.at("host").get_to(launch.host);
    value.at("job").get_to(launch.job);
    value.at("epoch").get_to(launch.epoch);
    value.at("token").get_to(launch.token);
    value.at("head_address").get_to(launch.head_address);
    value.at("remote_shell").get_to(launch.remote_shell);
    value.at("start_width").get_to(launch.start_width);
    value.at("start_directory").get_to(launch.start_directory);
    value.at("environment").get_to(launch.environment);
    if (launch.host == 0 || launch.host >= launch.spec.hosts.size()) {
      return not_a_launch("host " + std::to_string(launch.host) + " is none of the " +
                          std::to_string(launch.spec.hosts.size()) + " of the job but its first");
    }
    if (launch.start_width == 0) {
      return not_a_launch("it says that an agent starts no others");
    }
    return launch;
  } catch (const json::exception& error) {
    return not_a_launch(error.what());
  }
}

Result<HostLaunch> read_host_launch(int descriptor) {
  std::string head(kHeadBytes, '\0');
  PINION_RETURN_IF_ERROR(read_all(descriptor, head));
  std::uint64_t size_bytes = 0;
  const char* const end = head.data() + head.size();
  const auto [last, error] = std::from_chars(head.data() + kBegin.size(), end, size_bytes);
  if (!head.starts_with(kBegin) || error != std::errc() || last != end ||
      size_bytes > kLaunchBytesMax) {
    return not_a_launch("it does not begin as one");
  }
  std::string text(static_cast<std::size_t>(size_bytes), '\0');
  PINION_RETURN_IF_ERROR(read_all(descriptor, text));
  return decode_host_launch(text);
}

std::vector<std::string> environment_to_give() {
  std::vector<std::string> entries;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!is_of_host(*entry)) {
      entries.emplace_back(*entry);
    }
  }
  return entries;
}

void take_environment(const std::vector<std::string>& environment) {
  std::vector<std::string> own;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (is_of_host(*entry)) {
      own.emplace_back(*entry);
    }
  }
  clearenv();
  own.insert(own.begin(), environment.begin(), environment.end());
  for (const std::string& entry : own) {
    const std::size_t equals = entry.find('=');
    if (equals != std::string::npos && equals > 0) {
      setenv(entry.substr(0, equals).c_str(), entry.substr(equals + 1).c_str(), 1);
    }
  }
}

}  // namespace pinion
