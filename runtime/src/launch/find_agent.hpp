#pragma once

#include <string>

#include <pinion/core/status.hpp>

namespace pinion {

/// The program pinion-agent: what PINION_AGENT names, or that beside this program, in
/// ../libexec/pinion from there, or where it is installed.
/// Errors: kNotFound, and for what PINION_AGENT names those of access().
[[nodiscard]] Result<std::string> find_agent();

}  // namespace pinion
