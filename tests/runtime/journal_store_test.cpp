#include "journal/journal_store.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "journal/journal.hpp"
#include "journal/log_name.hpp"
#include "journal/resume.hpp"
#include "temporary_folder.hpp"

namespace pinion {
namespace {

using protocol::Record;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

BlobHandle handle_of(std::uint64_t number, std::uint64_t length_bytes, std::uint32_t epoch = 1) {
  return {.job = 5,
          .generation = 1,
          .length_bytes = length_bytes,
          .epoch = epoch,
          .segment = static_cast<std::uint32_t>(number)};
}

std::vector<std::byte> bytes_of(const BlobHandle& handle) {
  std::vector<std::byte> bytes(handle.length_bytes);
  for (std::size_t index = 0; index < bytes.size(); ++index) {
    bytes[index] = static_cast<std::byte>(index * 3 + handle.segment);
  }
  return bytes;
}

std::pair<BlobHandle, BlobFilePart> blob_in_memory(const BlobHandle& handle) {
  BlobFilePart part{.descriptor = UniqueFd(::memfd_create("blob", MFD_CLOEXEC)), .offset = 9};
  const std::vector<std::byte> bytes = bytes_of(handle);
  EXPECT_EQ(::pwrite(part.descriptor.get(), bytes.data(), bytes.size(), 9),
            static_cast<ssize_t>(bytes.size()));
  return {handle, std::move(part)};
}

JournalEntry opened(std::uint64_t step) {
  return {.record = protocol::StepOpened{.step = step, .fingerprint = step}};
}

JournalEntry planned(std::uint64_t step, const BlobHandle& plan,
                     std::vector<BlobHandle> streams = {}) {
  JournalEntry entry{.record = protocol::StepPlanned{{.step = step,
                                                      .plan = plan,
                                                      .shards = {{.weight = 1}, {.weight = 2}},
                                                      .streams = streams}}};
  entry.blobs.push_back(blob_in_memory(plan));
  for (const BlobHandle& stream : streams) {
    entry.blobs.push_back(blob_in_memory(stream));
  }
  return entry;
}

JournalEntry accepted(std::uint64_t step, protocol::Stage stage, std::uint64_t unit,
                      const BlobHandle& output) {
  JournalEntry entry{.record = protocol::UnitsAccepted{
                         .step = step, .stage = stage, .output = output, .units = {unit}}};
  entry.blobs.push_back(blob_in_memory(output));
  return entry;
}

JournalEntry ended(std::uint64_t step, const BlobHandle& result) {
  return {.record = protocol::StepEnded{.step = step, .results = {result}, .shard_count = 2}};
}

class JournalFiles : public testing::Test {
 protected:
  JournalStore open(std::uint32_t epoch, JournalStoreOptions options = {.log_bytes = 4096}) {
    Result<JournalContents> before = read();
    protocol::RecordHistory history;
    for (const Record& record : before->records) {
      history.add(record);
    }
    Result<JournalStore> store = JournalStore::open(folder_.path(), epoch, std::move(history),
                                                    before->next, std::move(options));
    EXPECT_TRUE(store.has_value()) << store.error().to_string();
    return *std::move(store);
  }

  Result<JournalContents> read() {
    Result<JournalContents> contents = read_journal(folder_.path());
    EXPECT_TRUE(contents.has_value()) << contents.error().to_string();
    return contents;
  }

  static Status commit(JournalStore& store, JournalEntry entry) {
    return store.commit({&entry, 1});
  }

  // A whole step of two shards, up to the end or not.
  void play_step(JournalStore& store, std::uint64_t step, std::uint32_t epoch, bool to_its_end) {
    const auto blob = [&](std::uint64_t number) {
      return handle_of(step * 10 + number, 100 * number, epoch);
    };
    ASSERT_TRUE(commit(store, opened(step)).ok());
    ASSERT_TRUE(commit(store, planned(step, blob(1))).ok());
    ASSERT_TRUE(commit(store, accepted(step, protocol::Stage::kMap, 0, blob(2))).ok());
    ASSERT_TRUE(commit(store, accepted(step, protocol::Stage::kMap, 1, blob(3))).ok());
    ASSERT_TRUE(commit(store, accepted(step, protocol::Stage::kMerge, 0, blob(4))).ok());
    if (to_its_end) {
      ASSERT_TRUE(commit(store, ended(step, blob(4))).ok());
    }
  }

