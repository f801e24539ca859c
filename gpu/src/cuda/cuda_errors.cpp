#include "cuda/cuda_errors.hpp"

#include <algorithm>
#include <array>

#include "cuda/cuda_runtime.hpp"

namespace pinion {
namespace {

constexpr std::string_view kNoGpu = "work runs on CPUs";
constexpr std::string_view kBuiltFor =
    "build the kernel for the device's architecture, or with PTX that its driver can compile";
constexpr std::string_view kBrokenNode = "the node's driver must be mended before GPUs can be used";
constexpr std::string_view kBusy =
    "another process has the device, or its compute mode forbids this one";
constexpr std::string_view kMps = "look at the MPS server of this node";
constexpr std::string_view kEndsProcess = "this process can use the device no more";
constexpr std::string_view kHardware = "drain the device and have it looked at";
constexpr std::string_view kMemory = "give back memory of the device, or use less at once";

// Sticky are those of which CUDA's own header says that the process must be started again.
constexpr auto kTable = std::to_array<CudaErrorRow>({
    {1, ErrorCode::kInvalidArgument, "an argument of the call is wrong"},
    {2, ErrorCode::kResourceExhausted, kMemory},
    {3, ErrorCode::kFailedPrecondition, kBrokenNode},
    {4, ErrorCode::kUnavailable, "the process is ending"},
    {9, ErrorCode::kInvalidArgument, "the kernel asks for a grid that the device does not have"},
    {34, ErrorCode::kFailedPrecondition, "the libcuda that was found only serves to link programs"},
    {35, ErrorCode::kFailedPrecondition, "no driver, or one that is older than this program needs"},
    {36, ErrorCode::kFailedPrecondition, "the driver is older than this program needs"},
    {46, ErrorCode::kFailedPrecondition, kBusy},
    {98, ErrorCode::kFailedPrecondition, kBuiltFor},
    {100, ErrorCode::kFailedPrecondition, kNoGpu},
    {101, ErrorCode::kUnavailable, "the device is not there any more"},
    {127, ErrorCode::kFailedPrecondition, kBrokenNode},
    {200, ErrorCode::kFailedPrecondition, kBuiltFor},
    {209, ErrorCode::kFailedPrecondition, kBuiltFor},
    {214, ErrorCode::kUnavailable, kHardware},
    {218, ErrorCode::kFailedPrecondition, kBuiltFor},
    {220, ErrorCode::kUnavailable, kHardware},
    {221, ErrorCode::kFailedPrecondition, kBuiltFor},
    {222, ErrorCode::kFailedPrecondition, kBuiltFor},
    {223, ErrorCode::kFailedPrecondition, kBuiltFor},
    {226, ErrorCode::kDataLoss, kEndsProcess},
    {304, ErrorCode::kFailedPrecondition, "the operating system refused"},
    {700, ErrorCode::kDataLoss, kEndsProcess},
    {701, ErrorCode::kFailedPrecondition, "the kernel needs more registers than the device has"},
    {702, ErrorCode::kDataLoss, kEndsProcess},
    {709, ErrorCode::kDataLoss, kEndsProcess},
    {710, ErrorCode::kDataLoss, kEndsProcess},
    {712, ErrorCode::kFailedPrecondition, "some of the memory is registered by somebody else"},
    {713, ErrorCode::kFailedPrecondition, "the memory is not registered"},
    {714, ErrorCode::kDataLoss, kEndsProcess},
    {715, ErrorCode::kDataLoss, kEndsProcess},
    {716, ErrorCode::kDataLoss, kEndsProcess},
    {717, ErrorCode::kDataLoss, kEndsProcess},
    {718, ErrorCode::kDataLoss, kEndsProcess},
    {719, ErrorCode::kDataLoss, kEndsProcess},
    {720, ErrorCode::kFailedPrecondition, "the kernel asks for more blocks than run at once"},
    {721, ErrorCode::kDataLoss, kEndsProcess},
    {800, ErrorCode::kFailedPrecondition, "the system does not permit that"},
    {801, ErrorCode::kFailedPrecondition, "the device or the system does not have that"},
    {802, ErrorCode::kFailedPrecondition, kBrokenNode},
    {803, ErrorCode::kFailedPrecondition, kBrokenNode},
    {804, ErrorCode::kFailedPrecondition, kBrokenNode},
    {805, ErrorCode::kFailedPrecondition, kMps},
    {806, ErrorCode::kFailedPrecondition, kMps},
    {807, ErrorCode::kFailedPrecondition, kMps},
    {808, ErrorCode::kFailedPrecondition, kMps},
    {809, ErrorCode::kFailedPrecondition, kMps},
    {810, ErrorCode::kDataLoss, kEndsProcess},
    {911, ErrorCode::kDataLoss, kEndsProcess},
    {999, ErrorCode::kDataLoss, kEndsProcess},
});
static_assert(std::is_sorted(kTable.begin(), kTable.end(),
                             [](const CudaErrorRow& left, const CudaErrorRow& right) {
                               return left.native < right.native;
                             }));

}  // namespace

std::span<const CudaErrorRow> cuda_error_table() noexcept {
  return kTable;
}

Status cuda_status(const ICudaRuntime& runtime, int native, std::string_view what) {
  if (native == 0) {
    return {};
  }
  const auto row =
      std::find_if(kTable.begin(), kTable.end(),
                   [native](const CudaErrorRow& candidate) { return candidate.native == native; });
  std::string message(what);
  message += ": " + runtime.error_text(native);
  if (row == kTable.end()) {
    return Status::from_native(ErrorOrigin::kCuda, native, ErrorCode::kInternal, message);
  }
  message += "; ";
  message += row->advice;
  return Status::from_native(ErrorOrigin::kCuda, native, row->code, message);
}

}  // namespace pinion
