#pragma once

#include <ucp/api/ucp.h>
#include <ucs/config/global_opts.h>
#include <ucs/debug/debug.h>

#include <pinion/core/status.hpp>

namespace pinion {

// The functions of UCX that are called.
#define PINION_UCX_FUNCTIONS(use)      \
  use(ucp_am_send_nbx);                \
  use(ucp_cleanup);                    \
  use(ucp_config_modify);              \
  use(ucp_config_read);                \
  use(ucp_config_release);             \
  use(ucp_context_print_info);         \
  use(ucp_ep_close_nbx);               \
  use(ucp_ep_create);                  \
  use(ucp_ep_print_info);              \
  use(ucp_ep_rkey_unpack);             \
  use(ucp_get_nbx);                    \
  use(ucp_get_version_string);         \
  use(ucp_init_version);               \
  use(ucp_listener_create);            \
  use(ucp_listener_destroy);           \
  use(ucp_listener_query);             \
  use(ucp_listener_reject);            \
  use(ucp_mem_map);                    \
  use(ucp_mem_unmap);                  \
  use(ucp_request_check_status);       \
  use(ucp_request_free);               \
  use(ucp_rkey_buffer_release);        \
  use(ucp_rkey_destroy);               \
  use(ucp_rkey_pack);                  \
  use(ucp_worker_arm);                 \
  use(ucp_worker_create);              \
  use(ucp_worker_destroy);             \
  use(ucp_worker_get_efd);             \
  use(ucp_worker_progress);            \
  use(ucp_worker_set_am_recv_handler); \
  use(ucs_debug_disable_signal);       \
  use(ucs_global_opts_get_value);      \
  use(ucs_global_opts_set_value);      \
  use(ucs_status_string)

/// UCX as it was found at run time, each function under its own name. It is loaded when the first
/// transport is made: its libraries take a millisecond to start, and most agents are alone.
struct UcxLibrary {
#define PINION_UCX_FUNCTION(name) decltype(&::name) name
  PINION_UCX_FUNCTIONS(PINION_UCX_FUNCTION);
#undef PINION_UCX_FUNCTION
};

/// Loads it, once for the process; it stays.
/// Thread safety: any thread.
/// Errors: kUnimplemented where it is not installed, with the loader's words.
[[nodiscard]] Status load_ucx();

/// Precondition: load_ucx() succeeded.
[[nodiscard]] const UcxLibrary& ucx() noexcept;

}  // namespace pinion
