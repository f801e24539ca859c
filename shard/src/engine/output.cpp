#include <pinion/shard/output.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <system_error>

#include <pinion/shard/vector_reduce.hpp>

namespace pinion {
namespace {

// Writes smaller than this are joined.
constexpr std::size_t kBufferBytes = std::size_t{256} << 10;

Status from_code(const std::error_code& error, const std::string& what) {
  return Status::from_errno(error.value(), what);
}

std::string part_name(std::uint64_t index) {
  std::array<char, 32> name = {};
  std::snprintf(name.data(), name.size(), "part-%05llu", static_cast<unsigned long long>(index));
  return name.data();
}

// What open(2) answers for O_TMPFILE where the file system, or the kernel, does not know it.
bool lacks_nameless_files(int error) noexcept {
  return error == EOPNOTSUPP || error == EISDIR || error == EINVAL;
}

// A name that is there is there for good only when its directory is on the disk too.
Status flush_directory(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) {
    return Status::from_errno(errno, "opening the directory " + path);
  }
  const int failed = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  // Some file systems cannot flush directories; then there is nothing to wait for.
  return failed == 0 || failed == EINVAL ? Status()
                                         : Status::from_errno(failed, "flushing " + path);
}

// The state of a step that writes files: nothing but what went wrong, which seal() tells with its
// code; a body could only throw.
class OutputState final : public IAggregator {
 public:
  [[nodiscard]] std::unique_ptr<IAggregator> fresh() const override {
    return std::make_unique<OutputState>();
  }
  void accumulate(const Part&) override {
    PINION_ASSERT(false);  // Bodies write into files and emit nothing.
  }
  [[nodiscard]] Status merge(std::span<const std::span<const std::byte>>) override { return {}; }
  void finalize() override {}
  [[nodiscard]] Result<Blob> seal(IBlobStore& store, Place place,
                                  std::uint32_t partition_count) override {
    PINION_RETURN_IF_ERROR(failure_);
    return seal_one_partition(store, place, partition_count, {});
  }
  [[nodiscard]] std::uint64_t memory_bytes() const noexcept override { return 0; }

  void add(Status status) {
    if (failure_.ok()) {
      failure_ = std::move(status);
    }
  }

 private:
  Status failure_;
};

}  // namespace

Result<OutputFile> OutputFile::create(const std::string& directory, std::uint64_t index) {
  const std::string name = part_name(index);
  std::string path = directory + "/" + name;
  // Without a name it goes with its process, whatever ends that.
  std::string temporary;
  int descriptor = ::open(directory.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
  if (descriptor < 0 && lacks_nameless_files(errno)) {
    // Several attempts may write the same part at once, on one host or on several.
    temporary = directory + "/." + name + ".XXXXXX";
    descriptor = ::mkostemp(temporary.data(), O_CLOEXEC);
  }
  if (descriptor < 0) {
    return Status::from_errno(errno, "making a file for " + path);
  }
  OutputFile file(descriptor, std::move(path), std::move(temporary));
  if (::fchmod(descriptor, 0644) != 0) {
    return Status::from_errno(errno, "setting the mode of what becomes " + file.path_);
  }
  return file;
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      buffer_(std::move(other.buffer_)),
      failure_(std::move(other.failure_)) {}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) {
    ::close(descriptor_);
    if (!temporary_.empty()) {
      ::unlink(temporary_.c_str());
    }
  }
}

void OutputFile::write(std::span<const std::byte> bytes) {
  if (bytes.size() >= kBufferBytes) {
    flush();
    write_out(bytes);
    return;
  }
  if (buffer_.size() + bytes.size() > kBufferBytes) {
    flush();
  }
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

void OutputFile::flush() {
  write_out(buffer_);
  buffer_.clear();
}

void OutputFile::write_out(std::span<const std::byte> bytes) {
  while (failure_.ok() && !bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    } else if (errno != EINTR) {
      failure_ = Status::from_errno(errno, "writing " + path_);
    }
  }
}

Status OutputFile::commit() {
  flush();
  if (failure_.ok() && ::fsync(descriptor_) != 0) {
    failure_ = Status::from_errno(errno, "flushing " + path_ + " to the disk");
  }
  if (failure_.ok()) {
    failure_ = give_name();
  }
  if (failure_.ok()) {
    ::close(std::exchange(descriptor_, -1));
  }
  return failure_;
}

Status OutputFile::give_name() {
  if (temporary_.empty()) {
    const std::string nameless = "/proc/self/fd/" + std::to_string(descriptor_);
    const auto link_as = [&nameless](const std::string& name) {
      return ::linkat(AT_FDCWD, nameless.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0;
    };
    if (link_as(path_)) {
      return {};
    }
    if (errno != EEXIST) {
      return Status::from_errno(errno, "naming " + path_);
    }
    // An earlier attempt has written this part. Only rename() puts a file in the place of another.
    std::string name = path_;
    name.insert(path_.rfind('/') + 1, 1, '.');
    name += "." + std::to_string(::getpid()) + "." + std::to_string(descriptor_);
    if (!link_as(name)) {
      return Status::from_errno(errno, "naming " + name);
    }
    temporary_ = std::move(name);
  }
  return ::rename(temporary_.c_str(), path_.c_str()) == 0
             ? Status()
             : Status::from_errno(errno, "renaming " + temporary_ + " to " + path_);
}

Status prepare_output(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    const bool in_the_way =
        std::filesystem::exists(directory) && !std::filesystem::is_directory(directory);
    return in_the_way ? Status(ErrorCode::kFailedPrecondition,
                               "the output " + directory + " is there and is not a directory")
                      : from_code(error, "making the output directory " + directory);
  }
  const bool is_empty = std::filesystem::is_empty(directory, error);
  if (error) {
    return from_code(error, "looking into the output directory " + directory);
  }
  if (!is_empty) {
    return Status(ErrorCode::kAlreadyExists,
                  "the output directory " + directory +
                      " is not empty; name another, or remove what is in it");
  }
  return {};
}

Status detail::write_parts(IJobContext& job, StepSpec spec, const std::string& directory,
                           const std::function<void(const Shard&, OutputFile&)>& write) {
  const OutputState prototype;
  const auto run = [&](StepSpec& step) {
    step.partition_count = 1;
    step.prototype = &prototype;
    Result<StepOutcome> outcome = run_step(job, step);
    return outcome ? Status() : std::move(outcome).error();
  };
  // Once for the whole job, before the first file: only then is it known whether it was empty.
  StepSpec before = make_step("prepare for " + spec.description, indices(1), by_index_range(1),
                              CallSite::current());
  before.body = [&](const Shard&, IAggregator& state) {
    static_cast<OutputState&>(state).add(prepare_output(directory));
  };
  PINION_RETURN_IF_ERROR(run(before));
  spec.body = [&](const Shard& shard, IAggregator& state) {
    Result<OutputFile> file = OutputFile::create(directory, shard.id());
    if (file) {
      write(shard, *file);
    }
    static_cast<OutputState&>(state).add(file ? file->commit() : file.error());
  };
  PINION_RETURN_IF_ERROR(run(spec));
  StepSpec after =
      make_step("end of " + spec.description, indices(1), by_index_range(1), CallSite::current());
  after.body = [&](const Shard&, IAggregator& state) {
    static_cast<OutputState&>(state).add(flush_directory(directory));
  };
  return run(after);
}

}  // namespace pinion
