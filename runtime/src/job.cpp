#include <pinion/runtime/job.hpp>

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <functional>
#include <iostream>
#include <optional>
#include <random>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <pinion/core/assert.hpp>
#include <pinion/core/clock.hpp>
#include <pinion/core/executor.hpp>
#include <pinion/core/memory_gauges.hpp>
#include <pinion/core/trace.hpp>
#include <pinion/gpu/kernels.hpp>
#include <pinion/numa/binding.hpp>
#include <pinion/numa/placement.hpp>
#include <pinion/numa/topology.hpp>
#include <pinion/runtime/version.hpp>
#include <pinion/shard/protocol/wire.hpp>
#include <pinion/shm/local_blob_store.hpp>
#include <pinion/shm/shared_blob_store.hpp>
#include <pinion/shm/spill.hpp>

#include "agent_link.hpp"
#include "devices/device_reporter.hpp"
#include "devices/rank_devices.hpp"
#include "frames.hpp"
#include "grant_log.hpp"
#include "launch/join_launcher.hpp"
#include "launch/launched_process.hpp"
#include "launch/pmix_exchange.hpp"
#include "launch/start_agent.hpp"
#include "launch_spec.hpp"
#include "local_link.hpp"
#include "memory_budget.hpp"
#include "settings.hpp"

namespace pinion {

// Members are destroyed from the last to the first: the workers end before the store and the link
// that they use. Blobs that outlive the job keep their part of the ledger.
struct Job::State {
  SystemClock clock;
  Settings settings;
  JobInfo info;
  std::optional<Topology> topology;  // Of this machine; empty where there is nothing to choose.
  GrantLog log;
  std::optional<MemoryLedger> memory;
  std::unique_ptr<PagePool> page_pool;
  std::unique_ptr<AgentLink> agent_link;  // Told of blobs that end while the store is there.
  std::unique_ptr<IBlobStore> store;
  LocalBlobStore* local_store = nullptr;  // The same object, in a job of one process.
  std::unique_ptr<LocalLink> local_link;
  std::unique_ptr<Trace> trace;
  std::unique_ptr<Metrics> metrics;
  std::optional<MemoryGauges> memory_gauges;
  CounterId spilled_bytes = {};
  std::unique_ptr<Executor> executor;
  std::uint64_t step_count = 0;
  bool waits_for_agent = false;  // Whether this process has started it, and is the last to leave.
  KernelRegistry kernels;
  DeviceChoice device_choice;
  bool devices_are_open = false;
  std::unique_ptr<RankDevices> devices;  // Null where this rank has none.

  Status become_rank(UniqueFd socket);
  Status become_job();
  BindMemory memory_binder() const;
  void for_each_at(Place place, std::size_t count, const std::function<void(std::size_t)>& body);
  SpillOptions spill_options();
  Status divide_memory(std::uint64_t budget_bytes, const std::vector<WorkerGroup>& groups);
  Status start_workers(const std::vector<WorkerGroup>& groups);
  void open_devices();
  DeviceReporter device_reporter() const;
  void say_what_was_spilled() const;
  void say_who_was_not_bound() const;
  void finish() noexcept;
};

namespace {

void remember_that_job_is_joined() {
  // What this program starts is no rank; what it makes a second time is an error, see create().
  setenv("PINION_JOINED_BY", std::to_string(getpid()).c_str(), 1);
  setenv("PINION_JOINED_LAUNCH", environment_value("PMIX_NAMESPACE").c_str(), 1);
}

std::vector<Place> places_of(const Executor& executor) {
  std::vector<Place> places;
  for (const WorkerGroup& group : executor.groups()) {
    places.push_back(group.place);
  }
  return places;
}

// The socket that an agent has left open for us, if one has.
Result<std::optional<UniqueFd>> inherited_socket() {
  const std::string text = environment_value("PINION_AGENT_FD");
  if (text.empty()) {
    return std::optional<UniqueFd>();
  }
  int descriptor = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), descriptor);
  if (error != std::errc() || end != text.data() + text.size() || descriptor < 0) {
    return Status(ErrorCode::kInvalidArgument,
                  "PINION_AGENT_FD is '" + text + "'; pinion run sets it to a descriptor");
  }
  unsetenv("PINION_AGENT_FD");
  remember_that_job_is_joined();
  return std::optional<UniqueFd>(UniqueFd(descriptor));
}

