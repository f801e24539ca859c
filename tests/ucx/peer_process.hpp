#pragma once

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace pinion::testing_transport {

/// A child process with pipes to its standard input and from its standard output. Killed and waited
/// for when it goes out of scope.
class PeerProcess {
 public:
  explicit PeerProcess(std::vector<std::string> command) {
    int to[2] = {};
    int from[2] = {};
    EXPECT_EQ(::pipe2(to, O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(from, O_CLOEXEC), 0);
    std::vector<char*> arguments;
    for (std::string& word : command) {
      arguments.push_back(word.data());
    }
    arguments.push_back(nullptr);
    process_ = ::fork();
    if (process_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::dup2(to[0], STDIN_FILENO);
      ::dup2(from[1], STDOUT_FILENO);
      ::execvp(arguments[0], arguments.data());
      ::_exit(127);
    }
    ::close(to[0]);
    ::close(from[1]);
    in_ = ::fdopen(to[1], "w");
    out_ = ::fdopen(from[0], "r");
  }
  ~PeerProcess() {
    kill(SIGKILL);
    ::waitpid(process_, nullptr, 0);
    std::fclose(in_);
    std::fclose(out_);
  }
  PeerProcess(const PeerProcess&) = delete;
  PeerProcess& operator=(const PeerProcess&) = delete;

  void kill(int signal) const { ::kill(process_, signal); }

  /// Comes back once no thread of it runs any more, which a signal alone does not promise.
  void stop() const {
    kill(SIGSTOP);
    EXPECT_EQ(::waitpid(process_, nullptr, WUNTRACED), process_);
  }

  void tell(const std::string& line) {
    std::fputs((line + "\n").c_str(), in_);
    std::fflush(in_);
  }

  /// The rest of the next line, which begins with `word`.
  std::string hear(const std::string& word) { return rest_of(next_line(word), word); }

  /// The same, where it may be said before that the way is slow.
  std::string hear_of_dead_way(const std::string& word) {
    std::string line = next_line(word);
    while (line.starts_with("slow ")) {
      line = next_line(word);
    }
    return rest_of(line, word);
  }

 private:
  static std::string rest_of(const std::string& line, const std::string& word) {
    if (!line.starts_with(word + " ")) {
      ADD_FAILURE() << "it said '" << line << "', where '" << word << "' was expected";
    }
    return line.substr(std::min(line.size(), word.size() + 1));
  }

  std::string next_line(const std::string& word) {
    std::string line;
    for (int next = std::fgetc(out_); next != '\n'; next = std::fgetc(out_)) {
      if (next == EOF) {
        ADD_FAILURE() << "it ended, where '" << word << "' was expected";
        return "";
      }
      line += static_cast<char>(next);
    }
    return line;
  }

  pid_t process_ = -1;
  std::FILE* in_ = nullptr;
  std::FILE* out_ = nullptr;
};

}  // namespace pinion::testing_transport
