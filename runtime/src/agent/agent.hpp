#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <pinion/core/clock.hpp>
#include <pinion/core/status.hpp>
#include <pinion/core/thread_annotations.hpp>
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
#include "hosts/blob_copies.hpp"
#include "hosts/blob_parts.hpp"
#include "hosts/host_launch.hpp"
#include "hosts/host_link.hpp"
#include "hosts/host_outputs.hpp"
#include "hosts/parted_hosts.hpp"
#include "hosts/remote_hosts.hpp"
#include "hosts/remote_shells.hpp"
#include "journal/journal.hpp"
#include "journal/journal_folder.hpp"
#include "journal/journal_start.hpp"
#include "launch/launched_job.hpp"
#include "launch/launched_placement.hpp"
#include "launch/launched_ranks.hpp"
#include "launch_spec.hpp"
#include "progress.hpp"
#include "settings.hpp"

namespace pinion {

/// One host's process of a job: starts the ranks and watches them, owns the sealed segments. That
/// of the first host, the head, holds the coordinator as well, and starts the agents of the others.
/// One thread, one loop, nothing in it blocks; in a job of several hosts the transport's thread
/// reads blobs beside it.
///
/// What its death leaves: the ranks are ended by the kernel, what they have started by `pinion
/// run`; the segments have no names and go with the last descriptor. Agents of other hosts see the
/// end of the head's and end their ranks; that of the one that has started them is nothing to them.
class Agent {
 public:
  /// The head of a job. `launcher` is our parent, whose death is to send us SIGCONT and ends the
  /// job. Errors: those of the settings and of the placement. Nothing has been started then.
  [[nodiscard]] static Result<std::unique_ptr<Agent>> create(const LaunchSpec& spec,
                                                             pid_t launcher);

  /// The agent of another host, and behind it those that it has to start. Until it knows the head,
  /// it ends when `lifeline` is at its end.
  /// Errors: as create(), and those of entering the folder of the job and of starting those.
  [[nodiscard]] static Result<std::unique_ptr<Agent>> create_on_host(const HostLaunch& launch,
                                                                     UniqueFd lifeline);

  /// The agent of a host whose ranks another launcher has started. It is ready for them.
  /// Errors: as create(); nobody is answered then.
  [[nodiscard]] static Result<std::unique_ptr<Agent>> create_launched(const LaunchedHost& launch);

  /// What those ranks, and agents of other hosts, need to know. Precondition: create_launched().
  [[nodiscard]] AgentReport report() const;

  /// Runs the job to its end and returns the exit status of the whole.
  [[nodiscard]] int run();

 private:
  // How many blobs one life of a rank may make; 65 536 lives fit into the numbers of segments.
  static constexpr std::uint32_t kSegmentsPerClient = 1u << 16;
  static constexpr std::uint32_t kRingCapacity = 256;   // 33 KB a ring.
  static constexpr std::uint32_t kJournalClient = ~0u;  // Of copies; no rank has the number.
  // As long as a host may be silent.
  static constexpr Duration kPartedPatience = std::chrono::seconds(6);

  struct Rank {
    RankPlacement placement = {};
    std::optional<RankProcess> process = {};
    std::uint32_t incarnation = 0;
    std::uint32_t client = 0;  // Of the segment table; one for each incarnation that joined.
    std::uint32_t respawn_count = 0;
    bool joined = false;
    bool left = false;
    bool connected = false;
    std::optional<DeviceLoss> lost_device = {};  // For which this life ends,
    std::optional<DeviceLoss> given_up = {};     // or without which it is to go on.
    std::optional<RingEnd> ring = {};            // With this life, once it has joined.
  };

  // What another host says, until it may count.
  struct HeldMessage {
    HostSaid said;
    std::uint64_t number = 0;
    std::size_t missing_count = 0;        // Copies for the journal that are on their way,
    std::vector<BlobHandle> copies = {};  // those that are here,
    Status failure = {};                  // and why one will not come.
  };

  // What an agent is made of, once that is known to be possible.
  struct Parts {
    LaunchSpec spec;
    Settings settings;
    HostShare share;
    HostPlacement placement;
    GrantLog log = {};
    UniqueFd signals = {};
    rlim_t open_file_limit = RLIM_INFINITY;  // Of ranks.
    pid_t launcher = 0;
    std::uint64_t job = 0;
    std::uint32_t epoch = 1;
  };

