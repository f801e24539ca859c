#include <pinion/shard/key_sum.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pinion/shard/fold_by_key.hpp>
#include <pinion/shard/fold_objects_by_key.hpp>
#include <pinion/shard/map_reduce.hpp>
#include <pinion/shm/local_blob_store.hpp>

#include "shard/engine/fake_job.hpp"

namespace pinion {
namespace {

using test::FakeJob;
using test::FakeRank;
using testing::AllOf;
using testing::HasSubstr;

// Spread so far that no array holds them.
constexpr std::uint64_t spread(std::uint64_t number) {
  return (number + 1) * 0x9E3779B97F4A7C15u;
}

struct Point {
  std::uint64_t x;
  std::uint64_t y;
};

struct Numbers {
  using Value = std::uint64_t;
  using State = std::set<std::uint64_t>;
  using Answer = std::size_t;
  static State first(Value value) { return {value}; }
  static void add(State& state, Value value) { state.insert(value); }
  static void join(State& state, State&& other) { state.merge(other); }
  static Answer answer(const State& state) { return state.size(); }
  static void write(const State& state, ByteWriter& out) {
    for (const std::uint64_t value : state) {
      out.put(value);
    }
  }
  static State read(ByteReader& in) {
    State state;
    while (!in.is_complete() && !in.has_failed()) {
      state.insert(in.take<std::uint64_t>());
    }
    return state;
  }
};

using Sum64 = Sum<std::uint64_t>;

// The kinds of keys, as tables tell them apart: which state they have, and its key of a number.
struct Integers {
  using State = FoldByKey<std::uint64_t, Sum64>;
  static std::uint64_t key(std::uint64_t number) { return spread(number); }
};
struct Structs {
  using State = FoldByKey<Point, Sum64>;
  static Point key(std::uint64_t number) { return {number, number + 1}; }
};
struct ShortTexts {
  using State = FoldByKey<std::string_view, Sum64>;
  static std::string key(std::uint64_t number) { return std::to_string(number); }
};
struct MediumTexts {
  using State = FoldByKey<std::string_view, Sum64>;
  static std::string key(std::uint64_t number) { return "medium " + std::to_string(number + 1000); }
};
struct LongTexts {
  using State = FoldByKey<std::string_view, Sum64>;
  static std::string key(std::uint64_t number) {
    return "a long text of number " + std::to_string(number);
  }
};
struct ObjectsOfIntegers {
  using State = FoldObjectsByKey<std::uint64_t, Numbers>;
  static std::uint64_t key(std::uint64_t number) { return spread(number); }
};
struct ObjectsOfTexts {
  using State = FoldObjectsByKey<std::string_view, Numbers>;
  static std::string key(std::uint64_t number) { return std::to_string(number); }
};

// The slots of a table, for what writes where it must not.
template <class K, class S>
std::vector<typename OpenTable<K, S>::Slot*> slots_of(const OpenTable<K, S>& table) {
  std::vector<typename OpenTable<K, S>::Slot*> slots;
  table.for_each([&slots](const auto& slot) {
    slots.push_back(const_cast<typename OpenTable<K, S>::Slot*>(&slot));
  });
  return slots;
}

template <class Kind>
class KeysOfAState : public testing::Test {
 protected:
  using State = typename Kind::State;

  static void add(State& state, std::uint64_t begin, std::uint64_t end) {
    typename State::Emitter emit(state, Shard({}));
    for (std::uint64_t number = begin; number < end; ++number) {
      emit(Kind::key(number), std::uint64_t{1});
    }
    emit.flush();
  }

  [[nodiscard]] Result<Blob> seal(State& state) { return state.seal(*store_, Place{}, 1); }

  // The keys of these numbers, as one partition.
  [[nodiscard]] std::vector<std::byte> run_of(std::uint64_t begin, std::uint64_t end) {
    State state;
    add(state, begin, end);
    return bytes_of(seal(state).value());
  }

  [[nodiscard]] Blob sealed_in_partitions(std::uint64_t begin, std::uint64_t end,
                                          std::uint32_t partition_count) {
    State state;
    add(state, begin, end);
    return state.seal(*store_, Place{}, partition_count).value();
  }

