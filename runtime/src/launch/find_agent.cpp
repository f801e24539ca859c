#include "launch/find_agent.hpp"

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "settings.hpp"

namespace pinion {

Result<std::string> find_agent() {
  namespace fs = std::filesystem;
  if (const std::string given = environment_value("PINION_AGENT"); !given.empty()) {
    if (access(given.c_str(), X_OK) != 0) {
      return Status::from_errno(errno, "PINION_AGENT names " + given + ", which cannot be run");
    }
    return given;
  }
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  for (const fs::path& candidate :
       {self.parent_path() / "pinion-agent",
        self.parent_path().parent_path() / "libexec/pinion/pinion-agent",
        fs::path(PINION_AGENT_PATH)}) {
    if (access(candidate.c_str(), X_OK) == 0) {
      return candidate.string();
    }
  }
  return Status(ErrorCode::kNotFound,
                "pinion-agent is neither beside " + self.string() +
                    ", nor in ../libexec/pinion from there, nor at " PINION_AGENT_PATH
                    "; install it, or set PINION_AGENT to its path");
}

}  // namespace pinion
