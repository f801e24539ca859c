// Writes the data sets of the workloads. Every byte follows from the arguments alone: element i is
// made from a hash of (data set, i), so two machines make equal files.

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::string_view kHelp =
    R"(make_data - writes the data sets of Pinion's workloads

Usage: make_data group_by KEYS ROWS FILE     KEYS: how many different keys (1 to 2^32 - 1)
       make_data group_by zipf ROWS FILE     Zipf distributed, exponent 1.1, over 1e6 keys
       make_data sort RECORDS FILE           100-byte records, 10 printable key bytes first
       make_data text BYTES FILE             text that looks like C, words Zipf distributed

A group-by file is ROWS keys (u32), then ROWS values (f64), both little-endian. The values are
multiples of 1/256 below 4096, so that sums of 2^32 of them are exact in any order.
)";

// splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014): its
// state is a counter, so that any element can be asked for.
std::uint64_t random_at(std::uint64_t stream, std::uint64_t index) {
  std::uint64_t z = (stream << 56) + (index + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

std::uint32_t below(std::uint32_t bound, std::uint64_t random) {
  return static_cast<std::uint32_t>(((random >> 32) * bound) >> 32);
}

// Ranks 0 to count - 1, rank r with a probability proportional to (r + 1)^-exponent. Walker's alias
// method: each of `count` equal columns holds its own rank up to `limit` and another above it.
class Zipf {
 public:
  Zipf(std::uint32_t count, double exponent) : columns_(count) {
    std::vector<double> share(count);
    double total = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      share[i] = std::pow(i + 1.0, -exponent);
      total += share[i];
    }
    std::vector<std::uint32_t> small;
    std::vector<std::uint32_t> large;
    for (std::uint32_t i = 0; i < count; ++i) {
      share[i] *= count / total;
      (share[i] < 1 ? small : large).push_back(i);
    }
    for (std::uint32_t i = 0; i < count; ++i) {
      columns_[i] = {~std::uint32_t{0}, i};
    }
    while (!small.empty() && !large.empty()) {
      const std::uint32_t column = small.back();
      const std::uint32_t giver = large.back();
      small.pop_back();
      columns_[column] = {static_cast<std::uint32_t>(share[column] * 4294967295.0), giver};
      share[giver] -= 1 - share[column];
      if (share[giver] < 1) {
        large.pop_back();
        small.push_back(giver);
      }
    }
  }

  [[nodiscard]] std::uint32_t rank(std::uint64_t random) const {
    const std::uint32_t column = below(static_cast<std::uint32_t>(columns_.size()), random);
    const auto fraction = static_cast<std::uint32_t>(random);
    return fraction <= columns_[column].limit ? column : columns_[column].other;
  }

 private:
  struct Column {
    std::uint32_t limit;
    std::uint32_t other;
  };
  std::vector<Column> columns_;
};

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

// Elements are made in blocks and appended. Ends the program when the file cannot be written.
class Output {
 public:
  explicit Output(const char* path) : path_(path), file_(std::fopen(path, "wb")) {
    check(file_ != nullptr);
  }

  template <class Element, class Make>
  void write(std::uint64_t count, Make make) {
    std::vector<Element> block(std::size_t{1} << 16);
    for (std::uint64_t begin = 0; begin < count; begin += block.size()) {
      const std::size_t size = count - begin < block.size() ? count - begin : block.size();
      for (std::size_t i = 0; i < size; ++i) {
        block[i] = make(begin + i);
      }
      append(block.data(), size * sizeof(Element));
    }
  }

  void append(const void* bytes, std::size_t size) {
    check(std::fwrite(bytes, 1, size, file_.get()) == size);
  }

  void finish() { check(std::fclose(file_.release()) == 0); }

 private:
  void check(bool good) const {
    if (!good) {
      std::perror(path_);
      std::exit(74);
    }
  }

  const char* path_;
  std::unique_ptr<std::FILE, Close> file_;
};

double value_at(std::uint64_t row) {
  return static_cast<double>(random_at(2, row) >> 44) / 256;
}

void make_uniform(std::uint32_t key_count, std::uint64_t rows, Output& output) {
  output.write<std::uint32_t>(
      rows, [key_count](std::uint64_t row) { return below(key_count, random_at(1, row)); });
  output.write<double>(rows, value_at);
}

void make_zipf(std::uint64_t rows, Output& output) {
  // Which id is how popular has no order in real data, so ranks are spread over the ids: the factor
  // has no common divisor with the count.
  constexpr std::uint32_t kKeyCount = 1'000'000;
  constexpr std::uint64_t kSpread = 618'033;
  const Zipf zipf(kKeyCount, 1.1);
  output.write<std::uint32_t>(rows, [&zipf](std::uint64_t row) {
    return static_cast<std::uint32_t>(zipf.rank(random_at(3, row)) * kSpread % kKeyCount);
  });
  output.write<double>(rows, value_at);
}

using SortRecord = std::array<char, 100>;

SortRecord record_at(std::uint64_t index) {
  SortRecord record;
  record.fill('.');
  for (std::size_t i = 0; i < 10; i += 5) {
    std::uint64_t random = random_at(4 + i, index);
    for (std::size_t j = 0; j < 5; ++j, random <<= 12) {
      record[i + j] = static_cast<char>(' ' + below(95, random));
    }
  }
  record[10] = ' ';
  std::string number = std::to_string(index);
  number.insert(0, 20 - number.size(), '0');
  number.copy(&record[11], 20);
  const auto letter = static_cast<char>('A' + index % 26);
  std::memset(&record[32], letter, 67);
  record[99] = '\n';
  return record;
}

// Words of 1 to 20 letters, digits and underscores, the frequent ones short, between the signs and
// breaks that C has.
void make_text(std::uint64_t size, Output& output) {
  constexpr std::uint32_t kWordCount = 400'000;
  constexpr std::string_view kLetters = "etaoinsrhldcumfpgwybvkxjqz0123456789_";
  constexpr std::array<std::string_view, 16> kBetween = {" ",  " ",   " ",      "(",  ", ", ";\n  ",
                                                         "->", " = ", ");\n  ", "_",  "_",  " *",
                                                         "\n", ".",   " + ",    "/* "};
  std::vector<std::string> words;
  for (std::uint32_t i = 0; i < kWordCount; ++i) {
    const std::uint64_t random = random_at(9, i);
    const auto shortest = static_cast<std::uint32_t>(1 + std::log2(i + 1.0) / 5);
    const std::uint32_t length = shortest + below(i < 64 ? 4 : 12, random);
    std::string word;
    for (std::uint32_t j = 0; j < length; ++j) {
      const auto letter = below(static_cast<std::uint32_t>(kLetters.size()),
                                random_at(10, std::uint64_t{i} * 32 + j));
      word += kLetters[letter];
    }
    words.push_back(std::move(word));
  }
  const Zipf zipf(kWordCount, 1.05);
  std::string block;
  std::uint64_t written = 0;
  for (std::uint64_t i = 0; written < size; ++i) {
    block += words[zipf.rank(random_at(11, i))];
    block += kBetween[random_at(12, i) >> 60];
    if (block.size() > (1u << 16) || written + block.size() >= size) {
      block.resize(size - written < block.size() ? size - written : block.size());
      output.append(block.data(), block.size());
      written += block.size();
      block.clear();
    }
  }
}

// 0 is no count.
std::uint64_t parse_count(std::string_view text) {
  std::uint64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  return error == std::errc() && end == text.data() + text.size() ? count : 0;
}

int refuse(const std::string& words) {
  std::fprintf(stderr, "make_data: %s; try make_data --help\n", words.c_str());
  return 64;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 1 && arguments[0] == "--help") {
    std::fputs(kHelp.data(), stdout);
    return 0;
  }
  const bool group_by = !arguments.empty() && arguments[0] == "group_by";
  if (arguments.size() != (group_by ? 4u : 3u)) {
    return refuse("expected a data set, its size and a file");
  }
  const std::string& size_text = arguments[arguments.size() - 2];
  const std::uint64_t size = parse_count(size_text);
  if (size == 0) {
    return refuse("'" + size_text + "' is not a count of at least 1");
  }
  const bool is_zipf = group_by && arguments[1] == "zipf";
  const std::uint64_t keys = group_by && !is_zipf ? parse_count(arguments[1]) : 1;
  if (keys == 0 || keys > 0xFFFFFFFFu) {
    return refuse("'" + arguments[1] + "' is neither zipf nor a count of keys");
  }
  if (!group_by && arguments[0] != "sort" && arguments[0] != "text") {
    return refuse("unknown data set '" + arguments[0] + "'");
  }
  Output output(arguments.back().c_str());
  if (is_zipf) {
    make_zipf(size, output);
  } else if (group_by) {
    make_uniform(static_cast<std::uint32_t>(keys), size, output);
  } else if (arguments[0] == "sort") {
    output.write<SortRecord>(size, record_at);
  } else {
    make_text(size, output);
  }
  output.finish();
  return 0;
}