  [[nodiscard]] static std::vector<std::byte> bytes_of(const Blob& blob) {
    const std::span<const std::byte> run = partition_of(blob.bytes(), 0).value();
    return {run.begin(), run.end()};
  }

  [[nodiscard]] static Status merge(State& state, const std::vector<std::vector<std::byte>>& runs) {
    const std::vector<std::span<const std::byte>> parts(runs.begin(), runs.end());
    return state.merge(parts);
  }

  // A run that says it holds another key than it does, with checksums that fit: what a state would
  // seal that had lost a key unnoticed.
  [[nodiscard]] static std::vector<std::byte> promising_another_key(std::vector<std::byte> bytes) {
    const std::span<std::byte> rest = std::span(bytes).subspan(kObjectHeaderBytes);
    KeyedRunHeader header;
    std::memcpy(&header, rest.data(), sizeof(header));
    header.key_sum += 1;
    const std::size_t run_bytes = layout_keyed_run(header).size_bytes;
    finish_keyed_run(rest.first(run_bytes), header);
    if (kObjectHeaderBytes > 0) {
      finish_object_run(bytes, {.run_bytes = run_bytes, .object_bytes = rest.size() - run_bytes});
    }
    return bytes;
  }

  // Calls `function(slots)` for the table that has keys.
  template <class Function>
  static void with_slots(const State& state, Function function) {
    std::size_t table_count = 0;
    const auto with_slots_of = [&](const auto& table) {
      if (table.size() > 0) {
        function(slots_of(table));
        ++table_count;
      }
    };
    if constexpr (kObjects) {
      with_slots_of(state.numbers().first_table());
    } else if constexpr (requires { state.keys().table(); }) {
      with_slots_of(state.keys().table());
    } else {
      state.keys().for_each_table(with_slots_of);
    }
    ASSERT_EQ(table_count, 1u);
  }

  static void lose_a_key(const State& state) {
    with_slots(state, [](const auto& slots) { slots[7]->key = {}; });
  }

  static void expect_refused(const Result<Blob>& sealed) {
    ASSERT_FALSE(sealed);
    EXPECT_EQ(sealed.error().code(), ErrorCode::kDataLoss);
    EXPECT_THAT(std::string(sealed.error().message()),
                AllOf(HasSubstr("does not hold what came into it"), HasSubstr("memory of a host")));
  }

 private:
  static constexpr bool kObjects = requires(const State& state) { state.numbers(); };
  static constexpr std::size_t kObjectHeaderBytes = kObjects ? sizeof(ObjectRunHeader) : 0;