  [[nodiscard]] static Result<Parts> prepare(const LaunchSpec& spec, std::uint32_t host);
  [[nodiscard]] static Result<Parts> complete(Parts parts);
  [[nodiscard]] static Status open_grant_log(Parts& parts);
  [[nodiscard]] static Status begin_new_job(Parts& parts);
  [[nodiscard]] static Status become_agent(Parts& parts);
  explicit Agent(Parts parts);
  [[nodiscard]] CoordinatorDriver::Hooks coordinator_hooks();
  void make_coordinator();
  void send_to_rank(std::uint32_t rank, const std::vector<std::byte>& message);
  [[nodiscard]] Status keep(const BlobHandle& blob);
  void release(const BlobHandle& blob);

  // The journal (agent_journal.cpp).
  [[nodiscard]] Status take_up_journal(JournalStart start);
  [[nodiscard]] Status load_blob(const BlobHandle& handle, Place home,
                                 std::span<const std::byte> bytes);
  void copy_for_journal(HeldMessage& held);
  void copy_for_journal_is_here(std::uint64_t number, const BlobHandle& handle,
                                const Status& outcome);
  [[nodiscard]] Result<std::uint64_t> persist(protocol::Record record);
  void serve_journal();
  void end_journal();

  // Processes.
  Status start_first();
  Status start_others();
  void begin_other_hosts();
  void place_only();
  Status start(std::uint32_t rank);
  [[nodiscard]] Status connect_standard(std::uint32_t rank, RankStart& start,
                                        OutputRelay::Ends& ends, UniqueFd& input);
  [[nodiscard]] std::vector<std::string> command_of(std::uint32_t rank) const;
  [[nodiscard]] bool has_terminal(std::uint32_t rank) const;
  [[nodiscard]] bool reads_input(std::uint32_t rank) const;
  void ended(std::uint32_t rank);
  void decide_after_end(std::uint32_t rank, int wait_status, bool had_joined);
  void forget_client(std::uint32_t rank);
  void signal_rank(const Rank& rank, int signal) const;
  void signal_all(int signal) const;
  void end_all_later(int exit_status, Duration patience);
  void end_all_now();
  bool end_without_launcher();
  void press_on_with_ending();
  void start_again(std::uint32_t rank, const std::string& words);
  void act_on_signal(int signal);
  void drain(std::uint32_t named_rank);
  void rank_failed(int exit_status, bool others_go_on);

  // Ranks that another launcher has started (agent_launched.cpp).
  void serve_launched();
  void launched_rank_ended(std::uint32_t rank);
  [[nodiscard]] bool any_launched_rank_is_here() const;
  void signal_launched(const Rank& rank, int signal) const;

  // Devices of the ranks (agent_devices.cpp).
  [[nodiscard]] DeviceChoice device_choice_of(std::uint32_t rank) const;
  [[nodiscard]] std::size_t gpu_position_of(std::uint32_t rank) const;
  [[nodiscard]] MappedGpu gpu_of(std::uint32_t rank) const;
  void say_about_devices();
  void handle_device_lost(std::uint32_t rank, const Frame& frame);
  void say_once(std::string text);
  [[nodiscard]] static std::string describe_loss(const DeviceLoss& loss);
  [[nodiscard]] static std::string describe_given_up(const Rank& rank);
  [[nodiscard]] std::string note_device_loss(const DeviceLoss& loss);

  // What becomes of the ranks of this host, for the coordinator (agent_hosts.cpp).
  void tell_joined(std::uint32_t rank);
  void tell_lost(std::uint32_t rank, const std::string& reason, bool returns);
  void tell_left(std::uint32_t rank);
  [[nodiscard]] Status pass_on(std::uint32_t rank, std::span<const std::byte> message);
  [[nodiscard]] static std::vector<BlobHandle> blobs_named_by(const protocol::Message& message);
  void keep_what_is_named(const protocol::Message& message);
  void tell_end(int exit_status, Duration patience);