  // What a resume gets: the records that are left, and which segments were loaded.
  std::pair<Result<std::vector<Record>>, std::vector<std::uint32_t>> load(
      JournalContents& contents) {
    std::vector<std::uint32_t> loaded;
    Result<std::vector<Record>> records = load_blobs(
        contents, [&](const BlobHandle& handle, Place, std::span<const std::byte> bytes) {
          loaded.push_back(handle.segment);
          EXPECT_TRUE(std::ranges::equal(bytes, bytes_of(handle)));
          return Status();
        });
    return {std::move(records), loaded};
  }

  // In a copy, the next epoch goes on behind what is left.
  void check_goes_on(const JournalContents& left) {
    const TemporaryFolder copy;
    std::filesystem::copy(folder_.path(), copy.path(),
                          std::filesystem::copy_options::recursive |
                              std::filesystem::copy_options::overwrite_existing);
    protocol::RecordHistory history;
    for (const Record& record : left.records) {
      history.add(record);
    }
    Result<JournalStore> next =
        JournalStore::open(copy.path(), 2, std::move(history), left.next, {.log_bytes = 4096});
    ASSERT_TRUE(next.has_value());
    ASSERT_TRUE(commit(*next, opened(7)).ok());
    const Result<JournalContents> more = read_journal(copy.path());
    ASSERT_TRUE(more.has_value());
    EXPECT_EQ(more->records.back(), opened(7).record);
    EXPECT_EQ(more->next, left.next + 2);
  }

  std::vector<std::string> names_under(const std::string& name) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / name)) {
      names.push_back(entry.path().filename());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  void damage(const std::string& name, std::uint64_t offset) {
    const UniqueFd file(::open((folder_ / name).c_str(), O_RDWR));
    char byte = 0;
    ASSERT_EQ(::pread(file.get(), &byte, 1, static_cast<off_t>(offset)), 1);
    byte = static_cast<char>(byte ^ 0x10);
    ASSERT_EQ(::pwrite(file.get(), &byte, 1, static_cast<off_t>(offset)), 1);
  }

  TemporaryFolder folder_;
};

TEST_F(JournalFiles, HoldAnUnfinishedStepWithItsBlobs) {
  JournalStore store = open(1);
  play_step(store, 1, 1, false);
  Result<JournalContents> contents = read();
  EXPECT_EQ(contents->records.size(), 6U);
  EXPECT_EQ(contents->next, 6U);
  EXPECT_EQ(contents->epoch_max, 1U);
  const auto [records, loaded] = load(*contents);
  ASSERT_TRUE(records.has_value());
  EXPECT_EQ(records->size(), 6U);
  EXPECT_THAT(loaded, ElementsAre(11, 12, 13, 14));
  EXPECT_THAT(contents->remarks, IsEmpty());
}

TEST_F(JournalFiles, LetGoOfTheWorkOfAStepThatHasEnded) {
  JournalStore store = open(1);
  play_step(store, 1, 1, false);
  EXPECT_THAT(names_under("blobs"), ElementsAre("1-0-result", "1-1-work"));
  ASSERT_TRUE(commit(store, ended(1, handle_of(14, 400))).ok());
  EXPECT_THAT(names_under("blobs"), ElementsAre("1-0-result"));
  Result<JournalContents> contents = read();
  const auto [records, loaded] = load(*contents);
  EXPECT_THAT(loaded, ElementsAre(14));
}

TEST_F(JournalFiles, GoOnThroughManyEpochs) {
  for (std::uint32_t epoch = 1; epoch <= 9; ++epoch) {
    JournalStore store = open(epoch);
    play_step(store, epoch, epoch, epoch % 3 != 0);
    const Result<JournalContents> contents = read();
    EXPECT_EQ(contents->next, epoch * 7 - epoch / 3);
    EXPECT_EQ(contents->epoch_max, epoch);
    EXPECT_THAT(contents->remarks, IsEmpty());
  }
  Result<JournalContents> contents = read();
  EXPECT_LE(names_under("log").size(), 3U) << "what both snapshots have is needless";
  EXPECT_THAT(load(*contents).second,
              ElementsAre(14, 24, 31, 32, 33, 34, 44, 54, 61, 62, 63, 64, 74, 84, 91, 92, 93, 94));
}

TEST_F(JournalFiles, AreRotatedWithoutLoss) {
  JournalStore store = open(1, {.log_bytes = 1024});
  for (std::uint64_t step = 1; step <= 100; ++step) {
    play_step(store, step, 1, true);
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ / "log/1-0")) << "both snapshots have it";
  Result<JournalContents> contents = read();
  EXPECT_EQ(contents->next, 601U);
  EXPECT_EQ(load(*contents).second.size(), 100U);
}

