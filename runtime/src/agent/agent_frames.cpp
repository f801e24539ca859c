// What ranks send to their agent, and what they are answered.

#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

#include <fmt/format.h>

#include <pinion/runtime/version.hpp>

#include "agent/agent.hpp"

namespace pinion {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kFramesPerTurn = 64;  // Of one rank, before the others have their turn.

std::uint16_t number(FrameKind kind) {
  return static_cast<std::uint16_t>(kind);
}

}  // namespace

void Agent::serve(std::uint32_t rank) {
  Rank& it = ranks_[rank];
  if (!it.process) {
    return;
  }
  // Asked before the frames are read: what a process sent before it ended is still handled.
  const bool is_over = has_ended(*it.process);
  bool all_is_read = false;
  for (std::size_t i = 0; it.connected && (is_over || i < kFramesPerTurn); ++i) {
    Result<std::optional<Frame>> frame = it.process->channel.try_receive();
    // After the frame was received, and before it is handled: see there.
    empty_ring(rank);
    if (!it.connected) {
      break;
    }
    if (!frame) {
      disconnect(rank, frame.error());
      break;
    }
    if (!frame->has_value()) {
      all_is_read = true;
      break;
    }
    handle(rank, std::move(**frame));
  }
  if (it.connected && it.process->channel.wants_write()) {
    if (Status flushed = it.process->channel.flush();
        all_is_read && flushed.code() == ErrorCode::kUnavailable) {
      disconnect(rank, flushed);
    }
  }
  if (is_over || (launched_ && !it.connected)) {
    ended(rank);
  }
}

void Agent::handle(std::uint32_t rank, Frame frame) {
  Rank& it = ranks_[rank];
  const auto kind = static_cast<FrameKind>(frame.kind);
  if (kind == FrameKind::kHello) {
    handle_hello(rank, frame);
  } else if (!it.joined) {
    disconnect(rank,
               Status(ErrorCode::kFailedPrecondition, "it sent a frame before it joined the job"));
  } else if (kind == FrameKind::kControl) {
    if (Status status = pass_on(rank, frame.payload); !status.ok()) {
      disconnect(rank, status);
    }
  } else if (kind == FrameKind::kPublish) {
    handle_publish(rank, std::move(frame));
  } else if (kind == FrameKind::kFetch) {
    handle_fetch(rank, frame);
  } else if (kind == FrameKind::kFetchParts) {
    handle_fetch_parts(rank, frame);
  } else if (kind == FrameKind::kRing) {
    handle_ring(rank, frame);
  } else if (kind == FrameKind::kMakeSlab) {
    handle_make_slab(rank, frame);
  } else if (kind == FrameKind::kFetchSlab) {
    handle_fetch_slab(rank, frame);
  } else if (kind == FrameKind::kFetchRow) {
    handle_fetch_row(rank, frame);
  } else if (kind == FrameKind::kDeviceLost) {
    handle_device_lost(rank, frame);
  } else if (kind == FrameKind::kSayOnce) {
    say_once({reinterpret_cast<const char*>(frame.payload.data()), frame.payload.size()});
  } else if (kind == FrameKind::kGoodbye) {
    if (!it.left) {
      it.left = true;
      tell_left(rank);
    }
    answer(rank, frame.request, Status());
  } else {
    disconnect(rank, Status(ErrorCode::kInvalidArgument,
                            fmt::format("it sent a frame of unknown kind {}", frame.kind)));
  }
}

void Agent::handle_hello(std::uint32_t rank, const Frame& frame) {
  Rank& it = ranks_[rank];
  const Result<Hello> hello = decode_hello(frame.payload);
  if (!hello) {
    answer(rank, frame.request, hello.error());
    return;
  }
  if (hello->version != version()) {
    answer(rank, frame.request,
           Status(ErrorCode::kFailedPrecondition,
                  fmt::format("the program was built with Pinion {}, the agent is {}; use one",
                              hello->version, version())));
    return;
  }
  if (it.joined || clients_.size() >= segments_.client_count_max()) {
    answer(rank, frame.request,
           Status(ErrorCode::kFailedPrecondition,
                  it.joined ? "this rank has joined already; make one Job in a program"
                            : "the ranks of this job were started again too often"));
    return;
  }
  // While nothing has changed yet.
  const Result<RingTicket> ring = make_ring_with(rank);
  if (!ring) {
    answer(rank, frame.request,
           Status(ring.error()).with_context("making the ring between this rank and its agent"));
    return;
  }
  it.joined = true;
  it.client = static_cast<std::uint32_t>(clients_.size());
  clients_.push_back(named(rank));
  // Without a row each blob of the rank has a segment of its own.
  std::vector<int> descriptors;
  if (const Result<int> row = segments_.admit(it.client, it.process->pid)) {
    descriptors.push_back(*row);
  }
  if (const Result<BlobMemory>& memory = blob_memory()) {
    descriptors.insert(descriptors.end(), {memory->writable.get(), memory->read_only.get()});
  }
  answer(rank, FrameKind::kWelcome, frame.request, encode_welcome(welcome_for(rank)), descriptors);
  answer_ring(rank, frame.request, *ring);
  tell_joined(rank);
}

