#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "sim/sim_world.hpp"

namespace pinion::sim {

using namespace std::chrono_literals;

/// A record goes to the journal at once; what comes behind it waits until it is safe there, but not
/// what keeps a blob.
void World::take_up(protocol::Effect& effect) {
  auto* const persist = std::get_if<protocol::Persist>(&effect);
  if (persist != nullptr) {
    held_.push_back({.effect = {}, .record = journal_.add(std::move(persist->record))});
  } else if (held_.empty() || std::holds_alternative<protocol::Keep>(effect)) {
    carry_out(effect);
  } else {
    held_.push_back({.effect = std::move(effect)});
  }
}

void World::carry_out_what_is_safe() {
  while (!held_.empty() && (held_.front().record <= journal_.safe_count() ||
                            options_.driver_mutations.reply_before_sync)) {
    Held held = std::move(held_.front());
    held_.pop_front();
    if (held.record == 0) {
      carry_out(held.effect);
    }
  }
  commit();
}

void World::commit() {
  if (!journal_.idle() || !journal_.has_waiting()) {
    return;
  }
  if (now() >= chaos_end_) {
    disk_faults_ = {};
  }
  if (!journal_.begin_commit()) {
    crash_head();
    return;
  }
  events_.at(now() + random_.between(Duration(50us), Duration(8ms)),
             {.payload = epoch_, .kind = EventKind::kDiskIsDone});
}

void World::end_disk_work(const SimEvent& event) {
  if (event.payload != epoch_ || !head_is_up_) {
    return;
  }
  if (!journal_.end_stage()) {
    crash_head();
    return;
  }
  for (const std::uint64_t step : journal_.take_needless()) {
    store_.drop_work_of(step);
  }
  if (journal_.idle()) {
    carry_out_what_is_safe();
  } else {
    events_.at(now() + random_.between(Duration(50us), Duration(8ms)), event);
  }
}

/// Its ranks die with it. What they have sent may still be on its way when the next head comes.
void World::crash_head() {
  reached("decisions were lost with the head", !held_.empty());
  head_is_up_ = false;
  held_.clear();
  journal_.crash();
  next_tick_ = Instant::max();
  ++epoch_;
  for (RankState& state : ranks_) {
    state.process.reset();
    state.presence = Presence::kStarting;
    state.life_cut = random_.chance(0.5) ? state.life : state.life_cut;
    state.lives_of_epochs = state.life;
    state.incarnation_known = 0;
    state.trouble_since = now();
  }
  host_is_down_.assign(host_is_down_.size(), false);
  any_host_is_lost_ = false;
  over_count_ = 0;
  events_.at(now() + random_.between(Duration(1ms), Duration(50ms)),
             {.kind = EventKind::kHeadResumes});
}

void World::resume_head() {
  const bool blob_is_damaged =
      random_.chance(disk_faults_[Fault::kBitFlip]) && store_.damage(random_);
  faults_.of[static_cast<std::size_t>(Fault::kBitFlip)] += blob_is_damaged ? 1 : 0;
  SimJournal::Recovery recovery = journal_.recover();
  reached("a frame of the journal was torn", recovery.torn);
  reached("an older snapshot had to do", recovery.older_snapshot);
  if (!options_.driver_mutations.ignore_damage) {
    recovery.records = usable(std::move(recovery.records));
  }
  journal_.restart(recovery.records);
  std::vector<BlobHandle> kept;
  for (const protocol::Record& record : recovery.records) {
    const std::vector<BlobHandle> blobs = protocol::blobs_of(record);
    kept.insert(kept.end(), blobs.begin(), blobs.end());
  }
  store_.survive(kept);
  coordinator_ = protocol::Coordinator::restore(coordinator_options(), recovery.records);
  head_is_up_ = true;
  observer_.resumed(recovery.records, recovery.damaged || blob_is_damaged);
  for (std::uint32_t rank = 0; rank < options_.rank_count; ++rank) {
    start_soon(rank, Duration::zero(), Duration(50ms));
  }
}

std::vector<protocol::Record> World::usable(std::vector<protocol::Record> records) {
  std::set<std::uint64_t> spoiled;
  std::vector<protocol::Record> good;
  for (protocol::Record& record : records) {
    const std::uint64_t step = std::visit(
        [](const auto& decided) -> std::uint64_t {
          if constexpr (requires { decided.step; }) {
            return decided.step;
          } else if constexpr (requires { decided.ready.step; }) {
            return decided.ready.step;
          } else {
            return 0;
          }
        },
        record);
    if (std::holds_alternative<protocol::StepOpened>(record)) {
      spoiled.erase(step);
    }
    const std::vector<BlobHandle> blobs = protocol::blobs_of(record);
    if (!std::all_of(blobs.begin(), blobs.end(),
                     [this](const BlobHandle& blob) { return store_.whole(blob); })) {
      spoiled.insert(step);
      reached("a damaged frame or blob was left out");
    }
    if (!spoiled.contains(step)) {
      good.push_back(std::move(record));
    }
  }
  return good;
}

}  // namespace pinion::sim
