#include <pinion/shm/blob_memory.hpp>

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace pinion {
namespace {

// Every system has it, and the child needs it no more once it mounts there.
constexpr const char* kMountPoint = "/proc";
constexpr unsigned long kMountFlags = MS_NOSUID | MS_NODEV | MS_NOEXEC;

// What the child did last, to be told to the parent with errno.
enum class Stage : int { kNamespace, kIdentity, kPrivate, kMount, kReadOnly, kOpen, kDone };

const char* describe(Stage stage) {
  switch (stage) {
    case Stage::kNamespace:
      return "taking a mount namespace of its own";
    case Stage::kIdentity:
      return "staying the same user in a user namespace of its own";
    case Stage::kPrivate:
      return "making its mounts private";
    case Stage::kMount:
      return "mounting a tmpfs with huge pages";
    case Stage::kReadOnly:
      return "mounting it a second time, read-only";
    case Stage::kOpen:
    case Stage::kDone:
      break;
  }
  return "opening it";
}

struct Report {
  Stage stage = Stage::kNamespace;
  int error = 0;
};

// Made before the fork: the child of a process with threads may allocate nothing.
struct Words {
  std::string options;
  std::string user_map;
  std::string group_map;
};

bool write_file(const char* path, std::string_view text) {
  const UniqueFd file(::open(path, O_WRONLY | O_CLOEXEC));
  return file.valid() &&
         ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

// In the child, which has one thread. What it fails at is in `stage`, with errno.
bool mount_both(const Words& words, std::array<UniqueFd, 2>& roots, Stage& stage) {
  stage = Stage::kNamespace;
  if (::unshare(CLONE_NEWNS) != 0) {
    if (::unshare(CLONE_NEWNS | CLONE_NEWUSER) != 0) {
      return false;
    }
    stage = Stage::kIdentity;
    // Older systems have no such file, and then need none.
    static_cast<void>(write_file("/proc/self/setgroups", "deny"));
    if (!write_file("/proc/self/uid_map", words.user_map) ||
        !write_file("/proc/self/gid_map", words.group_map)) {
      return false;
    }
  }
  stage = Stage::kPrivate;
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return false;
  }
  stage = Stage::kMount;
  if (::mount("pinion", kMountPoint, "tmpfs", kMountFlags, words.options.c_str()) != 0) {
    return false;
  }
  stage = Stage::kOpen;
  constexpr int kDirectory = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  roots[0] = UniqueFd(::open(kMountPoint, kDirectory));
  if (!roots[0].valid()) {
    return false;
  }
  stage = Stage::kReadOnly;
  if (::mount(kMountPoint, kMountPoint, nullptr, MS_BIND, nullptr) != 0 ||
      ::mount(nullptr, kMountPoint, nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY | kMountFlags,
              nullptr) != 0) {
    return false;
  }
  stage = Stage::kOpen;
  roots[1] = UniqueFd(::open(kMountPoint, kDirectory));
  return roots[1].valid();
}

constexpr std::size_t kRootsBytes = 2 * sizeof(int);
using Control = std::array<char, CMSG_SPACE(kRootsBytes)>;

void send_report(int socket, Report& report, std::span<const UniqueFd, 2> roots) {
  iovec part = {&report, sizeof(report)};
  alignas(cmsghdr) Control control = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (report.stage == Stage::kDone) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(kRootsBytes);
    const std::array<int, 2> numbers = {roots[0].get(), roots[1].get()};
    std::memcpy(CMSG_DATA(header), numbers.data(), kRootsBytes);
  }
  static_cast<void>(::sendmsg(socket, &message, MSG_NOSIGNAL));
}

[[noreturn]] void be_the_child(int socket, const Words& words) {
  std::array<UniqueFd, 2> roots;
  Report report;
  if (mount_both(words, roots, report.stage)) {
    report.stage = Stage::kDone;
  } else {
    report.error = errno;
  }
  send_report(socket, report, roots);
  ::_exit(0);
}

Result<BlobMemory> receive_report(int socket) {
  Report report;
  iovec part = {&report, sizeof(report)};
  alignas(cmsghdr) Control control = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t count = 0;
  do {
    count = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (count < 0 && errno == EINTR);
  if (count != static_cast<ssize_t>(sizeof(report))) {
    return Status(ErrorCode::kInternal, "the process that mounts ended without a word");
  }
  if (report.stage != Stage::kDone) {
    return Status::from_errno(report.error, describe(report.stage));
  }
  const cmsghdr* const header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_len != CMSG_LEN(kRootsBytes)) {
    return Status(ErrorCode::kResourceExhausted, "this process may open no more files");
  }
  std::array<int, 2> numbers = {};
  std::memcpy(numbers.data(), CMSG_DATA(header), kRootsBytes);
  return BlobMemory{.writable = UniqueFd(numbers[0]), .read_only = UniqueFd(numbers[1])};
}

std::string identity_map(unsigned number) {
  return std::to_string(number) + " " + std::to_string(number) + " 1";
}

}  // namespace

Result<BlobMemory> make_blob_memory(std::uint64_t size_bytes_max) {
  const Words words = {
      // A huge page where a whole one fits into a file: what is charged is what is used.
      .options = "huge=within_size,mode=0700,size=" + std::to_string(size_bytes_max),
      .user_map = identity_map(::geteuid()),
      .group_map = identity_map(::getegid())};
  std::array<int, 2> ends = {};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return Status::from_errno(errno, "a socket to the process that mounts");
  }
  UniqueFd ours(ends[0]);
  UniqueFd of_child(ends[1]);
  const pid_t child = ::fork();
  if (child == 0) {
    be_the_child(of_child.get(), words);
  }
  if (child < 0) {
    return Status::from_errno(errno, "starting the process that mounts");
  }
  of_child.reset();
  Result<BlobMemory> memory = receive_report(ours.get());
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (!memory) {
    return std::move(memory).error().with_context("memory with huge pages for large blobs");
  }
  return memory;
}

}  // namespace pinion
