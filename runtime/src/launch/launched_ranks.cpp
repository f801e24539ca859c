#include "launch/launched_ranks.hpp"

#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

namespace pinion {
namespace {

// Not valid for a process that is over.
Result<UniqueFd> watch_process(pid_t pid) {
  UniqueFd watch(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!watch.valid() && errno != ESRCH) {
    return Status::from_errno(errno, "cannot watch a process");
  }
  return watch;
}

bool is_over(const UniqueFd& watch) {
  pollfd watched{watch.get(), POLLIN, 0};
  return !watch.valid() || poll(&watched, 1, 0) == 1;
}

}  // namespace

Result<LaunchedRanks> LaunchedRanks::create(const std::vector<LaunchedProcess>& processes,
                                            Instant deadline) {
  Result<ListeningSocket> listening = listen_for_ranks();
  if (!listening) {
    return std::move(listening).error();
  }
  LaunchedRanks ranks(*std::move(listening), deadline);
  std::set<pid_t> launchers;
  for (std::uint32_t rank = 0; rank < processes.size(); ++rank) {
    Result<UniqueFd> watch = watch_process(processes[rank].pid);
    if (!watch) {
      return std::move(watch).error();
    }
    ranks.expected_.push_back({rank, processes[rank].pid, *std::move(watch)});
    launchers.insert(processes[rank].launcher);
  }
  launchers.erase(0);
  for (const pid_t launcher : launchers) {
    Result<UniqueFd> watch = watch_process(launcher);
    if (!watch) {
      return std::move(watch).error();
    }
    ranks.launcher_was_over_ = ranks.launcher_was_over_ || !watch->valid();
    ranks.launchers_.push_back(*std::move(watch));
  }
  return ranks;
}

void LaunchedRanks::watch(std::vector<pollfd>& watched) const {
  watched.push_back({listening_.descriptor.get(), POLLIN, 0});
  for (const Expected& it : expected_) {
    // How one that has connected ends is for its agent to see.
    watched.push_back({it.channel ? -1 : it.watch.get(), POLLIN, 0});
  }
  for (const UniqueFd& launcher : launchers_) {
    watched.push_back({launcher.get(), POLLIN, 0});
  }
}

void LaunchedRanks::let_in() {
  while (true) {
    UniqueFd socket(accept4(listening_.descriptor.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket.valid()) {
      return;
    }
    let_in(std::move(socket));
  }
}

// Who it is the kernel says.
void LaunchedRanks::let_in(UniqueFd socket) {
  Result<Channel> channel = Channel::adopt(std::move(socket));
  if (!channel) {
    return;
  }
  const Result<PeerCredentials> peer = channel->peer();
  const auto found = std::find_if(expected_.begin(), expected_.end(), [&](const Expected& it) {
    return peer && it.watch.valid() && !it.channel && it.pid == peer->pid && peer->uid == geteuid();
  });
  if (found != expected_.end()) {
    found->channel = *std::move(channel);
  }
}

std::vector<LaunchedRanks::Arrival> LaunchedRanks::take_arrivals() {
  let_in();
  std::vector<Arrival> arrivals;
  if (!std::all_of(expected_.begin(), expected_.end(),
                   [](const Expected& it) { return it.channel.has_value(); })) {
    return arrivals;
  }
  for (Expected& it : std::exchange(expected_, {})) {
    arrivals.push_back({it.rank, {it.pid, std::move(it.watch), *std::move(it.channel)}});
  }
  return arrivals;
}

std::vector<std::uint32_t> LaunchedRanks::take_absent(Instant now) {
  let_in();
  std::vector<std::uint32_t> absent;
  std::erase_if(expected_, [&](const Expected& it) {
    const bool is_absent = !it.channel && (now >= deadline_ || is_over(it.watch));
    if (is_absent) {
      absent.push_back(it.rank);
    }
    return is_absent;
  });
  return absent;
}

bool LaunchedRanks::any_expected() const noexcept {
  return !expected_.empty();
}

bool LaunchedRanks::launcher_has_ended() {
  const bool ended = std::exchange(launcher_was_over_, false) ||
                     std::any_of(launchers_.begin(), launchers_.end(), is_over);
  if (ended) {
    launchers_.clear();
  }
  return ended;
}

void LaunchedRanks::kill_expected() const {
  for (const Expected& it : expected_) {
    if (it.watch.valid()) {
      syscall(SYS_pidfd_send_signal, it.watch.get(), SIGKILL, nullptr, 0);
    }
  }
}

}  // namespace pinion