// The way to the agent of a job whose ranks are what another launcher has started; empty where that
// is this process alone.
Result<std::optional<AgentConnection>> join_launched(const Settings& settings,
                                                     const LaunchedProgram& program) {
  Result<std::unique_ptr<IExchange>> exchange = open_pmix_exchange(settings.join_patience);
  if (!exchange) {
    return Status(exchange.error())
        .with_context(
            "mpirun or srun has started this program, and its ranks cannot find each other; start "
            "it by pinion run, or without PMIX_RANK to be a job of its own");
  }
  if ((*exchange)->process_count() == 1) {
    return std::optional<AgentConnection>();
  }
  Result<AgentConnection> joined =
      become_ranks(*std::move(exchange), describe_this_process(), program, &start_agent);
  if (!joined) {
    return std::move(joined).error().with_context("this job of another launcher does not begin");
  }
  remember_that_job_is_joined();
  return std::optional<AgentConnection>(*std::move(joined));
}

// What a program prints is part of its answer: a full disk must not pass unseen, nor may it be lost
// with a process that dies after its step is done.
Status flush_standard_output() {
  errno = 0;
  std::cout.flush();
  std::fflush(stdout);
  const int error = errno;
  if (std::cout.good() && std::ferror(stdout) == 0) {
    return {};
  }
  const std::string what = "writing to standard output";
  return error != 0 ? Status::from_errno(error, what)
                    : Status(ErrorCode::kDataLoss, what + " failed; not all of it is there");
}

}  // namespace

Status Job::State::become_rank(UniqueFd socket) {
  Result<std::pair<std::unique_ptr<AgentLink>, Welcome>> joined =
      AgentLink::join(std::move(socket), {std::string(version()), getpid()});
  if (!joined) {
    return std::move(joined).error();
  }
  Welcome& welcome = joined->second;
  agent_link = std::move(joined->first);
  info = welcome.info;
  settings.trace_directory = welcome.trace_directory;
  settings.spill_directory = welcome.spill_directory;
  settings.spill_bytes_max = welcome.spill_bytes_max;
  settings.devices = welcome.devices;
  settings.hang = welcome.hang;
  device_choice = welcome.device_choice;
  if (welcome.binds_memory) {
    Result<Topology> found = Topology::of_this_machine(DeviceSearch::kNone);
    if (!found) {
      return std::move(found).error();
    }
    topology = std::move(found).value();
  }
  PINION_RETURN_IF_ERROR(divide_memory(welcome.memory_bytes, welcome.groups));
  AgentLink& link = *agent_link;
  store = make_shared_blob_store(
      {.identity = {info.job, info.epoch, info.host},
       .host_count = welcome.host_count,
       .first_segment = welcome.first_segment,
       .segment_count = welcome.segment_count,
       .memory = *memory,
       .spill = spill_options(),
       // The other half is for what the ranks are working on.
       .held_bytes_max = welcome.memory_bytes / 2 * welcome.local_rank_count,
       .available_bytes = available_bytes,
       .memory_wait = welcome.memory_wait,
       .bind_memory = memory_binder(),
       .for_each_at = [this](Place place, std::size_t count,
                             const auto& body) { for_each_at(place, count, body); },
       .blob_memory = link.blob_memory(),
       .row_descriptor = link.row_descriptor()},
      {.publish = [&link](const BlobHandle& handle, Place home,
                          int descriptor) { return link.publish(handle, home, descriptor); },
       .fetch = [&link](const BlobHandle& handle) { return link.fetch(handle); },
       .fetch_parts = [&link](std::span<const BlobPart> parts,
                              int room) { return link.fetch_parts(parts, room); },
       .held_bytes = [&link] { return link.held_bytes(); },
       .ask_held_bytes = [&link] { return link.ask_held_bytes(); },
       .let_go = [&link](const BlobHandle& handle) { link.let_go(handle); },
       .slabs = {.make =
                     [&link](std::uint32_t segment, Place home, std::uint64_t size_bytes) {
                       return link.make_slab(
                           {.home = home, .size_bytes = size_bytes, .segment = segment});
                     },
                 .fetch = [&link](const BlobHandle& handle) { return link.fetch_slab(handle); },
                 .fetch_row = [&link](std::uint32_t client) { return link.fetch_row(client); },
                 .give_back = [&link](std::uint32_t segment) { link.give_back_slab(segment); }}});
  return start_workers(welcome.groups);
}

