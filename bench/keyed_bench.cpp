// What one worker pays for keyed aggregation: emitting words of a text, and rows with integer keys.
//
// To expect, at 3 GHz: adding to a table that is in the cache takes 3-5 ns, to one that is not a
// cache miss of 20-80 ns unless several are under way at once. A word of C source and what stands
// behind it are 7 bytes, and finding it takes 2 ns where vectors do it: 0.2 GB/s and more.

#include <pinion/shard/fold_by_key.hpp>
#include <pinion/shard/shard.hpp>
#include <pinion/shard/text.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <benchmark/benchmark.h>

namespace pinion {
namespace {

// Words of 1 to 12 letters with one or two other bytes between them.
std::string make_text(std::size_t size) {
  std::string text;
  std::uint64_t random = 1;
  while (text.size() < size) {
    random = random * 0x5851F42D4C957F2Du + 0x14057B7EF767814Fu;
    const std::size_t length = 1 + (random >> 60) % 12;
    for (std::size_t i = 0; i < length; ++i) {
      text += static_cast<char>('a' + (random >> (5 * i) & 31) % 26);
    }
    text += (random >> 50 & 3) == 0 ? " (" : "\n";
  }
  text.resize(size);
  return text;
}

// The 64 bytes that follow a shard's text belong to the vector.
Shard make_shard(const std::string& text, std::size_t size) {
  return Shard({.end = size, .bytes = std::as_bytes(std::span(text.data(), size))});
}

// Words and all: text_bench has the tokeniser alone.
void sum_words(benchmark::State& state) {
  constexpr std::size_t kSize = std::size_t{1} << 20;
  const std::string text = make_text(kSize + 64);
  const Shard shard = make_shard(text, kSize);
  using Sums = FoldByKey<std::string_view, Sum<std::uint64_t>>;
  const std::unique_ptr<IAggregator> table = Sums().fresh();
  for (auto _ : state) {
    Sums::Emitter emit(*table, shard);
    for (const std::string_view word : words(shard.text())) {
      emit(word, 1);
    }
    emit.flush();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kSize));
}
BENCHMARK(sum_words);

// Rows with so many different keys, uniform.
void sum_integers(benchmark::State& state) {
  constexpr std::size_t kRows = std::size_t{1} << 20;
  const auto keys = static_cast<std::uint64_t>(state.range(0));
  std::vector<std::uint32_t> rows;
  for (std::size_t i = 0; i < kRows; ++i) {
    const std::uint64_t random = (i + 1) * 0x9E3779B97F4A7C15u;
    rows.push_back(static_cast<std::uint32_t>((random >> 32) * keys >> 32));
  }
  using Sums = FoldByKey<std::uint32_t, Sum<double>>;
  const std::unique_ptr<IAggregator> table = Sums().fresh();
  const Shard shard({.end = kRows});
  for (auto _ : state) {
    Sums::Emitter emit(*table, shard);
    for (const std::uint32_t key : rows) {
      emit(key, 1.5);
    }
    emit.flush();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRows));
}
BENCHMARK(sum_integers)->ArgName("keys")->Arg(100)->Arg(1'000'000);

}  // namespace
}  // namespace pinion
