#include "ucx_link.hpp"

namespace pinion {

Result<std::unique_ptr<detail::ILink>> make_ucx_link(const UcxTransportOptions& /*options*/,
                                                     std::optional<ChunkWay> /*way*/) {
  return Status(ErrorCode::kUnimplemented,
                "this build of Pinion carries no UCX transport; run the job on one host, or build "
                "where UCX is installed");
}

}  // namespace pinion