// A program that never joins shares no blobs, and is not to wait for it.
const Result<BlobMemory>& Agent::blob_memory() {
  if (!blob_memory_) {
    // What ranks hold is at most three quarters of their budgets; what they have let go of and the
    // job keeps, half of them (become_rank()); copies of other hosts' blobs, a quarter.
    blob_memory_ =
        settings_.huge_pages
            ? make_blob_memory(settings_.memory_bytes / 4 * 6 * ranks_.size())
            : Result<BlobMemory>(Status(ErrorCode::kUnimplemented, "huge-pages is set to 0"));
  }
  return *blob_memory_;
}

std::string Agent::describe_blob_pages() {
  const Result<BlobMemory>& memory = blob_memory();
  return memory
             ? "large blobs are in huge pages where the system has them free (tmpfs, within_size)"
             : "large blobs are in small pages: " + memory.error().to_string();
}

Welcome Agent::welcome_for(std::uint32_t rank) const {
  const Rank& it = ranks_[rank];
  Welcome welcome;
  welcome.info.job = job_;
  welcome.info.seed = settings_.seed;
  welcome.info.epoch = epoch_;
  welcome.info.host = share_.host;
  welcome.info.rank = named(rank).rank;
  welcome.info.rank_count = spec_.rank_count;
  welcome.host_count = host_count();
  welcome.local_rank_count = share_.rank_count;
  welcome.info.incarnation = it.incarnation;
  welcome.info.batch_shard_count =
      batch_shard_count_of(settings_, spec_.rank_count, it.incarnation);
  welcome.info.batch_duration = settings_.batch_duration;
  welcome.info.batch_bytes = settings_.batch_bytes;
  // A life that ended may have taken the beginning along, and half of the input is a wrong answer.
  welcome.info.has_standard_input = reads_input(rank) && it.incarnation == 1;
  welcome.groups = it.placement.groups;
  welcome.first_segment = segments_.first_segment(it.client);
  welcome.segment_count = kSegmentsPerClient;
  welcome.memory_bytes = settings_.memory_bytes;
  welcome.spill_directory = settings_.spill_directory;
  welcome.spill_bytes_max = settings_.spill_bytes_max;
  welcome.memory_wait = settings_.memory_wait;
  welcome.trace_directory = settings_.trace_directory;
  welcome.binds_memory = binds_memory_;
  welcome.devices = settings_.devices;
  welcome.device_choice = device_choice_of(rank);
  welcome.hang = settings_.hang;
  return welcome;
}

void Agent::handle_publish(std::uint32_t rank, Frame frame) {
  const Result<BlobReference> reference = decode_reference(frame.payload);
  if (!reference) {
    answer(rank, frame.request, reference.error());
  } else if (frame.descriptors.size() != 1) {
    answer(rank, frame.request,
           Status(ErrorCode::kInvalidArgument,
                  fmt::format("a blob was published with {} descriptors; it must be 1",
                              frame.descriptors.size())));
  } else if (const Status taken =
                 segments_.publish(ranks_[rank].client, reference->handle, reference->home,
                                   std::move(frame.descriptors[0]));
             !taken.ok()) {
    answer(rank, frame.request, taken);
  } else {
    answer(rank, FrameKind::kPublished, frame.request, encode_held(segments_.usage().memory_bytes));
    if (spec_.report_bindings) {
      count_pages(reference->handle);
    }
  }
}

// What the system has really given: small pages where it has no huge one free.
void Agent::count_pages(const BlobHandle& handle) {
  const PageShare pages = segments_.pages_of(handle);
  large_blob_pages_.bytes += pages.bytes;
  large_blob_pages_.huge_bytes += pages.huge_bytes;
}

