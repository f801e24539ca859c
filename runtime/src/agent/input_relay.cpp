#include "agent/input_relay.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace pinion {
namespace {

constexpr std::size_t kBlockBytes = 1u << 16;

}  // namespace

InputRelay::InputRelay(int source) : source_(source) {}

Result<UniqueFd> InputRelay::add_rank() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return Status::from_errno(errno, "cannot make a pipe");
  }
  UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  fcntl(writer.get(), F_SETFL, O_NONBLOCK);  // Of this end only.
  readers_.push_back({std::move(writer)});
  return reader;
}

std::optional<std::span<const std::byte>> InputRelay::take_block() {
  return std::exchange(is_news_, false) ? std::optional<std::span<const std::byte>>(block_)
                                        : std::nullopt;
}

void InputRelay::host_took(std::uint32_t host) {
  if (const auto found = hosts_.find(host); found != hosts_.end()) {
    found->second = true;
  }
}

void InputRelay::feed(std::span<const std::byte> block) {
  block_.assign(block.begin(), block.end());
  begin_block();
  write_block();
}

bool InputRelay::take_readiness() {
  return is_news_ && block_is_taken() && std::exchange(is_news_, false);
}

bool InputRelay::block_is_taken() const {
  return std::all_of(readers_.begin(), readers_.end(),
                     [this](const Reader& reader) { return reader.taken == block_.size(); }) &&
         std::all_of(hosts_.begin(), hosts_.end(), [](const auto& host) { return host.second; });
}

void InputRelay::watch(std::vector<pollfd>& watched) const {
  if (is_over_ || (readers_.empty() && hosts_.empty())) {
    return;
  }
  if (block_is_taken()) {
    watched.push_back({source_, POLLIN, 0});  // Not looked at where it is none.
    return;
  }
  for (const Reader& reader : readers_) {
    const bool waits = reader.taken < block_.size();
    watched.push_back({waits ? reader.writer.get() : -1, POLLOUT, 0});
  }
}

void InputRelay::serve(std::span<const pollfd> watched) {
  if (std::none_of(watched.begin(), watched.end(),
                   [](const pollfd& it) { return it.revents != 0; })) {
    return;
  }
  if (block_is_taken()) {
    read_block();
  }
  write_block();
}

void InputRelay::read_block() {
  block_.resize(kBlockBytes);
  const ssize_t count = read(source_, block_.data(), block_.size());
  if (count < 0 && (errno == EINTR || errno == EAGAIN)) {
    block_.clear();
    return;
  }
  block_.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  begin_block();
}

void InputRelay::begin_block() {
  is_over_ = block_.empty();
  is_news_ = true;
  for (Reader& reader : readers_) {
    reader.taken = 0;
  }
  for (auto& [host, has_taken] : hosts_) {
    has_taken = false;
  }
}

void InputRelay::write_block() {
  for (Reader& reader : readers_) {
    write_to(reader);
  }
  std::erase_if(readers_, [this](const Reader& it) { return is_over_ || !it.writer.valid(); });
}

void InputRelay::write_to(Reader& reader) {
  while (reader.taken < block_.size()) {
    const ssize_t count =
        write(reader.writer.get(), block_.data() + reader.taken, block_.size() - reader.taken);
    if (count < 0) {
      if (errno != EAGAIN && errno != EINTR) {
        reader.writer = UniqueFd();  // The rank has ended, or reads no more.
        reader.taken = block_.size();
      }
      return;
    }
    reader.taken += static_cast<std::size_t>(count);
  }
}

}  // namespace pinion
