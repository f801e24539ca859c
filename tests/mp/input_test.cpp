// The word count of the examples over every kind of input that a user may name, alone and on two
// ranks, compared with a count by other tools; and over input that is missing, odd or broken.

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mp/job_test.hpp"

namespace pinion {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kNothing = "           0 different words\n";

// Words of one to three syllables; the first ones are frequent, most are rare.
std::string make_text(std::uint64_t seed, std::size_t word_count) {
  const char* const syllables[] = {"pi", "ni", "on", "RA", "nk", "7", "sha", "rd"};
  const char* const gaps[] = {" ", "\n", ", ", ".\n", "-", "\t", "_", " \xc3\xa9 "};
  std::mt19937_64 random(seed);
  std::string text;
  for (std::size_t i = 0; i < word_count; ++i) {
    for (std::uint64_t left = random() % 3 + 1; left > 0; --left) {
      text += syllables[std::min(random() % 8, random() % 8)];
    }
    text += gaps[random() % 8];
  }
  return text;
}

// What the example must print, as the tools of every system count it.
std::string count_by_other_tools(const TemporaryFolder& folder, const std::string& text) {
  const CommandResult counted =
      run_command(folder,
                  {"sh", "-c",
                   "LC_ALL=C; export LC_ALL; tr -cs 'A-Za-z0-9' '\\n' | grep . | sort | uniq -c | "
                   "sort -k1,1nr -k2 | awk 'NR <= 20 { printf \"%12d %s\\n\", $1, $2 } "
                   "END { printf \"%12d different words\\n\", NR }'"},
                  {}, text);
  EXPECT_EQ(counted.status, 0) << counted.errors;
  return counted.output;
}

// The parameter is the number of ranks; 0 is the program alone.
class Input : public JobTest, public testing::WithParamInterface<std::size_t> {
 protected:
  [[nodiscard]] std::vector<std::string> command(
      const std::vector<std::string>& program, const std::vector<std::string>& options = {}) const {
    std::vector<std::string> all = {"--quiet"};
    all.insert(all.end(), options.begin(), options.end());
    return GetParam() == 0 ? program : on_ranks(GetParam(), program, all);
  }

  [[nodiscard]] CommandResult count(std::vector<std::string> paths, const std::string& input = {}) {
    paths.insert(paths.begin(), WORD_COUNT);
    return run(command(paths), input);
  }

  void expect_count(const CommandResult& result, const std::string& text) const {
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(result.output, count_by_other_tools(folder_, text));
  }

  // An error of this status and these words, and no answer.
  static void expect_error(const CommandResult& result, int status,
                           const testing::Matcher<std::string>& words) {
    EXPECT_EQ(result.status, status);
    EXPECT_EQ(result.output, "");
    EXPECT_THAT(result.errors, words);
  }

