#include "ring_iceoryx.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include <iceoryx_hoofs/log/logmanager.hpp>
#include <iceoryx_hoofs/platform/platform_settings.hpp>
#include <iceoryx_hoofs/posix_wrapper/file_lock.hpp>
#include <iceoryx_hoofs/posix_wrapper/posix_access_rights.hpp>
#include <iceoryx_posh/iceoryx_posh_types.hpp>
#include <iceoryx_posh/internal/roudi/roudi.hpp>
#include <iceoryx_posh/popo/publisher.hpp>
#include <iceoryx_posh/popo/subscriber.hpp>
#include <iceoryx_posh/roudi/iceoryx_roudi_components.hpp>
#include <iceoryx_posh/runtime/posh_runtime.hpp>

#include <pinion/core/blob.hpp>
#include <pinion/shm/unique_fd.hpp>

#include "two_processes.hpp"

namespace pinion {
namespace {

constexpr const char* kAsking = "pinion-ring-bench-asks";
constexpr const char* kAnswering = "pinion-ring-bench-answers";

void log_errors_only() {
  iox::log::LogManager::GetLogManager().SetDefaultLogLevel(iox::log::LogLevel::kError,
                                                           iox::log::LogLevelOutput::kHideLogLevel);
}

// All names that the daemon and the two processes have on this host.
void remove_files() {
  namespace platform = iox::platform;
  for (const char* const name :
       {iox::roudi::IPC_CHANNEL_ROUDI_NAME, iox::roudi::ROUDI_LOCK_NAME, kAsking, kAnswering}) {
    ::unlink((std::string(platform::IOX_UDS_SOCKET_PATH_PREFIX) + name).c_str());
    ::unlink((std::string(platform::IOX_LOCK_FILE_PATH_PREFIX) + name + ".lock").c_str());
  }
  ::shm_unlink((std::string("/") + iox::roudi::SHM_NAME).c_str());
  const auto group = iox::posix::PosixGroup::getGroupOfCurrentProcess().getName();
  ::shm_unlink((std::string("/") + group.c_str()).c_str());
}

// Memory for what is measured here and nothing else: the chunks have room for a handle.
iox::RouDiConfig_t small_pools() {
  iox::mepoo::MePooConfig pools;
  pools.addMemPool({64, 1024});
  const auto group = iox::posix::PosixGroup::getGroupOfCurrentProcess().getName();
  iox::RouDiConfig_t config;
  config.m_sharedMemorySegments.push_back({group, group, pools});
  return config;
}

// The child process: says so once it serves, and ends when nobody has the other end of `life`.
[[noreturn]] void serve(const UniqueFd& life) {
  // Whatever ends the benchmark must leave one process that cleans up.
  ::setpgid(0, 0);
  std::signal(SIGTERM, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  // The daemon greets on standard output, which is for the table.
  const UniqueFd nowhere(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  require(::dup2(nowhere.get(), STDOUT_FILENO) >= 0, "dup2");
  log_errors_only();
  // As iox-roudi does: a second daemon would take the first one's memory away.
  const auto lock = iox::posix::FileLock::create(iox::roudi::ROUDI_LOCK_NAME);
  if (lock.has_error()) {
    std::_Exit(1);
  }
  iox::roudi::IceOryxRouDiComponents components(small_pools());
  constexpr bool kKillsProcesses = false;
  const iox::roudi::RouDi daemon(components.rouDiMemoryManager, components.portManager,
                                 {iox::roudi::MonitoringMode::OFF, kKillsProcesses});
  char byte = 1;
  if (::write(life.get(), &byte, 1) == 1) {
    while (::read(life.get(), &byte, 1) > 0) {
    }
  }
  // No destructors: they take a while, in which the two processes' runtimes would complain.
  remove_files();
  std::_Exit(0);
}

// It cleans up after the two processes; this one cleans up after it, should it be killed.
class Daemon {
 public:
  Daemon() {
    std::array<int, 2> sockets = {};
    require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()) == 0,
            "socketpair");
    life_.reset(sockets[0]);
    UniqueFd life_of_child(sockets[1]);
    pid_ = ::fork();
    require(pid_ >= 0, "fork");
    if (pid_ == 0) {
      life_.reset();
      serve(life_of_child);
    }
    life_of_child.reset();
    char byte = 0;
    serves_ = ::read(life_.get(), &byte, 1) == 1;
  }
  ~Daemon() {
    life_.reset();
    int status = 0;
    // Those of a daemon that was there before are its own.
    if (::waitpid(pid_, &status, 0) == pid_ && WIFSIGNALED(status) && serves_) {
      remove_files();
    }
  }
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  bool serves() const { return serves_; }

 private:
  UniqueFd life_;
  pid_t pid_ = -1;
  bool serves_ = false;
};

iox::capro::ServiceDescription sent_by(bool asks) {
  using Name = iox::capro::IdString_t;
  return {"pinion", "ring_bench", asks ? Name("question") : Name("answer")};
}

struct Pair {
  explicit Pair(bool asks) : out(sent_by(asks)), in(sent_by(!asks)) {}

  iox::popo::Publisher<BlobHandle> out;
  iox::popo::Subscriber<BlobHandle> in;
};

std::shared_ptr<Pair> connect(bool asks) {
  log_errors_only();
  iox::runtime::PoshRuntime::initRuntime(
      iox::RuntimeName_t(iox::cxx::TruncateToCapacity, asks ? kAsking : kAnswering));
  auto pair = std::make_shared<Pair>(asks);
  while (pair->in.getSubscriptionState() != iox::SubscribeState::SUBSCRIBED ||
         !pair->out.hasSubscribers()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return pair;
}

}  // namespace

std::optional<Contender> iceoryx_publisher() {
  const auto daemon = std::make_shared<Daemon>();
  if (!daemon->serves()) {
    std::fputs("iceoryx is left out: its daemon does not start; the host may have one already\n",
               stderr);
    return std::nullopt;
  }
  return Contender{.name = "iceoryx publisher and subscriber",
                   .beside = "floor: a line of the cache",
                   .samples_per_round = 100,
                   .open = [daemon](bool asks) -> Trip {
                     return [pair = connect(asks), asks] {
                       const auto send = [&pair] {
                         const BlobHandle handle = {.job = 1};
                         require(!pair->out.publishCopyOf(handle).has_error(), "publish");
                       };
                       if (asks) {
                         send();
                       }
                       while (true) {
                         const auto sample = pair->in.take();
                         if (!sample.has_error()) {
                           require(sample.value()->job == 1, "the handle is another one");
                           break;
                         }
                       }
                       if (!asks) {
                         send();
                       }
                     };
                   }};
}

}  // namespace pinion
