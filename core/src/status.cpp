#include <pinion/core/status.hpp>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <system_error>

namespace pinion {
namespace {

// Exit statuses follow sysexits(3) where it has a word for the case and take the free numbers of
// 64 to 79 where it has none.
constexpr std::array<ErrorInfo, 17> kErrors = {{
    {ErrorCode::kOk, "OK", "Done.", 0, false},
    {ErrorCode::kCancelled, "CANCELLED", "Somebody asked for it to stop.", 79, false},
    {ErrorCode::kUnknown, "UNKNOWN", "It failed without a known class, or may have been applied.",
     67, true},
    {ErrorCode::kInvalidArgument, "INVALID_ARGUMENT",
     "The request is wrong whatever the state of the system.", 64, false},
    {ErrorCode::kDeadlineExceeded, "DEADLINE_EXCEEDED", "It did not finish in the time given.", 75,
     true},
    {ErrorCode::kNotFound, "NOT_FOUND", "What was named does not exist.", 66, false},
    {ErrorCode::kAlreadyExists, "ALREADY_EXISTS", "What was to be made is there already.", 73,
     false},
    {ErrorCode::kPermissionDenied, "PERMISSION_DENIED", "This caller may not do that.", 77, false},
    {ErrorCode::kResourceExhausted, "RESOURCE_EXHAUSTED",
     "Memory, space, a quota or a queue is full.", 71, true},
    {ErrorCode::kFailedPrecondition, "FAILED_PRECONDITION",
     "The system is not in a state in which that can be done.", 78, false},
    {ErrorCode::kAborted, "ABORTED", "It lost a race; begin the whole operation again.", 72, true},
    {ErrorCode::kOutOfRange, "OUT_OF_RANGE", "The position lies outside what is there.", 65, false},
    {ErrorCode::kUnimplemented, "UNIMPLEMENTED", "This build or this system cannot do that.", 76,
     false},
    {ErrorCode::kInternal, "INTERNAL", "A bug in Pinion.", 70, false},
    {ErrorCode::kUnavailable, "UNAVAILABLE", "A peer or a service is gone for the moment.", 69,
     true},
    {ErrorCode::kDataLoss, "DATA_LOSS", "Data are damaged or lost for good.", 74, false},
    {ErrorCode::kUnauthenticated, "UNAUTHENTICATED", "The caller did not prove who it is.", 68,
     false},
}};

const char* name_of(ErrorOrigin origin) noexcept {
  switch (origin) {
    case ErrorOrigin::kPinion:
      return "pinion";
    case ErrorOrigin::kErrno:
      return "errno";
    case ErrorOrigin::kUcx:
      return "ucx";
    case ErrorOrigin::kCuda:
      return "cuda";
    case ErrorOrigin::kHwloc:
      return "hwloc";
  }
  return "?";
}

ErrorCode code_of_errno(int native) noexcept {
  switch (native) {
    case ENOENT:
    case ENOTDIR:
    case ENODEV:
    case ENXIO:
      return ErrorCode::kNotFound;
    case EACCES:
    case EPERM:
    case EROFS:
      return ErrorCode::kPermissionDenied;
    case EEXIST:
      return ErrorCode::kAlreadyExists;
    case ENOMEM:
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case EAGAIN:
      return ErrorCode::kResourceExhausted;
    case EINVAL:
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG:
      return ErrorCode::kInvalidArgument;
    case EIO:
      return ErrorCode::kDataLoss;
    case EPIPE:
    case ECONNRESET:
    case ECONNREFUSED:
    case ENOTCONN:
      return ErrorCode::kUnavailable;
    case ETIMEDOUT:
      return ErrorCode::kDeadlineExceeded;
    case ENOSYS:
    case EOPNOTSUPP:
      return ErrorCode::kUnimplemented;
    case ECANCELED:
      return ErrorCode::kCancelled;
    default:
      return ErrorCode::kUnknown;
  }
}

}  // namespace

std::span<const ErrorInfo> error_table() noexcept {
  return kErrors;
}

const ErrorInfo& error_info(ErrorCode code) noexcept {
  const auto number = static_cast<std::size_t>(code);
  return number < kErrors.size() ? kErrors[number]
                                 : kErrors[static_cast<std::size_t>(ErrorCode::kUnknown)];
}

Status::Status(ErrorCode code, std::string message)
    : rep_(std::make_unique<Rep>(Rep{code, ErrorOrigin::kPinion, 0, std::move(message)})) {
  PINION_ASSERT(code != ErrorCode::kOk);
}

Status::Status(const Status& other)
    : rep_(other.rep_ ? std::make_unique<Rep>(*other.rep_) : nullptr) {}

Status& Status::operator=(const Status& other) {
  if (this != &other) {
    rep_ = other.rep_ ? std::make_unique<Rep>(*other.rep_) : nullptr;
  }
  return *this;
}

Status Status::from_native(ErrorOrigin origin, int native, ErrorCode code, std::string message) {
  Status status(code, std::move(message));
  status.rep_->origin = origin;
  status.rep_->native = native;
  return status;
}

Status Status::from_errno(int native, std::string message) {
  message += ": " + std::generic_category().message(native);
  return from_native(ErrorOrigin::kErrno, native, code_of_errno(native), std::move(message));
}

std::string_view Status::message() const noexcept {
  return rep_ ? std::string_view(rep_->message) : std::string_view();
}

std::string Status::to_string() const {
  std::string text(pinion::to_string(code()));
  if (ok()) {
    return text;
  }
  text += ": " + rep_->message;
  if (rep_->origin != ErrorOrigin::kPinion) {
    text += std::string(" [") + name_of(rep_->origin) + " " + std::to_string(rep_->native) + "]";
  }
  return text;
}

Status Status::with_context(std::string_view context) && {
  if (rep_) {
    rep_->message.insert(0, std::string(context) + ": ");
  }
  return std::move(*this);
}

void exit_with(const Status& error) noexcept {
  std::fflush(stdout);
  const int exit_status = report(error);
  std::fflush(stderr);
  // Not exit(): other threads may still use what static destructors would take down.
  std::_Exit(exit_status);
}

int report(const Status& status) noexcept {
  if (!status.ok()) {
    std::fprintf(stderr, "pinion: %s\n", status.to_string().c_str());
  }
  return error_info(status.code()).exit_status;
}

}  // namespace pinion
