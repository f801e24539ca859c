// Word count as a good engineer writes it by hand with oneTBB in a day: a SIMD tokeniser over 4 MiB
// chunks of the mapped file, an open-addressing table for each thread with words of up to 16 bytes
// inline and longer ones by pointer, and a merge by the top bits of the hash.

#include <oneapi/tbb/enumerable_thread_specific.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "checksums.hpp"
#include "harness.hpp"
#include "mapped_file.hpp"
#include "word_count/corpus.hpp"
#include "word_count/word_scanner.hpp"
#include "word_count/word_table.hpp"

namespace {

using pinion::bench::CorpusFile;
using pinion::bench::LongWord;
using pinion::bench::MappedFile;
using pinion::bench::ShortWord;
using pinion::bench::Table;
using pinion::bench::WordCounts;

constexpr std::size_t kChunkBytes = std::size_t{4} << 20;
constexpr unsigned kBucketBits = 6;
constexpr std::size_t kBuckets = std::size_t{1} << kBucketBits;

using ThreadCounts = tbb::enumerable_thread_specific<WordCounts>;

// Every thread's entries by bucket, then one task a bucket that owns its final table.
template <class Word>
std::vector<Table<Word>> merge(const std::vector<const Table<Word>*>& tables) {
  using Entry = typename Table<Word>::Entry;
  std::vector<std::array<std::vector<Entry>, kBuckets>> bucketed(tables.size());
  tbb::parallel_for(std::size_t{0}, tables.size(), [&](std::size_t t) {
    for (std::vector<Entry>& bucket : bucketed[t]) {
      bucket.reserve(tables[t]->size() / kBuckets * 5 / 4);
    }
    tables[t]->for_each([&](const Entry& entry) {
      bucketed[t][hash_of(entry.word) >> (64 - kBucketBits)].push_back(entry);
    });
  });
  std::vector<Table<Word>> merged(kBuckets);
  tbb::parallel_for(std::size_t{0}, kBuckets, [&](std::size_t b) {
    std::size_t size = 0;
    for (const auto& buckets : bucketed) {
      size += buckets[b].size();
    }
    merged[b].reserve(size);
    for (const auto& buckets : bucketed) {
      for (const Entry& entry : buckets[b]) {
        merged[b].add(entry.word, hash_of(entry.word), entry.count);
      }
    }
  });
  return merged;
}

// Chunks end where a word cannot go on.
void count_mapped(std::string_view text, ThreadCounts& counts) {
  const auto bound = [text](std::size_t chunk) {
    std::size_t at = chunk * kChunkBytes;
    while (at < text.size() && at > 0 && pinion::bench::is_word_byte(text[at - 1]) &&
           pinion::bench::is_word_byte(text[at])) {
      ++at;
    }
    return at < text.size() ? at : text.size();
  };
  const std::size_t chunks = (text.size() + kChunkBytes - 1) / kChunkBytes;
  tbb::parallel_for(std::size_t{0}, chunks, [&](std::size_t chunk) {
    const std::size_t begin = bound(chunk);
    counts.local().count(text.substr(begin, bound(chunk + 1) - begin));
  });
}

// Many files: read into buffers that stay, as long words point into them.
std::vector<std::unique_ptr<char[]>> count_files(const std::vector<CorpusFile>& files,
                                                 ThreadCounts& counts) {
  std::vector<std::size_t> begins;  // Of groups of about a chunk.
  std::uint64_t bytes = kChunkBytes;
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (bytes >= kChunkBytes) {
      begins.push_back(i);
      bytes = 0;
    }
    bytes += files[i].size_bytes;
  }
  std::vector<std::unique_ptr<char[]>> buffers(begins.size());
  begins.push_back(files.size());
  tbb::parallel_for(std::size_t{0}, buffers.size(), [&](std::size_t group) {
    std::uint64_t size = 0;
    for (std::size_t i = begins[group]; i < begins[group + 1]; ++i) {
      size += files[i].size_bytes + 1;
    }
    buffers[group].reset(new char[size]);
    char* at = buffers[group].get();
    for (std::size_t i = begins[group]; i < begins[group + 1]; ++i) {
      std::ifstream file(files[i].path, std::ios::binary);
      const auto file_size = static_cast<std::streamsize>(files[i].size_bytes);
      if (!file.read(at, file_size)) {
        throw std::runtime_error("reading " + files[i].path);
      }
      at += file_size;
      *at++ = '\n';
    }
    const auto used = static_cast<std::size_t>(at - buffers[group].get());
    counts.local().count({buffers[group].get(), used});
  });
  return buffers;
}

pinion::bench::Repetition run(const pinion::bench::Options& options) {
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, options.workers);
  const pinion::bench::Stopwatch watch;
  ThreadCounts counts;
  const std::vector<CorpusFile> files = pinion::bench::list_files(options.paths);
  std::unique_ptr<MappedFile> mapped;
  std::vector<std::unique_ptr<char[]>> buffers;
  if (files.size() == 1) {
    mapped = std::make_unique<MappedFile>(files[0].path);
    count_mapped(mapped->text(), counts);
  } else {
    buffers = count_files(files, counts);
  }
  std::vector<const Table<ShortWord>*> short_tables;
  std::vector<const Table<LongWord>*> long_tables;
  for (const WordCounts& local : counts) {
    short_tables.push_back(&local.short_words);
    long_tables.push_back(&local.long_words);
  }
  const std::vector<Table<ShortWord>> short_words = merge(short_tables);
  const std::vector<Table<LongWord>> long_words = merge(long_tables);
  pinion::bench::Repetition repetition = {.time = watch.elapsed(),
                                          .bytes = pinion::bench::total_bytes(files)};
  for (const Table<ShortWord>& bucket : short_words) {
    bucket.for_each([&](const auto& entry) {
      std::array<char, 17> letters = {};
      std::memcpy(letters.data(), &entry.word, sizeof(entry.word));
      repetition.checksum += pinion::bench::word_part(letters.data(), entry.count);
    });
  }
  for (const Table<LongWord>& bucket : long_words) {
    bucket.for_each([&](const auto& entry) {
      repetition.checksum +=
          pinion::bench::word_part({entry.word.begin, entry.word.size}, entry.count);
    });
  }
  return repetition;
}

}  // namespace

int main(int argc, char** argv) {
  return pinion::bench::run_program({PINION_BENCH_WORKLOAD, PINION_BENCH_CONTENDER}, argc, argv,
                                    run);
}
