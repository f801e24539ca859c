#include <pinion/ucx/ucx_transport.hpp>

#include <pinion/core/detail/link_transport.hpp>

#include "ucx_link.hpp"

namespace pinion {

Result<std::unique_ptr<ITransport>> create_ucx_transport(const UcxTransportOptions& options) {
  const detail::LinkTransportOptions link_options = {.host = options.host,
                                                     .keepalive = options.keepalive,
                                                     .connect_timeout = options.connect_timeout,
                                                     .pull_timeout = options.pull_timeout,
                                                     .window_bytes = options.window_bytes,
                                                     .job_key = options.job_key,
                                                     .handlers = options.handlers};
  // Wrong options are wrong in every build, so a program finds them before it meets UCX.
  PINION_RETURN_IF_ERROR(detail::check_options(link_options));
  Result<std::unique_ptr<detail::ILink>> link = make_ucx_link(options);
  if (!link) {
    return std::move(link).error();
  }
  return detail::make_link_transport(*std::move(link), link_options);
}

}  // namespace pinion
