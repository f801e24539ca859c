#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pinion {

/// Takes every variable of Pinion out of the environment and puts all back as it was at the end.
class EnvironmentGuard {
 public:
  EnvironmentGuard() : before_(ours()) { clear(); }
  ~EnvironmentGuard() {
    clear();
    for (const auto& [name, value] : before_) {
      set(name, value);
    }
  }
  EnvironmentGuard(const EnvironmentGuard&) = delete;
  EnvironmentGuard& operator=(const EnvironmentGuard&) = delete;

  void set(const std::string& name, const std::string& value) {
    ::setenv(name.c_str(), value.c_str(), 1);
  }

  void clear() {
    for (const auto& [name, value] : ours()) {
      ::unsetenv(name.c_str());
    }
  }

 private:
  using Variables = std::vector<std::pair<std::string, std::string>>;

  static Variables ours() {
    Variables found;
    for (char** entry = environ; *entry != nullptr; ++entry) {
      const std::string_view text = *entry;
      const std::size_t equals = text.find('=');
      if (text.starts_with("PINION_") && equals != std::string_view::npos) {
        found.emplace_back(text.substr(0, equals), text.substr(equals + 1));
      }
    }
    return found;
  }

  Variables before_;
};

}  // namespace pinion
