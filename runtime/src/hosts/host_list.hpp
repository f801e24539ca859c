#pragma once

#include <string>

#include <pinion/core/status.hpp>
#include <pinion/runtime/launch.hpp>

namespace pinion {

/// Whether this machine goes by that name: "localhost", its host name with or without a domain, or
/// one of its addresses. No name is looked up.
[[nodiscard]] bool is_this_host(const std::string& name);

/// The address of this machine in a network, as 10.0.0.0/24 or fd00::/64; empty for an empty one.
/// Errors: kInvalidArgument for what is no network; kNotFound when this machine is not in it.
[[nodiscard]] Result<std::string> own_address_in(const std::string& network);

/// Whether a launch over several hosts can be done; says what cannot be. A launch on one is left
/// alone.
/// Errors: kInvalidArgument for what cannot be the name of a host, and when the first one is not
///   this machine; kUnimplemented for a debugger on another host than that.
[[nodiscard]] Status check_hosts(const LaunchSpec& spec);

}  // namespace pinion
