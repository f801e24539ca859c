#pragma once

#include <sys/stat.h>

#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "mp/job_runner.hpp"
#include "net/pulled_blobs.hpp"

namespace pinion {

/// A job of `program` on two hosts of one rank each, over RDMA. Commands for its second host, "b",
/// are run by `shell`, which has them as its arguments and is kept in `folder`.
[[nodiscard]] inline std::vector<std::string> over_rdma(const TemporaryFolder& folder,
                                                        const std::string& shell,
                                                        const std::vector<std::string>& program) {
  write_file(folder / "shell", "#!/bin/sh\nshift\n" + shell + "\n");
  EXPECT_EQ(::chmod((folder / "shell").c_str(), 0700), 0);
  std::vector<std::string> command = {"/test/pinion", "run",
                                      "--host",       "localhost:1,b:1",
                                      "--bind-to",    "none",
                                      "--set",        "remote-shell=" + (folder / "shell"),
                                      "--set",        "network=10.77.0.0/24",
                                      "--set",        "transports=rc_verbs,self",
                                      "--set",        "network-devices=rxe0:1"};
  command.insert(command.end(), program.begin(), program.end());
  return command;
}

/// Whether what that job has pulled came over RDMA.
[[nodiscard]] inline bool says_rdma(const RunningCommand& job) {
  return count_of("pinion: localhost and b, by rc_verbs over rxe0:1", job.errors()) == 1;
}

/// What both hosts of that job have pulled, and whether some of it was blobs of a MiB or more.
[[nodiscard]] inline PulledBlobs pulled_by_both(const RunningCommand& job) {
  const auto pulled = pulled_blobs(job.errors());
  return pulled ? PulledBlobs{.bytes = (*pulled)[0].bytes + (*pulled)[1].bytes,
                              .count = (*pulled)[0].count + (*pulled)[1].count,
                              .has_rate = (*pulled)[0].has_rate || (*pulled)[1].has_rate}
                : PulledBlobs{};
}

/// Adds up vectors of 1.2 MB, which hosts pull whole: the program, and what it prints.
inline const std::vector<std::string> kVectors = {"/test/vector_program", "8", "150000"};
constexpr const char* kSumOfVectors = "90000600000\n";

/// A text, and its words counted.
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

  /// The program that counts them from one file to another one.
  [[nodiscard]] static std::vector<std::string> program(const std::string& from,
                                                        const std::string& to) {
    return {"/test/word_program", "100000", to, from};
  }

  std::string text;
  std::string counts;
};

}  // namespace pinion