Status Job::State::become_job() {
  Result<Topology> found = Topology::of_this_machine(DeviceSearch::kNone);
  if (!found) {
    return std::move(found).error();
  }
  topology = std::move(found).value();
  Result<std::vector<RankPlacement>> placement =
      place_ranks(*topology, {.rank_count = 1, .workers_per_rank = settings.workers_per_rank});
  if (!placement) {
    return std::move(placement).error();
  }
  const std::vector<WorkerGroup>& groups = placement->front().groups;
  const Result<std::uint64_t> budget = memory_budget_of(settings, 1);
  if (!budget) {
    return Status(budget.error());
  }
  PINION_RETURN_IF_ERROR(divide_memory(*budget, groups));
  std::random_device device;
  info.job = (static_cast<std::uint64_t>(device()) << 32) | device();
  info.epoch = 1;
  info.seed = settings.seed;
  info.batch_shard_count = batch_shard_count_of(settings, 1, 1);
  info.batch_duration = settings.batch_duration;
  info.batch_bytes = settings.batch_bytes;
  PINION_RETURN_IF_ERROR(make_trace_directory(settings));
  if (!settings.grant_log.empty()) {
    Result<GrantLog> opened = GrantLog::open(settings.grant_log);
    if (!opened) {
      return std::move(opened).error();
    }
    log = std::move(opened).value();
  }
  auto local = std::make_unique<LocalBlobStore>(BlobStoreIdentity{info.job, info.epoch, info.host},
                                                *memory, memory_binder(), spill_options());
  local_store = local.get();
  store = std::move(local);
  local_link = std::make_unique<LocalLink>(info, settings, *local_store, clock, log);
  return start_workers(groups);
}

BindMemory Job::State::memory_binder() const {
  if (!topology || topology->nodes().size() < 2) {
    return {};
  }
  return [this](std::span<std::byte> pages, Place place) {
    // Workers may run where no memory is, or none that we may use.
    return bind_memory(pages, *topology, topology->nearest_memory(place));
  };
}

void Job::State::for_each_at(Place place, std::size_t count,
                             const std::function<void(std::size_t)>& body) {
  // Only a worker: it does everything itself where the others are busy, and never waits for them.
  const bool on_worker = executor && executor->current_worker() < executor->worker_count();
  std::vector<BulkError> errors;
  if (on_worker && executor->parallel_for(place, {0, count}, body, {.errors = &errors}).ok()) {
    return;
  }
  if (!errors.empty()) {
    std::rethrow_exception(errors.front().exception);
  }
  for (std::size_t i = 0; i < count; ++i) {
    body(i);
  }
}

SpillOptions Job::State::spill_options() {
  return {.directory = settings.spill_bytes_max == 0 ? "" : settings.spill_directory,
          .bytes_max = settings.spill_bytes_max,
          .on_spill = [this](std::uint64_t size_bytes) {
            // Blobs are made by all threads, and no thread knows which worker it is.
            metrics->add(spilled_bytes, metrics->worker_count(), size_bytes);
          }};
}

Status Job::State::divide_memory(std::uint64_t budget_bytes,
                                 const std::vector<WorkerGroup>& groups) {
  std::size_t worker_count = 0;
  for (const WorkerGroup& group : groups) {
    worker_count += group.worker_count;
  }
  Result<MemoryLedger> ledger = make_ledger(budget_bytes, worker_count);
  if (!ledger) {
    return std::move(ledger).error();
  }
  memory = std::move(ledger).value();
  page_pool = std::make_unique<PagePool>(
      *memory,
      PagePoolOptions{.spare_bytes_max = budget_bytes / 4, .bind_memory = memory_binder()});
  return {};
}

Status Job::State::start_workers(const std::vector<WorkerGroup>& groups) {
  Result<std::unique_ptr<Executor>> created = Executor::create({groups});
  if (!created) {
    return std::move(created).error();
  }
  executor = std::move(created).value();
  trace = std::make_unique<Trace>(TraceOptions{.enabled = !settings.trace_directory.empty()},
                                  executor->worker_count());
  metrics = std::make_unique<Metrics>(executor->worker_count());
  memory_gauges.emplace(*metrics);
  spilled_bytes = metrics->counter("spilled bytes");
  return add_pinion_kernels(kernels);
}