  // The other hosts, of any agent (agent_hosts.cpp).
  [[nodiscard]] Status open_link(const HostIdentity& identity);
  [[nodiscard]] Result<Blob> view_for_others(const BlobHandle& handle);
  void serve_link();
  void serve_shells();
  void handle_link(const HostEvent& event);
  void handle_fetch_parts(std::uint32_t rank, const Frame& frame);
  void answer_parts(const BlobCopies::Asker& asker, const Status& outcome);
  void fetch_copy(std::uint32_t rank, const BlobHandle& handle, std::uint64_t request);
  void answer_copy(const BlobCopies::Asker& asker, const BlobHandle& handle,
                   const Result<std::pair<int, Place>>& copy);
  [[nodiscard]] Place home_of_copies(std::uint32_t rank) const;
  void release_here(const BlobHandle& blob);
  [[nodiscard]] std::vector<HostTraffic> traffic() const;
  [[nodiscard]] bool goes_on() const;
  void keep_descriptors_from_ranks() const;

  // The other hosts, of the head (agent_head.cpp).
  [[nodiscard]] static std::string random_token();
  [[nodiscard]] bool any_host_is_left() const;
  [[nodiscard]] Status start_hosts(const std::string& started_in);
  void serve_hosts();
  void handle_host(std::uint32_t host, const HostMessage& message);
  void handle_host_later(const HostSaid& said);
  [[nodiscard]] bool must_wait(const HeldMessage& held) const;
  void handle_held_messages();
  void handle_held(const HeldMessage& held);
  void pass_input_on();
  void send_output_on();
  void host_came(const HostCame& event);
  void host_lost(std::uint32_t host, const std::string& reason,
                 int exit_status = error_info(ErrorCode::kUnavailable).exit_status);
  void host_not_started(std::uint32_t starter, const HostNotStarted& end);
  [[nodiscard]] std::optional<Instant> next_parting() const;
  void lose_parted_hosts();
  void press_on_hosts();
  void print_traffic();

  // The head, of the agents of other hosts (agent_on_host.cpp).
  void handle_head(const HostMessage& message);
  void serve_lifeline();
  void head_is_gone(const std::string& reason);
  void begin_job(const BeginJob& begin);
  void end_output();
  void tell_when_over();

  // What ranks send.
  void serve(std::uint32_t rank);
  void handle(std::uint32_t rank, Frame frame);
  void handle_hello(std::uint32_t rank, const Frame& frame);
  void handle_publish(std::uint32_t rank, Frame frame);
  void handle_fetch(std::uint32_t rank, const Frame& frame);
  void handle_ring(std::uint32_t rank, const Frame& frame);
  void answer_ring(std::uint32_t rank, std::uint64_t request, const RingTicket& ticket,
                   int peer_watch = -1);
  [[nodiscard]] Result<RingTicket> make_ring_with(std::uint32_t rank);
  void empty_ring(std::uint32_t rank);
  [[nodiscard]] Status handle(std::uint32_t rank, const RingMessage& message);
  [[nodiscard]] Status answer_held(Rank& rank, const RingMessage& question);
  [[nodiscard]] std::optional<BlobHandle> wanted_blob(std::uint32_t rank, const Frame& frame);
  void log_passed(std::uint32_t rank, const BlobHandle& handle);
  void handle_make_slab(std::uint32_t rank, const Frame& frame);
  void handle_fetch_slab(std::uint32_t rank, const Frame& frame);
  void handle_fetch_row(std::uint32_t rank, const Frame& frame);
  void let_go(std::uint32_t client, const BlobHandle& handle);
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
  void wait_for_events() PINION_REQUIRES(turn_);
  [[nodiscard]] static bool listens_to_ring(const Rank& rank) noexcept {
    return rank.process && rank.connected && rank.ring;
  }
  void take_signals();
  [[nodiscard]] int milliseconds_to_wait() const;
  [[nodiscard]] bool any_rank_runs() const;
  void end_strays();
  void end_for_want_of_time();
  void pass_output_on();
  void finish_output();
  void say(const std::string& line);
  void report_pages();
  void print_summary();
  void print_placements();
  [[nodiscard]] std::string describe(std::uint32_t rank) const;

