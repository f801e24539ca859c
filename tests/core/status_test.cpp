#include <pinion/core/status.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <fstream>
#include <iterator>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <gtest/gtest.h>

namespace pinion {
namespace {

static_assert(!std::is_convertible_v<Result<int>, bool>);
static_assert(std::is_same_v<Result<int>::value_type, int>);

TEST(ErrorTable, HasTheSeventeenCanonicalCodesInOrder) {
  constexpr std::array<std::string_view, 17> kNames = {
      "OK",
      "CANCELLED",
      "UNKNOWN",
      "INVALID_ARGUMENT",
      "DEADLINE_EXCEEDED",
      "NOT_FOUND",
      "ALREADY_EXISTS",
      "PERMISSION_DENIED",
      "RESOURCE_EXHAUSTED",
      "FAILED_PRECONDITION",
      "ABORTED",
      "OUT_OF_RANGE",
      "UNIMPLEMENTED",
      "INTERNAL",
      "UNAVAILABLE",
      "DATA_LOSS",
      "UNAUTHENTICATED",
  };
  ASSERT_EQ(error_table().size(), kNames.size());
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    EXPECT_EQ(static_cast<std::size_t>(error_table()[i].code), i);
    EXPECT_EQ(error_table()[i].name, kNames[i]);
    EXPECT_TRUE(error_table()[i].meaning.ends_with('.')) << kNames[i];
  }
}

TEST(ErrorTable, GivesEachErrorAnExitStatusOfItsOwn) {
  std::set<int> exit_statuses;
  for (const ErrorInfo& info : error_table()) {
    if (info.code == ErrorCode::kOk) {
      EXPECT_EQ(info.exit_status, 0);
    } else {
      EXPECT_GE(info.exit_status, 64) << info.name;
      EXPECT_LE(info.exit_status, 79) << info.name;
    }
    EXPECT_TRUE(exit_statuses.insert(info.exit_status).second) << info.name;
  }
}

TEST(ErrorTable, HasTheRetryableCodesOfTheContract) {
  for (const ErrorInfo& info : error_table()) {
    const bool expected = info.code == ErrorCode::kUnknown ||
                          info.code == ErrorCode::kDeadlineExceeded ||
                          info.code == ErrorCode::kResourceExhausted ||
                          info.code == ErrorCode::kAborted || info.code == ErrorCode::kUnavailable;
    EXPECT_EQ(info.retryable, expected) << info.name;
  }
}

// | 71 | RESOURCE_EXHAUSTED | Memory, space, a quota or a queue is full. | yes |
TEST(ErrorTable, IsWrittenDownAsItIs) {
  std::ifstream file(PINION_ARCHITECTURE_FILE);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  EXPECT_NE(text.find("\n| status | error | meaning | a retry can help |\n"), std::string::npos);
  for (const ErrorInfo& info : error_table()) {
    std::string row = "\n| " + std::to_string(info.exit_status) + " | ";
    row.append(info.name).append(" | ").append(info.meaning);
    row.append(info.retryable ? " | yes |\n" : " | no |\n");
    EXPECT_NE(text.find(row), std::string::npos) << row;
  }
}

TEST(ErrorInfo, OfANumberOutsideTheTableIsUnknown) {
  EXPECT_EQ(error_info(ErrorCode::kDataLoss).name, "DATA_LOSS");
  EXPECT_EQ(to_string(static_cast<ErrorCode>(17)), "UNKNOWN");
  EXPECT_EQ(to_string(static_cast<ErrorCode>(255)), "UNKNOWN");
}

TEST(Status, OfSuccessHasNoText) {
  const Status status;
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(status.code(), ErrorCode::kOk);
  EXPECT_EQ(status.message(), "");
  EXPECT_EQ(status.to_string(), "OK");
}

TEST(Status, NamesItsCodeAndText) {
  const Status status(ErrorCode::kNotFound, "no such segment");
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.code(), ErrorCode::kNotFound);
  EXPECT_EQ(status.message(), "no such segment");
  EXPECT_EQ(status.to_string(), "NOT_FOUND: no such segment");
}

TEST(Status, CopiesAreIndependent) {
  Status first(ErrorCode::kNotFound, "here");
  Status second = first;
  first = Status();
  EXPECT_EQ(second.to_string(), "NOT_FOUND: here");
  first = second;
  second = std::move(second).with_context("there");
  EXPECT_EQ(first.message(), "here");
  const Status& same = first;
  first = same;
  EXPECT_EQ(first.message(), "here");
}

TEST(Status, IsSuccessAfterAMove) {
  Status first(ErrorCode::kNotFound, "here");
  const Status second = std::move(first);
  EXPECT_EQ(second.message(), "here");
  EXPECT_TRUE(first.ok());  // NOLINT(bugprone-use-after-move): what a move leaves is the point.
}

TEST(Status, AddsContextInFrontOfAnErrorOnly) {
  EXPECT_EQ(Status(ErrorCode::kDataLoss, "bad checksum").with_context("partial 4").to_string(),
            "DATA_LOSS: partial 4: bad checksum");
  EXPECT_TRUE(Status().with_context("partial 4").ok());
}