DeviceReporter Job::State::device_reporter() const {
  return {.agent_link = agent_link.get(), .rank = info.rank, .quiet = settings.quiet};
}

void Job::State::open_devices() {
  if (std::exchange(devices_are_open, true) || settings.devices == "none") {
    return;
  }
  constexpr std::uint64_t kBudgetParts = 16;
  const DeviceReporter reporter = device_reporter();
  Result<std::unique_ptr<RankDevices>> opened = RankDevices::open(
      {.setting = settings.devices,
       .choice = device_choice,
       .host = info.host,
       .staging_bytes = std::clamp(memory->budget_bytes() / kBudgetParts, std::uint64_t{1} << 20,
                                   std::uint64_t{256} << 20),
       .pipeline = {.hang = settings.hang},
       .worker_places = places_of(*executor),
       .pages = *page_pool,
       .trace = *trace,
       .kernels = kernels,
       .on_hang = [reporter](const DeviceInfo& device,
                             const Status& error) { reporter.hangs(device, error); },
       .on_message = [reporter](const std::string& message) { reporter.say_once(message); },
       .on_lost = [reporter](const DeviceInfo& device,
                             const Status& error) { reporter.lost(device, error); }});
  if (opened) {
    devices = *std::move(opened);
  } else {
    fmt::print(stderr, "pinion: rank {} works without devices: {}\n", info.rank,
               opened.error().to_string());
  }
}

void Job::State::say_what_was_spilled() const {
  const std::uint64_t bytes = metrics ? metrics->total(spilled_bytes) : 0;
  if (bytes == 0 || settings.quiet) {
    return;
  }
  const MemoryUsage usage = memory->usage();
  std::string peaks;
  for (const MemoryUse use : {MemoryUse::kInput, MemoryUse::kState, MemoryUse::kBlobs}) {
    peaks += fmt::format(", {} up to {} MiB", to_string(use), usage.of(use).peak_bytes >> 20);
  }
  const PagePoolUsage pages = page_pool->usage();
  fmt::print(stderr,
             "pinion: rank {} spilled {} MiB to {}, as {} MiB of memory did not do "
             "(memory-bytes): {} MiB were used at most{}; {} of {} requests got pages again{}\n",
             info.rank, bytes >> 20, settings.spill_directory, memory->budget_bytes() >> 20,
             usage.total.peak_bytes >> 20, peaks, pages.reused_count,
             pages.reused_count + pages.fresh_count,
             is_in_memory(settings.spill_directory)
                 ? "; that directory is in memory itself, which spares none: set spill-directory "
                   "to one on a disk"
                 : "");
}

// Executor::create() refuses that; later the job goes on, slower at worst.
void Job::State::say_who_was_not_bound() const {
  const std::uint64_t count = executor ? executor->events().misbound_count : 0;
  if (count == 0 || settings.quiet) {
    return;
  }
  for (const WorkerBinding& binding : executor->bindings()) {
    if (!binding.status.ok()) {
      fmt::print(
          stderr,
          "pinion: rank {} ran with workers that were not where they were to be ({} times): {}\n",
          info.rank, count, binding.status.to_string());
      return;
    }
  }
}

void Job::State::finish() noexcept {
  if (devices != nullptr) {
    device_reporter().say_what_was_done(devices->accounts());
  }
  say_who_was_not_bound();
  devices.reset();
  executor.reset();
  if (trace && trace->enabled()) {
    const std::string path =
        fmt::format("{}/trace.rank{}.json", settings.trace_directory, info.rank);
    if (const Status written = trace->write(path, info.rank); !written.ok()) {
      fmt::print(stderr, "pinion: the trace is not written: {}\n", written.to_string());
    }
  }
  if (local_link) {
    local_link->clear_progress();
  }
  say_what_was_spilled();
  if (agent_link) {
    agent_link->leave(info.rank);
    if (waits_for_agent) {
      agent_link->wait_for_end_of_agent();
    }
  }
}

