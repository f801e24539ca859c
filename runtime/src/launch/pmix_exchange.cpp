#include "launch/pmix_exchange.hpp"

#include <dlfcn.h>

#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include <pmix.h>

#include <pinion/core/thread_annotations.hpp>

namespace pinion {
namespace {

// A program that nobody starts by PMIx does not load it, so it is not linked.
constexpr const char* kLibrary = "libpmix.so.2";

// The server looks for each name of a fence among all, once for each of its processes: 256 of one
// host took 67 ms for 22 of a fence of "all", and 64 a host would take 3 s at 4096.
constexpr std::size_t kNamedMax = 1024;

struct Functions {
  decltype(&PMIx_Init) init = nullptr;
  decltype(&PMIx_Finalize) finalize = nullptr;
  decltype(&PMIx_Get) get = nullptr;
  decltype(&PMIx_Put) put = nullptr;
  decltype(&PMIx_Commit) commit = nullptr;
  decltype(&PMIx_Fence_nb) fence = nullptr;
  decltype(&PMIx_Error_string) error_string = nullptr;
};

template <class Function>
bool find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

Result<Functions> load() {
  // For good: what it has started of its own does not stand being unloaded. For all: its parts look
  // for each other, and a program may have the library itself.
  void* const library = dlopen(kLibrary, RTLD_NOW | RTLD_GLOBAL);
  Functions all;
  if (library == nullptr || !find(library, "PMIx_Init", all.init) ||
      !find(library, "PMIx_Finalize", all.finalize) || !find(library, "PMIx_Get", all.get) ||
      !find(library, "PMIx_Put", all.put) || !find(library, "PMIx_Commit", all.commit) ||
      !find(library, "PMIx_Fence_nb", all.fence) ||
      !find(library, "PMIx_Error_string", all.error_string)) {
    const char* const why = dlerror();
    return Status(ErrorCode::kUnimplemented, std::string("the library of PMIx cannot be used: ") +
                                                 (why != nullptr ? why : kLibrary));
  }
  return all;
}

struct FreeValue {
  void operator()(pmix_value_t* value) const noexcept {
    if (value->type == PMIX_BYTE_OBJECT) {
      std::free(value->data.bo.bytes);
    }
    std::free(value);
  }
};
using Value = std::unique_ptr<pmix_value_t, FreeValue>;

// How a fence came out. Shared with the library, which may answer when nobody waits any more.
class FenceEnd {
 public:
  void set(pmix_status_t status) {
    {
      MutexLock lock(mutex_);
      status_ = status;
    }
    set_.notify_all();
  }

  std::optional<pmix_status_t> wait_until(const IClock& clock, Instant deadline) {
    MutexLock lock(mutex_);
    while (!status_ && clock.now() < deadline) {
      set_.wait_until(mutex_, deadline);
    }
    return status_;
  }

 private:
  Mutex mutex_;
  std::condition_variable_any set_;
  std::optional<pmix_status_t> status_ PINION_GUARDED_BY(mutex_);
};

void fence_ended(pmix_status_t status, void* data) {
  const std::unique_ptr<std::shared_ptr<FenceEnd>> end(
      static_cast<std::shared_ptr<FenceEnd>*>(data));
  (*end)->set(status);
}

class PmixExchange final : public IExchange {
 public:
  PmixExchange(const Functions& pmix, const pmix_proc_t& self, Duration patience)
      : pmix_(pmix), self_(self), patience_(patience) {}
  ~PmixExchange() override { static_cast<void>(pmix_.finalize(nullptr, 0)); }

  Status ask_for_processes() {
    Result<Value> size = get(PMIX_RANK_WILDCARD, PMIX_JOB_SIZE);
    if (!size) {
      return std::move(size).error();
    }
    if ((*size)->type != PMIX_UINT32 || self_.rank >= (*size)->data.uint32) {
      return {ErrorCode::kUnavailable, "the launcher does not say how many processes it started"};
    }
    processes_.assign((*size)->data.uint32, self_);
    for (std::uint32_t process = 0; process < process_count(); ++process) {
      processes_[process].rank = process;
    }
    return {};
  }

  [[nodiscard]] std::uint32_t process() const noexcept override { return self_.rank; }
  [[nodiscard]] std::uint32_t process_count() const noexcept override {
    return static_cast<std::uint32_t>(processes_.size());
  }