  std::unique_ptr<LocalBlobStore> store_ =
      make_local_blob_store({.job = 1, .epoch = 1, .host = 0}, std::uint64_t{1} << 30);
};

using Kinds = testing::Types<Integers, Structs, ShortTexts, MediumTexts, LongTexts,
                             ObjectsOfIntegers, ObjectsOfTexts>;
TYPED_TEST_SUITE(KeysOfAState, Kinds);

TYPED_TEST(KeysOfAState, AreWhatItsRunsPromise) {
  typename TypeParam::State state;
  ASSERT_TRUE(this->merge(state, {this->run_of(0, 300), this->run_of(100, 500)}).ok());
  ASSERT_TRUE(this->merge(state, {this->run_of(50, 501)}).ok());
  const Result<Blob> sealed = this->seal(state);
  ASSERT_TRUE(sealed) << sealed.error().to_string();
  EXPECT_EQ(TypeParam::State::Result::create({*sealed}).value().size(), 501u);
}

TYPED_TEST(KeysOfAState, AreNotSealedWhereARunPromisesAnotherOne) {
  const std::vector<std::byte> wrong = this->promising_another_key(this->run_of(0, 300));
  typename TypeParam::State state;
  ASSERT_TRUE(this->merge(state, {wrong, this->run_of(100, 500)}).ok());
  this->expect_refused(this->seal(state));
}

// What some runs were combined into is a run like them.
TYPED_TEST(KeysOfAState, AreNotSealedWhereACombinedRunPromisesAnotherOne) {
  typename TypeParam::State combined;
  ASSERT_TRUE(this->merge(combined, {this->run_of(0, 300), this->run_of(100, 500)}).ok());
  const std::vector<std::byte> run = this->bytes_of(this->seal(combined).value());
  typename TypeParam::State right;
  ASSERT_TRUE(this->merge(right, {this->run_of(200, 600), run}).ok());
  EXPECT_TRUE(this->seal(right));
  typename TypeParam::State wrong;
  ASSERT_TRUE(this->merge(wrong, {this->run_of(200, 600), this->promising_another_key(run)}).ok());
  this->expect_refused(this->seal(wrong));
}

TYPED_TEST(KeysOfAState, AreNotSealedWhereAMergeHasLostOne) {
  typename TypeParam::State state;
  ASSERT_TRUE(this->merge(state, {this->run_of(0, 300), this->run_of(100, 500)}).ok());
  this->lose_a_key(state);
  this->expect_refused(this->seal(state));
}

TYPED_TEST(KeysOfAState, AreNotSealedWhereOneCameInThePlaceOfAnother) {
  typename TypeParam::State state;
  ASSERT_TRUE(this->merge(state, {this->run_of(0, 300), this->run_of(100, 500)}).ok());
  this->with_slots(state, [](const auto& slots) { slots[7]->key = slots[8]->key; });
  this->expect_refused(this->seal(state));
}

// So many that keys lie in the tables, and not only in front of them, and that these grow again.
TYPED_TEST(KeysOfAState, AreNotSealedWhereOneGotLostBeforeTheTableGrew) {
  typename TypeParam::State state;
  this->add(state, 0, 50'000);
  this->lose_a_key(state);
  this->add(state, 50'000, 100'000);
  this->expect_refused(this->seal(state));
}

// Keys of the partition that is left out would be lost, and those of the other come twice.
TYPED_TEST(KeysOfAState, AreNotMergedWithThoseOfAnotherPartition) {
  const Blob sealed = this->sealed_in_partitions(0, 300, 3);
  const Blob other = this->sealed_in_partitions(100, 500, 3);
  typename TypeParam::State state;
  const std::array runs = {partition_of(sealed.bytes(), 1).value(),
                           partition_of(other.bytes(), 2).value()};
  ASSERT_TRUE(state.merge(std::span(runs).first(1)).ok());
  const Status status = state.merge(std::span(runs).subspan(1));
  EXPECT_EQ(status.code(), ErrorCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("of partition 2 of 3"), HasSubstr("one of partition 1 of 3")));
}

TYPED_TEST(KeysOfAState, AreNoAnswerInThePlaceOfAnotherPartition) {
  const Blob sealed = this->sealed_in_partitions(0, 300, 2);
  std::vector<Blob> partitions;
  for (std::uint32_t i = 0; i < 2; ++i) {
    typename TypeParam::State state;
    const std::span<const std::byte> run = partition_of(sealed.bytes(), i).value();
    ASSERT_TRUE(state.merge({&run, 1}).ok());
    partitions.push_back(this->seal(state).value());
  }
  using Answer = typename TypeParam::State::Result;
  EXPECT_EQ(Answer::create(partitions).value().size(), 300u);
  std::swap(partitions[0], partitions[1]);
  EXPECT_EQ(Answer::create(partitions).error().code(), ErrorCode::kDataLoss);
}

TEST(WrittenKeys, AreRefusedWhereOneIsThereTwice) {
  OpenTable<ShortText, std::uint64_t> table;
  for (std::uint64_t word = 1; word <= 3; ++word) {
    table.find_or_add({word}, ShortText{word}.hash());
  }
  const auto entries = entries_in_order(table);
  std::array<std::byte, 64> run = {};
  const auto write = [&run](const auto& list) {
    return write_keyed_section<ShortText, std::uint64_t>(run, 0, 32, list);
  };
  KeySum expected;
  for (const auto& entry : entries) {
    expected.add(entry.hash);
  }
  EXPECT_TRUE(check_written_keys(expected, write(entries)).ok());

  std::vector twice = entries;
  twice.insert(twice.begin(), twice.front());
  expected.add(twice.front().hash);  // By its sum this is right.
  EXPECT_EQ(write(twice).sum, expected);
  const Status status = check_written_keys(expected, write(twice));
  EXPECT_EQ(status.code(), ErrorCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("not in their order"));
}

// Bytes of a long text do not lie in the table, and its hash is not made of them again there.
TEST(WrittenKeys, AreRefusedWhereALongTextHasChanged) {
  const std::unique_ptr<LocalBlobStore> store =
      make_local_blob_store({.job = 1, .epoch = 1, .host = 0}, std::uint64_t{1} << 30);
  LongTexts::State state;
  LongTexts::State::Emitter emit(state, Shard({}));
  for (std::uint64_t number = 0; number < 100; ++number) {
    emit(LongTexts::key(number), 1);
  }
  emit.flush();
  state.keys().for_each_table([]<class K>(const OpenTable<K, std::uint64_t>& table) {
    if constexpr (std::same_as<K, LongText>) {
      ASSERT_EQ(table.size(), 100u);
      *const_cast<char*>(slots_of(table)[50]->key.data) ^= 1;
    }
  });
  EXPECT_EQ(state.seal(*store, Place{}, 4).error().code(), ErrorCode::kDataLoss);
}

constexpr std::uint64_t kSpoil = 0x5eed'0000'0000'5eed;

// Hides from the compiler that this leaves the state.
template <class T>
T* beside(std::uint64_t& state, std::ptrdiff_t offset) {
  std::uint64_t* address = &state;
  __asm__("" : "+r"(address));
  return reinterpret_cast<T*>(reinterpret_cast<std::byte*>(address) + offset);
}

// A fold like a sum that, when it joins kSpoil, changes a bit of the key in front of the state.
struct SpoilsItsKey : Sum64 {
  static void join(State& state, State other) noexcept {
    if (other == kSpoil) {
      *beside<std::uint8_t>(state, -1) ^= 1;
    }
    Sum64::join(state, other);
  }
};

// One that clears the state behind its own instead.
struct SpoilsItsNeighbour : Sum64 {
  static void join(State& state, State other) noexcept {
    if (other == kSpoil) {
      *beside<State>(state, sizeof(State)) = 0;
    }
    Sum64::join(state, other);
  }
};

template <class Key, class F>
class Spoiled {
 public:
  using State = FoldByKey<Key, F>;