void Agent::handle_fetch(std::uint32_t rank, const Frame& frame) {
  const std::optional<BlobHandle> handle = wanted_blob(rank, frame);
  if (!handle) {
    return;
  }
  if (!is_with_us(*handle) && copies_) {
    fetch_copy(rank, *handle, frame.request);
    return;
  }
  const Result<std::pair<int, Place>> found = segments_.fetch(ranks_[rank].client, *handle);
  if (!found) {
    answer(rank, frame.request, found.error());
    return;
  }
  log_passed(rank, *handle);
  answer(rank, FrameKind::kDescriptor, frame.request, encode_reference({*handle, found->second}),
         {&found->first, 1});
}

// What the rank wants to map. It is answered where it says nothing that it may.
std::optional<BlobHandle> Agent::wanted_blob(std::uint32_t rank, const Frame& frame) {
  const Result<BlobReference> reference = decode_reference(frame.payload);
  Status refusal = reference ? Status() : reference.error();
  if (refusal.ok() && settings_.test_no_descriptors) {
    refusal = Status(ErrorCode::kUnavailable, "passing descriptors is switched off");
  }
  if (!refusal.ok()) {
    answer(rank, frame.request, refusal);
    return std::nullopt;
  }
  return reference->handle;
}

void Agent::log_passed(std::uint32_t rank, const BlobHandle& handle) {
  if (handle.epoch == epoch_) {  // Who made an earlier one is gone.
    log_.descriptor_passed(named(rank), clients_[handle.segment / kSegmentsPerClient], handle);
  }
}

void Agent::handle_make_slab(std::uint32_t rank, const Frame& frame) {
  const Result<SlabRequest> wanted = decode_slab_request(frame.payload);
  if (!wanted) {
    answer(rank, frame.request, wanted.error());
    return;
  }
  answer_slab(
      rank, frame.request,
      segments_.make_slab(ranks_[rank].client, wanted->segment, wanted->home, wanted->size_bytes));
}

void Agent::handle_fetch_slab(std::uint32_t rank, const Frame& frame) {
  const std::optional<BlobHandle> handle = wanted_blob(rank, frame);
  if (!handle) {
    return;
  }
  const Result<SlabView> slab = segments_.find_slab(ranks_[rank].client, *handle);
  if (slab) {
    log_passed(rank, *handle);
  }
  answer_slab(rank, frame.request, slab);
}

void Agent::answer_slab(std::uint32_t rank, std::uint64_t request, const Result<SlabView>& slab) {
  if (!slab) {
    answer(rank, request, slab.error());
    return;
  }
  answer(
      rank, FrameKind::kSlab, request,
      encode_slab_reply(
          {.home = slab->home, .held_bytes = segments_.usage().memory_bytes, .slot = slab->slot}),
      {&slab->descriptor, 1});
}

void Agent::handle_fetch_row(std::uint32_t rank, const Frame& frame) {
  const Result<BlobReference> reference = decode_reference(frame.payload);
  const Result<int> row =
      reference ? segments_.find_row(reference->handle.segment) : Result<int>(reference.error());
  if (!row) {
    answer(rank, frame.request, row.error());
    return;
  }
  answer(rank, FrameKind::kRow, frame.request, {}, {&*row, 1});
}

void Agent::answer(std::uint32_t rank, std::uint64_t request, const Status& status) {
  answer(rank, FrameKind::kDone, request, encode_status(status));
}

void Agent::answer(std::uint32_t rank, FrameKind kind, std::uint64_t request,
                   const std::vector<std::byte>& payload, std::span<const int> descriptors) {
  Rank& it = ranks_[rank];
  if (!it.connected) {
    return;
  }
  // One that is gone may have said more before, which is still to be read: the end of that ends it.
  if (Status sent = it.process->channel.enqueue(number(kind), request, payload, descriptors);
      !sent.ok() && sent.code() != ErrorCode::kUnavailable) {
    disconnect(rank, sent);
  }
}

void Agent::disconnect(std::uint32_t rank, const Status& why) {
  Rank& it = ranks_[rank];
  it.connected = false;
  // The end of a socket is how most ranks end; only what was cut by us needs words and a signal.
  if (why.code() != ErrorCode::kUnavailable) {
    say(fmt::format("pinion: rank {} is cut off: {}", named(rank).rank, why.to_string()));
    signal_rank(it, SIGKILL);
  }
}

}  // namespace pinion
