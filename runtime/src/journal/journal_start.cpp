#include "journal/journal_start.hpp"

#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

namespace pinion {
namespace {

Result<std::string> absolute(const std::string& path) {
  std::error_code error;
  const std::filesystem::path whole = std::filesystem::absolute(path, error);
  if (error) {
    return Status::from_errno(error.value(), "cannot tell which folder " + path + " is in");
  }
  return whole.lexically_normal().string();
}

Result<JournalStart> begin(const LaunchSpec& spec, const Settings& settings, std::uint64_t job) {
  Result<ProgramFile> program = find_program(spec.command.front(), spec.working_directory);
  if (!program) {
    return std::move(program).error();
  }
  Result<JournalFolder> folder = JournalFolder::create(
      spec.journal_directory,
      {.job = job, .seed = settings.seed, .program = *std::move(program), .spec = spec});
  if (!folder) {
    return std::move(folder).error();
  }
  return JournalStart{.job = job, .folder = *std::move(folder)};
}

Result<JournalStart> resume(const LaunchSpec& spec, Settings& settings) {
  Result<JournalFolder> folder = JournalFolder::open(spec.journal_directory);
  if (!folder) {
    return std::move(folder).error();
  }
  const Manifest& manifest = folder->manifest();
  PINION_RETURN_IF_ERROR(check_same_job(manifest, spec));
  settings.seed = manifest.seed;
  Result<JournalContents> contents = read_journal(spec.journal_directory);
  if (!contents) {
    return std::move(contents).error();
  }
  const std::uint64_t job = manifest.job;
  const std::uint32_t epoch = contents->epoch_max + 1;
  return JournalStart{
      .job = job, .epoch = epoch, .folder = *std::move(folder), .contents = *std::move(contents)};
}

}  // namespace

Result<JournalStart> start_journal(LaunchSpec& spec, Settings& settings, std::uint64_t job) {
  if (spec.journal_directory.empty()) {
    return JournalStart{.job = job};
  }
  for (std::string* const path : {&spec.journal_directory, &spec.working_directory}) {
    Result<std::string> whole = absolute(path->empty() ? "." : *path);
    if (!whole) {
      return std::move(whole).error();
    }
    *path = *std::move(whole);
  }
  return spec.resumes ? resume(spec, settings) : begin(spec, settings, job);
}

Result<LaunchSpec> spec_to_resume(const std::string& journal_directory) {
  Result<Manifest> manifest = read_manifest(journal_directory);
  if (!manifest) {
    return std::move(manifest).error();
  }
  LaunchSpec spec = std::move(manifest->spec);
  spec.journal_directory = journal_directory;
  spec.resumes = true;
  return spec;
}

}  // namespace pinion
