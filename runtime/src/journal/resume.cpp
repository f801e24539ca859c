#include "journal/resume.hpp"

#include <map>
#include <set>
#include <tuple>
#include <utility>

#include <fmt/format.h>

namespace pinion {
namespace {

using protocol::Record;

using HandleKey =
    std::tuple<std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t, std::uint64_t>;

HandleKey key_of(const BlobHandle& handle) {
  return {handle.epoch, handle.host, handle.segment, handle.index, handle.generation};
}

class BlobLoader {
 public:
  using Load = std::function<Status(const BlobHandle&, Place, std::span<const std::byte>)>;

  BlobLoader(const std::vector<ShelvedBlob>& shelf, const Load& load) : load_(load) {
    for (const ShelvedBlob& blob : shelf) {
      shelf_.insert_or_assign(key_of(blob.handle), &blob);
    }
  }

  /// Errors: kDataLoss when it is not there, or not what it was; those of loading.
  Status load(const BlobHandle& handle) {
    if (loaded_.count(key_of(handle)) > 0) {
      return {};
    }
    const auto found = shelf_.find(key_of(handle));
    if (found == shelf_.end() || found->second->handle != handle) {
      return {ErrorCode::kDataLoss, fmt::format("the journal has not blob {}.{} of epoch {}",
                                                handle.segment, handle.index, handle.epoch)};
    }
    const Result<std::vector<std::byte>> bytes = read_shelved(*found->second);
    if (!bytes) {
      return bytes.error();
    }
    PINION_RETURN_IF_ERROR(load_(handle, found->second->home, *bytes));
    loaded_.insert(key_of(handle));
    return {};
  }

 private:
  std::map<HandleKey, const ShelvedBlob*> shelf_;
  std::set<HandleKey> loaded_;
  const Load& load_;
};

Status load_all(BlobLoader& loader, const Record& record) {
  for (const BlobHandle& blob : protocol::blobs_of(record)) {
    PINION_RETURN_IF_ERROR(loader.load(blob));
  }
  return {};
}

}  // namespace

Result<std::vector<Record>> load_blobs(
    JournalContents& contents,
    const std::function<Status(const BlobHandle&, Place, std::span<const std::byte>)>& load) {
  // What a step that is done was made of is not needed.
  protocol::RecordHistory history;
  for (Record& record : contents.records) {
    history.add(std::move(record));
  }
  BlobLoader loader(contents.blobs, load);
  std::vector<Record> kept;
  std::set<std::uint64_t> unplanned;
  for (Record& record : history.records()) {
    const auto* accepted = std::get_if<protocol::UnitsAccepted>(&record);
    if (accepted != nullptr && unplanned.count(accepted->step) > 0) {
      continue;
    }
    Status loaded = load_all(loader, record);
    if (loaded.code() == ErrorCode::kDataLoss) {
      const auto* planned = std::get_if<protocol::StepPlanned>(&record);
      if (accepted != nullptr) {
        contents.remarks.push_back(fmt::format("{} units of step {} run again: {}",
                                               accepted->units.size(), accepted->step,
                                               loaded.message()));
        continue;
      }
      if (planned != nullptr && planned->ready.streams.empty()) {
        unplanned.insert(planned->ready.step);
        contents.remarks.push_back(fmt::format("step {} begins again: its plan is lost: {}",
                                               planned->ready.step, loaded.message()));
        continue;
      }
      return std::move(loaded).with_context(
          "the journal cannot be resumed, as what it needs cannot be made again; run the job "
          "anew with another journal");
    }
    PINION_RETURN_IF_ERROR(std::move(loaded));
    kept.push_back(std::move(record));
  }
  return kept;
}

}  // namespace pinion
