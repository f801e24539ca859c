#include "journal/journal_folder.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <sstream>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <pinion/runtime/version.hpp>
#include <pinion/shard/protocol/checksum.hpp>

#include "journal/disk_file.hpp"
#include "launch_spec.hpp"
#include "settings.hpp"

namespace pinion {
namespace {

using nlohmann::json;

constexpr const char* kManifest = "manifest";
constexpr long kFuseMagic = 0x65735546;  // FUSE_SUPER_MAGIC, which not all headers have.

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

Status no_journal(const std::string& path) {
  return {ErrorCode::kNotFound,
          path + " has no journal of a job; it is made by pinion run --journal " + path};
}

std::string text_of_lock(int file) {
  char text[256] = {};
  const ssize_t count = ::pread(file, text, sizeof(text) - 1, 0);
  return count > 0 ? std::string(text, static_cast<std::size_t>(count)) : "another process";
}

// A process that was killed keeps its locks for a moment after nobody sees it any more.
bool lock_within_a_second(int file) {
  constexpr int kTries = 100;
  for (int i = 0; i < kTries; ++i) {
    if (::flock(file, LOCK_EX | LOCK_NB) == 0) {
      return true;
    }
    if (errno != EWOULDBLOCK) {
      return false;
    }
    ::poll(nullptr, 0, 10);
  }
  errno = EWOULDBLOCK;
  return false;
}

Result<UniqueFd> lock_folder(const std::string& path) {
  const std::string lock_path = path + "/lock";
  UniqueFd lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.valid()) {
    return Status::from_errno(errno, "opening " + lock_path);
  }
  if (!lock_within_a_second(lock.get())) {
    if (errno != EWOULDBLOCK) {
      return Status::from_errno(errno, "locking " + lock_path);
    }
    return Status(ErrorCode::kFailedPrecondition, "the journal in " + path + " is in use by " +
                                                      text_of_lock(lock.get()) +
                                                      "; wait for it to end, or end it");
  }
  char host[256] = {};
  ::gethostname(host, sizeof(host) - 1);
  const std::string holder = fmt::format("process {} of host {}", ::getpid(), host);
  // Only words: what locks is the file itself.
  static_cast<void>(::ftruncate(lock.get(), 0) == 0 &&
                    ::pwrite(lock.get(), holder.data(), holder.size(), 0) > 0);
  return lock;
}

std::string words_of(const std::vector<std::string>& command) {
  return fmt::format("'{}'", fmt::join(command, "' '"));
}

Status differs(const std::string& what, const std::string& was, const std::string& is) {
  return {ErrorCode::kFailedPrecondition, "the journal is of another job: " + what + " was " + was +
                                              " and is " + is +
                                              "; resume with what was, or begin another journal"};
}

}  // namespace

