#include <pinion/shard/input.hpp>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "shard/input/child.hpp"
#include "shard/input/memory_blob_store.hpp"
#include "temporary_folder.hpp"

namespace pinion {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing_input::become_ordinary_user;
using testing_input::holds_in_child;
using testing_input::MemoryBlobStore;

Result<InputListing> list(std::vector<std::string> paths) {
  MemoryBlobStore store;
  return InputListing::list(files(std::move(paths)), store, false, 1);
}

std::vector<std::string> paths_of(const InputListing& listing) {
  std::vector<std::string> paths;
  for (const InputSource& source : listing.sources()) {
    paths.push_back(source.path);
  }
  return paths;
}

using Paths = std::vector<std::string>;

TEST(Input, DescribesItselfWithoutAmbiguity) {
  EXPECT_EQ(indices(12).describe(), "indices(12)");
  EXPECT_EQ(files({"a", "b c"}).describe(), R"(files("a", "b c"))");
  EXPECT_NE(files({"a\", \"b"}).describe(), files({"a", "b"}).describe());
}

TEST(InputListing, OfIndicesHasTheirCountAndNoSources) {
  MemoryBlobStore store;
  const InputListing listing = InputListing::list(indices(7), store, false, 1).value();
  EXPECT_EQ(listing.kind(), InputKind::kIndices);
  EXPECT_EQ(listing.size(), 7u);
  EXPECT_TRUE(listing.sources().empty());
}

TEST(InputListing, LaysFilesOneAfterTheOtherInTheOrderGiven) {
  const TemporaryFolder folder;
  const std::string z = folder.write("z", "123");
  const std::string a = folder.write("a", "45");
  const InputListing listing = list({z, a, z}).value();
  EXPECT_EQ(paths_of(listing), (Paths{z, a, z}));
  EXPECT_EQ(listing.sources()[1].begin, 3u);
  EXPECT_EQ(listing.sources()[2].begin, 5u);
  EXPECT_EQ(listing.size(), 8u);
  EXPECT_EQ(listing.left_out(), "");
}

TEST(InputListing, WalksDirectoriesInSortedOrder) {
  const TemporaryFolder folder;
  folder.write("b/two", "2");
  folder.write("b/one", "1");
  folder.write("c", "3");
  folder.write("a", "0");
  folder.write(".hidden", "h");
  EXPECT_EQ(
      paths_of(list({folder.path()}).value()),
      (Paths{folder / ".hidden", folder / "a", folder / "b/one", folder / "b/two", folder / "c"}));
}

TEST(InputListing, LeavesEmptyFilesAway) {
  const TemporaryFolder folder;
  folder.write("empty", "");
  const InputListing listing = list({folder.path(), folder / "empty"}).value();
  EXPECT_EQ(listing.size(), 0u);
  EXPECT_TRUE(listing.sources().empty());
  EXPECT_EQ(listing.left_out(), "");
}

TEST(InputListing, EndsInADirectoryLoop) {
  const TemporaryFolder folder;
  folder.write("a/file", "x");
  fs::create_directory_symlink("..", folder / "a/up");
  fs::create_directory_symlink(".", folder / "self");
  fs::create_directory_symlink("a", folder / "z");
  EXPECT_EQ(paths_of(list({folder.path()}).value()), (Paths{folder / "a/file"}));
}

TEST(InputListing, FollowsLinksToFilesAndDirectories) {
  const TemporaryFolder folder;
  folder.write("real/file", "x");
  fs::create_directories(folder / "in");
  fs::create_symlink("../real/file", folder / "in/f");
  fs::create_directory_symlink("../real", folder / "in/g");
  EXPECT_EQ(paths_of(list({folder / "in"}).value()),
            (Paths{folder / "in/f", folder / "in/g/file"}));
}

TEST(InputListing, CountsADirectoryThatIsNamedTwiceTwice) {
  const TemporaryFolder folder;
  folder.write("a/file", "x");
  EXPECT_EQ(list({folder / "a", folder / "a"}).value().size(), 2u);
}

TEST(InputListing, SaysWhatItLeftOut) {
  const TemporaryFolder folder;
  folder.write("file", "x");
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  fs::create_symlink("nowhere", folder / "link");
  fs::create_symlink("nowhere", folder / "link2");
  fs::create_symlink("loop", folder / "loop");
  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  ASSERT_LT((folder / "socket").size(), sizeof(address.sun_path));
  std::strncpy(address.sun_path, (folder / "socket").c_str(), sizeof(address.sun_path) - 1);
  ASSERT_EQ(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ::close(socket);

  const InputListing listing = list({folder.path()}).value();
  EXPECT_EQ(paths_of(listing), (Paths{folder / "file"}));
  EXPECT_EQ(listing.left_out(), "3 dangling links, 1 named pipe, 1 socket left out");
}

TEST(InputListing, RefusesAPipeThatIsNamedItself) {
  const TemporaryFolder folder;
  const std::string path = folder / "pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const Result<InputListing> listing = list({path});
  ASSERT_FALSE(listing.has_value());
  EXPECT_EQ(listing.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(listing.error().message(), HasSubstr("'" + path + "' is a pipe"));
  EXPECT_THAT(listing.error().message(), HasSubstr("standard input, and name - instead"));
  EXPECT_EQ(list({folder / "p*"}).value().left_out(), "1 named pipe left out");
}

TEST(InputListing, LeavesADeviceOut) {
  EXPECT_EQ(list({"/dev/null"}).value().left_out(), "1 device left out");
}

TEST(InputListing, NamesAPathThatDoesNotExist) {
  const TemporaryFolder folder;
  fs::create_symlink("nowhere", folder / "link");
  for (const std::string& path : {folder / "missing", folder / "link", std::string()}) {
    const Result<InputListing> listing = list({path});
    ASSERT_FALSE(listing.has_value());
    EXPECT_EQ(listing.error().code(), ErrorCode::kNotFound);
    EXPECT_THAT(listing.error().message(), HasSubstr("'" + path + "'"));
  }
  EXPECT_THAT(list({folder / "link"}).error().message(), HasSubstr("is a link to"));
}

TEST(InputListing, RefusesAPathWithAZeroByte) {
  EXPECT_EQ(list({std::string("/etc\0/x", 7)}).error().code(), ErrorCode::kInvalidArgument);
}

TEST(InputListing, ExpandsGlobsPartByPart) {
  const TemporaryFolder folder;
  folder.write("b/x.txt", "1");
  folder.write("a/x.txt", "2");
  folder.write("a/x.bin", "3");
  folder.write("a/.x.txt", "4");
  folder.write("x.txt", "5");
  EXPECT_EQ(paths_of(list({folder / "*/*.txt"}).value()),
            (Paths{folder / "a/x.txt", folder / "b/x.txt"}));
  EXPECT_EQ(paths_of(list({folder / "[ab]/x.txt"}).value()),
            (Paths{folder / "a/x.txt", folder / "b/x.txt"}));
  EXPECT_EQ(
      paths_of(list({folder / "?"}).value()),
      (Paths{folder / "a/.x.txt", folder / "a/x.bin", folder / "a/x.txt", folder / "b/x.txt"}));
  EXPECT_EQ(list({folder / "*/"}).value().size(), 4u);
}

TEST(InputListing, AGlobWithoutMatchIsNotFound) {
  const TemporaryFolder folder;
  folder.write("file", "x");
  for (const std::string& pattern : {folder / "*.txt", folder / "file/*", folder / "no*/x"}) {
    const Result<InputListing> listing = list({pattern});
    ASSERT_FALSE(listing.has_value());
    EXPECT_EQ(listing.error().code(), ErrorCode::kNotFound);
    EXPECT_THAT(listing.error().message(), HasSubstr(pattern));
  }
}

TEST(InputListing, TakesAFileWithTheNameOfAGlobAsItStands) {
  const TemporaryFolder folder;
  folder.write("ab", "x");
  const std::string star = folder.write("a*", "y");
  EXPECT_EQ(paths_of(list({star}).value()), (Paths{star}));
}

// Root may read everything, so a child that is somebody else looks.
TEST(InputListing, NamesAFileThatMayNotBeRead) {
  const TemporaryFolder folder;
  folder.write("d/secret", "x");
  fs::permissions(folder / "d/secret", fs::perms::none);
  EXPECT_TRUE(holds_in_child([&] {
    if (!become_ordinary_user()) {
      return false;
    }
    const Result<InputListing> listing = list({folder / "d"});
    return !listing && listing.error().code() == ErrorCode::kPermissionDenied &&
           listing.error().message().find(folder / "d/secret") != std::string_view::npos;
  }));
}

TEST(InputListing, NamesADirectoryThatMayNotBeRead) {
  const TemporaryFolder folder;
  folder.write("d/closed/file", "x");
  fs::permissions(folder / "d/closed", fs::perms::none);
  EXPECT_TRUE(holds_in_child([&] {
    if (!become_ordinary_user()) {
      return false;
    }
    for (const std::string& path : {folder / "d", folder / "d/*/f*"}) {
      const Result<InputListing> listing = list({path});
      if (listing || listing.error().code() != ErrorCode::kPermissionDenied ||
          listing.error().message().find(folder / "d/closed") == std::string_view::npos) {
        return false;
      }
    }
    return true;
  }));
  fs::permissions(folder / "d/closed", fs::perms::owner_all);
}

// Lists "-" in a child whose standard input is `descriptor`.
bool child_lists(int descriptor, std::string_view expected) {
  return holds_in_child([&] {
    if (::dup2(descriptor, STDIN_FILENO) < 0) {
      return false;
    }
    MemoryBlobStore store;
    const Result<InputListing> listing = InputListing::list(files({"-"}), store, true, 1);
    if (!listing || listing->size() != expected.size()) {
      return false;
    }
    std::string found(expected.size(), '?');
    return expected.empty() ||
           (listing->sources().size() == 1 && listing->sources()[0].path == "-" &&
            listing->read(0, 0, std::as_writable_bytes(std::span(found))).value() ==
                expected.size() &&
            found == expected);
  });
}

TEST(InputListing, ReadsStandardInputFromAPipe) {
  int ends[2] = {-1, -1};
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  ASSERT_EQ(::write(ends[1], "some\nwords", 10), 10);
  ::close(ends[1]);
  EXPECT_TRUE(child_lists(ends[0], "some\nwords"));
  EXPECT_TRUE(child_lists(ends[0], "")) << "the pipe is at its end";
  ::close(ends[0]);
}

TEST(InputListing, ReadsStandardInputFromAFile) {
  const TemporaryFolder folder;
  const int file = ::open(folder.write("f", "text").c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(file, 0);
  EXPECT_TRUE(child_lists(file, "text"));
  ::close(file);
}

TEST(InputListing, RefusesStandardInputThatIsNotThere) {
  const Result<InputListing> absent = list({"-"});
  ASSERT_FALSE(absent.has_value());
  EXPECT_EQ(absent.error().code(), ErrorCode::kUnavailable);

  EXPECT_TRUE(holds_in_child([] {
    ::close(STDIN_FILENO);
    MemoryBlobStore store;
    const Result<InputListing> closed = InputListing::list(files({"-"}), store, true, 1);
    return !closed && closed.error().code() == ErrorCode::kUnavailable;
  }));
}

TEST(InputListing, RefusesStandardInputTwice) {
  EXPECT_TRUE(holds_in_child([] {
    const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (::dup2(nothing, STDIN_FILENO) < 0) {
      return false;
    }
    MemoryBlobStore store;
    const Result<InputListing> twice = InputListing::list(files({"-", "-"}), store, true, 1);
    return !twice && twice.error().code() == ErrorCode::kInvalidArgument;
  }));
}

TEST(InputListing, ReadsUpToTheEndOfASource) {
  const TemporaryFolder folder;
  const InputListing listing = list({folder.write("f", "0123456789")}).value();
  std::string out(4, '?');
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(out));
  EXPECT_EQ(listing.read(0, 3, bytes).value(), 4u);
  EXPECT_EQ(out, "3456");
  EXPECT_EQ(listing.read(0, 8, bytes).value(), 2u);
  EXPECT_EQ(out.substr(0, 2), "89");
  EXPECT_EQ(listing.read(0, 10, bytes).value(), 0u);
}

TEST(InputListing, SaysThatAFileHasShrunk) {
  const TemporaryFolder folder;
  const std::string path = folder.write("f", "0123456789");
  const InputListing listing = list({path}).value();
  fs::resize_file(path, 4);
  std::byte out[2];
  const Result<std::size_t> count = listing.read(0, 0, out);
  ASSERT_FALSE(count.has_value());
  EXPECT_EQ(count.error().code(), ErrorCode::kDataLoss);
  EXPECT_THAT(count.error().message(), HasSubstr(path));
  EXPECT_THAT(count.error().message(), HasSubstr("had 10 bytes"));
  EXPECT_THAT(count.error().message(), HasSubstr("has 4"));
}

// A read must not wait for a writer of the pipe that has taken the place of a file.
TEST(InputListing, RefusesAPipeInThePlaceOfAFile) {
  const TemporaryFolder folder;
  const std::string path = folder.write("f", "0123456789");
  const InputListing listing = list({path}).value();
  fs::remove(path);
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  std::byte out[2];
  const Result<std::size_t> count = listing.read(0, 0, out);
  ASSERT_FALSE(count.has_value());
  EXPECT_EQ(count.error().code(), ErrorCode::kFailedPrecondition);
}

}  // namespace
}  // namespace pinion