TEST(Status, KeepsTheNumberOfTheLibrary) {
  const Status status =
      Status::from_native(ErrorOrigin::kUcx, -3, ErrorCode::kUnavailable, "endpoint closed");
  EXPECT_EQ(status.to_string(), "UNAVAILABLE: endpoint closed [ucx -3]");
  EXPECT_EQ(Status(status).with_context("pull").to_string(),
            "UNAVAILABLE: pull: endpoint closed [ucx -3]");
}

TEST(Status, OfAnErrnoHasItsCodeWordsAndNumber) {
  EXPECT_EQ(Status::from_errno(ENOENT, "cannot open /data/a").to_string(),
            "NOT_FOUND: cannot open /data/a: No such file or directory [errno 2]");
}

TEST(Status, IsReportedAsTheExitStatusOfItsCode) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(report(Status()), 0);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  testing::internal::CaptureStderr();
  EXPECT_EQ(report(Status(ErrorCode::kNotFound, "no such thing")), 66);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "pinion: NOT_FOUND: no such thing\n");
}

TEST(Status, OfAnErrnoHasTheCodeOfTheCallersNextMove) {
  const std::array<std::pair<int, ErrorCode>, 15> expectations = {{
      {ENOENT, ErrorCode::kNotFound},
      {EACCES, ErrorCode::kPermissionDenied},
      {EPERM, ErrorCode::kPermissionDenied},
      {EEXIST, ErrorCode::kAlreadyExists},
      {ENOMEM, ErrorCode::kResourceExhausted},
      {ENOSPC, ErrorCode::kResourceExhausted},
      {EFBIG, ErrorCode::kResourceExhausted},
      {EMFILE, ErrorCode::kResourceExhausted},
      {EINVAL, ErrorCode::kInvalidArgument},
      {EISDIR, ErrorCode::kInvalidArgument},
      {EIO, ErrorCode::kDataLoss},
      {ECONNRESET, ErrorCode::kUnavailable},
      {ETIMEDOUT, ErrorCode::kDeadlineExceeded},
      {ENOSYS, ErrorCode::kUnimplemented},
      {4095, ErrorCode::kUnknown},
  }};
  for (const auto& [native, code] : expectations) {
    EXPECT_EQ(Status::from_errno(native, "x").code(), code) << native;
  }
}

TEST(StatusDeathTest, DiesOfAnErrorWithTheCodeOfSuccess) {
  EXPECT_DEATH(static_cast<void>(Status(ErrorCode::kOk, "fine")), "code != ErrorCode::kOk");
}

Status add_one(int input, int& output) {
  PINION_RETURN_IF_ERROR(input < 0 ? Status(ErrorCode::kOutOfRange, "negative") : Status());
  output = input + 1;
  return {};
}

TEST(ReturnIfError, ReturnsAnErrorAndGoesOnAfterSuccess) {
  int output = 0;
  EXPECT_EQ(add_one(-1, output).code(), ErrorCode::kOutOfRange);
  EXPECT_EQ(output, 0);
  EXPECT_TRUE(add_one(1, output).ok());
  EXPECT_EQ(output, 2);
}

TEST(Result, HoldsItsValue) {
  Result<std::string> result = std::string("word");
  ASSERT_TRUE(result.has_value());
  EXPECT_TRUE(static_cast<bool>(result));
  EXPECT_EQ(*result, "word");
  EXPECT_EQ(result->size(), 4u);
  result.value() += "s";
  EXPECT_EQ(std::as_const(result).value(), "words");
}

TEST(Result, GivesAwayAValueThatOnlyMoves) {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(5);
  const std::unique_ptr<int> value = std::move(result).value();
  EXPECT_EQ(*value, 5);
}

TEST(Result, HoldsItsError) {
  Result<int> result = Status(ErrorCode::kNotFound, "no such key");
  EXPECT_FALSE(result.has_value());
  EXPECT_FALSE(static_cast<bool>(result));
  EXPECT_EQ(result.error().message(), "no such key");
  const Status error = std::move(result).error();
  EXPECT_EQ(error.message(), "no such key");
}

TEST(ResultDeathTest, OfAnErrorEndsTheProgramWithItsWordsWhenItsValueIsAsked) {
  for (const ErrorInfo& info : error_table()) {
    if (info.code == ErrorCode::kOk) {
      continue;
    }
    const Result<int> result = Status(info.code, "it broke");
    EXPECT_EXIT(static_cast<void>(result.value()), testing::ExitedWithCode(info.exit_status),
                "pinion: " + std::string(info.name) + ": it broke");
  }
}

TEST(ResultDeathTest, EndsTheProgramFromEveryWayToTheValue) {
  Result<std::string> result = Status(ErrorCode::kInternal, "it broke");
  const auto internal = testing::ExitedWithCode(error_info(ErrorCode::kInternal).exit_status);
  EXPECT_EXIT(static_cast<void>(*result), internal, "it broke");
  EXPECT_EXIT(static_cast<void>(result->size()), internal, "it broke");
  EXPECT_EXIT(static_cast<void>(std::move(result).value()), internal, "it broke");
}

TEST(ResultDeathTest, DiesOfMisuse) {
  const Result<int> result = 3;
  EXPECT_DEATH(static_cast<void>(result.error()), "has_value");
  EXPECT_DEATH(static_cast<void>(Result<int>(Status())), "ok\\(\\)");
}

}  // namespace
}  // namespace pinion