std::string encode_manifest(const Manifest& manifest) {
  const std::string spec = encode_launch_spec(manifest.spec);
  const json value{{"version", version()},
                   {"job", manifest.job},
                   {"seed", manifest.seed},
                   {"program", manifest.program.path},
                   {"program_bytes", manifest.program.size_bytes},
                   {"program_modified_ns", manifest.program.modified_ns},
                   {"spec", json::binary({spec.begin(), spec.end()})}};
  std::string encoded;
  json::to_cbor(value, encoded);
  const std::uint32_t checksum = protocol::crc32c(bytes_of(encoded));
  encoded.append(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
  return encoded;
}

Result<Manifest> decode_manifest(std::string_view text) {
  std::uint32_t checksum = 0;
  if (text.size() < sizeof(checksum)) {
    return Status(ErrorCode::kDataLoss, "the manifest is cut short");
  }
  const std::string_view encoded = text.substr(0, text.size() - sizeof(checksum));
  text.copy(reinterpret_cast<char*>(&checksum), sizeof(checksum), encoded.size());
  if (protocol::crc32c(bytes_of(encoded)) != checksum) {
    return Status(ErrorCode::kDataLoss, "the manifest is damaged");
  }
  try {
    const json value = json::from_cbor(encoded);
    if (const std::string theirs = value.at("version"); theirs != version()) {
      return Status(ErrorCode::kFailedPrecondition,
                    "the journal is of Pinion " + theirs + ", this is " + std::string(version()) +
                        "; resume with the version that began the job");
    }
    Manifest manifest;
    value.at("job").get_to(manifest.job);
    value.at("seed").get_to(manifest.seed);
    value.at("program").get_to(manifest.program.path);
    value.at("program_bytes").get_to(manifest.program.size_bytes);
    value.at("program_modified_ns").get_to(manifest.program.modified_ns);
    const json::binary_t& spec = value.at("spec").get_binary();
    Result<LaunchSpec> decoded = decode_launch_spec(std::string(spec.begin(), spec.end()));
    if (!decoded) {
      return std::move(decoded).error();
    }
    manifest.spec = *std::move(decoded);
    return manifest;
  } catch (const json::exception& error) {
    return Status(ErrorCode::kDataLoss,
                  std::string("the manifest cannot be read: ") + error.what());
  }
}

Result<ProgramFile> find_program(const std::string& command, const std::string& working_directory) {
  namespace fs = std::filesystem;
  std::vector<fs::path> candidates;
  if (command.find('/') != std::string::npos) {
    candidates.push_back(fs::path(working_directory) / command);
  } else {
    std::istringstream folders(environment_value("PATH"));
    for (std::string folder; std::getline(folders, folder, ':');) {
      candidates.push_back(fs::path(working_directory) / folder / command);
    }
  }
  for (const fs::path& candidate : candidates) {
    struct stat facts = {};
    if (::stat(candidate.c_str(), &facts) == 0 && S_ISREG(facts.st_mode)) {
      return ProgramFile{.path = candidate.lexically_normal().string(),
                         .size_bytes = static_cast<std::uint64_t>(facts.st_size),
                         .modified_ns = std::int64_t{facts.st_mtim.tv_sec} * 1'000'000'000 +
                                        facts.st_mtim.tv_nsec};
    }
  }
  return Status(ErrorCode::kNotFound, "there is no program " + command);
}

Result<JournalFolder> JournalFolder::create(const std::string& path, const Manifest& manifest) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) {
    return Status::from_errno(error.value(), "making the folder " + path + " of the journal");
  }
  Result<UniqueFd> lock = lock_folder(path);
  if (!lock) {
    return std::move(lock).error();
  }
  JournalFolder folder(path, *std::move(lock));
  if (std::filesystem::exists(path + "/" + kManifest, error)) {
    return Status(ErrorCode::kFailedPrecondition,
                  path + " has the journal of a job; go on with it by pinion run --resume " + path +
                      ", remove it, or name another folder");
  }
  folder.manifest_ = manifest;
  PINION_RETURN_IF_ERROR(replace_file(path, kManifest, bytes_of(encode_manifest(manifest))));
  return folder;
}

Result<JournalFolder> JournalFolder::open(const std::string& path) {
  Result<Manifest> manifest = read_manifest(path);
  if (!manifest) {
    return std::move(manifest).error();
  }
  Result<UniqueFd> lock = lock_folder(path);
  if (!lock) {
    return std::move(lock).error();
  }
  JournalFolder folder(path, *std::move(lock));
  folder.manifest_ = *std::move(manifest);
  return folder;
}

Result<Manifest> read_manifest(const std::string& path) {
  const Result<std::vector<std::byte>> bytes = read_whole_file(path + "/" + kManifest);
  if (!bytes) {
    return bytes.error().code() == ErrorCode::kNotFound ? no_journal(path) : bytes.error();
  }
  Result<Manifest> manifest =
      decode_manifest({reinterpret_cast<const char*>(bytes->data()), bytes->size()});
  if (!manifest) {
    return std::move(manifest).error().with_context(path);
  }
  return manifest;
}

std::string find_weakness(const std::string& path) {
  struct statfs facts = {};
  if (::statfs(path.c_str(), &facts) != 0) {
    return {};
  }
  switch (static_cast<long>(facts.f_type)) {
    case TMPFS_MAGIC:
    case RAMFS_MAGIC:
      return path + " is in memory: the journal outlives the agent, but not the machine";
    case NFS_SUPER_MAGIC:
      return path +
             " is on NFS: every group of acceptances waits for the server, and the lock of "
             "the journal holds only where the server has locks";
    case kFuseMagic:
      return path + " is on a file system of a program (FUSE), which alone knows what it keeps";
    default:
      return {};
  }
}

Status check_same_job(const Manifest& manifest, const LaunchSpec& spec) {
  const LaunchSpec& was = manifest.spec;
  if (was.command != spec.command) {
    return differs("the program", words_of(was.command), words_of(spec.command));
  }
  if (was.working_directory != spec.working_directory) {
    return differs("the working directory", was.working_directory, spec.working_directory);
  }
  const Result<ProgramFile> program = find_program(spec.command.front(), spec.working_directory);
  if (!program) {
    return program.error();
  }
  if (*program != manifest.program) {
    const auto words = [](const ProgramFile& file) {
      return fmt::format("{} of {} bytes, changed last at {} ns since 1970", file.path,
                         file.size_bytes, file.modified_ns);
    };
    return differs("the program's file", words(manifest.program), words(*program));
  }
  return {};
}

}  // namespace pinion
