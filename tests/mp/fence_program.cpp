// Adds up 1000 + shard over 64 shards, one a batch, on three ranks of two workers. The first life
// of rank 1 stops itself (SIGSTOP) as it hands its first report to the kernel: it has looked at its
// leases before, so that nothing but the sink keeps the report from counting once they have run
// out. The others begin when it is there. The body of the first shard that any of them begins waits
// until the file DIR/gate exists (or a minute has passed), so that the step lasts.
//
//   fence_program DIR

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <variant>

#include <pinion/pinion.hpp>
#include <pinion/shard/protocol/wire.hpp>

namespace {

// Set once this process is the one that stops: what is made there when it does.
std::atomic<const char*> stop_file = nullptr;

bool is_report(const msghdr& message) {
  if (message.msg_iovlen != 2) {  // The header of a frame, and its payload.
    return false;
  }
  const iovec& payload = message.msg_iov[1];
  const auto decoded =
      pinion::protocol::decode({static_cast<const std::byte*>(payload.iov_base), payload.iov_len});
  return decoded && std::holds_alternative<pinion::protocol::Report>(decoded->message);
}

void touch(const char* path) {
  close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

void wait_for(const std::string& path) {
  for (int round = 0; round < 6000 && access(path.c_str(), F_OK) != 0; ++round) {
    poll(nullptr, 0, 10);
  }
}

// The number in the file, which this call makes if nobody has.
std::uint64_t first_claimed(const std::string& path, std::uint64_t number) {
  // Of this call alone: two workers come here at once, and what is linked must stay as it is.
  const std::string own = path + "." + std::to_string(getpid()) + "." + std::to_string(number);
  const int file = open(own.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (write(file, &number, sizeof(number)) != sizeof(number)) {
    std::abort();
  }
  close(file);
  static_cast<void>(link(own.c_str(), path.c_str()));  // Fails where another was first.
  const int first = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (read(first, &number, sizeof(number)) != sizeof(number)) {
    std::abort();
  }
  close(first);
  return number;
}

}  // namespace

// In the place of the C library's, for everything in this program.
extern "C" ssize_t sendmsg(int socket, const msghdr* message, int flags) {
  const char* const file = stop_file;
  if (file != nullptr && is_report(*message)) {
    stop_file = nullptr;
    touch(file);
    raise(SIGSTOP);
  }
  return syscall(SYS_sendmsg, socket, message, flags);
}

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (argc != 2) {
    std::fputs("usage: fence_program DIR\n", stderr);
    return 64;
  }
  const std::string folder = argv[1];
  const std::string stopped = folder + "/stopped";
  const bool is_late = job->rank() == 1 && job->info().incarnation == 1;
  if (is_late) {
    stop_file = stopped.c_str();
  }
  auto sum = pinion::map_reduce(
      job, pinion::indices(64), pinion::by_index_range(1),
      [&](const pinion::Shard& shard, auto& emit) {
        if (!is_late) {
          wait_for(stopped);
          if (first_claimed(folder + "/kept", shard.begin()) == shard.begin()) {
            wait_for(folder + "/gate");
          }
        }
        emit(0, 1000 + shard.begin());
      },
      pinion::sum_vector<std::uint64_t>(1));
  const auto answer = static_cast<unsigned long long>(sum->values()[0]);
  return pinion::report(job->once([answer] {
    std::printf("the sum is %llu\n", answer);
    std::fflush(stdout);
  }));
}
