#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <string>

namespace pinion {

/// 30,000 words of 300, unequally often, for word_program.
struct WordCorpus {
  std::string text = {};
  std::string counts = {};  ///< As word_program writes them.

  static WordCorpus of_seed(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::map<std::string, int> counts;
    WordCorpus corpus;
    for (int line = 0; line < 3000; ++line) {
      for (int i = 0; i < 10; ++i) {
        const std::string word = "word" + std::to_string(std::min(random() % 300, random() % 300));
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