  const std::string text_ = make_text(1, 20'000);
};

TEST_P(Input, IsAFile) {
  write_file(path("text"), text_);
  expect_count(count({path("text")}), text_);
}

TEST_P(Input, IsADirectoryWithAllThatLiesBelow) {
  fs::create_directories(path("folder/deep/deeper"));
  write_file(path("folder/a"), text_);
  write_file(path("folder/deep/b"), make_text(2, 1000));
  write_file(path("folder/deep/deeper/c"), make_text(3, 10) + "withoutlinefeed");
  write_file(path("folder/z"), "behind it");
  expect_count(count({path("folder")}), text_ + "\n" + make_text(2, 1000) + "\n" +
                                            make_text(3, 10) + "withoutlinefeed\nbehind it");
}

TEST_P(Input, IsAGlob) {
  write_file(path("one.txt"), text_);
  write_file(path("two.txt"), "two words");
  write_file(path("two.csv"), "left out");
  expect_count(count({path("*.txt")}), text_ + "\ntwo words");
}

TEST_P(Input, IsStandardInput) {
  expect_count(count({"-"}, text_), text_);
}

TEST_P(Input, IsStandardInputBesideAFile) {
  write_file(path("text"), "beside it\n");
  expect_count(count({path("text"), "-"}, text_), "beside it\n" + text_);
}

TEST_P(Input, IsCompressedStandardInput) {
  const std::string stored = run_command(folder_, {"gzip", "-c"}, {}, text_).output;
  ASSERT_LT(stored.size(), text_.size());
  expect_count(count({"-"}, stored), text_);
}

TEST_P(Input, ThatIsDamagedOnStandardInputIsDataLoss) {
  std::string stored = run_command(folder_, {"gzip", "-c"}, {}, text_).output;
  stored.resize(stored.size() / 2);
  expect_error(count({"-"}, stored), 74,
               AllOf(HasSubstr("DATA_LOSS"), HasSubstr("gzip standard input is cut short")));
}

TEST_P(Input, CountsTwiceWhatIsNamedTwice) {
  write_file(path("text"), text_);
  expect_count(count({path("text"), path("text")}), text_ + "\n" + text_);
}

TEST_P(Input, ThatIsMissingIsNotFound) {
  expect_error(count({path("nothing")}), 66,
               AllOf(HasSubstr("NOT_FOUND"), HasSubstr("nothing' does not exist; name a file")));
}

TEST_P(Input, ThatIsAPipeByNameIsAnErrorThatNamesStandardInput) {
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  // /dev/stdin is a pipe of every rank, whichever of them looks for the input.
  using Options = std::vector<std::string>;
  for (const auto& [pipe, options] :
       {std::pair(path("pipe"), Options{}),
        std::pair(std::string("/dev/stdin"), Options{"--stdin", "all"})}) {
    expect_error(run(command({WORD_COUNT, pipe}, options), text_), 64,
                 AllOf(HasSubstr("INVALID_ARGUMENT"), HasSubstr("'" + pipe + "' is a pipe"),
                       HasSubstr("name - instead")));
  }
}

TEST_P(Input, ThatIsDamagedIsDataLoss) {
  const std::pair<std::string, std::string> magics[] = {{"gzip", std::string("\x1f\x8b\x08\0", 4)},
                                                        {"zstd", "\x28\xb5\x2f\xfd"}};
  for (const auto& [name, magic] : magics) {
    write_file(path(name), magic + text_);
    expect_error(count({path(name)}), 74,
                 AllOf(HasSubstr("DATA_LOSS"), HasSubstr(name + " input file '" + path(name))));
  }
  write_file(path("text"), text_);
  EXPECT_EQ(
      run({"sh", "-c", "gzip <\"$0\" | head -c 1000 >\"$1\"", path("text"), path("cut")}).status,
      0);
  expect_error(
      count({path("cut")}), 74,
      AllOf(HasSubstr("cut' is cut short: it ends at byte 1000"), HasSubstr("copy it again")));
}

TEST_P(Input, ThatShrinksWhileItIsReadIsDataLoss) {
  write_file(path("text"), std::string(1600, 's'));
  expect_error(run(command({SHRINKING_PROGRAM, path("text")})), 74,
               AllOf(HasSubstr("DATA_LOSS"),
                     HasSubstr("text' has become shorter: it had 1600 bytes when the step was "
                               "planned and has 0")));
}

TEST_P(Input, ThatNoGlobMatchesIsNotFound) {
  expect_error(count({path("*.nothing")}), 66, HasSubstr("*.nothing' matches nothing"));
}

TEST_P(Input, ThatMayNotBeReadIsPermissionDenied) {
  write_file(path("secret"), text_);
  fs::permissions(path("secret"), fs::perms::none);
  std::vector<std::string> counting = command({WORD_COUNT, path("secret")});
  if (geteuid() == 0) {
    // Root without the right to read whatever it likes.
    const std::vector<std::string> as_others = {"setpriv",
                                                "--bounding-set=-dac_override,-dac_read_search"};
    counting.insert(counting.begin(), as_others.begin(), as_others.end());
  }
  expect_error(run(counting), 77, AllOf(HasSubstr("PERMISSION_DENIED"), HasSubstr("secret")));
}

TEST_P(Input, ThatIsEmptyHasNoWords) {
  write_file(path("empty"), "");
  const CommandResult result = count({path("empty")});
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output, kNothing);
}

TEST_P(Input, ThatIsAnEmptyDirectoryMakesZeroShards) {
  fs::create_directory(path("empty"));
  const CommandResult result = count({path("empty")});
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output, kNothing);
}

TEST_P(Input, ThatIsEmptyStandardInputHasNoWords) {
  const CommandResult result = count({"-"}, "");
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(result.output, kNothing);
}

TEST_P(Input, ThatIsBinaryHasTheWordsBetweenItsOtherBytes) {
  std::mt19937_64 random(7);
  std::string bytes;
  for (int i = 0; i < 100'000; ++i) {
    bytes += static_cast<char>(random() % 256);
  }
  write_file(path("binary"), bytes);
  expect_count(count({path("binary")}), bytes);
}

TEST_P(Input, WithALoopOfDirectoriesIsReadOnce) {
  fs::create_directories(path("folder/inner"));
  write_file(path("folder/inner/text"), text_);
  fs::create_directory_symlink("..", path("folder/inner/up"));
  fs::create_directory_symlink(".", path("folder/here"));
  expect_count(count({path("folder")}), text_);
}

TEST_P(Input, LeavesOutWhatIsNoFileAndSaysSo) {
  fs::create_directory(path("folder"));
  write_file(path("folder/text"), text_);
  fs::create_symlink("nowhere", path("folder/dangling"));
  ASSERT_EQ(mkfifo(path("folder/pipe").c_str(), 0600), 0);
  const CommandResult result = count({path("folder")});
  expect_count(result, text_);
  EXPECT_THAT(result.errors, HasSubstr("1 dangling link, 1 named pipe left out"));
}

TEST_P(Input, WithLinesLongerThanAShardIsCountedWhole) {
  std::string long_lines;
  for (int line = 0; line < 20; ++line) {
    for (int word = 0; word < 500; ++word) {
      long_lines += "word" + std::to_string(word % 10) + " ";
    }
    long_lines += "\nshort\n";
  }
  write_file(path("text"), long_lines);
  const CommandResult result = run(command({WORD_PROGRAM, "64", path("out"), path("text")}));
  EXPECT_EQ(result.status, 0) << result.errors;
  std::string expected = "short 20\n";
  for (int word = 0; word < 10; ++word) {
    expected += "word" + std::to_string(word) + " 1000\n";
  }
  EXPECT_EQ(read_file(path("out")), expected);
}

TEST_P(Input, IsAskedForByAProgramThatGetsNone) {
  expect_error(count({}), 64, HasSubstr("usage: 02_word_count PATH..."));
}

INSTANTIATE_TEST_SUITE_P(OfAJob, Input, testing::Values(0, 2), [](const auto& way) {
  return way.param == 0 ? std::string("Alone") : std::string("OnTwoRanks");
});

}  // namespace
}  // namespace pinion
