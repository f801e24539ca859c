#pragma once

#include <cstdint>
#include <optional>

#include <pinion/core/status.hpp>
#include <pinion/runtime/launch.hpp>

#include "journal/journal_folder.hpp"
#include "journal/journal_store.hpp"
#include "settings.hpp"

namespace pinion {

/// What a job begins with: a number of its own, and what its journal has where it is resumed.
struct JournalStart {
  std::uint64_t job = 0;
  std::uint32_t epoch = 1;
  std::optional<JournalFolder> folder = {};  ///< None where no journal is kept.
  JournalContents contents = {};             ///< Of the epochs before.
};

/// Makes the journal that `spec` asks for, or reads the one that it resumes. Where there is one,
/// `spec` and `settings` get from it what the ranks of both have in common. `job` is the number of
/// a new job. Errors: those of JournalFolder, read_journal() and check_same_job().
[[nodiscard]] Result<JournalStart> start_journal(LaunchSpec& spec, Settings& settings,
                                                 std::uint64_t job);

}  // namespace pinion