Result<Job> Job::create(int& argc, char** argv) {
  Result<Settings> settings = read_settings();
  if (!settings) {
    return std::move(settings).error();
  }
  // A limit on the size of files (ulimit -f) is an error of whoever writes, and no end.
  if (struct sigaction old = {};
      sigaction(SIGXFSZ, nullptr, &old) == 0 && old.sa_handler == SIG_DFL) {
    signal(SIGXFSZ, SIG_IGN);
  }
  const int argument_count = argc;
  const LaunchedProgram program = {.name = argc > 0 ? argv[0] : "",
                                   .settings = given_options(argc, argv)};
  PINION_RETURN_IF_ERROR(take_options(*settings, argc, argv));
  auto state = std::make_unique<State>();
  state->settings = std::move(settings).value();
  Result<std::optional<UniqueFd>> socket = inherited_socket();
  if (!socket) {
    return std::move(socket).error();
  }
  if (socket->has_value() && argc != argument_count) {
    return Status(ErrorCode::kInvalidArgument,
                  "a rank takes its settings from its job; give them to pinion run, as --set "
                  "NAME=VALUE, instead of --pinion-NAME=VALUE to the program");
  }
  if (environment_value("PINION_JOINED_BY") == std::to_string(getpid()) && !socket->has_value()) {
    return Status(ErrorCode::kFailedPrecondition,
                  "this program has joined its job before; make one Job in a program");
  }
  if (!socket->has_value() && is_launched_by_other()) {
    Result<std::optional<AgentConnection>> joined = join_launched(state->settings, program);
    if (!joined) {
      return std::move(joined).error();
    }
    if (joined->has_value()) {
      socket->emplace(std::move((*joined)->socket));
      state->waits_for_agent = (*joined)->started_agent;
    }
  } else if (const std::string warning = warning_of_lone_processes();
             !socket->has_value() && !warning.empty() && !state->settings.quiet) {
    fmt::print(stderr, "pinion: {}\n", warning);
  }
  PINION_RETURN_IF_ERROR(socket->has_value() ? state->become_rank(std::move(**socket))
                                             : state->become_job());
  return Job(std::move(state));
}

Job::Job(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
Job::Job(Job&&) noexcept = default;

Job& Job::operator=(Job&& other) noexcept {
  if (this != &other) {
    if (state_) {
      state_->finish();
    }
    state_ = std::move(other.state_);
  }
  return *this;
}

Job::~Job() {
  if (state_) {
    state_->finish();
  }
}

Status Job::once(const std::function<void()>& body, CallSite where) {
  Status flushed;
  PINION_RETURN_IF_ERROR(pinion::once(
      *this,
      [&] {
        body();
        flushed = flush_standard_output();
      },
      where));
  return flushed;
}

Status Job::drain(std::string reason) {
  const JobInfo& own = info();
  const protocol::Envelope envelope = {own.job, own.epoch, own.rank, own.incarnation};
  return control().send(protocol::encode(envelope, protocol::Drain{.reason = std::move(reason)}));
}

std::string Job::placement() {
  return describe_rank(info().rank, {executor().groups()});
}

const JobInfo& Job::info() const noexcept {
  return state_->info;
}
Executor& Job::executor() noexcept {
  return *state_->executor;
}
IBlobStore& Job::store() noexcept {
  return *state_->store;
}
Trace& Job::trace() noexcept {
  return *state_->trace;
}
MemoryLedger& Job::memory() noexcept {
  return *state_->memory;
}
PagePool& Job::pages() noexcept {
  return *state_->page_pool;
}
Metrics& Job::metrics() noexcept {
  state_->memory_gauges->set(state_->memory->usage(), state_->page_pool->usage());
  if (state_->devices != nullptr) {
    set_gauges(*state_->metrics, state_->devices->accounts());
  }
  return *state_->metrics;
}
KernelRegistry& Job::kernels() noexcept {
  return state_->kernels;
}
IShardDevices* Job::devices() {
  state_->open_devices();
  return state_->devices.get();
}
std::uint64_t Job::begin_step() noexcept {
  return ++state_->step_count;
}

IControlLink& Job::control() noexcept {
  if (state_->agent_link) {
    return *state_->agent_link;
  }
  return *state_->local_link;
}

}  // namespace pinion
