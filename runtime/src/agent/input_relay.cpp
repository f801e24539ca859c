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

bool InputRelay::block_is_taken() const {
  return std::all_of(readers_.begin(), readers_.end(),
                     [this](const Reader& reader) { return reader.taken == block_.size(); });
}

void InputRelay::watch(std::vector<pollfd>& watched) const {
  if (is_over_ || readers_.empty()) {
    return;
  }
  if (block_is_taken()) {
    watched.push_back({source_, POLLIN, 0});
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
    block_.resize(kBlockBytes);
    const ssize_t count = read(source_, block_.data(), block_.size());
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) {
      block_.clear();
    } else {
      block_.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
      is_over_ = count <= 0;
    }
    for (Reader& reader : readers_) {
      reader.taken = 0;
    }
  }
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
