#include "futex_counter.hpp"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>

namespace pinion::testing_support {

#if defined(__x86_64__)

// The one system call that the filter lets through, told by the address after its instruction.
extern "C" long pinion_raw_syscall(long number, long a, long b, long c, long d, long e, long f);
extern "C" const char pinion_raw_syscall_end;
asm(R"(
.text
.globl pinion_raw_syscall
.type pinion_raw_syscall, @function
pinion_raw_syscall:
  mov %rdi, %rax
  mov %rsi, %rdi
  mov %rdx, %rsi
  mov %rcx, %rdx
  mov %r8, %r10
  mov %r9, %r8
  mov 8(%rsp), %r9
  syscall
.globl pinion_raw_syscall_end
pinion_raw_syscall_end:
  ret
.size pinion_raw_syscall, .-pinion_raw_syscall
)");

namespace {

std::atomic<std::uint64_t> futex_count = 0;

void on_trap(int, siginfo_t*, void* context) {
  futex_count.fetch_add(1, std::memory_order_relaxed);
  greg_t* const registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  registers[REG_RAX] = pinion_raw_syscall(registers[REG_RAX], registers[REG_RDI],
                                          registers[REG_RSI], registers[REG_RDX],
                                          registers[REG_R10], registers[REG_R8], registers[REG_R9]);
}

std::string install_once() {
  struct sigaction action = {};
  action.sa_sigaction = on_trap;
  action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART;
  if (::sigaction(SIGSYS, &action, nullptr) != 0) {
    return std::string("sigaction: ") + std::strerror(errno);
  }
  const auto allowed = reinterpret_cast<std::uintptr_t>(&pinion_raw_syscall_end);
  constexpr auto kAddress = offsetof(seccomp_data, instruction_pointer);
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kAddress),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(allowed), 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kAddress + 4),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(allowed >> 32), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
  };
  const sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    return std::string("this system takes no seccomp filter: ") + std::strerror(errno);
  }
  return {};
}

}  // namespace

std::string FutexCounter::install() {
  static const std::string reason = install_once();
  return reason;
}

std::uint64_t FutexCounter::count() noexcept {
  return futex_count.load(std::memory_order_relaxed);
}

#else

std::string FutexCounter::install() {
  return "futex calls are counted on x86-64 only";
}

std::uint64_t FutexCounter::count() noexcept {
  return 0;
}

#endif

}  // namespace pinion::testing_support
