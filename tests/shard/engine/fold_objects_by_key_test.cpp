#include <pinion/shard/fold_objects_by_key.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/distributed.hpp>
#include <pinion/shard/fold_by_key.hpp>
#include <pinion/shard/map_reduce.hpp>
#include <pinion/shard/sum_vector.hpp>

#include "shard/engine/aggregation.hpp"
#include "shard/engine/fake_job.hpp"

namespace pinion {
namespace {

using test::Aggregation;
using test::equal_bytes;
using test::FakeJob;
using test::FakeRank;
using testing::HasSubstr;

// The names that came with a key; the answer is the names themselves.
struct Names {
  using Value = std::string_view;
  using State = std::set<std::string>;
  using Answer = std::vector<std::string>;
  static State first(Value name) { return {std::string(name)}; }
  static void add(State& names, Value name) { names.emplace(name); }
  static void join(State& names, State&& others) { names.merge(others); }
  static Answer answer(const State& names) { return {names.begin(), names.end()}; }
  static void write(const State& names, ByteWriter& out) {
    out.put(std::uint64_t{names.size()});
    for (const std::string& name : names) {
      out.put_text(name);
    }
  }
  static State read(ByteReader& in) {
    State names;
    for (std::uint64_t left = in.take_count(); left > 0; --left) {
      names.emplace(in.take_text());
    }
    return names;
  }
  static std::uint64_t bytes(const State& names) { return names.size() * 100; }
};

// How many different values came, about: a sketch of registers on the heap. It can only be moved.
struct Distinct {
  class State {
   public:
    explicit State(std::vector<std::uint8_t> registers) : registers_(std::move(registers)) {}
    State(State&&) = default;
    State& operator=(State&&) = default;
    [[nodiscard]] std::vector<std::uint8_t>& registers() { return registers_; }
    [[nodiscard]] const std::vector<std::uint8_t>& registers() const { return registers_; }

   private:
    std::vector<std::uint8_t> registers_;
  };
  using Value = std::uint64_t;
  using Answer = std::uint64_t;
  static constexpr std::size_t kRegisters = 64;