  void add(const std::vector<Key>& keys, const std::vector<std::uint64_t>& values) {
    typename State::Emitter emit(state_, Shard({}));
    emit(keys, values);
    emit.flush();
  }
  void add(const std::vector<Key>& keys) { add(keys, std::vector<std::uint64_t>(keys.size(), 1)); }

  [[nodiscard]] Status seal() {
    const Result<Blob> sealed = state_.seal(*store_, Place{}, 32);
    return sealed ? Status() : sealed.error();
  }

  [[nodiscard]] const auto& keys() const { return state_.keys(); }

 private:
  std::unique_ptr<LocalBlobStore> store_ =
      make_local_blob_store({.job = 1, .epoch = 1, .host = 0}, std::uint64_t{1} << 30);
  State state_;
};

TEST(SpoiledKeys, AreFoundAmongRowsThatAreKept) {
  std::vector<std::uint64_t> keys;
  for (std::uint64_t number = 0; number < std::uint64_t{5} << 18; ++number) {
    keys.push_back(spread(number));
  }
  for (const std::uint64_t value : {std::uint64_t{1}, kSpoil}) {
    Spoiled<std::uint64_t, SpoilsItsKey> state;
    state.add(keys);
    ASSERT_TRUE(state.keys().keeps_rows());
    state.add({spread(77)}, {value});
    EXPECT_EQ(state.seal().code(), value == kSpoil ? ErrorCode::kDataLoss : ErrorCode::kOk);
  }
}

// What was in front of the table is joined with what is in it.
TEST(SpoiledKeys, AreFoundBehindAFrontTable) {
  const std::unique_ptr<LocalBlobStore> store =
      make_local_blob_store({.job = 1, .epoch = 1, .host = 0}, std::uint64_t{1} << 30);
  for (const std::uint64_t value : {std::uint64_t{1}, kSpoil}) {
    FoldByKey<std::string_view, SpoilsItsKey> state;
    FoldByKey<std::string_view, SpoilsItsKey>::Emitter emit(state, Shard({}));
    for (std::uint64_t number = 0; number < 100'000; ++number) {
      emit(ShortTexts::key(number), 1);
    }
    for (std::uint64_t number = 0; number < 100; ++number) {
      emit(ShortTexts::key(number), value);
    }
    emit.flush();
    const Result<Blob> sealed = state.seal(*store, Place{}, 32);
    EXPECT_EQ(sealed ? ErrorCode::kOk : sealed.error().code(),
              value == kSpoil ? ErrorCode::kDataLoss : ErrorCode::kOk);
  }
}

// Keys 0 to 99, but for 11, which comes when they index an array of four copies and so has no mark,
// only its state in the first copy. Row 1 puts `value` into the second copy.
void add_dense(Spoiled<std::uint32_t, SpoilsItsNeighbour>& state, std::uint64_t value) {
  std::vector<std::uint32_t> keys;
  for (std::uint32_t key = 0; key < 100; ++key) {
    keys.push_back(key == 11 ? 12 : key);
  }
  state.add(keys);
  state.add({12, 10, 12, 12, 11, 12, 12, 12}, {1, value, 1, 1, 1, 1, 1, 1});
  ASSERT_EQ(state.keys().dense_limit(), 128u);
}

TEST(SpoiledKeys, AreFoundInAnArrayWhoseCopiesAreJoined) {
  for (const std::uint64_t value : {std::uint64_t{1}, kSpoil}) {
    Spoiled<std::uint32_t, SpoilsItsNeighbour> state;
    add_dense(state, value);
    EXPECT_EQ(state.seal().code(), value == kSpoil ? ErrorCode::kDataLoss : ErrorCode::kOk);
  }
}

TEST(SpoiledKeys, AreFoundInAnArrayThatHasGrownSince) {
  for (const std::uint64_t value : {std::uint64_t{1}, kSpoil}) {
    Spoiled<std::uint32_t, SpoilsItsNeighbour> state;
    add_dense(state, value);
    std::vector<std::uint32_t> more;
    for (std::uint32_t key = 0; key < 20'000; ++key) {
      more.push_back(key == 11 ? 12 : key);
    }
    state.add(more);
    ASSERT_GT(state.keys().dense_limit(), 128u);
    EXPECT_EQ(state.seal().code(), value == kSpoil ? ErrorCode::kDataLoss : ErrorCode::kOk);
  }
}

// Every rank is told, and none has an answer.
TEST(SpoiledKeys, FailAStepWithTheBatch) {
  FakeJob job({.rank_count = 2, .worker_count = 1, .batch_shard_count = 1});
  job.run([](FakeRank& rank) {
    const auto sums = map_reduce(
        rank, indices(2), by_index_range(1),
        [](const Shard& shard, auto& emit) {
          for (std::uint64_t number = 0; number < 100'000; ++number) {
            emit(ShortTexts::key(number), 1);
          }
          emit(ShortTexts::key(5), shard.id() == 1 ? kSpoil : 1);
        },
        fold_by_key<std::string_view, SpoilsItsKey>());
    ASSERT_FALSE(sums);
    EXPECT_EQ(sums.error().code(), ErrorCode::kDataLoss);
    EXPECT_THAT(sums.error().to_string(), AllOf(HasSubstr("sealing the batch of shard 1 on rank"),
                                                HasSubstr("does not hold what came into it")));
  });
}

TEST(SpoiledKeys, FailAStepWithThePartitionThatIsMerged) {
  FakeJob job({.rank_count = 2, .worker_count = 1, .batch_shard_count = 1});
  job.run([](FakeRank& rank) {
    const auto sums = map_reduce(
        rank, indices(2), by_index_range(1),
        [](const Shard& shard, auto& emit) {
          for (std::uint64_t number = 0; number < 1000; ++number) {
            emit(spread(number), number == 5 && shard.id() == 1 ? kSpoil : 1);
          }
        },
        fold_by_key<std::uint64_t, SpoilsItsKey>());
    ASSERT_FALSE(sums);
    EXPECT_EQ(sums.error().code(), ErrorCode::kDataLoss);
    EXPECT_THAT(sums.error().to_string(), AllOf(HasSubstr("merging partition "),
                                                HasSubstr("does not hold what came into it")));
  });
}

}  // namespace
}  // namespace pinion
