#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include <pinion/core/blob.hpp>
#include <pinion/core/clock.hpp>
#include <pinion/core/status.hpp>

namespace pinion {

// What goes between the agents of a job's hosts, as values. Who sends a message is told by the
// transport.

/// "This is the agent of that host of your job." The first thing that an agent sends to another, as
/// a request; the answer is empty, or an error that says why it is refused. That it is of the job
/// is known by its JobKey, without which it would not be connected.
struct HostHello {
  std::string version = {};
  std::uint32_t host = 0;
  std::string address = {};

  friend bool operator==(const HostHello&, const HostHello&) = default;
};

// To the head.

struct HostRankJoined {
  std::uint32_t rank = 0;
  std::uint32_t incarnation = 0;
  std::int64_t pid = 0;

  friend bool operator==(const HostRankJoined&, const HostRankJoined&) = default;
};

struct HostRankLost {
  std::uint32_t rank = 0;
  std::uint32_t incarnation = 0;
  bool returns = false;
  std::string reason = {};

  friend bool operator==(const HostRankLost&, const HostRankLost&) = default;
};

struct HostRankLeft {
  std::uint32_t rank = 0;
  std::uint32_t incarnation = 0;

  friend bool operator==(const HostRankLeft&, const HostRankLeft&) = default;
};

/// A protocol message of a rank. The agent that sends this keeps the blobs that it names.
struct FromRank {
  std::uint32_t rank = 0;
  std::uint32_t incarnation = 0;

  /// How much the ranks of its host had printed on their standard output, which the head is to have
  /// before it goes on.
  std::uint64_t output_bytes = 0;
  std::vector<std::byte> message = {};

  friend bool operator==(const FromRank&, const FromRank&) = default;
};

/// A rank has failed; it is not started again.
struct HostRankFailed {
  std::int32_t exit_status = 0;
  bool others_go_on = false;

  friend bool operator==(const HostRankFailed&, const HostRankFailed&) = default;
};

/// A blob that the job was to keep is not there, or something else that the job cannot go on with.
struct HostBroken {
  ErrorCode code = ErrorCode::kInternal;
  std::string text = {};

  friend bool operator==(const HostBroken&, const HostBroken&) = default;
};

/// What went between an agent and another one.
struct HostTraffic {
  std::uint32_t host = 0;  ///< The other one.
  std::string path = {};   ///< By which way, as the transport says it.
  std::uint64_t pulled_count = 0;
  std::uint64_t pulled_bytes = 0;

  // As Peer has them.
  std::string slow = {};
  std::uint64_t bulk_bytes = 0;
  Duration bulk_time = {};

  friend bool operator==(const HostTraffic&, const HostTraffic&) = default;
};

/// No process of a rank is left.
struct HostRanksOver {
  std::vector<HostTraffic> traffic = {};

  friend bool operator==(const HostRanksOver&, const HostRanksOver&) = default;
};

/// The ranks of the host have taken what came last of standard input.
struct HostTookInput {
  friend bool operator==(const HostTookInput&, const HostTookInput&) = default;
};

/// The remote shell has ended by which the agent of that host was to be started. News where that
/// agent is not there yet.
struct HostNotStarted {
  std::uint32_t host = 0;
  std::int32_t exit_status = 0;  ///< For the job, which does not begin then.
  std::string reason = {};

  friend bool operator==(const HostNotStarted&, const HostNotStarted&) = default;
};

/// This host does not reach another one of the job, or no longer.
struct HostMissed {
  std::uint32_t host = 0;  ///< The other one.
  std::string reason = {};

  friend bool operator==(const HostMissed&, const HostMissed&) = default;
};

/// What ranks of the host, or its agent, have printed: what follows of one of its two outputs. How
/// much is under way is bounded, by what the head says that it took.
struct HostPrinted {
  bool on_errors = false;
  std::vector<std::byte> bytes = {};

  friend bool operator==(const HostPrinted&, const HostPrinted&) = default;
};

/// Where the ranks of the host would run, for a launch that is to say only that.
struct HostPlaced {
  std::vector<std::string> lines = {};

  friend bool operator==(const HostPlaced&, const HostPlaced&) = default;
};

// From the head.

/// All hosts are there: start the ranks.
struct BeginJob {
  std::vector<std::string> addresses = {};  ///< By host.

  friend bool operator==(const BeginJob&, const BeginJob&) = default;
};

/// A protocol message for a rank.
struct ToRank {
  std::uint32_t rank = 0;
  std::uint32_t incarnation = 0;
  std::vector<std::byte> message = {};

  friend bool operator==(const ToRank&, const ToRank&) = default;
};

/// The job keeps a blob of the host that this is sent to.
struct KeepBlob {
  BlobHandle blob = {};

  friend bool operator==(const KeepBlob&, const KeepBlob&) = default;
};

/// The job needs a blob no longer; whoever has it or a copy lets go.
struct ReleaseBlob {
  BlobHandle blob = {};

  friend bool operator==(const ReleaseBlob&, const ReleaseBlob&) = default;
};

/// The job ends with this exit status; ranks that still run then are ended.
struct EndRanks {
  std::int32_t exit_status = 0;
  Duration patience = {};

  friend bool operator==(const EndRanks&, const EndRanks&) = default;
};

/// A signal that was sent to the job.
struct SignalRanks {
  std::int32_t signal = 0;

  friend bool operator==(const SignalRanks&, const SignalRanks&) = default;
};

/// What follows of the job's standard input, for each rank of the host; nothing is the end. More
/// comes once the host has taken it.
struct JobInput {
  std::vector<std::byte> bytes = {};

  friend bool operator==(const JobInput&, const JobInput&) = default;
};

/// The head has taken so much of what was printed. Where the output is closed, nobody reads it any
/// more.
struct HeadTookOutput {
  bool of_errors = false;
  std::uint64_t byte_count = 0;
  bool is_closed = false;

  friend bool operator==(const HeadTookOutput&, const HeadTookOutput&) = default;
};

/// Another host is lost to the job: nothing of it is waited for.
struct HostIsLost {
  std::uint32_t host = 0;
  std::string reason = {};

  friend bool operator==(const HostIsLost&, const HostIsLost&) = default;
};

/// Nobody needs the host any more: the agent ends, once the head has what was printed there.
struct LeaveJob {
  friend bool operator==(const LeaveJob&, const LeaveJob&) = default;
};

using HostMessage =
    std::variant<HostHello, HostRankJoined, HostRankLost, HostRankLeft, FromRank, HostRankFailed,
                 HostBroken, HostRanksOver, BeginJob, ToRank, KeepBlob, ReleaseBlob, EndRanks,
                 SignalRanks, LeaveJob, HostTookInput, HostPlaced, JobInput, HostPrinted,
                 HeadTookOutput, HostNotStarted, HostMissed, HostIsLost>;

/// A host message on the wire: a magic word, the version of this form, the kind, and then its
/// fields, little-endian.
[[nodiscard]] std::vector<std::byte> encode(const HostMessage& message);

/// Errors: kInvalidArgument for bytes that are no whole message; kFailedPrecondition for one of
///   another version of the form.
[[nodiscard]] Result<HostMessage> decode_host_message(std::span<const std::byte> bytes);

}  // namespace pinion