  static State first(Value value) {
    State state{std::vector<std::uint8_t>(kRegisters)};
    add(state, value);
    return state;
  }
  static void add(State& state, Value value) {
    const std::uint64_t hash = mix_bits(value + 1);
    std::uint8_t& rank = state.registers()[hash % kRegisters];
    rank = std::max(rank, static_cast<std::uint8_t>(std::countl_zero(hash | 1) + 1));
  }
  static void join(State& state, const State& other) {
    for (std::size_t i = 0; i < kRegisters; ++i) {
      state.registers()[i] = std::max(state.registers()[i], other.registers()[i]);
    }
  }
  static Answer answer(const State& state) {
    double sum = 0;
    for (const std::uint8_t rank : state.registers()) {
      sum += std::ldexp(1.0, -int{rank});
    }
    return static_cast<std::uint64_t>(0.709 * kRegisters * kRegisters / sum);
  }
  static void write(const State& state, ByteWriter& out) {
    out.put_bytes(std::as_bytes(std::span(state.registers())));
  }
  static State read(ByteReader& in) {
    State state{std::vector<std::uint8_t>(kRegisters)};
    const std::span<const std::byte> bytes = in.take_bytes(kRegisters);
    std::memcpy(state.registers().data(), bytes.data(), bytes.size());
    return state;
  }
};
static_assert(ObjectFold<Names> && ObjectFold<Distinct> && !Fold<Names>);
static_assert(Fold<Sum<int>> && !ObjectFold<Sum<int>>);
static_assert(std::same_as<decltype(fold_by_key<int, Sum<int>>()), FoldByKey<int, Sum<int>>>);
static_assert(std::same_as<decltype(fold_by_key<int, Names>()), FoldObjectsByKey<int, Names>>);

using Oracle = std::map<std::string, std::set<std::string>>;
using NamesOfTexts = FoldObjectsByKey<std::string_view, Names>;

// Keys of all classes: none, short, medium, long, with zeros at the end.
std::string key_of(std::uint64_t i) {
  const std::array<std::string, 5> forms = {"", "k" + std::to_string(i), std::string(12, 'm'),
                                            "long " + std::string(30 + i % 5, 'x'),
                                            std::string("z\0", 2)};
  return forms[i % 5] + (i % 5 == 2 ? std::to_string(i % 40) : "");
}

void emit_names(std::uint64_t shard, auto& emit) {
  for (std::uint64_t i = shard * 20; i < shard * 20 + 20; ++i) {
    emit(key_of(i), "name " + std::to_string(i % 13));
  }
}

Oracle oracle_of(std::uint64_t shard_count) {
  Oracle oracle;
  for (std::uint64_t shard = 0; shard < shard_count; ++shard) {
    auto emit = [&oracle](const std::string& key, const std::string& name) {
      oracle[key].insert(name);
    };
    emit_names(shard, emit);
  }
  return oracle;
}

Oracle content_of(const NamesOfTexts::Result& result) {
  Oracle content;
  for (const auto& [key, names] : result) {
    EXPECT_TRUE(content.emplace(key, std::set<std::string>(names.begin(), names.end())).second);
  }
  return content;
}

TEST(FoldObjectsByKey, AgreesWithAMapWhateverTheGroupingAndTheOrder) {
  Aggregation by_hand;
  const Oracle oracle = oracle_of(50);
  std::vector<Blob> first;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const NamesOfTexts prototype;
    const std::vector<Blob> partials =
        by_hand.partials(prototype, 50, seed, NamesOfTexts::kPartitionCount,
                         [](const Shard& shard, auto& emit) { emit_names(shard.id(), emit); });
    std::vector<Blob> merged = by_hand.merge(prototype, partials, NamesOfTexts::kPartitionCount);
    const auto answer = NamesOfTexts::Result::create(merged).value();
    EXPECT_EQ(content_of(answer), oracle);
    EXPECT_EQ(answer.record_count(), 1000u);
    if (seed == 1) {
      first = std::move(merged);
    } else {
      EXPECT_TRUE(equal_bytes(merged, first)) << "with seed " << seed;
    }
  }
}

TEST(FoldObjectsByKey, FindsListsAndSortsByKey) {
  Aggregation by_hand;
  const auto answer = by_hand.answer(
      NamesOfTexts(), 50, 3, [](const Shard& shard, auto& emit) { emit_names(shard.id(), emit); });
  const Oracle oracle = oracle_of(50);
  std::vector<std::string> keys;
  for (const auto& record : answer.by_key()) {
    keys.emplace_back(record.key);
  }
  EXPECT_EQ(keys.size(), oracle.size());
  EXPECT_TRUE(std::is_sorted(keys.begin(), keys.end()));
  for (const auto& [key, names] : oracle) {
    EXPECT_EQ(answer.find(key), Names::Answer(names.begin(), names.end()));
  }
  EXPECT_EQ(answer.find("nobody"), std::nullopt);
  EXPECT_EQ(answer.top(1).size(), 1u);
}

struct Pair {
  std::uint32_t left;
  std::uint32_t right;
};

// Zero is the key that no table can hold.
TEST(FoldObjectsByKey, TakesIntegersAndStructsAsKeysAndStatesThatOnlyMove) {
  Aggregation by_hand;
  using ByNumber = FoldObjectsByKey<std::int32_t, Distinct>;
  const auto by_number = by_hand.answer(ByNumber(), 10, 1, [](const Shard& shard, auto& emit) {
    for (std::int32_t key = -5; key < 5; ++key) {
      for (std::uint64_t value = 0; value < 2000; ++value) {
        emit(key, value % 1000 + shard.id() % 2 * 500);
      }
    }
  });
  EXPECT_EQ(by_number.size(), 10u);
  EXPECT_EQ(by_number.record_count(), 200'000u);
  for (const auto& [key, count] : by_number) {
    EXPECT_NEAR(static_cast<double>(count), 1500, 450) << key;
  }
  EXPECT_TRUE(by_number.find(0).has_value());
  EXPECT_EQ(by_number.find(5), std::nullopt);

  using ByPair = FoldObjectsByKey<Pair, Names>;
  const auto by_pair = by_hand.answer(ByPair(), 9, 1, [](const Shard& shard, auto& emit) {
    const auto id = static_cast<std::uint32_t>(shard.id());
    emit({id % 3, id % 2}, std::to_string(id));
  });
  EXPECT_EQ(by_pair.size(), 6u);
  EXPECT_EQ(by_pair.find({0, 0}), (Names::Answer{"0", "6"}));
  EXPECT_EQ(by_pair.find({2, 1}), (Names::Answer{"5"}));
}

TEST(FoldObjectsByKey, AnswersNothingWhenNothingWasEmitted) {
  Aggregation by_hand;
  const auto answer = by_hand.answer(NamesOfTexts(), 0, 1, [](const Shard&, auto&) {});
  EXPECT_TRUE(answer.empty());
  EXPECT_EQ(answer.find(""), std::nullopt);
}

// Runs come in the order of hashes: see MergesLargePartialsWithoutCrowdingItsSlots.
TEST(FoldObjectsByKey, MergesLargePartialsWithoutCrowdingItsSlots) {
  using Many = FoldObjectsByKey<std::uint64_t, Names>;
  Aggregation by_hand;
  const std::vector<Blob> partials =
      by_hand.partials(Many(), 2, 1, 4, [](const Shard& shard, auto& emit) {
        for (std::uint64_t key = 1; key <= 20'000; ++key) {
          emit(key + (shard.id() << 40), "x");
        }
      });
  for (std::uint32_t partition = 0; partition < 4; ++partition) {
    std::vector<std::span<const std::byte>> pieces;
    for (const Blob& partial : partials) {
      pieces.push_back(partition_of(partial.bytes(), partition).value());
    }
    Many state;
    ASSERT_TRUE(state.merge(pieces).ok());
    const auto& table = state.numbers().first_table();
    EXPECT_GT(table.size(), 9'000u);
    EXPECT_LT(table.displacement(), table.size());
  }
}

TEST(FoldObjectsByKey, CountsWhatItsStatesHold) {
  FoldObjectsByKey<std::uint64_t, Names> state;
  state.add(7, "one");
  const std::uint64_t before = state.memory_bytes();
  for (int i = 0; i < 1000; ++i) {
    state.add(7, std::to_string(i));
    state.add(7, std::to_string(i));
  }
  EXPECT_EQ(state.memory_bytes(), before + 1000 * 100);
  std::unique_ptr<LocalBlobStore> store =
      make_local_blob_store({.job = 1, .epoch = 1, .host = 0}, std::uint64_t{1} << 30);
  const Blob sealed = state.seal(*store, Place{}, 1).value();
  const auto bytes = partition_of(sealed.bytes(), 0).value();
  FoldObjectsByKey<std::uint64_t, Names> merged;
  const std::array<std::span<const std::byte>, 2> twice = {bytes, bytes};
  ASSERT_TRUE(merged.merge(twice).ok());
  EXPECT_GE(merged.memory_bytes(), 1001u * 100);
  EXPECT_LT(merged.memory_bytes(), 1001u * 100 + 10'000);
}

class DamagedObjects : public testing::Test {
 protected:
  DamagedObjects() {
    for (const char* const key : {"alpha", "a longer key", "", "the longest key of them all"}) {
      state_.add(key, "first");
      state_.add(key, "second");
    }
    sealed_ = state_.seal(*store_, Place{}, 1).value();
    run_ = partition_of(sealed_.bytes(), 0).value();
  }

  std::unique_ptr<LocalBlobStore> store_ =
      make_local_blob_store({.job = 1, .epoch = 1, .host = 0}, std::uint64_t{1} << 30);
  NamesOfTexts state_;
  Blob sealed_;
  std::span<const std::byte> run_;
};

TEST_F(DamagedObjects, AreRefusedWhereTheyAreCut) {
  for (std::size_t length = 0; length < run_.size(); ++length) {
    const std::span<const std::byte> cut = run_.first(length);
    ASSERT_EQ(NamesOfTexts().merge({&cut, 1}).code(), ErrorCode::kDataLoss);
  }
}

TEST_F(DamagedObjects, AreRefusedAsOtherTypes) {
  EXPECT_EQ((FoldObjectsByKey<std::string_view, Distinct>().merge({&run_, 1}).code()),
            ErrorCode::kDataLoss);
  EXPECT_EQ((FoldObjectsByKey<std::uint64_t, Names>().merge({&run_, 1}).code()),
            ErrorCode::kDataLoss);
  EXPECT_EQ((FoldByKey<std::string_view, Sum<std::uint64_t>>().merge({&run_, 1}).code()),
            ErrorCode::kDataLoss);
}

// Flips one bit after the other. The checksum finds each; with checksums that fit the damage the
// rest of the checks is seen. Under AddressSanitizer this also shows that no read leaves the bytes.
TEST_F(DamagedObjects, AreReadWithoutLeavingThem) {
  std::size_t refused = 0;
  std::size_t taken = 0;
  for (std::size_t at = 0; at < run_.size(); ++at) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      // A copy of exactly this size, so that a step outside is seen.
      const std::unique_ptr<std::byte[]> copy(new std::byte[run_.size()]);
      const std::span<std::byte> bytes(copy.get(), run_.size());
      std::copy(run_.begin(), run_.end(), bytes.begin());
      bytes[at] ^= std::byte(1u << bit);
      const std::span<const std::byte> part = bytes;
      ASSERT_EQ(NamesOfTexts().merge({&part, 1}).code(), ErrorCode::kDataLoss);
      ObjectRunHeader header;
      std::memcpy(&header, bytes.data(), sizeof(header));
      if (header.run_bytes >= sizeof(KeyedRunHeader) &&
          header.run_bytes <= bytes.size() - sizeof(header)) {
        const std::span<std::byte> run = bytes.subspan(sizeof(header), header.run_bytes);
        const std::uint64_t checksum = hash_bytes(run.subspan(sizeof(std::uint64_t)));
        std::memcpy(run.data(), &checksum, sizeof(checksum));
      }
      const std::uint64_t checksum = hash_bytes(bytes.subspan(sizeof(std::uint64_t)));
      std::memcpy(bytes.data(), &checksum, sizeof(checksum));
      NamesOfTexts merged;
      const Status status = merged.merge({&part, 1});
      status.ok() ? ++taken : ++refused;
      ASSERT_TRUE(status.ok() || status.code() == ErrorCode::kDataLoss) << status.to_string();
    }
  }
  EXPECT_GT(taken, 0u);
  EXPECT_GT(refused, run_.size());
}

// A fold that leaves a byte of what it wrote.
struct Forgetful : Names {
  static void write(const State& names, ByteWriter& out) {
    Names::write(names, out);
    out.put(std::uint8_t{1});
  }
};
struct Refusing : Names {
  static State read(ByteReader& in) {
    State names = Names::read(in);
    in.fail();
    return names;
  }
};

template <class F>
Status merged_status(IBlobStore& store) {
  FoldObjectsByKey<int, F> state;
  state.add(1, "name");
  const Blob sealed = state.seal(store, Place{}, 1).value();
  const std::span<const std::byte> part = partition_of(sealed.bytes(), 0).value();
  return FoldObjectsByKey<int, F>().merge({&part, 1});
}

TEST_F(DamagedObjects, AreWhatTheFoldLeavesOrRefuses) {
  EXPECT_TRUE(merged_status<Names>(*store_).ok());
  for (const Status& status :
       {merged_status<Forgetful>(*store_), merged_status<Refusing>(*store_)}) {
    EXPECT_EQ(status.code(), ErrorCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()), HasSubstr("its fold does not read it to its end"));
  }
}

TEST(FoldObjectsByKeyInAJob, GivesEveryRankTheAnswerAndFeedsTheNextStep) {
  FakeJob job({.rank_count = 2, .worker_count = 2, .batch_shard_count = 3});
  const Oracle oracle = oracle_of(40);
  std::uint64_t name_count = 0;
  for (const auto& [key, names] : oracle) {
    name_count += names.size();
  }
  job.run([&](FakeRank& rank) {
    const auto names = map_reduce(
        rank, indices(40), by_index_range(1),
        [](const Shard& shard, auto& emit) { emit_names(shard.begin(), emit); },
        fold_by_key<std::string_view, Names>());
    ASSERT_TRUE(names.has_value()) << names.error().to_string();
    EXPECT_EQ(content_of(*names), oracle);
    const auto count = map_reduce(
        rank, partitions(*names), by_partition(),
        [&names](const Shard& shard, auto& emit) {
          for (const auto& [key, all] : read_partition(*names, shard)) {
            emit(0, all.size());
          }
        },
        sum_vector<std::uint64_t>(1));
    EXPECT_EQ(count->values()[0], name_count);
  });
}

TEST(ByteStream, GivesBackWhatWasPut) {
  const auto put = [](ByteWriter& out) {
    out.put(std::uint16_t{7});
    out.put(-1.5);
    out.put_text("some text");
    out.put_text("");
    out.put_bytes({});
    out.put(Pair{1, 2});
  };
  ByteWriter counter;
  put(counter);
  std::vector<std::byte> bytes(static_cast<std::size_t>(counter.size()));
  ByteWriter writer(bytes);
  put(writer);
  EXPECT_EQ(writer.size(), 2u + 8 + 8 + 9 + 8 + 8);
  ByteReader reader(bytes);
  EXPECT_EQ(reader.take<std::uint16_t>(), 7);
  EXPECT_EQ(reader.take<double>(), -1.5);
  EXPECT_EQ(reader.take_text(), "some text");
  EXPECT_EQ(reader.take_text(), "");
  EXPECT_FALSE(reader.is_complete());
  EXPECT_EQ(reader.take<Pair>().right, 2u);
  EXPECT_TRUE(reader.is_complete());
}

TEST(ByteStream, FailsBeyondItsEndAndStaysFailed) {
  std::vector<std::byte> bytes(20, std::byte{0xff});
  ByteReader reader(bytes);
  EXPECT_EQ(reader.take_text(), "");
  EXPECT_TRUE(reader.has_failed());
  EXPECT_EQ(reader.take<std::uint32_t>(), 0u);
  EXPECT_FALSE(reader.is_complete());
  ByteReader counting(bytes);
  EXPECT_EQ(counting.take_count(), 0u);
  EXPECT_TRUE(counting.has_failed());
  const std::array<std::uint64_t, 3> three = {2, 5, 6};
  ByteReader fitting(std::as_bytes(std::span(three)));
  EXPECT_EQ(fitting.take_count(sizeof(std::uint64_t)), 2u);
  EXPECT_FALSE(fitting.has_failed());
}

}  // namespace
}  // namespace pinion