  // `rank` counts the ranks of this host everywhere but in names and in what others are told.
  [[nodiscard]] LoggedRank named(std::uint32_t rank) const {
    return {share_.first_rank + rank, ranks_[rank].incarnation};
  }
  [[nodiscard]] bool is_here(std::uint32_t named_rank) const noexcept {
    return named_rank - share_.first_rank < share_.rank_count;
  }
  [[nodiscard]] bool is_head() const noexcept { return share_.host == 0; }
  [[nodiscard]] bool is_with_us(const BlobHandle& blob) const noexcept {
    return host_with(blob, epoch_) == share_.host;
  }
  [[nodiscard]] std::uint32_t host_count() const noexcept {
    return spec_.hosts.empty() ? 1 : static_cast<std::uint32_t>(spec_.hosts.size());
  }

  LaunchSpec spec_;
  Settings settings_;
  HostShare share_;
  SystemClock clock_;
  Instant started_;
  bool binds_memory_;
  GpuMapping gpus_;
  rlim_t open_file_limit_;  // What ranks get; ours is as high as may be.
  GrantLog log_;
  UniqueFd signals_;
  std::uint64_t job_;
  std::uint32_t epoch_;
  std::vector<Rank> ranks_;
  std::optional<LaunchedRanks> launched_;  // Where another launcher has started them.
  std::map<std::string, std::uint32_t> device_loss_counts_;  // By UUID.
  std::vector<std::string> drained_devices_;                 // Their UUIDs.
  std::set<std::string> said_;                               // By say_once().
  std::vector<LoggedRank> clients_;                          // By client number.
  SegmentTable segments_;
  std::optional<Result<BlobMemory>> blob_memory_;  // Made for the first rank that joins.
  PageShare large_blob_pages_;  // Of all that were published, with --report-bindings.
  RingBroker rings_;
  std::vector<BlobHandle> kept_until_death_;  // Of tests: what goes with the rank that made it.
  std::optional<JournalFolder> journal_folder_;
  std::unique_ptr<Journal> journal_;
  bool ended_before_ = false;                // Whether the journal says that nothing is left to do.
  std::optional<CoordinatorDriver> driver_;  // Of the head.
  ProgressDisplay display_;
  OutputRelay output_;
  HostOutputs host_outputs_{output_};  // Of the head.
  InputRelay input_;
  pid_t launcher_;
  bool output_failed_ = false;
  bool others_wait_ = false;        // Whether the ranks beside the debugged one are to be started.
  std::optional<int> exit_status_;  // Set once the job is ending.
  std::optional<int> first_failure_;   // Exit status of the first rank that failed.
  std::optional<Instant> next_press_;  // When ranks that still run are told more firmly to end.
  int next_signal_ = 0;
  bool silenced_ = false;  // Whether the end was asked for from outside.

  // Held by the loop but while it waits, in a job of several hosts.
  Mutex turn_;
  std::optional<BlobCopies> copies_;         // Where there are other hosts.
  std::optional<BlobParts> parts_;           // As copies_.
  std::optional<RemoteHosts> remote_hosts_;  // Of the head.
  PartedHosts parted_{kPartedPatience};      // Of the head, of what others have told.
  RemoteShells shells_;                      // Of the agents that this one has started.
  std::deque<HeldMessage> held_messages_;    // For what was printed before them, and for copies.
  std::uint64_t held_count_ = 0;             // Of messages that were ever held.
  std::vector<HostTraffic> head_traffic_;    // Once the ranks are over.
  std::map<std::uint32_t, std::vector<std::string>> placements_;  // By host, of a dry run.
  std::optional<Instant> hosts_end_;  // When hosts that are left are given up.
  std::vector<int> inherited_;        // Descriptors that ranks may have as well.
  UniqueFd lifeline_;                 // Of another host, until it knows the head.
  std::string token_;                 // That agents of a launch tell each other.
  bool waits_for_credit_ = false;     // Whether a message could not be sent yet.
  bool begun_ = false;                // Whether ranks were started.
  bool told_over_ = false;            // Whether the head, or the hosts, know that they are over.
  bool head_is_here_ = false;         // Whether its link stands, on another host.
  bool output_has_ended_ = false;     // Whether nothing is printed on this host any more.
  bool leaves_ = false;               // Whether nobody needs this host any more.
  std::unique_ptr<HostLink> link_;    // Ends first: it calls for blobs.
};

}  // namespace pinion
