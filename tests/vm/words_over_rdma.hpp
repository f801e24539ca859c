#pragma once

#include <sys/stat.h>

#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "mp/job_runner.hpp"

namespace pinion {

/// A text, its words counted, and a job that counts them on two hosts of one rank each, over RDMA.
struct WordsOverRdma {
  WordsOverRdma() {
    std::map<std::string, int> counted;
    for (int i = 0; i < 150'000; ++i) {
      const std::string word = "word" + std::to_string(i * 7919 % 100'000);
      ++counted[word];
      text += word + (i % 10 == 9 ? "\n" : " ");
    }
    for (const auto& [word, count] : counted) {
      counts += word + " " + std::to_string(count) + "\n";
    }
  }

  /// The job from one file to another one. Commands for its second host, "b", are run by `shell`,
  /// which has them as its arguments and is kept in `folder`.
  [[nodiscard]] static std::vector<std::string> command(const TemporaryFolder& folder,
                                                        const std::string& shell,
                                                        const std::string& from,
                                                        const std::string& to) {
    write_file(folder / "shell", "#!/bin/sh\nshift\n" + shell + "\n");
    EXPECT_EQ(::chmod((folder / "shell").c_str(), 0700), 0);
    return {"/test/pinion",
            "run",
            "--host",
            "localhost:1,b:1",
            "--bind-to",
            "none",
            "--set",
            "remote-shell=" + (folder / "shell"),
            "--set",
            "network=10.77.0.0/24",
            "--set",
            "transports=rc_verbs,self",
            "--set",
            "network-devices=rxe0:1",
            "/test/word_program",
            "100000",
            to,
            from};
  }

  std::string text;
  std::string counts;
};

}  // namespace pinion
