#include <pinion/ucx/ucx_transport.hpp>

namespace pinion {

Result<std::unique_ptr<ITransport>> create_ucx_transport(const UcxTransportOptions& options) {
  // Wrong options are wrong in every build, so a program finds them before it meets UCX.
  if (options.keepalive <= Duration::zero()) {
    return Status(
        ErrorCode::kInvalidArgument,
        "keepalive is " + std::to_string(options.keepalive.count()) + " ns; it must be above 0");
  }
  return Status(ErrorCode::kUnimplemented,
                "this build of Pinion carries no UCX transport; run the job on one host");
}

}  // namespace pinion
