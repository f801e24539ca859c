#include "hosts/host_outputs.hpp"

#include <string_view>

namespace pinion {

void HostOutputs::arrived(std::uint32_t host, const HostPrinted& printed) {
  Stream& stream = streams_[{host, printed.on_errors}];
  stream.lines.append({reinterpret_cast<const char*>(printed.bytes.data()), printed.bytes.size()});
  stream.arrived_bytes += printed.bytes.size();
  relay_.put(printed.on_errors, stream.lines.take_lines());
}

void HostOutputs::end(std::uint32_t host) {
  for (const bool errors : {false, true}) {
    if (const auto found = streams_.find({host, errors}); found != streams_.end()) {
      relay_.put(errors, found->second.lines.take_rest());
    }
  }
}

std::uint64_t HostOutputs::bytes_of(std::uint32_t host) const {
  const auto found = streams_.find({host, false});
  return found == streams_.end() ? 0 : found->second.arrived_bytes;
}

std::vector<std::pair<std::uint32_t, HeadTookOutput>> HostOutputs::take_answers() {
  std::vector<std::pair<std::uint32_t, HeadTookOutput>> answers;
  for (auto& [source, stream] : streams_) {
    const std::uint64_t byte_count = stream.arrived_bytes - stream.answered_bytes;
    const bool is_closed = relay_.is_closed(source.errors);
    if (byte_count > 0 && (is_closed || !relay_.is_full(source.errors))) {
      answers.push_back({source.host, {source.errors, byte_count, is_closed}});
      stream.answered_bytes = stream.arrived_bytes;
    }
  }
  return answers;
}

}  // namespace pinion
