#include <pinion/core/trace.hpp>

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <deque>
#include <string>
#include <utility>
#include <vector>

namespace pinion {
namespace {

// One line of the cache each, so that workers do not share one while they record.
struct alignas(64) Ring {
  explicit Ring(std::string row_name, std::size_t span_count_max) : name(std::move(row_name)) {
    spans.reserve(span_count_max);  // record() never allocates.
  }

  const std::string name;
  std::vector<TraceSpan> spans = {};
  std::atomic<std::uint64_t> recorded = 0;  // Written by the ring's worker only.
};

// A file that appears under its name when it is whole. Dropped before commit(), it leaves nothing.
class WholeFile {
 public:
  explicit WholeFile(std::string path) : path_(std::move(path)) {}
  ~WholeFile() {
    if (descriptor_ >= 0) {
      ::close(descriptor_);
      ::unlink(partial_path_.c_str());
    }
  }
  WholeFile(const WholeFile&) = delete;
  WholeFile& operator=(const WholeFile&) = delete;

  Status open() {
    // The name is taken only by what a dead process of our number left behind.
    for (int attempt = 0; attempt < 16 && descriptor_ < 0; ++attempt) {
      partial_path_ =
          path_ + ".partial-" + std::to_string(::getpid()) + "-" + std::to_string(attempt);
      descriptor_ = ::open(partial_path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (descriptor_ < 0 && errno != EEXIST) {
        break;
      }
    }
    return descriptor_ < 0 ? failure("create") : Status();
  }

  Status write(std::string_view text) {
    while (!text.empty()) {
      const ssize_t count = ::write(descriptor_, text.data(), text.size());
      if (count < 0 && errno != EINTR) {
        return failure("write");
      }
      text.remove_prefix(count < 0 ? 0 : static_cast<std::size_t>(count));
    }
    return {};
  }

  Status commit() {
    if (::fsync(descriptor_) != 0) {
      return failure("flush");
    }
    if (::rename(partial_path_.c_str(), path_.c_str()) != 0) {
      return failure("rename");
    }
    ::close(std::exchange(descriptor_, -1));
    return {};
  }

 private:
  Status failure(const char* verb) const {
    return Status::from_errno(
        errno, std::string("cannot ") + verb + " " + partial_path_ + " for the trace " + path_);
  }

  std::string path_;
  std::string partial_path_;
  int descriptor_ = -1;
};

std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += {'\\', c};
    } else if (static_cast<unsigned char>(c) < 0x20) {
      constexpr std::string_view kHexDigits = "0123456789abcdef";
      const auto code = static_cast<unsigned char>(c);
      result += "\\u00";
      result += {kHexDigits[code >> 4], kHexDigits[code & 15]};
    } else {
      result += c;
    }
  }
  return result + "\"";
}

// The format counts in microseconds; three decimals keep every nanosecond.
std::string to_microseconds(Duration duration) {
  const std::int64_t count = duration.count();
  const std::uint64_t amount =
      count < 0 ? 0 - static_cast<std::uint64_t>(count) : static_cast<std::uint64_t>(count);
  const std::string fraction = std::to_string(amount % 1000);
  return (count < 0 ? "-" : "") + std::to_string(amount / 1000) + "." +
         std::string(3 - fraction.size(), '0') + fraction;
}

std::string row_name(const char* kind, const std::string& ids, std::string_view name) {
  return std::string("{\"ph\":\"M\",\"name\":\"") + kind + "\"," + ids +
         ",\"args\":{\"name\":" + quoted(name) + "}}";
}

std::string to_event(const TraceSpan& span, const std::string& ids) {
  const char* const kind = span.place.kind == PlaceKind::kNuma ? "numa " : "device ";
  return "{\"ph\":\"X\",\"cat\":\"pinion\",\"name\":" + quoted(span.name) + "," + ids +
         ",\"ts\":" + to_microseconds(span.begin.time_since_epoch()) +
         ",\"dur\":" + to_microseconds(span.end - span.begin) +
         ",\"args\":{\"id\":" + std::to_string(span.id) + ",\"place\":\"" + kind +
         std::to_string(span.place.index) + " of host " + std::to_string(span.place.host) + "\"}}";
}

}  // namespace

struct Trace::State {
  State(std::size_t worker_count, std::size_t span_count) : span_count_max(span_count) {
    for (std::size_t worker = 0; worker < worker_count; ++worker) {
      rings.emplace_back("worker " + std::to_string(worker), span_count_max);
    }
    rings.emplace_back("program", span_count_max);
  }

  std::deque<Ring> rings;  // They cannot be moved.
  const std::size_t span_count_max;
};

Trace::Trace(const TraceOptions& options, std::size_t worker_count)
    : enabled_(options.enabled),
      state_(std::make_unique<State>(worker_count, options.enabled ? options.span_count_max : 0)) {}

Trace::~Trace() = default;

std::size_t Trace::add_row(std::string name) {
  state_->rings.emplace_back(std::move(name), state_->span_count_max);
  return state_->rings.size() - 1;
}

void Trace::keep(std::size_t worker, const TraceSpan& span) noexcept {
  PINION_ASSERT(worker < state_->rings.size());
  PINION_ASSERT(span.name != nullptr);
  Ring& ring = state_->rings[worker];
  const std::uint64_t number = ring.recorded.load(std::memory_order_relaxed);
  // Relaxed: a count that overwritten() may read at any time; it publishes no span.
  ring.recorded.store(number + 1, std::memory_order_relaxed);
  if (number < state_->span_count_max) {
    ring.spans.push_back(span);
  } else if (state_->span_count_max > 0) {
    ring.spans[number % state_->span_count_max] = span;
  }
}

Status Trace::write(const std::string& path, std::uint32_t rank) const {
  constexpr std::size_t kChunkSize = std::size_t{64} * 1024;
  WholeFile file(path);
  PINION_RETURN_IF_ERROR(file.open());
  const std::string process = "\"pid\":" + std::to_string(rank);
  std::string text = "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n" +
                     row_name("process_name", process, "rank " + std::to_string(rank));
  for (std::size_t worker = 0; worker < state_->rings.size(); ++worker) {
    const std::string ids = process + ",\"tid\":" + std::to_string(worker);
    const Ring& ring = state_->rings[worker];
    text += ",\n" + row_name("thread_name", ids, ring.name);
    // The oldest first: where the next one would go, once the ring is full.
    const std::size_t count = ring.spans.size();
    const std::size_t oldest =
        count > 0 && count == state_->span_count_max ? ring.recorded.load() % count : 0;
    for (std::size_t i = 0; i < count; ++i) {
      text += ",\n" + to_event(ring.spans[(oldest + i) % count], ids);
      if (text.size() >= kChunkSize) {
        PINION_RETURN_IF_ERROR(file.write(text));
        text.clear();
      }
    }
  }
  PINION_RETURN_IF_ERROR(file.write(text + "\n]}\n"));
  return file.commit();
}

std::uint64_t Trace::overwritten() const noexcept {
  std::uint64_t count = 0;
  for (const Ring& ring : state_->rings) {
    const std::uint64_t recorded = ring.recorded.load(std::memory_order_relaxed);
    count += recorded > state_->span_count_max ? recorded - state_->span_count_max : 0;
  }
  return count;
}

}  // namespace pinion
