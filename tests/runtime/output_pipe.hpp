#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstddef>
#include <string>

#include <gtest/gtest.h>

#include <pinion/shm/unique_fd.hpp>

namespace pinion {

/// A pipe in place of our standard output, or standard error, while the object lives.
class OutputPipe {
 public:
  explicit OutputPipe(int replaced = STDOUT_FILENO) : replaced_(replaced), saved_(::dup(replaced)) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    reader_ = UniqueFd(ends[0]);
    const UniqueFd writer(ends[1]);
    EXPECT_EQ(::dup2(writer.get(), replaced_), replaced_);
    ::fcntl(reader_.get(), F_SETFL, O_NONBLOCK);
  }
  ~OutputPipe() { ::dup2(saved_.get(), replaced_); }
  OutputPipe(const OutputPipe&) = delete;
  OutputPipe& operator=(const OutputPipe&) = delete;

  /// What is in it.
  [[nodiscard]] std::string read_all() const {
    std::string text;
    char bytes[65536];
    for (ssize_t count = 0; (count = ::read(reader_.get(), bytes, sizeof(bytes))) > 0;) {
      text.append(bytes, static_cast<std::size_t>(count));
    }
    return text;
  }
  void close_reader() { reader_ = UniqueFd(); }

 private:
  int replaced_;
  UniqueFd saved_;
  UniqueFd reader_;
};

}  // namespace pinion