TEST_F(JournalFiles, TakeARecordLargerThanAFileOfTheLog) {
  JournalStore store = open(1, {.log_bytes = 1024});
  protocol::StepPlanned plan{{.step = 1}};
  plan.ready.shards.resize(1000);
  ASSERT_TRUE(commit(store, opened(1)).ok());
  ASSERT_TRUE(commit(store, {.record = plan}).ok());
  ASSERT_TRUE(commit(store, opened(2)).ok());
  EXPECT_EQ(read()->records.back(), opened(2).record);
}

TEST_F(JournalFiles, AreReadUpToWhateverCutsThem) {
  {
    JournalStore store = open(1);
    play_step(store, 1, 1, true);
  }
  const std::vector<Record> whole = read()->records;
  const std::string log = folder_ / ("log/" + names_under("log").front());
  for (std::uintmax_t size = 2000; size > 0; --size) {
    std::filesystem::resize_file(log, size);
    const Result<JournalContents> cut = read();
    ASSERT_LE(cut->records.size(), whole.size());
    EXPECT_TRUE(std::equal(cut->records.begin(), cut->records.end(), whole.begin()));
    if (size % 50 == 0) {
      check_goes_on(*cut);
    }
  }
}

TEST_F(JournalFiles, AreReadFromTheOtherSnapshotWhereOneIsDamaged) {
  for (std::uint32_t epoch = 1; epoch <= 4; ++epoch) {
    JournalStore store = open(epoch);
    play_step(store, epoch, epoch, true);
  }
  const Result<JournalContents> whole = read();
  for (const char* const snapshot : {"snapshot.0", "snapshot.1"}) {
    damage(snapshot, 100);
    Result<JournalContents> contents = read();
    EXPECT_EQ(contents->next, whole->next);
    EXPECT_THAT(contents->remarks, ElementsAre(HasSubstr(snapshot)));
    EXPECT_THAT(load(*contents).second, ElementsAre(14, 24, 34, 44));
    damage(snapshot, 100);
  }
}

TEST_F(JournalFiles, WithoutABlobMakeThatAgainWhichCanBe) {
  JournalStore store = open(1);
  play_step(store, 1, 1, false);
  damage("blobs/1-1-work", 3 * 64 + 128);  // In the first partial.
  Result<JournalContents> contents = read();
  const auto [records, loaded] = load(*contents);
  ASSERT_TRUE(records.has_value()) << records.error().to_string();
  EXPECT_EQ(records->size(), 5U);
  EXPECT_THAT(loaded, ElementsAre(11, 13, 14));
  EXPECT_THAT(contents->remarks, ElementsAre(HasSubstr("1 units of step 1 run again")));
}

TEST_F(JournalFiles, WithoutAPlanBeginTheStepAgain) {
  JournalStore store = open(1);
  play_step(store, 1, 1, false);
  damage("blobs/1-1-work", 64);
  Result<JournalContents> contents = read();
  const auto [records, loaded] = load(*contents);
  ASSERT_TRUE(records.has_value());
  EXPECT_EQ(records->size(), 2U);
  EXPECT_THAT(loaded, IsEmpty());
  EXPECT_THAT(contents->remarks, ElementsAre(HasSubstr("its plan is lost")));
}

