// Words, lines, fields, patterns and numbers of a text, beside what one writes without Pinion.
//
// What to expect: a word of C source has 7 bytes with what separates it. Looking at one byte at a
// time costs a cycle or two a byte and a mispredicted branch (15 cycles) at most ends of words: 20
// to 30 cycles a word, 0.3 to 0.8 GB/s. The kernels take 20 cycles for 64 bytes with AVX-512, and
// walking over what they found 8 instructions a word: 6 GB/s and more at 3 GHz; without an
// instruction that compresses, 60 % of it. Finding a pattern is two loads and compares a vector:
// memory speed.
//
//   text_bench [FILE]   on the first 64 MiB of a file; without one, on generated C-like text
//   --benchmark_enable_random_interleaving=true --benchmark_repetitions=5   for figures to quote

#include "engine/simd_targets.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <benchmark/benchmark.h>
#include <hwy/highway.h>

#include <pinion/shard/numbers.hpp>
#include <pinion/shard/text.hpp>

namespace {

constexpr std::size_t kTextBytes = std::size_t{64} << 20;
constexpr std::size_t kPadding = 64;  // Readable bytes behind the text, as a shard's has.

// Statements of words whose lengths are those of C source: many short ones, few long ones.
std::string generate_source() {
  constexpr std::array<std::string_view, 16> kBetween = {
      " ", " ",      " ",     "_",   "_",    "_",     "->",   ", ",
      "(", ");\n\t", ";\n\t", " = ", " /* ", " */\n", "\n\n", "."};
  std::mt19937_64 random(1);
  std::vector<std::string> vocabulary(20'000);
  for (std::string& word : vocabulary) {
    const std::uint64_t bits = random();
    const auto length = 1 + static_cast<std::size_t>(bits % 7 + (bits >> 8) % 5);
    for (std::size_t i = 0; i < length; ++i) {
      word += static_cast<char>('a' + random() % 26);
    }
  }
  std::string text;
  text.reserve(kTextBytes + kPadding + 64);
  while (text.size() < kTextBytes) {
    // The product of two uniform numbers prefers the front, as speech prefers few words.
    const std::uint64_t bits = random();
    const std::uint64_t rank = (bits >> 32) % vocabulary.size() * ((bits >> 16) % 1000) / 1000;
    text += vocabulary[rank];
    text += kBetween[bits % kBetween.size()];
  }
  return text;
}

std::string& text_with_padding() {
  static std::string text;
  return text;
}
std::string_view text() {
  const std::string& padded = text_with_padding();
  return std::string_view(padded).substr(0, padded.size() - kPadding);
}

bool load_text(const char* path) {
  std::string& text = text_with_padding();
  if (path == nullptr) {
    text = generate_source();
  } else {
    text.resize(kTextBytes);
    std::ifstream file(path, std::ios::binary);
    file.read(text.data(), static_cast<std::streamsize>(kTextBytes));
    text.resize(static_cast<std::size_t>(file.gcount()));
  }
  text.append(kPadding, '\0');
  return text.size() > kPadding;
}

// What a keyed table does first with each word: its first eight bytes as a number.
std::uint64_t prefix(std::string_view word) {
  std::uint64_t bytes = 0;
  std::memcpy(&bytes, word.data(), sizeof(bytes));
  const std::size_t missing = 8 - std::min<std::size_t>(word.size(), 8);
  return bytes << (8 * missing % 64);
}

// A value of the function that loops, as what a body sums in is: the harness would have it stored
// at each piece.
struct Totals {
  std::uint64_t sum = 0;
  std::uint64_t count = 0;

  template <bool UseThem>
  void add(std::string_view piece) {
    sum += UseThem ? prefix(piece) : piece.size();
    ++count;
  }
  void add(const char* begin, const char* end) {
    add<false>({begin, static_cast<std::size_t>(end - begin)});
  }
};

template <bool UseThem>
[[gnu::noinline]] Totals words_by_pinion(std::string_view text) {
  Totals totals;
  for (const std::string_view word : pinion::words(text)) {
    totals.add<UseThem>(word);
  }
  return totals;
}

template <bool UseThem>
[[gnu::noinline]] Totals words_by_table(std::string_view text) {
  static const std::array<bool, 256> kWordBytes = [] {
    std::array<bool, 256> table = {};
    for (int byte = 0; byte < 256; ++byte) {
      table[static_cast<std::size_t>(byte)] = (byte >= '0' && byte <= '9') ||
                                              (byte >= 'A' && byte <= 'Z') ||
                                              (byte >= 'a' && byte <= 'z');
    }
    return table;
  }();
  const auto is_in = [](char byte) { return kWordBytes[static_cast<unsigned char>(byte)]; };
  Totals totals;
  const char* const end = text.data() + text.size();
  for (const char* at = text.data(); at != end;) {
    const char* const word = std::find_if(at, end, is_in);
    at = std::find_if_not(word, end, is_in);
    if (word != at) {
      totals.add<UseThem>({word, static_cast<std::size_t>(at - word)});
    }
  }
  return totals;
}

[[gnu::noinline]] Totals lines_by_pinion(std::string_view text) {
  Totals totals;
  for (const std::string_view line : pinion::lines(text)) {
    totals.add<false>(line);
  }
  return totals;
}

[[gnu::noinline]] Totals fields_by_pinion(std::string_view text) {
  Totals totals;
  for (const std::string_view field : pinion::fields(text, ' ')) {
    totals.add<false>(field);
  }
  return totals;
}

const char* find(const char* at, const char* end, char wanted) {
  const void* found = std::memchr(at, wanted, static_cast<std::size_t>(end - at));
  return found == nullptr ? end : static_cast<const char*>(found);
}

template <char Delimiter>
[[gnu::noinline]] Totals pieces_by_memchr(std::string_view text) {
  Totals totals;
  const char* const end = text.data() + text.size();
  for (const char* at = text.data(); at < end;) {
    const char* const stop = find(at, end, Delimiter);
    totals.add(at, stop);
    at = stop + 1;
  }
  return totals;
}

// Each line is a text of its own, and a short one.
[[gnu::noinline]] Totals fields_of_lines_by_pinion(std::string_view text) {
  Totals totals;
  for (const std::string_view line : pinion::lines(text)) {
    for (const std::string_view field : pinion::fields(line, ' ')) {
      totals.add<false>(field);
    }
  }
  return totals;
}

[[gnu::noinline]] Totals fields_of_lines_by_memchr(std::string_view text) {
  Totals totals;
  const char* const end = text.data() + text.size();
  for (const char* at = text.data(); at < end;) {
    const char* const line_end = find(at, end, '\n');
    for (const char* stop = at; at <= line_end; at = stop + 1) {
      stop = find(at, line_end, ' ');
      totals.add(at, stop);
    }
  }
  return totals;
}

void run(benchmark::State& state, Totals (*go_over)(std::string_view)) {
  Totals totals;
  for (auto _ : state) {
    totals = go_over(text());
    benchmark::DoNotOptimize(totals);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text().size()));
  state.counters["pieces"] = static_cast<double>(totals.count);
}
constexpr std::string_view kPattern = "return";

template <class Count>
void run_search(benchmark::State& state, const Count& count) {
  std::uint64_t matches = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(matches = count());
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text().size()));
  state.counters["matches"] = static_cast<double>(matches);
}

