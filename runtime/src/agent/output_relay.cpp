#include "agent/output_relay.hpp"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include <fmt/format.h>

namespace pinion {
namespace {

constexpr std::size_t kReadBytes = 1u << 16;        // What a pipe holds.
constexpr std::size_t kWaitingBytesMax = 1u << 20;  // Beyond it ranks are not read.
constexpr int kReadsOfOneRank = 64;                 // Whoever holds its pipe may write for ever.
constexpr std::size_t kBlockBytes = 1u << 16;       // Of a message to the head.
constexpr std::size_t kUnderWayBytesMax = 1u << 18;

}  // namespace

OutputRelay::OutputRelay(bool tags) : tags_(tags) {
  struct stat facts[2] = {};
  for (std::size_t i = 0; i < targets_.size(); ++i) {
    targets_[i].descriptor = i == 0 ? STDOUT_FILENO : STDERR_FILENO;
    targets_[i].is_file =
        fstat(targets_[i].descriptor, &facts[i]) == 0 && S_ISREG(facts[i].st_mode);
  }
  if (facts[0].st_dev == facts[1].st_dev && facts[0].st_ino == facts[1].st_ino) {
    errors_target_ = 0;  // Two queues would cut each other's lines.
  }
}

void OutputRelay::begin_to_send() {
  sends_ = true;
  errors_target_ = 1;  // Whether they are the same file is the head's to know.
}

std::optional<OutputRelay::Block> OutputRelay::take_block() {
  for (std::size_t i = 0; sends_ && i < targets_.size(); ++i) {
    Target& target = targets_[i];
    const std::size_t count =
        std::min({target.queue.front().size(), kBlockBytes, kUnderWayBytesMax - target.under_way});
    if (count > 0) {
      const auto bytes = std::as_bytes(std::span(target.queue.front().substr(0, count)));
      Block block{.on_errors = i == 1, .bytes = {bytes.begin(), bytes.end()}};
      target.queue.pop(count);
      target.under_way += count;
      return block;
    }
  }
  return std::nullopt;
}

void OutputRelay::head_took(bool of_errors, std::uint64_t byte_count) {
  std::size_t& under_way = targets_[target_of(of_errors)].under_way;
  under_way -= static_cast<std::size_t>(std::min<std::uint64_t>(byte_count, under_way));
}

void OutputRelay::head_closed(bool of_errors) {
  Target& target = targets_[target_of(of_errors)];
  target.under_way = 0;
  give_up(target, EPIPE);
}

void OutputRelay::end_sending() {
  if (!std::exchange(sends_, false)) {
    return;
  }
  give_up(targets_[0], EPIPE);
  streams_.clear();
}

bool OutputRelay::head_has_all() const noexcept {
  return !sends_ || std::all_of(targets_.begin(), targets_.end(), [](const Target& target) {
    return target.queue.front().empty() && target.under_way == 0;
  });
}

Result<OutputRelay::Ends> OutputRelay::add_rank(std::uint32_t rank) {
  const Source source{.number = rank};
  Result<UniqueFd> output = add_stream(source, false);
  if (!output) {
    return std::move(output).error();
  }
  Result<UniqueFd> errors = add_stream(source, true);
  if (!errors) {
    return std::move(errors).error();
  }
  return Ends{std::move(output).value(), std::move(errors).value()};
}

Result<UniqueFd> OutputRelay::add_shell(std::uint32_t host) {
  return add_stream({.is_shell = true, .number = host}, true);
}

Result<UniqueFd> OutputRelay::add_stream(Source source, bool errors) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return Status::from_errno(errno, "cannot make a pipe");
  }
  UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  fcntl(reader.get(), F_SETFL, O_NONBLOCK);  // Of this end only.
  const std::size_t target = target_of(errors);
  const std::string tag =
      tags_ && !source.is_shell ? fmt::format("[{}{}] ", source.number, errors ? ",err" : "") : "";
  if (!targets_[target].is_broken) {
    streams_.push_back({std::move(reader), source, target, LineBuffer(tag)});
  }
  return writer;
}

void OutputRelay::say(std::string_view line) {
  put(true, std::string(line) + "\n");
}

void OutputRelay::print(std::string_view line) {
  put(false, std::string(line) + "\n");
}

void OutputRelay::put(bool on_errors, std::string_view lines) {
  Target& target = targets_[target_of(on_errors)];
  if (!target.is_broken) {
    target.queue.put(lines);
  }
}

