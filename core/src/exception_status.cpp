#include <pinion/core/detail/exception_status.hpp>

#include <string>
#include <utility>

namespace pinion::detail {

Status status_of(const std::exception_ptr& exception) {
  std::string what = "an exception that is not a std::exception";
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& error) {
    what = error.what();
  } catch (...) {  // Its words are there already.
  }
  return {ErrorCode::kUnknown, std::move(what)};
}

}  // namespace pinion::detail