void search_by_pinion(benchmark::State& state) {
  run_search(state, [] { return pinion::count_matches(text(), kPattern); });
}
BENCHMARK(search_by_pinion)->Name("search/pinion");

void search_by_memmem(benchmark::State& state) {
  run_search(state, [] {
    std::uint64_t count = 0;
    std::string_view rest = text();
    while (const void* found = memmem(rest.data(), rest.size(), kPattern.data(), kPattern.size())) {
      const auto at = static_cast<std::size_t>(static_cast<const char*>(found) - rest.data());
      rest.remove_prefix(at + kPattern.size());
      ++count;
    }
    return count;
  });
}
BENCHMARK(search_by_memmem)->Name("search/memmem");

void search_by_find(benchmark::State& state) {
  run_search(state, [] {
    std::uint64_t count = 0;
    for (std::size_t at = text().find(kPattern); at != std::string_view::npos;
         at = text().find(kPattern, at + kPattern.size())) {
      ++count;
    }
    return count;
  });
}
BENCHMARK(search_by_find)->Name("search/string_view");

// Numbers as tables have them: 1 to `digits_max` digits, `fraction` of them behind a point.
std::vector<std::string> make_numbers(std::size_t digits_max, std::size_t fraction) {
  std::mt19937_64 random(2);
  std::vector<std::string> numbers(4096);
  for (std::string& number : numbers) {
    const std::size_t digits = 1 + random() % digits_max;
    for (std::size_t i = 0; i < digits + fraction; ++i) {
      number += i == digits ? "." : "";
      number += static_cast<char>('0' + random() % 10);
    }
  }
  return numbers;
}

