// A job for whose workers the system refuses, from some time on, what binds them to their CPUs: it
// ends once one of them has come back from idleness and so runs where it was not to.

#include <chrono>
#include <cstdint>
#include <latch>
#include <thread>

#include <pinion/core/clock.hpp>
#include <pinion/pinion.hpp>

#include "core/affinity_fault.hpp"

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  pinion::Executor& executor = job->executor();
  executor.set_idle_policy(pinion::IdlePolicy::kPark);
  const pinion::testing_support::AffinityFault fault(
      pinion::testing_support::AffinityFaultKind::kRefuse);
  const pinion::SystemClock clock;
  const pinion::Instant deadline = clock.now() + std::chrono::minutes(1);
  while (executor.events().misbound_count == 0 && clock.now() < deadline) {
    const std::uint64_t leave_count = executor.events().leave_count;
    std::latch done(1);
    const pinion::Status submitted = executor.submit({}, [&done] { done.count_down(); });
    if (!submitted.ok()) {
      return pinion::report(submitted);
    }
    done.wait();
    while (executor.events().leave_count == leave_count && clock.now() < deadline) {
      std::this_thread::yield();
    }
  }
  return 0;
}