bool OutputRelay::is_full(bool of_errors) const noexcept {
  return targets_[target_of(of_errors)].queue.front().size() >= kWaitingBytesMax;
}

bool OutputRelay::is_closed(bool of_errors) const noexcept {
  return targets_[target_of(of_errors)].is_broken;
}

void OutputRelay::watch(std::vector<pollfd>& watched) const {
  for (const Stream& stream : streams_) {
    const bool full = targets_[stream.target].queue.front().size() >= kWaitingBytesMax;
    watched.push_back({full ? -1 : stream.reader.get(), POLLIN, 0});
  }
  for (const Target& target : targets_) {
    const bool waits = !sends_ && !target.queue.front().empty();
    watched.push_back({waits ? target.descriptor : -1, POLLOUT, 0});
  }
}

void OutputRelay::read(std::span<const pollfd> watched) {
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    if (watched[i].revents != 0) {
      read_once(streams_[i]);
    }
  }
  remove_ended();
}

// False when nothing more is there.
bool OutputRelay::read_once(Stream& stream) {
  char bytes[kReadBytes];
  const ssize_t count = ::read(stream.reader.get(), bytes, sizeof(bytes));
  LineQueue& queue = targets_[stream.target].queue;
  if (count > 0) {
    stream.lines.append({bytes, static_cast<std::size_t>(count)});
    queue.put(stream.lines.take_lines());
    return true;
  }
  if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
    queue.put(stream.lines.take_rest());
    stream.reader = UniqueFd();
  }
  return false;
}

void OutputRelay::remove_ended() {
  std::erase_if(streams_, [](const Stream& stream) { return !stream.reader.valid(); });
}

void OutputRelay::read_rank(std::uint32_t rank) {
  read_all({.number = rank});
}

void OutputRelay::catch_up_with(std::uint32_t rank) {
  for (Stream& stream : streams_) {
    const LineQueue& queue = targets_[stream.target].queue;
    while (stream.source == Source{.number = rank} && queue.front().size() < kWaitingBytesMax &&
           read_once(stream)) {
    }
  }
  remove_ended();
}

void OutputRelay::read_shell(std::uint32_t host) {
  read_all({.is_shell = true, .number = host});
}

void OutputRelay::read_all(Source source) {
  for (Stream& stream : streams_) {
    for (int i = 0; stream.source == source && i < kReadsOfOneRank && read_once(stream); ++i) {
    }
  }
  remove_ended();
}

void OutputRelay::read_rest() {
  for (Stream& stream : streams_) {
    for (int i = 0; i < kReadsOfOneRank && read_once(stream); ++i) {
    }
    targets_[stream.target].queue.put(stream.lines.take_rest());
  }
  streams_.clear();
}

bool OutputRelay::has_waiting() const noexcept {
  return std::any_of(targets_.begin(), targets_.end(),
                     [](const Target& target) { return !target.queue.front().empty(); });
}

bool OutputRelay::errors_are_idle() const noexcept {
  const LineQueue& queue = targets_[errors_target_].queue;
  return queue.front().empty() && queue.at_line_begin();
}

void OutputRelay::write() {
  for (std::size_t i = 0; !sends_ && i < targets_.size(); ++i) {
    write(targets_[i]);
  }
}

void OutputRelay::write(Target& target) {
  while (!target.queue.front().empty()) {
    const std::string_view bytes = target.queue.front();
    // A pipe that can be written takes as much as PIPE_BUF without waiting, and a file everything.
    pollfd watched{target.descriptor, POLLOUT, 0};
    if (!target.is_file && poll(&watched, 1, 0) != 1) {
      return;
    }
    const std::size_t count =
        target.is_file ? bytes.size() : std::min<std::size_t>(bytes.size(), PIPE_BUF);
    const ssize_t written = ::write(target.descriptor, bytes.data(), count);
    if (written >= 0) {
      target.queue.pop(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN || errno == EINTR) {
      return;
    } else {
      give_up(target, errno);
    }
  }
}

// The ranks see that nobody reads them, as they would without us.
void OutputRelay::give_up(Target& target, int error) {
  target.is_broken = true;
  target.queue.clear();
  const auto index = static_cast<std::size_t>(&target - targets_.data());
  std::erase_if(streams_, [index](const Stream& stream) { return stream.target == index; });
  if (error != EPIPE && status_.ok()) {
    status_ = Status::from_errno(
        error, index == 0 ? "writing to standard output" : "writing to standard error");
  }
}

}  // namespace pinion
