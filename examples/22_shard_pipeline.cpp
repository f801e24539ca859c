// A pipeline over shards: each shard is fetched, parsed and summed, and the next fetch does not
// wait for the sums. A fetch is somebody else's work: its task ends when a completion is signalled,
// and no worker waits for it.

#include <array>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include <pinion/core/executor.hpp>
#include <pinion/dag/graph.hpp>

int main() {
  constexpr std::size_t kShards = 4;
  auto executor = pinion::Executor::create({.groups = {{.worker_count = 2}}}).value();
  std::array<pinion::CompletionSource, kShards> fetched;
  std::array<std::string, kShards> bytes;

  pinion::Graph graph;
  std::array<long, kShards> sums = {};
  std::vector<pinion::TaskId> ends;
  for (std::size_t shard = 0; shard < kShards; ++shard) {
    const pinion::TaskId fetch =
        graph.add({.name = "fetch " + std::to_string(shard)},
                  [completion = fetched[shard].completion()] { return completion; });
    const auto parse = graph.add([&, shard] {
      std::vector<long> numbers;
      for (const char digit : bytes[shard]) {
        numbers.push_back(digit - '0');
      }
      return numbers;
    });
    graph.add_edge(fetch, parse);
    ends.push_back(graph.add(
        [&, shard](const std::vector<long>& numbers) {
          for (const long number : numbers) {
            sums[shard] += number;
          }
        },
        parse));
  }
  graph.add_edges(ends, graph.add([&] {
    std::printf("%ld %ld %ld %ld\n", sums[0], sums[1], sums[2], sums[3]);
  }));

  const pinion::CompiledGraph compiled = std::move(graph).compile().value();
  const auto run = compiled.run(*executor);
  for (std::size_t shard = 0; shard < kShards; ++shard) {
    bytes[shard] = std::string(10 * (shard + 1), static_cast<char>('1' + shard));
    fetched[shard].signal({});
  }
  return pinion::report(run->wait());
}
