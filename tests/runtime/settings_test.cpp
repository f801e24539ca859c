#include "settings.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/environment_guard.hpp"
#include "temporary_folder.hpp"

namespace pinion {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// A setting with a value that is not its default, as text and as the configuration file has it.
struct Example {
  std::string name;
  std::string text;
  std::string in_file;
  std::function<bool(const Settings&)> is_set;
};

const std::vector<Example>& examples() {
  using namespace std::chrono_literals;
  static const std::vector<Example> all = {
      {"workers", "3", "3", [](const Settings& s) { return s.workers_per_rank == 3; }},
      {"batch-shards", "7", "7", [](const Settings& s) { return s.batch_shard_count == 7; }},
      {"batch-seconds", "0.25", "0.25",
       [](const Settings& s) { return s.batch_duration == 250ms; }},
      {"batch-bytes", "4096", "4096", [](const Settings& s) { return s.batch_bytes == 4096; }},
      {"lease-seconds", "2", "2", [](const Settings& s) { return s.lease_duration == 2s; }},
      {"memory-bytes", "65536", "65536", [](const Settings& s) { return s.memory_bytes == 65536; }},
      {"spill-directory", "/a/disk", "'/a/disk'",
       [](const Settings& s) { return s.spill_directory == "/a/disk"; }},
      {"spill-bytes-max", "7", "7", [](const Settings& s) { return s.spill_bytes_max == 7; }},
      {"memory-wait-seconds", "3", "3", [](const Settings& s) { return s.memory_wait == 3s; }},
      {"huge-pages", "no", "false", [](const Settings& s) { return !s.huge_pages; }},
      {"seed", "99", "99", [](const Settings& s) { return s.seed == 99; }},
      {"skip-bad", "1", "true", [](const Settings& s) { return s.skip_bad; }},
      {"only-shard", "0", "0", [](const Settings& s) { return s.only_shard == 0U; }},
      {"late-seconds", "3", "3", [](const Settings& s) { return s.late_least == 3s; }},
      {"deaths-max", "9", "9", [](const Settings& s) { return s.death_count_max == 9; }},
      {"combine-bytes", "0", "0", [](const Settings& s) { return s.combine_bytes == 0; }},
      {"quiet", "yes", "true", [](const Settings& s) { return s.quiet; }},
      {"grace-seconds", "0.5", "0.5", [](const Settings& s) { return s.grace == 500ms; }},
      {"debugger", "a debugger", "'a debugger'",
       [](const Settings& s) { return s.debugger == "a debugger"; }},
      {"remote-shell", "a shell", "'a shell'",
       [](const Settings& s) { return s.remote_shell == "a shell"; }},
      {"start-width", "9", "9", [](const Settings& s) { return s.start_width == 9; }},
      {"join-seconds", "9", "9", [](const Settings& s) { return s.join_patience == 9s; }},
      {"network", "10.0.0.0/24", "'10.0.0.0/24'",
       [](const Settings& s) { return s.network == "10.0.0.0/24"; }},
      {"devices", "emu:2,mem=1g", "'emu:2,mem=1g'",
       [](const Settings& s) { return s.devices == "emu:2,mem=1g"; }},
      {"hang-first-seconds", "9", "9", [](const Settings& s) { return s.hang.first == 9s; }},
      {"hang-factor", "1.5", "1.5", [](const Settings& s) { return s.hang.factor == 1.5; }},
      {"hang-seconds", "0.5", "0.5", [](const Settings& s) { return s.hang.least == 500ms; }},
      {"transports", "rc,self", "'rc,self'",
       [](const Settings& s) { return s.transports == "rc,self"; }},
      {"network-devices", "mlx5_0:1", "'mlx5_0:1'",
       [](const Settings& s) { return s.network_devices == "mlx5_0:1"; }},
      {"trace", "/a/b", "'/a/b'", [](const Settings& s) { return s.trace_directory == "/a/b"; }},
      {"grant-log", "a log", "'a log'", [](const Settings& s) { return s.grant_log == "a log"; }},
      {"test-no-fast-forward", "1", "1", [](const Settings& s) { return s.test_no_fast_forward; }},
      {"test-no-acceptance", "true", "true",
       [](const Settings& s) { return s.test_no_acceptance; }},
      {"test-journal-kill", "12", "12",
       [](const Settings& s) { return s.test_journal_kill == 12; }},
      {"test-no-descriptors", "1", "1", [](const Settings& s) { return s.test_no_descriptors; }},
      {"test-no-fences", "1", "1", [](const Settings& s) { return s.test_no_fences; }},
      {"test-stop-after", "12", "12", [](const Settings& s) { return s.test_stop_after == 12; }},
  };
  return all;
}

std::string variable_of(const std::string& name) {
  std::string variable = "PINION_";
  for (const char c : name) {
    variable += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return variable;
}

// How many examples hold: 1 shows that a name sets its own value and no other.
std::ptrdiff_t count_set(const Settings& settings) {
  return std::count_if(examples().begin(), examples().end(),
                       [&](const Example& example) { return example.is_set(settings); });
}

// An argv as main() gets it.
class Arguments {
 public:
  explicit Arguments(std::vector<std::string> texts) : texts_(std::move(texts)) {
    for (std::string& text : texts_) {
      pointers_.push_back(text.data());
    }
    pointers_.push_back(nullptr);
    count_ = static_cast<int>(texts_.size());
  }

  int& count() { return count_; }
  char** values() { return pointers_.data(); }
  std::vector<std::string> kept() const { return {pointers_.begin(), pointers_.begin() + count_}; }

 private:
  std::vector<std::string> texts_;
  std::vector<char*> pointers_;
  int count_ = 0;
};

class SettingsSources : public ::testing::Test {
 protected:
  // What the job would be told by a configuration file with this text.
  Result<Settings> read_file(std::string_view text) {
    environment_.set("PINION_CONFIG", folder_.write("pinion.toml", text));
    return read_settings();
  }

  EnvironmentGuard environment_;
  TemporaryFolder folder_;
};

TEST_F(SettingsSources, AreAllDescribedAndAllTriedHere) {
  std::istringstream help(settings_help());
  std::vector<std::string> described;
  for (std::string line; std::getline(help, line);) {
    std::istringstream words(line);
    described.emplace_back();
    words >> described.back();
    EXPECT_THAT(line, AllOf(HasSubstr("["), HasSubstr("]"))) << "has no default";
  }
  std::vector<std::string> tried;
  for (const Example& example : examples()) {
    tried.push_back(example.name);
  }
  EXPECT_EQ(described, tried);
}

TEST_F(SettingsSources, SetEveryNameByOption) {
  for (const Example& example : examples()) {
    SCOPED_TRACE(example.name);
    Settings settings;
    Arguments arguments({"program", "--pinion-" + example.name + "=" + example.text});
    const Status taken = take_options(settings, arguments.count(), arguments.values());
    ASSERT_TRUE(taken.ok()) << taken.to_string();
    EXPECT_TRUE(example.is_set(settings));
    EXPECT_EQ(count_set(settings), 1);
  }
}

TEST_F(SettingsSources, SetEveryNameByEnvironment) {
  for (const Example& example : examples()) {
    SCOPED_TRACE(example.name);
    environment_.clear();
    environment_.set(variable_of(example.name), example.text);
    const Result<Settings> settings = read_settings();
    ASSERT_TRUE(settings.has_value()) << settings.error().to_string();
    EXPECT_TRUE(example.is_set(*settings));
    EXPECT_EQ(count_set(*settings), 1);
  }
}

TEST_F(SettingsSources, SetEveryNameByFile) {
  for (const Example& example : examples()) {
    SCOPED_TRACE(example.name);
    const Result<Settings> settings = read_file(example.name + " = " + example.in_file + "\n");
    ASSERT_TRUE(settings.has_value()) << settings.error().to_string();
    EXPECT_TRUE(example.is_set(*settings));
    EXPECT_EQ(count_set(*settings), 1);
  }
}

TEST_F(SettingsSources, AreDefaultsWhereNothingIsSaid) {
  environment_.set("PINION_WORKERS", "");
  const Result<Settings> settings = read_settings();
  ASSERT_TRUE(settings.has_value()) << settings.error().to_string();
  EXPECT_EQ(count_set(*settings), 0);
}

TEST_F(SettingsSources, PreferOptionsToTheEnvironmentToTheFile) {
  environment_.set("PINION_BATCH_SHARDS", "20");
  environment_.set("PINION_SEED", "200");
  Result<Settings> settings = read_file("batch-shards = 10\nseed = 100\nworkers = 1000\n");
  ASSERT_TRUE(settings.has_value()) << settings.error().to_string();
  Arguments arguments({"program", "--pinion-batch-shards=30"});
  ASSERT_TRUE(take_options(*settings, arguments.count(), arguments.values()).ok());
  EXPECT_EQ(settings->batch_shard_count, 30u);
  EXPECT_EQ(settings->seed, 200u);
  EXPECT_EQ(settings->workers_per_rank, 1000u);
}

TEST_F(SettingsSources, NameTheVariableWhoseValueDoesNotFit) {
  environment_.set("PINION_BATCH_SHARDS", "many");
  const Result<Settings> settings = read_settings();
  ASSERT_FALSE(settings.has_value());
  EXPECT_EQ(settings.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(std::string(settings.error().message()),
              AllOf(HasSubstr("PINION_BATCH_SHARDS"), HasSubstr("'many'"), HasSubstr("0 or more")));
}

TEST_F(SettingsSources, SayThatTheFileIsMissing) {
  const std::string path = (folder_ / "missing.toml");
  environment_.set("PINION_CONFIG", path);
  const Result<Settings> settings = read_settings();
  ASSERT_FALSE(settings.has_value());
  EXPECT_EQ(settings.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(std::string(settings.error().message()),
              AllOf(HasSubstr("PINION_CONFIG"), HasSubstr(path)));
}

TEST_F(SettingsSources, RefuseADirectoryAsAFile) {
  environment_.set("PINION_CONFIG", (folder_ / ""));
  const Result<Settings> settings = read_settings();
  ASSERT_FALSE(settings.has_value());
  EXPECT_EQ(settings.error().code(), ErrorCode::kInvalidArgument);
}

TEST_F(SettingsSources, NameTheLineOfAFileThatIsBroken) {
  const Result<Settings> settings = read_file("seed = 1\nworkers = = 2\n");
  ASSERT_FALSE(settings.has_value());
  EXPECT_EQ(settings.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(std::string(settings.error().message()),
              AllOf(HasSubstr("pinion.toml"), HasSubstr("line 2")));
}

TEST_F(SettingsSources, RefuseValuesOfTheWrongTypeInAFile) {
  for (const std::string text :
       {"workers = true", "workers = 'many'", "workers = 2.5", "workers = -1", "workers = [1]",
        "[workers]\ncount = 1", "quiet = 2", "batch-seconds = 1979-05-27", "lease-seconds = inf",
        "lease-seconds = nan", "trace = ''"}) {
    SCOPED_TRACE(text);
    const Result<Settings> settings = read_file(text);
    ASSERT_FALSE(settings.has_value());
    EXPECT_EQ(settings.error().code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(std::string(settings.error().message()),
                AllOf(HasSubstr("pinion.toml"), HasSubstr("must be")));
  }
}

TEST_F(SettingsSources, RefuseANameInAFileThatNoSettingHas) {
  const Result<Settings> settings = read_file("wrokers = 3");
  ASSERT_FALSE(settings.has_value());
  EXPECT_EQ(settings.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(std::string(settings.error().message()),
              AllOf(HasSubstr("pinion.toml"), HasSubstr("'wrokers'")));
}

TEST_F(SettingsSources, ReadAnEmptyFileAsDefaults) {
  const Result<Settings> settings = read_file("");
  ASSERT_TRUE(settings.has_value()) << settings.error().to_string();
  EXPECT_EQ(count_set(*settings), 0);
}

TEST(Setting, RefusesWhatDoesNotFitAndStaysAsItWas) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"workers", {"", "-1", "+1", " 1", "1 ", "1.5", "0x10", "18446744073709551616", "x"}},
      {"batch-shards", {"", "-1", "99999999999999999999"}},
      {"batch-bytes", {"", "0", "-4096", "1e3"}},
      {"batch-seconds", {"", "0", "-1", "nan", "inf", "1e7", "1e-12", "5s"}},
      {"lease-seconds", {"", "0", "-0.5", "1e999"}},
      {"memory-bytes", {"", "-1", "1GiB"}},
      {"spill-directory", {""}},
      {"spill-bytes-max", {"", "-1", "1GiB"}},
      {"seed", {"", "-1", "18446744073709551616"}},
      {"skip-bad", {"", "2", "maybe"}},
      {"only-shard", {"", "-1", "1.5", "two"}},
      {"late-seconds", {"", "0", "soon"}},
      {"join-seconds", {"", "0", "soon"}},
      {"deaths-max", {"", "0", "-1", "4294967296"}},
      {"hang-factor", {"", "0.99", "-2", "nan", "inf", "1e7", "2x"}},
      {"hang-first-seconds", {"", "0", "soon"}},
      {"hang-seconds", {"", "0", "soon"}},
      {"quiet", {"", "2", "YES", "on", "-1"}},
      {"trace", {""}},
      {"grant-log", {""}},
      {"test-no-acceptance", {"", "maybe"}},
  };
  for (const auto& [name, values] : cases) {
    for (const std::string& value : values) {
      SCOPED_TRACE(name + "=" + value);
      Settings settings;
      settings.trace_directory = "before";
      settings.grant_log = "before";
      const Status refused = set_setting(settings, name, value);
      EXPECT_EQ(refused.code(), ErrorCode::kInvalidArgument);
      EXPECT_THAT(std::string(refused.message()),
                  AllOf(HasSubstr(name), HasSubstr("'" + value + "'"), HasSubstr("it must be")));
      EXPECT_EQ(count_set(settings), 0);
      EXPECT_EQ(settings.trace_directory, "before");
      EXPECT_EQ(settings.grant_log, "before");
    }
  }
}

TEST(Setting, MakesBatchesLargeWhereOnlyOneRankCanLoseThem) {
  Settings settings;
  EXPECT_LT(batch_shard_count_of(settings, 2, 1), 100u);
  EXPECT_GT(batch_shard_count_of(settings, 1, 1), 1000u);
  settings.batch_shard_count = 30;
  EXPECT_EQ(batch_shard_count_of(settings, 1, 1), 30u);
  EXPECT_EQ(batch_shard_count_of(settings, 2, 1), 30u);
  EXPECT_EQ(batch_shard_count_of(settings, 2, 3), 30u);
}

TEST(Setting, MakesBatchesSmallerInEachLifeOfARank) {
  const Settings settings;
  const std::size_t first = batch_shard_count_of(settings, 2, 1);
  const std::size_t second = batch_shard_count_of(settings, 2, 2);
  EXPECT_GT(first, second);
  EXPECT_GT(second, 1u);
  EXPECT_EQ(batch_shard_count_of(settings, 2, 3), 1u);
  EXPECT_EQ(batch_shard_count_of(settings, 2, 4'000'000'000u), 1u);
}

TEST(Setting, TakesTheValuesAtItsLimits) {
  Settings settings;
  EXPECT_TRUE(set_setting(settings, "workers", "0").ok());
  EXPECT_TRUE(set_setting(settings, "batch-shards", "1").ok());
  EXPECT_TRUE(set_setting(settings, "seed", "18446744073709551615").ok());
  EXPECT_EQ(settings.seed, 18446744073709551615u);
  EXPECT_TRUE(set_setting(settings, "lease-seconds", "1e6").ok());
  EXPECT_EQ(settings.lease_duration, std::chrono::seconds(1'000'000));
  EXPECT_TRUE(set_setting(settings, "batch-seconds", "0.000001").ok());
  EXPECT_GT(settings.batch_duration, Duration::zero());
  for (const char* off : {"0", "false", "no"}) {
    settings.quiet = true;
    EXPECT_TRUE(set_setting(settings, "quiet", off).ok());
    EXPECT_FALSE(settings.quiet) << off;
  }
}

TEST(Setting, IsRefusedByANameThatThereIsNot) {
  Settings settings;
  for (const std::string name : {"", "Workers", "workers-per-rank", "WORKERS", "config"}) {
    const Status refused = set_setting(settings, name, "1");
    EXPECT_EQ(refused.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(std::string(refused.message()), HasSubstr("'" + name + "'"));
  }
}

TEST(Options, TakeOnlyTheirOwnOutOfArgv) {
  Settings settings;
  Arguments arguments({"program", "-v", "--pinion-workers=2", "pinion-seed=4", "--pinion-seed=5",
                       "--other-pinion-seed=6", "input"});
  const Status taken = take_options(settings, arguments.count(), arguments.values());
  ASSERT_TRUE(taken.ok()) << taken.to_string();
  EXPECT_EQ(arguments.kept(), (std::vector<std::string>{"program", "-v", "pinion-seed=4",
                                                        "--other-pinion-seed=6", "input"}));
  EXPECT_EQ(arguments.values()[arguments.count()], nullptr);
  EXPECT_EQ(settings.workers_per_rank, 2u);
  EXPECT_EQ(settings.seed, 5u);
}

TEST(Options, EndAtTwoDashes) {
  Settings settings;
  Arguments arguments({"program", "--pinion-seed=5", "--", "--pinion-workers=2", "--pinion-x"});
  ASSERT_TRUE(take_options(settings, arguments.count(), arguments.values()).ok());
  EXPECT_EQ(arguments.kept(),
            (std::vector<std::string>{"program", "--", "--pinion-workers=2", "--pinion-x"}));
  EXPECT_EQ(arguments.values()[arguments.count()], nullptr);
  EXPECT_EQ(settings.seed, 5u);
  EXPECT_EQ(settings.workers_per_rank, 0u);
}

TEST(Options, LeaveTheProgramsNameAloneWhateverItIs) {
  Settings settings;
  Arguments named({"--pinion-seed=5"});
  ASSERT_TRUE(take_options(settings, named.count(), named.values()).ok());
  EXPECT_EQ(named.kept(), std::vector<std::string>{"--pinion-seed=5"});
  EXPECT_EQ(settings.seed, 1u);

  Arguments none({});
  ASSERT_TRUE(take_options(settings, none.count(), none.values()).ok());
  EXPECT_EQ(none.count(), 0);
  EXPECT_EQ(none.values()[0], nullptr);
}

TEST(Options, KeepEverythingAfterTheFirstEqualsSign) {
  Settings settings;
  Arguments arguments({"program", "--pinion-trace=a=b"});
  ASSERT_TRUE(take_options(settings, arguments.count(), arguments.values()).ok());
  EXPECT_EQ(settings.trace_directory, "a=b");
}

TEST(Options, AreRefusedWithoutAValueOrWithABadOne) {
  for (const std::string option : {"--pinion-workers", "--pinion-", "--pinion-workers=x",
                                   "--pinion-workers=", "--pinion-=1", "--pinion-wrokers=1"}) {
    SCOPED_TRACE(option);
    Settings settings;
    Arguments arguments({"program", option});
    const Status refused = take_options(settings, arguments.count(), arguments.values());
    EXPECT_EQ(refused.code(), ErrorCode::kInvalidArgument);
    EXPECT_FALSE(refused.message().empty());
  }
  Settings settings;
  Arguments arguments({"program", "--pinion-workers"});
  EXPECT_THAT(std::string(take_options(settings, arguments.count(), arguments.values()).message()),
              HasSubstr("--pinion-NAME=VALUE"));
}

}  // namespace
}  // namespace pinion
