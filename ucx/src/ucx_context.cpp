#include "ucx_context.hpp"

#include <stdio.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <sstream>
#include <string_view>
#include <vector>

namespace pinion {
namespace {

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) {
    text += (text.empty() ? "" : ",") + word;
  }
  return text;
}

// UCX prints its warnings on standard output, which is the program's, and says why a program
// crashed, which is the program's own matter. Whoever sets UCX_LOG_LEVEL sees what UCX says.
void be_quiet() {
  char level[32] = {};
  if (ucx().ucs_global_opts_get_value("LOG_LEVEL", level, sizeof(level)) == UCS_OK &&
      std::string_view(level) == "WARN") {
    static_cast<void>(ucx().ucs_global_opts_set_value("LOG_LEVEL", "fatal"));
  }
  for (const int signal : {SIGILL, SIGSEGV, SIGBUS, SIGFPE}) {
    ucx().ucs_debug_disable_signal(signal);
  }
}

// What `print` prints.
template <class Print>
std::string printed(const Print& print) {
  char* text = nullptr;
  std::size_t size = 0;
  FILE* const stream = ::open_memstream(&text, &size);
  if (stream == nullptr) {
    return {};
  }
  print(stream);
  ::fclose(stream);
  const std::unique_ptr<char, void (*)(void*)> owner(text, std::free);
  return {text, size};
}

// What makes the connections: with that of RDMA, those of TCP are refused where no RDMA is.
std::string managers_of(const std::vector<std::string>& transports) {
  const bool rdma = std::ranges::any_of(transports, is_rdma);
  const bool others = std::ranges::any_of(transports, [](const std::string& transport) {
    return transport != "self" && !is_rdma(transport);
  });
  return rdma ? (others ? "rdmacm,tcp" : "rdmacm") : "tcp";
}

// UCX goes on without a device that it does not find, with nothing but the way to itself.
Status check_device(ucp_context_h context, const std::string& devices) {
  const std::string resources =
      printed([context](FILE* stream) { ucx().ucp_context_print_info(context, stream); });
  std::istringstream names(devices);
  for (std::string name; std::getline(names, name, ',');) {
    if (name != "all" && resources.find("/" + name + "\n") == std::string::npos) {
      return {ErrorCode::kUnavailable,
              "UCX finds no network device '" + name + "'; is it there, and up?"};
    }
  }
  return {};
}

}  // namespace

Status ucx_error(ucs_status_t status, const std::string& tried) {
  return Status::from_native(ErrorOrigin::kUcx, status, ErrorCode::kUnavailable,
                             tried + ": " + ucx().ucs_status_string(status));
}

Result<UcpContext> make_ucp_context(const UcxTransportOptions& options, const std::string& device,
                                    bool reads) {
  be_quiet();
  ucp_config_t* config = nullptr;
  if (const ucs_status_t status = ucx().ucp_config_read(nullptr, nullptr, &config);
      status != UCS_OK) {
    return ucx_error(status, "read the configuration of UCX");
  }
  const std::unique_ptr<ucp_config_t, void (*)(ucp_config_t*)> owner(config,
                                                                     ucx().ucp_config_release);
  // Never those between processes of one host: what is on a host goes by handle, and UCX leaves
  // them out without a word, or hangs, where a peer may die.
  const std::string transports = options.transports.empty() ? "tcp,self" : join(options.transports);
  const std::string devices = !options.devices.empty()     ? join(options.devices)
                              : options.transports.empty() ? device
                                                           : "all";
  const auto keepalive_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(options.keepalive).count();
  const std::pair<const char*, std::string> settings[] = {
      {"TLS", transports},
      {"NET_DEVICES", devices},
      {"SOCKADDR_TLS_PRIORITY", managers_of(options.transports)},
      {"KEEPALIVE_INTERVAL", std::to_string(std::max<std::int64_t>(keepalive_ms, 1)) + "ms"}};
  for (const auto& [name, value] : settings) {
    if (const ucs_status_t status = ucx().ucp_config_modify(config, name, value.c_str());
        status != UCS_OK) {
      return ucx_error(status, std::string("set ") + name + " of UCX to " + value);
    }
  }
  ucp_params_t params = {};
  params.field_mask = UCP_PARAM_FIELD_FEATURES;
  params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  if (reads) {
    params.features |= UCP_FEATURE_RMA;
  }
  ucp_context_h context = nullptr;
  if (const ucs_status_t status =
          ucx().ucp_init_version(UCP_API_MAJOR, UCP_API_MINOR, &params, config, &context);
      status != UCS_OK) {
    return ucx_error(status, "start UCX with the transports " + transports + " on " + devices);
  }
  UcpContext made(context);
  PINION_RETURN_IF_ERROR(check_device(context, devices));
  return made;
}

Result<UcpWorker> make_ucp_worker(ucp_context_h context) {
  ucp_worker_params_t params = {};
  params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE | UCP_WORKER_PARAM_FIELD_FLAGS;
  params.thread_mode = UCS_THREAD_MODE_SERIALIZED;
  // What a connection that broke had under way is freed with the worker.
  params.flags = UCP_WORKER_FLAG_IGNORE_REQUEST_LEAK;
  ucp_worker_h worker = nullptr;
  if (const ucs_status_t status = ucx().ucp_worker_create(context, &params, &worker);
      status != UCS_OK) {
    return ucx_error(status, "make a worker of UCX");
  }
  return UcpWorker(worker);
}

std::vector<Lane> lanes_of_endpoint(ucp_ep_h endpoint) {
  return lanes_of(printed([endpoint](FILE* stream) { ucx().ucp_ep_print_info(endpoint, stream); }));
}

}  // namespace pinion