TEST_F(JournalFiles, WithoutAResultOrAStreamCannotBeResumed) {
  JournalStore store = open(1);
  ASSERT_TRUE(commit(store, opened(1)).ok());
  ASSERT_TRUE(commit(store, planned(1, handle_of(1, 10), {handle_of(2, 1000)})).ok());
  damage("blobs/1-1-work", 300);
  Result<JournalContents> contents = read();
  const Result<std::vector<Record>> no_stream = load(*contents).first;
  ASSERT_FALSE(no_stream.has_value());
  EXPECT_EQ(no_stream.error().code(), ErrorCode::kDataLoss);
  EXPECT_THAT(
      std::string(no_stream.error().message()),
      testing::AllOf(HasSubstr("blobs/1-1-work is damaged"), HasSubstr("run the job anew")));

  play_step(store, 1, 1, true);
  damage("blobs/1-0-result", 70);
  contents = read();
  EXPECT_EQ(load(*contents).first.error().code(), ErrorCode::kDataLoss);
}

// In each of the ways in which a process can end as it commits.
TEST_F(JournalFiles, OfAProcessThatEndsAsItCommitsHaveAPrefix) {
  for (int end_at = 1; end_at < 40; ++end_at) {
    SCOPED_TRACE(end_at);
    const TemporaryFolder folder;
    const pid_t child = ::fork();
    if (child == 0) {
      int left = end_at;
      Result<JournalStore> store = JournalStore::open(
          folder.path(), 1, {}, 0, {.log_bytes = 1024, .at = [&](CommitPoint, std::uint64_t) {
                                      if (--left == 0) {
                                        ::_exit(0);
                                      }
                                    }});
      play_step(*store, 1, 1, true);
      play_step(*store, 2, 1, true);
      ::_exit(1);
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    ASSERT_EQ(status, 0);
    Result<JournalContents> contents = read_journal(folder.path());
    ASSERT_TRUE(contents.has_value());
    EXPECT_TRUE(load(*contents).first.has_value());
    // And no record names what is not there.
    EXPECT_THAT(contents->remarks, testing::Each(HasSubstr("what it said is done again")));
  }
}

TEST(Journal, TellsWhatIsSafeInTheOrderOfWhatItWasGiven) {
  const TemporaryFolder folder;
  Result<JournalStore> store = JournalStore::open(folder.path(), 1, {}, 0);
  ASSERT_TRUE(store.has_value());
  {
    Result<std::unique_ptr<Journal>> journal = Journal::start(*std::move(store));
    ASSERT_TRUE(journal.has_value());
    for (std::uint64_t step = 1; step <= 10'000; ++step) {
      ASSERT_EQ((*journal)->submit(opened(step)), step);
    }
    EXPECT_TRUE((*journal)->wait_until_safe().ok());
    EXPECT_EQ((*journal)->safe_count(), 10'000U);
  }
  const Result<JournalContents> contents = read_journal(folder.path());
  ASSERT_TRUE(contents.has_value());
  ASSERT_EQ(contents->records.size(), 10'001U);
  EXPECT_EQ(contents->records.back(), opened(10'000).record);
}

TEST(Journal, AcceptsNothingMoreAfterAFailure) {
  const TemporaryFolder folder;
  Result<JournalStore> store = JournalStore::open(folder.path(), 1, {}, 0, {.log_bytes = 256});
  ASSERT_TRUE(store.has_value());
  Result<std::unique_ptr<Journal>> journal = Journal::start(*std::move(store));
  ASSERT_TRUE(journal.has_value());
  std::filesystem::remove_all(folder / "log");  // The next file of the log cannot be made.
  Status failure;
  for (std::uint64_t step = 1; step <= 20 && failure.ok(); ++step) {
    (*journal)->submit(opened(step));
    failure = (*journal)->wait_until_safe();
  }
  EXPECT_EQ(failure.code(), ErrorCode::kNotFound);
  const std::uint64_t safe = (*journal)->safe_count();
  (*journal)->submit(opened(30));
  EXPECT_FALSE((*journal)->wait_until_safe().ok());
  EXPECT_EQ((*journal)->safe_count(), safe);
}

}  // namespace
}  // namespace pinion
