#pragma once

#include <cstdint>
#include <string>

#include <pinion/core/status.hpp>
#include <pinion/runtime/launch.hpp>
#include <pinion/shm/unique_fd.hpp>

namespace pinion {

/// Which file a program is, to tell when it is another.
struct ProgramFile {
  std::string path = {};
  std::uint64_t size_bytes = 0;
  std::int64_t modified_ns = 0;

  friend bool operator==(const ProgramFile&, const ProgramFile&) = default;
};

/// What a job is and stays, whoever resumes it. Written once, before all else in the folder.
struct Manifest {
  std::uint64_t job = 0;
  std::uint64_t seed = 0;
  ProgramFile program = {};
  LaunchSpec spec = {};  ///< With a working directory.
};

[[nodiscard]] std::string encode_manifest(const Manifest& manifest);

/// Errors: kDataLoss for bytes that are no manifest; kFailedPrecondition for one of another version
///   of Pinion.
[[nodiscard]] Result<Manifest> decode_manifest(std::string_view text);

/// The file that running `command` in `working_directory` runs.
/// Errors: kNotFound when there is none.
[[nodiscard]] Result<ProgramFile> find_program(const std::string& command,
                                               const std::string& working_directory);

/// The folder of a journal, which nobody else uses meanwhile.
class JournalFolder {
 public:
  /// For a new job: makes the folder if it is not there.
  /// Errors: kFailedPrecondition when it has the journal of a job, or another job uses it (says
  ///   which process); those of making it.
  [[nodiscard]] static Result<JournalFolder> create(const std::string& path,
                                                    const Manifest& manifest);

  /// Of a job that was begun.
  /// Errors: kNotFound when there is no journal; kFailedPrecondition when another job uses it;
  ///   those of decode_manifest().
  [[nodiscard]] static Result<JournalFolder> open(const std::string& path);

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] const Manifest& manifest() const noexcept { return manifest_; }

 private:
  JournalFolder(std::string path, UniqueFd lock) : path_(std::move(path)), lock_(std::move(lock)) {}

  std::string path_;
  UniqueFd lock_;  // The kernel lets go of it when the process ends, however it does.
  Manifest manifest_;
};

/// Errors: those of JournalFolder::open(), but that it may be in use.
[[nodiscard]] Result<Manifest> read_manifest(const std::string& path);

/// Why what is written there may not outlive the machine, or is not locked against other machines;
/// empty when the folder is on an ordinary disk.
[[nodiscard]] std::string find_weakness(const std::string& path);

/// Whether `spec` asks for the job of the manifest.
/// Errors: kFailedPrecondition, and in what they differ.
[[nodiscard]] Status check_same_job(const Manifest& manifest, const LaunchSpec& spec);

}  // namespace pinion
