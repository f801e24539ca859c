// A graph that fails half way: what had ended is undone, the last first. The payment service is
// away for a moment, so that task is tried again, after times drawn from the seed; the parcel is
// lost for good.

#include <chrono>
#include <cstdio>
#include <utility>

#include <pinion/core/executor.hpp>
#include <pinion/core/timer.hpp>
#include <pinion/dag/graph.hpp>

int main() {
  auto executor = pinion::Executor::create({.groups = {{.worker_count = 2}}}).value();
  auto timer = pinion::SystemTimer::create().value();
  const auto say = [](const char* words) {
    return [words](const pinion::CompensationContext&) {
      std::printf("%s\n", words);
      return pinion::Status();
    };
  };

  pinion::Graph graph;
  const pinion::TaskId reserve = graph.add({.name = "reserve", .compensation = say("give back")},
                                           [] { std::puts("reserve"); });
  const pinion::TaskId pay = graph.add(
      {.name = "pay",
       .retry = {.attempt_count_max = 5, .backoff = std::chrono::milliseconds(1)},
       .compensation = say("pay back")},
      [](pinion::TaskContext& context) -> pinion::Status {
        std::printf("pay, attempt %u\n", context.attempt());
        return context.attempt() < 3
                   ? pinion::Status(pinion::ErrorCode::kUnavailable, "the service is away")
                   : pinion::Status();
      });
  const pinion::TaskId ship = graph.add({.name = "ship"}, [] {
    return pinion::Status(pinion::ErrorCode::kDataLoss, "the parcel is lost");
  });
  const pinion::TaskId thank = graph.add({.name = "thank"}, [] { std::puts("thank"); });
  graph.add_edge(reserve, pay);
  graph.add_edge(pay, ship);
  graph.add_edge(ship, thank);

  const pinion::CompiledGraph compiled = std::move(graph).compile().value();
  const auto run = compiled.run(*executor, {.seed = 42, .timer = timer.get()});
  std::printf("%s\n", run->wait().to_string().c_str());
  for (const pinion::CompensationRecord& record : run->compensations()) {
    std::printf("compensated '%s' in %u call\n", record.name.c_str(), record.call_count);
  }
}