  [[nodiscard]] Result<std::vector<std::string>> gather(const std::string& value) override {
    const std::string key = "pinion." + std::to_string(++gather_count_);
    std::string bytes = value;
    pmix_value_t given{};
    given.type = PMIX_BYTE_OBJECT;
    given.data.bo = {.bytes = bytes.data(), .size = bytes.size()};
    PINION_RETURN_IF_ERROR(check(pmix_.put(PMIX_GLOBAL, key.c_str(), &given), "PMIx_Put"));
    PINION_RETURN_IF_ERROR(check(pmix_.commit(), "PMIx_Commit"));
    PINION_RETURN_IF_ERROR(meet());
    std::vector<std::string> all(process_count());
    for (std::uint32_t process = 0; process < process_count(); ++process) {
      if (process == self_.rank) {
        all[process] = value;
        continue;
      }
      const Result<Value> found = get(process, key.c_str());
      if (!found) {
        return found.error();
      }
      if ((*found)->type == PMIX_BYTE_OBJECT && (*found)->data.bo.bytes != nullptr) {
        all[process].assign((*found)->data.bo.bytes, (*found)->data.bo.size);
      }
    }
    return all;
  }

 private:
  [[nodiscard]] Status check(pmix_status_t status, const char* call) const {
    return status == PMIX_SUCCESS ? Status()
                                  : Status(ErrorCode::kUnavailable,
                                           std::string("the launcher does not do its part: ") +
                                               call + " answers " + pmix_.error_string(status));
  }

  [[nodiscard]] Result<Value> get(pmix_rank_t rank, const char* key) const {
    pmix_proc_t process = self_;
    process.rank = rank;
    pmix_value_t* value = nullptr;
    PINION_RETURN_IF_ERROR(check(pmix_.get(&process, key, nullptr, 0, &value), "PMIx_Get"));
    return Value(value);
  }

  // Until all processes are there, with what they have put. Each is named: those of "all" the
  // server of PMIx 4.2 counts, and it counts one less for good when the connection of a program
  // that has taken its leave is cut before that is written down, so that the fences of the next
  // program of the same processes end too early (op_cbfunc2() and lost_connection() in its source).
  // Of more than kNamedMax, or where it has come to count none of a host (new_tracker()), that next
  // program may then have to say that it cannot begin.
  [[nodiscard]] Status meet() const {
    pmix_info_t collects{};
    std::strncpy(collects.key, PMIX_COLLECT_DATA, PMIX_MAX_KEYLEN);
    collects.value.type = PMIX_BOOL;
    collects.value.data.flag = true;
    const auto end = std::make_shared<FenceEnd>();
    auto for_library = std::make_unique<std::shared_ptr<FenceEnd>>(end);
    const SystemClock clock;
    const Instant deadline = clock.now() + patience_;
    const bool named = processes_.size() <= kNamedMax;
    const pmix_status_t begun =
        pmix_.fence(named ? processes_.data() : nullptr, named ? processes_.size() : 0, &collects,
                    1, &fence_ended, for_library.get());
    if (begun != PMIX_OPERATION_SUCCEEDED) {
      PINION_RETURN_IF_ERROR(check(begun, "PMIx_Fence_nb"));
      static_cast<void>(for_library.release());  // fence_ended() has it.
      const std::optional<pmix_status_t> status = end->wait_until(clock, deadline);
      if (!status) {
        return {ErrorCode::kDeadlineExceeded,
                "not every process that the launcher has started came to make its Job in time; all "
                "of them must, or join-seconds be longer"};
      }
      PINION_RETURN_IF_ERROR(check(*status, "PMIx_Fence"));
    }
    return {};
  }

  const Functions pmix_;
  const pmix_proc_t self_;
  const Duration patience_;
  std::vector<pmix_proc_t> processes_;
  std::uint32_t gather_count_ = 0;
};

}  // namespace

Result<std::unique_ptr<IExchange>> open_pmix_exchange(Duration patience) {
  const Result<Functions> pmix = load();
  if (!pmix) {
    return pmix.error();
  }
  pmix_proc_t self{};
  if (const pmix_status_t status = pmix->init(&self, nullptr, 0); status != PMIX_SUCCESS) {
    return Status(ErrorCode::kUnavailable, std::string("the launcher does not answer by PMIx: ") +
                                               pmix->error_string(status));
  }
  auto exchange = std::make_unique<PmixExchange>(*pmix, self, patience);
  PINION_RETURN_IF_ERROR(exchange->ask_for_processes());
  return std::unique_ptr<IExchange>(std::move(exchange));
}

}  // namespace pinion