template <class Number, class Parse>
void run_numbers(benchmark::State& state, std::size_t fraction, const Parse& parse) {
  const auto numbers = make_numbers(static_cast<std::size_t>(state.range(0)), fraction);
  for (auto _ : state) {
    Number sum = 0;
    for (const std::string& number : numbers) {
      sum += parse(number);
    }
    benchmark::DoNotOptimize(sum);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(numbers.size()));
}

template <class Number>
Number by_from_chars(std::string_view text) {
  Number number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

void integers_by_pinion(benchmark::State& state) {
  run_numbers<std::int64_t>(state, 0, [](std::string_view text) {
    return pinion::parse_integer<std::int64_t>(text).value_or(0);
  });
}
void integers_by_from_chars(benchmark::State& state) {
  run_numbers<std::int64_t>(state, 0, by_from_chars<std::int64_t>);
}
BENCHMARK(integers_by_pinion)->Name("integers/pinion")->Arg(4)->Arg(16);
BENCHMARK(integers_by_from_chars)->Name("integers/from_chars")->Arg(4)->Arg(16);

void decimals_by_pinion(benchmark::State& state) {
  run_numbers<double>(
      state, 4, [](std::string_view text) { return pinion::parse_decimal(text).value_or(0); });
}
void decimals_by_from_chars(benchmark::State& state) {
  run_numbers<double>(state, 4, by_from_chars<double>);
}
BENCHMARK(decimals_by_pinion)->Name("decimals/pinion")->Arg(4)->Arg(12);
BENCHMARK(decimals_by_from_chars)->Name("decimals/from_chars")->Arg(4)->Arg(12);

// The same with the kernels of each instruction set that this machine has.
void words_on_target(benchmark::State& state, std::int64_t target) {
  hwy::SetSupportedTargetsForTest(target);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  run(state, words_by_pinion<false>);
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().DeInit();
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const char* const path = argc > 1 ? argv[1] : nullptr;
  if (argc > 2 || !load_text(path)) {
    std::fprintf(stderr, "usage: text_bench [FILE] [--benchmark_...]: FILE is readable text\n");
    return 64;
  }
  const auto add = [](const char* name, Totals (*go_over)(std::string_view)) {
    benchmark::RegisterBenchmark(name, run, go_over);
  };
  add("words/iterate/pinion", words_by_pinion<false>);
  add("words/iterate/table", words_by_table<false>);
  add("words/prefix/pinion", words_by_pinion<true>);
  add("words/prefix/table", words_by_table<true>);
  add("lines/pinion", lines_by_pinion);
  add("lines/memchr", pieces_by_memchr<'\n'>);
  add("fields/pinion", fields_by_pinion);
  add("fields/memchr", pieces_by_memchr<' '>);
  add("fields_of_lines/pinion", fields_of_lines_by_pinion);
  add("fields_of_lines/memchr", fields_of_lines_by_memchr);
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    const std::string name = std::string("words/iterate/") + hwy::TargetName(target);
    benchmark::RegisterBenchmark(name.c_str(), words_on_target, target);
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
