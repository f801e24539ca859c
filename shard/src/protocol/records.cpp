#include <pinion/shard/protocol/records.hpp>

#include <iterator>
#include <utility>

namespace pinion::protocol {
namespace {

bool failed(const std::optional<StepEnded>& ended) {
  return ended && ended->failure.code != ErrorCode::kOk;
}

/// Whether it is an acceptance whose output went with the host.
bool is_lost(const Record& record, const BlobsLost& lost) {
  const auto* const accepted = std::get_if<UnitsAccepted>(&record);
  return accepted != nullptr && accepted->output != BlobHandle{} &&
         host_with(accepted->output, lost.epoch) == lost.host;
}

}  // namespace

std::optional<std::uint64_t> RecordHistory::add(Record record) {
  if (const auto* epoch = std::get_if<EpochBegun>(&record)) {
    epoch_ = *epoch;
  } else if (auto* opened = std::get_if<StepOpened>(&record)) {
    return open(std::move(*opened));
  } else if (auto* ended = std::get_if<StepEnded>(&record)) {
    return end(std::move(*ended));
  } else if (auto* planned = std::get_if<StepPlanned>(&record)) {
    if (const auto step = steps_.find(planned->ready.step); step != steps_.end()) {
      step->second.work.push_back(std::move(record));
    }
  } else if (const auto* accepted = std::get_if<UnitsAccepted>(&record)) {
    if (const auto step = steps_.find(accepted->step); step != steps_.end()) {
      step->second.work.push_back(std::move(record));
    }
  } else if (const auto* skipped = std::get_if<UnitSkipped>(&record)) {
    if (const auto step = steps_.find(skipped->step); step != steps_.end()) {
      step->second.work.push_back(std::move(record));
    }
  } else if (const auto* lost = std::get_if<BlobsLost>(&record)) {
    if (const auto step = steps_.find(lost->step); step != steps_.end()) {
      std::erase_if(step->second.work, [lost](const Record& work) { return is_lost(work, *lost); });
    }
  } else {
    job_ended_ = true;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> RecordHistory::open(StepOpened opened) {
  const std::uint64_t number = opened.step;
  const auto [at, is_new] = steps_.insert_or_assign(number, Step{.opened = std::move(opened)});
  if (!is_new) {
    return number;
  }
  // A step that failed may go on from what it has, until the program has gone on without it.
  if (at != steps_.begin() && failed(std::prev(at)->second.ended)) {
    std::prev(at)->second.work.clear();
    return std::prev(at)->first;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> RecordHistory::end(StepEnded ended) {
  const auto at = steps_.find(ended.step);
  if (at == steps_.end()) {
    return std::nullopt;
  }
  at->second.ended = std::move(ended);
  if (failed(at->second.ended)) {
    return std::nullopt;
  }
  at->second.work.clear();
  return at->first;
}

std::vector<Record> RecordHistory::records() const {
  std::vector<Record> records;
  if (epoch_) {
    records.emplace_back(*epoch_);
  }
  for (const auto& [number, step] : steps_) {
    records.emplace_back(step.opened);
    records.insert(records.end(), step.work.begin(), step.work.end());
    if (step.ended) {
      records.emplace_back(*step.ended);
    }
  }
  if (job_ended_) {
    records.emplace_back(JobEnded{});
  }
  return records;
}

std::vector<BlobHandle> blobs_of(const Record& record) {
  std::vector<BlobHandle> blobs;
  if (const auto* planned = std::get_if<StepPlanned>(&record)) {
    blobs = planned->ready.streams;
    blobs.push_back(planned->ready.plan);
  } else if (const auto* accepted = std::get_if<UnitsAccepted>(&record)) {
    blobs.push_back(accepted->output);
  } else if (const auto* ended = std::get_if<StepEnded>(&record)) {
    blobs = ended->results;
  }
  std::erase(blobs, BlobHandle{});
  return blobs;
}

}  // namespace pinion::protocol
