#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <string>

namespace pinion {

/// A text for word_program.
struct WordCorpus {
  std::string text = {};
  std::string counts = {};  ///< As word_program writes them.

  /// 30,000 words of 300, unequally often.
  static WordCorpus of_seed(std::uint64_t seed) { return of(seed, "word", 300); }

  /// 30,000 long words of 20,000, so that what is counted takes memory.
  static WordCorpus of_many_words(std::uint64_t seed) {
    return of(seed, "wordwithmanyletters", 20'000);
  }

 private:
  static WordCorpus of(std::uint64_t seed, const std::string& stem, std::uint64_t word_count) {
    std::mt19937_64 random(seed);
    std::map<std::string, int> counts;
    WordCorpus corpus;
    for (int line = 0; line < 3000; ++line) {
      for (int i = 0; i < 10; ++i) {
        const std::string word =
            stem + std::to_string(std::min(random() % word_count, random() % word_count));
        ++counts[word];
        corpus.text += word + " ";
      }
      corpus.text += "\n";
    }
    for (const auto& [word, count] : counts) {
      corpus.counts += word + " " + std::to_string(count) + "\n";
    }
    return corpus;
  }
};

}  // namespace pinion
