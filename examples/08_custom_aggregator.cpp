// An aggregator of one's own with a struct as value: count, sum and sum of squares, from which mean
// and variance follow. Sums of integers are exact, so the order in which they come does not matter.
//
//   pinion run -n 2 08_custom_aggregator

#include <pinion/pinion.hpp>

using namespace pinion;
using Bytes = std::span<const std::byte>;

struct Moments {
  std::uint64_t count = 0, sum = 0, squares = 0;
  void add(const Moments& m) { count += m.count, sum += m.sum, squares += m.squares; }
};

class MomentsOf final : public IAggregator {
 public:
  static constexpr std::uint32_t kPartitionCount = 1;
  struct Result : Moments {  // What map_reduce() answers: the sealed state, read again.
    static pinion::Result<Result> create(const std::vector<Blob>& blobs) {
      MomentsOf all;
      const auto bytes = partition_of(blobs.at(0).bytes(), 0);
      const Status status = bytes ? all.merge({&*bytes, 1}) : bytes.error();
      return status.ok() ? pinion::Result<Result>(Result{all.moments}) : status;
    }
  };
  struct Emitter {  // What the body calls, with the state of its batch.
    Emitter(IAggregator& state, const Shard&) : to(static_cast<MomentsOf&>(state)) {}
    void operator()(std::uint64_t x) { to.moments.add({1, x, x * x}); }
    void flush() {}
    MomentsOf& to;
  };
  std::unique_ptr<IAggregator> fresh() const override { return std::make_unique<MomentsOf>(); }
  void accumulate(const Part&) override {}
  Status merge(std::span<const Bytes> partials) override {
    for (const Bytes bytes : partials) {
      if (bytes.size() != sizeof(Moments)) return {ErrorCode::kDataLoss, "these are no Moments"};
      moments.add(*reinterpret_cast<const Moments*>(bytes.data()));
    }
    return {};
  }
  void finalize() override {}
  pinion::Result<Blob> seal(IBlobStore& store, Place place, std::uint32_t partitions) override {
    return seal_one_partition(store, place, partitions, std::as_bytes(std::span(&moments, 1)));
  }
  std::uint64_t memory_bytes() const noexcept override { return sizeof(Moments); }
  Moments moments;
};

int main(int argc, char** argv) {
  auto job = Job::create(argc, argv);
  const auto body = [](const Shard& shard, auto& emit) {
    for (std::uint64_t i = shard.begin(); i < shard.end(); ++i) emit(i);
  };
  const auto m = map_reduce(job, indices(3'000), by_index_range(100), body, MomentsOf());
  const double count = double(m->count), mean = double(m->sum) / count;
  const double variance = double(m->squares) / count - mean * mean;
  return report(job->once([&] { std::printf("mean %.1f, variance %.1f\n", mean, variance); }));
}
