#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <pinion/core/clock.hpp>
#include <pinion/core/status.hpp>
#include <pinion/numa/placement.hpp>
#include <pinion/runtime/launch.hpp>
#include <pinion/shm/blob_memory.hpp>
#include <pinion/shm/channel.hpp>
#include <pinion/shm/ring_broker.hpp>
#include <pinion/shm/segment_table.hpp>
#include <pinion/shm/unique_fd.hpp>

#include "agent/input_relay.hpp"
#include "agent/output_relay.hpp"
#include "agent/rank_process.hpp"
#include "coordinator_driver.hpp"
#include "frames.hpp"
#include "grant_log.hpp"
#include "journal/journal.hpp"
#include "journal/journal_folder.hpp"
#include "journal/journal_start.hpp"
#include "launch_spec.hpp"
#include "progress.hpp"
#include "settings.hpp"

namespace pinion {

/// One host's process of a job: starts the ranks and watches them, owns the sealed segments, holds
/// the coordinator. One thread, one loop, nothing in it blocks.
///
/// What its death leaves: the ranks are ended by the kernel, what they have started by `pinion
/// run`; the segments have no names and go with the last descriptor.
class Agent {
 public:
  /// `launcher` is our parent, whose death is to send us SIGCONT and ends the job.
  /// Errors: those of the settings and of the placement. Nothing has been started then.
  [[nodiscard]] static Result<std::unique_ptr<Agent>> create(const LaunchSpec& spec,
                                                             pid_t launcher);

  /// Runs the job to its end and returns the exit status of the whole.
  [[nodiscard]] int run();

 private:
  // How many blobs one life of a rank may make; 65 536 lives fit into the numbers of segments.
  static constexpr std::uint32_t kSegmentsPerClient = 1u << 16;
  static constexpr std::uint32_t kRingCapacity = 256;  // 33 KB a pair of ranks.

  struct Rank {
    RankPlacement placement = {};
    std::optional<RankProcess> process = {};
    std::uint32_t incarnation = 0;
    std::uint32_t client = 0;  // Of the segment table; one for each incarnation that joined.
    std::uint32_t respawn_count = 0;
    bool joined = false;
    bool left = false;
    bool connected = false;
  };

  struct JobNumbers {
    std::uint64_t job = 0;
    std::uint32_t epoch = 1;
  };

  Agent(const LaunchSpec& spec, Settings settings, HostPlacement placement, GrantLog log,
        UniqueFd signals, pid_t launcher, JobNumbers numbers);

  // The journal (agent_journal.cpp).
  [[nodiscard]] Status take_up_journal(JournalStart start);
  [[nodiscard]] Status load_blob(const BlobHandle& handle, Place home,
                                 std::span<const std::byte> bytes);
  [[nodiscard]] Result<std::uint64_t> persist(protocol::Record record);
  void serve_journal();
  void end_journal();

  // Processes.
  Status start_first();
  Status start_others();
  Status start(std::uint32_t rank);
  [[nodiscard]] Status connect_standard(std::uint32_t rank, RankStart& start,
                                        OutputRelay::Ends& ends, UniqueFd& input);
  [[nodiscard]] std::vector<std::string> command_of(std::uint32_t rank) const;
  [[nodiscard]] bool has_terminal(std::uint32_t rank) const;
  [[nodiscard]] bool reads_input(std::uint32_t rank) const;
  void ended(std::uint32_t rank);
  void decide_after_end(std::uint32_t rank, int wait_status, bool had_joined);
  void signal_rank(const Rank& rank, int signal) const;
  void signal_all(int signal) const;
  void end_all_later(int exit_status, Duration patience);
  void end_all_now();
  bool end_without_launcher();
  void press_on_with_ending();

  // What ranks send.
  void serve(std::uint32_t rank);
  void handle(std::uint32_t rank, Frame frame);
  void handle_hello(std::uint32_t rank, const Frame& frame);
  void handle_publish(std::uint32_t rank, Frame frame);
  void handle_fetch(std::uint32_t rank, const Frame& frame);
  void handle_ring(std::uint32_t rank, const Frame& frame);
  [[nodiscard]] Status check_may_fetch() const;
  void handle_make_slab(std::uint32_t rank, const Frame& frame);
  void handle_fetch_slab(std::uint32_t rank, const Frame& frame);
  void handle_fetch_row(std::uint32_t rank, const Frame& frame);
  void handle_give_back_slab(std::uint32_t rank, const Frame& frame);
  void handle_let_go(std::uint32_t rank, const Frame& frame);
  void answer_slab(std::uint32_t rank, std::uint64_t request, const Result<SlabView>& slab);
  void answer(std::uint32_t rank, std::uint64_t request, const Status& status);
  void answer(std::uint32_t rank, FrameKind kind, std::uint64_t request,
              const std::vector<std::byte>& payload, std::span<const int> descriptors = {});
  void disconnect(std::uint32_t rank, const Status& why);
  [[nodiscard]] Welcome welcome_for(std::uint32_t rank) const;
  [[nodiscard]] const Result<BlobMemory>& blob_memory();
  [[nodiscard]] std::string describe_blob_pages();
  void count_pages(const BlobHandle& handle);

  // The loop.
  void wait_for_events();
  void take_signals();
  [[nodiscard]] int milliseconds_to_wait() const;
  [[nodiscard]] bool any_rank_runs() const;
  void end_for_want_of_time();
  void pass_output_on();
  void finish_output();
  void say(const std::string& line);
  void print_summary();

  [[nodiscard]] LoggedRank named(std::uint32_t rank) const {
    return {rank, ranks_[rank].incarnation};
  }

  LaunchSpec spec_;
  Settings settings_;
  SystemClock clock_;
  Instant started_;
  bool binds_memory_;
  std::vector<std::string> gpu_bus_ids_;
  rlim_t open_file_limit_ = RLIM_INFINITY;  // What ranks get; ours is as high as may be.
  GrantLog log_;
  UniqueFd signals_;
  std::uint64_t job_;
  std::uint32_t epoch_;
  std::vector<Rank> ranks_;
  std::vector<LoggedRank> clients_;  // By client number.
  SegmentTable segments_;
  std::optional<Result<BlobMemory>> blob_memory_;  // Made for the first rank that joins.
  PageShare large_blob_pages_;  // Of all that were published, with --report-bindings.
  RingBroker rings_;
  std::vector<BlobHandle> kept_until_death_;  // Of tests: what goes with the rank that made it.
  std::optional<JournalFolder> journal_folder_;
  std::unique_ptr<Journal> journal_;
  bool ended_before_ = false;  // Whether the journal says that nothing is left to do.
  CoordinatorDriver driver_;
  ProgressDisplay display_;
  OutputRelay output_;
  InputRelay input_;
  pid_t launcher_;
  bool output_failed_ = false;
  bool others_wait_ = false;        // Whether the ranks beside the debugged one are to be started.
  std::optional<int> exit_status_;  // Set once the job is ending.
  std::optional<int> first_failure_;   // Exit status of the first rank that failed.
  std::optional<Instant> next_press_;  // When ranks that still run are told more firmly to end.
  int next_signal_ = 0;
  bool silenced_ = false;  // Whether the end was asked for from outside.
};

}  // namespace pinion
