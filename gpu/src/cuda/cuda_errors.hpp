#pragma once

#include <span>
#include <string>
#include <string_view>

#include <pinion/core/status.hpp>

namespace pinion {

class ICudaRuntime;

/// What an error number of CUDA means here. Numbers that are in no row are kInternal: the call
/// failed, the device works on.
struct CudaErrorRow {
  int native;
  ErrorCode code;           ///< Its device_fault() says what its user does next.
  std::string_view advice;  ///< For the operator.
};

/// In the order of the numbers. Success is no row.
[[nodiscard]] std::span<const CudaErrorRow> cuda_error_table() noexcept;

/// Success for 0; else the error with CUDA's own words, the advice of its row and its number.
/// `what` says what was tried.
[[nodiscard]] Status cuda_status(const ICudaRuntime& runtime, int native, std::string_view what);

}  // namespace pinion
