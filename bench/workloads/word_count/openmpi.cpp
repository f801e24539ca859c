// Word count as a good engineer writes it by hand with MPI in a day: each rank counts an equal part
// of the mapped file into the tables of plain_tbb.cpp, the ranks exchange their entries by the top
// bits of the hash, and each adds up those that it owns. The answer stays distributed.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "checksums.hpp"
#include "harness.hpp"
#include "mapped_file.hpp"
#include "mpi_world.hpp"
#include "word_count/word_scanner.hpp"
#include "word_count/word_table.hpp"

namespace {

using pinion::bench::LongWord;
using pinion::bench::MappedFile;
using pinion::bench::MpiWorld;
using pinion::bench::ShortWord;
using pinion::bench::Table;
using pinion::bench::WordCounts;

using ShortEntry = Table<ShortWord>::Entry;

// The part of this rank; it ends where a word cannot go on.
std::string_view part_of(const MpiWorld& world, std::string_view text) {
  const auto bound = [&](std::size_t rank) {
    std::size_t at = world.begin_of(rank, text.size());
    while (at < text.size() && at > 0 && pinion::bench::is_word_byte(text[at - 1]) &&
           pinion::bench::is_word_byte(text[at])) {
      ++at;
    }
    return at;
  };
  const std::size_t begin = bound(world.rank());
  return text.substr(begin, bound(world.rank() + 1) - begin);
}

Table<ShortWord> exchange_short(const MpiWorld& world, const Table<ShortWord>& counted) {
  std::vector<std::vector<ShortEntry>> out(world.size());
  counted.for_each(
      [&](const ShortEntry& entry) { out[world.owner_of(hash_of(entry.word))].push_back(entry); });
  const std::vector<ShortEntry> in = world.exchange(out);
  Table<ShortWord> owned;
  owned.reserve(counted.size());
  for (const ShortEntry& entry : in) {
    owned.add(entry.word, hash_of(entry.word), entry.count);
  }
  return owned;
}

void append(std::vector<char>& bytes, const void* begin, std::size_t size) {
  const char* const from = static_cast<const char*>(begin);
  bytes.insert(bytes.end(), from, from + size);
}

// Each as its count, its size and its bytes. The words of the table lie in `in`.
Table<LongWord> exchange_long(const MpiWorld& world, const Table<LongWord>& counted,
                              std::vector<char>& in) {
  std::vector<std::vector<char>> out(world.size());
  counted.for_each([&](const Table<LongWord>::Entry& entry) {
    std::vector<char>& bytes = out[world.owner_of(entry.word.hash)];
    const std::array<std::uint64_t, 2> head = {entry.count, entry.word.size};
    append(bytes, head.data(), sizeof(head));
    append(bytes, entry.word.begin, entry.word.size);
  });
  in = world.exchange(out);
  Table<LongWord> owned;
  owned.reserve(counted.size());
  for (std::size_t at = 0; at < in.size();) {
    std::array<std::uint64_t, 2> head = {};
    std::memcpy(head.data(), in.data() + at, sizeof(head));
    at += sizeof(head);
    const LongWord word = pinion::bench::make_long_word(in.data() + at, head[1]);
    owned.add(word, word.hash, head[0]);
    at += head[1];
  }
  return owned;
}

pinion::bench::Repetition run(const MpiWorld& world, const pinion::bench::Options& options) {
  MpiWorld::wait_for_all();
  const pinion::bench::Stopwatch watch;
  const MappedFile file(options.paths.at(0));
  WordCounts counts;
  const std::string_view part = part_of(world, file.text());
  counts.count(part);
  const Table<ShortWord> short_words = exchange_short(world, counts.short_words);
  std::vector<char> letters;
  const Table<LongWord> long_words = exchange_long(world, counts.long_words, letters);
  MpiWorld::wait_for_all();
  pinion::bench::Repetition mine = {.time = watch.elapsed(), .bytes = part.size()};
  short_words.for_each([&](const ShortEntry& entry) {
    std::array<char, 17> word = {};
    std::memcpy(word.data(), &entry.word, sizeof(entry.word));
    mine.checksum += pinion::bench::word_part(word.data(), entry.count);
  });
  long_words.for_each([&](const Table<LongWord>::Entry& entry) {
    mine.checksum += pinion::bench::word_part({entry.word.begin, entry.word.size}, entry.count);
  });
  return MpiWorld::sum(mine);
}

}  // namespace

int main(int argc, char** argv) {
  const MpiWorld world(argc, argv);
  return pinion::bench::run_program(
      {PINION_BENCH_WORKLOAD, PINION_BENCH_CONTENDER}, argc, argv,
      [&world](const pinion::bench::Options& options) { return run(world, options); });
}
