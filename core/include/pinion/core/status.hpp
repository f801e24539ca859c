#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include <pinion/core/assert.hpp>

namespace pinion {

/// What the caller can do about a failure. The sixteen canonical codes of gRPC and Abseil, with the
/// same numbers, so a code survives an RPC unchanged. Choose by the caller's next move: retry this
/// call -> kUnavailable, retry the whole transaction -> kAborted, fix the state first ->
/// kFailedPrecondition.
enum class ErrorCode : std::uint8_t {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

/// One row of the error table, which docs and tools print.
struct ErrorInfo {
  ErrorCode code;
  std::string_view name;     ///< Canonical upper-case name, for example "RESOURCE_EXHAUSTED".
  std::string_view meaning;  ///< One sentence.
  int exit_status;           ///< What a program that ends with this code returns: 0, or 64 to 79.
  bool retryable;            ///< Whether the same call may succeed when it is made again later.
};

/// Every code, in the order of its number.
[[nodiscard]] std::span<const ErrorInfo> error_table() noexcept;

/// The row of `code`; that of kUnknown for a number outside the table.
[[nodiscard]] const ErrorInfo& error_info(ErrorCode code) noexcept;

[[nodiscard]] inline std::string_view to_string(ErrorCode code) noexcept {
  return error_info(code).name;
}

/// Where a native error number came from.
enum class ErrorOrigin : std::uint8_t { kPinion, kErrno, kUcx, kCuda, kHwloc };

/// Success, or one error. Success is a null pointer: it costs nothing to make, move or test. An
/// error owns its text on the heap.
///
/// Thread safety: distinct objects are independent; one object is not shared.
class [[nodiscard]] Status {
 public:
  Status() noexcept = default;
  Status(ErrorCode code, std::string message);
  Status(const Status& other);
  Status& operator=(const Status& other);
  Status(Status&&) noexcept = default;
  Status& operator=(Status&&) noexcept = default;
  ~Status() = default;

  /// An error reported by a library we call. `native` keeps its own number (errno, ucs_status_t,
  /// cudaError_t) so that nothing is lost in translation.
  static Status from_native(ErrorOrigin origin, int native, ErrorCode code, std::string message);

  /// An errno, with the code that fits it; `message` says what was tried on what.
  static Status from_errno(int native, std::string message);

  [[nodiscard]] bool ok() const noexcept { return rep_ == nullptr; }
  [[nodiscard]] ErrorCode code() const noexcept { return rep_ ? rep_->code : ErrorCode::kOk; }
  [[nodiscard]] std::string_view message() const noexcept;

  /// "RESOURCE_EXHAUSTED: queue holds 4096 of 4096 tasks [errno 12]"
  [[nodiscard]] std::string to_string() const;

  /// The same error with "context: " before its text; success stays success.
  [[nodiscard]] Status with_context(std::string_view context) &&;

 private:
  struct Rep {
    ErrorCode code;
    ErrorOrigin origin;
    int native;
    std::string message;
  };
  std::unique_ptr<Rep> rep_;
};
static_assert(sizeof(Status) == sizeof(void*));

/// Ends the process with the error's words on standard error and the exit status of its code.
[[noreturn]] void exit_with(const Status& error) noexcept;

/// What main() returns at its end: 0 for success; for an error the exit status of its code, after
/// its words on standard error.
[[nodiscard]] int report(const Status& status) noexcept;

/// A value, or the error that prevented it. Member names follow C++23 std::expected, which replaces
/// this type once the compiler floor has it.
///
/// Looking at the value of an error ends the process with the error's words and exit status
/// (exit_with): a program that does not handle an error stops there and says why. Ask has_value()
/// first to handle it.
template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;

  // NOLINTBEGIN(google-explicit-constructor): functions return a T or a Status.
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Status error) : state_(std::in_place_index<1>, std::move(error)) {
    PINION_ASSERT(!std::get<1>(state_).ok());
  }
  // NOLINTEND(google-explicit-constructor)

  [[nodiscard]] bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  [[nodiscard]] T& value() & noexcept {
    require_value();
    return *std::get_if<0>(&state_);
  }
  [[nodiscard]] const T& value() const& noexcept {
    require_value();
    return *std::get_if<0>(&state_);
  }
  [[nodiscard]] T&& value() && noexcept {
    require_value();
    return std::move(*std::get_if<0>(&state_));
  }

  [[nodiscard]] T& operator*() & noexcept { return value(); }
  [[nodiscard]] const T& operator*() const& noexcept { return value(); }
  [[nodiscard]] T&& operator*() && noexcept { return std::move(*this).value(); }
  [[nodiscard]] T* operator->() noexcept { return &value(); }
  [[nodiscard]] const T* operator->() const noexcept { return &value(); }

  /// Precondition: !has_value().
  [[nodiscard]] const Status& error() const& noexcept {
    PINION_ASSERT(!has_value());
    return *std::get_if<1>(&state_);
  }
  [[nodiscard]] Status&& error() && noexcept {
    PINION_ASSERT(!has_value());
    return std::move(*std::get_if<1>(&state_));
  }

 private:
  void require_value() const noexcept {
    if (!has_value()) [[unlikely]] {
      exit_with(*std::get_if<1>(&state_));
    }
  }

  std::variant<T, Status> state_;
};

}  // namespace pinion

/// Returns from the enclosing function when `expr` is an error.
#define PINION_RETURN_IF_ERROR(expr)                        \
  do {                                                      \
    if (::pinion::Status status_ = (expr); !status_.ok()) { \
      return status_;                                       \
    }                                                       \
  } while (false)
