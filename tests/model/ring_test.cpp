// The core of rings between processes, under all schedules of a few preemptions, on processors that
// hold stores back.

#include "ring_core.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "buffered_atom.hpp"
#include "explorer.hpp"

namespace pinion {
namespace {

using model::block_until;
using model::Exploration;
using model::Explorer;
using model::Program;
using model::require;
using model::StoreBuffers;

// Stores a sequentially consistent value as if that were no more than a release.
class WeakAtom : public model::BufferedAtom {
 public:
  using BufferedAtom::BufferedAtom;
  void store(std::uint64_t value, std::memory_order order = std::memory_order_seq_cst) noexcept {
    BufferedAtom::store(value,
                        order == std::memory_order_relaxed ? order : std::memory_order_release);
  }
};

// Releases nothing.
class LooseAtom : public model::BufferedAtom {
 public:
  using BufferedAtom::BufferedAtom;
  void store(std::uint64_t value, std::memory_order = std::memory_order_seq_cst) noexcept {
    BufferedAtom::store(value, std::memory_order_relaxed);
  }
};

template <class AtomType>
struct ModelMemory {
  template <class T>
  using Atom = AtomType;
  static constexpr std::size_t kWordCount = 2;
  static void before(RingStore) noexcept {}
  static void after(RingStore) noexcept {}
};

using Memory = ModelMemory<model::BufferedAtom>;

// Two words that belong together, so that a torn or early message shows.
template <class Policy>
RingWords<Policy> words_of(std::uint64_t number) {
  return {number, ~number};
}

// How the sides of a scene are made of the core. A mutant replaces one of the functions.
template <class PolicyType>
struct Correct {
  using Policy = PolicyType;

  template <class Scene>
  static std::size_t push(Scene& scene, std::uint64_t first, std::size_t count) {
    return scene.producer.push(count,
                               [first](std::size_t i) { return words_of<Policy>(first + i); });
  }
  template <class Scene, class Take>
  static std::size_t pop(Scene& scene, std::size_t count, const Take& take) {
    return scene.consumer.pop(count, take);
  }
  template <class Parking, class IsReady, class Rest>
  static void rest(Parking& parking, const IsReady& is_ready, const Rest& rest) {
    require(parking.park_until(is_ready, rest), "a sleeper woke up for nothing");
  }
};

// An eventfd. To write and to read it are system calls, behind which no store is held back.
class WakeUp {
 public:
  explicit WakeUp(StoreBuffers& buffers) : buffers_(buffers) {}

  void write() {
    buffers_.write_all();
    ++count_;
  }
  void rest() {
    buffers_.write_all();
    block_until([this] { return count_ > 0; });
    count_ = 0;
  }

 private:
  StoreBuffers& buffers_;
  int count_ = 0;
};

// A producer of `message_count` messages and the consumer that takes them, each of which sleeps
// where it finds the ring full or empty.
template <class Sides>
struct Scene {
  using Policy = typename Sides::Policy;

  Scene(std::size_t capacity, std::uint64_t first_position)
      : cells(capacity),
        producer(cells, consumer_lines.taken),
        consumer(cells, consumer_lines.taken),
        space_parking(producer_lines.awaits_space),
        space_waker(producer_lines.awaits_space),
        message_parking(consumer_lines.awaits_message),
        message_waker(consumer_lines.awaits_message) {
    for (std::uint64_t i = 0; i < first_position; ++i) {
      static_cast<void>(producer.push(1, [](std::size_t) { return words_of<Policy>(0); }));
      static_cast<void>(consumer.pop(1, [](std::size_t, const auto&) { return true; }));
    }
  }

  void produce(std::size_t message_count, std::size_t batch) {
    std::size_t sent = 0;
    while (sent < message_count) {
      const std::size_t count = std::min(batch, message_count - sent);
      const std::size_t pushed = Sides::push(*this, sent + 1, count);
      if (pushed > 0) {
        if (message_waker.must_wake()) {
          message_came.write();
        }
      } else {
        Sides::rest(
            space_parking, [this] { return producer.is_ready(); },
            [this] { return space_came.rest(), true; });
      }
      sent += pushed;
      require(!producer.is_broken(), "the producer takes the consumer for broken");
    }
  }

  void consume(std::size_t message_count, std::size_t batch) {
    const auto take = [this](std::size_t, const RingWords<Policy>& words) {
      require(words == words_of<Policy>(taken_count + 1), "a message is not the next one, whole");
      ++taken_count;
      return true;
    };
    while (taken_count < message_count) {
      if (Sides::pop(*this, batch, take) > 0) {
        if (space_waker.must_wake()) {
          space_came.write();
        }
      } else {
        require(!consumer.is_broken(), "the consumer takes the producer for broken");
        Sides::rest(
            message_parking, [this] { return consumer.is_ready(); },
            [this] { return message_came.rest(), true; });
      }
    }
  }

  StoreBuffers buffers{2};
  std::vector<RingCell<Policy>> cells;
  RingLines<Policy> producer_lines;
  RingLines<Policy> consumer_lines;
  RingProducer<Policy> producer;
  RingConsumer<Policy> consumer;
  RingParking<Policy> space_parking;
  RingWaker<Policy> space_waker;
  RingParking<Policy> message_parking;
  RingWaker<Policy> message_waker;
  WakeUp message_came{buffers};
  WakeUp space_came{buffers};
  std::uint64_t taken_count = 0;
};

struct Trial {
  std::size_t message_count = 3;
  std::size_t batch = 1;
  std::uint64_t first_position = 0;
  std::size_t preemption_count_max = 2;
};

template <class Sides>
Exploration explore(const Trial& trial) {
  return Explorer({.preemption_count_max = trial.preemption_count_max}).explore([trial] {
    const auto scene = std::make_shared<Scene<Sides>>(2, trial.first_position);
    return Program{.bodies = {[scene, trial] { scene->produce(trial.message_count, trial.batch); },
                              [scene, trial] { scene->consume(trial.message_count, trial.batch); }},
                   .check = [scene, trial] {
                     require(scene->taken_count == trial.message_count,
                             "messages were lost or came twice");
                   }};
  });
}

TEST(RingModel, HandsOverEveryMessageInOrderAndWakesEverySleeper) {
  for (const std::size_t batch : {1u, 2u}) {
    for (const std::uint64_t first_position : {0u, 1u, 4u}) {
      const Exploration exploration = explore<Correct<Memory>>({.message_count = 4,
                                                                .batch = batch,
                                                                .first_position = first_position,
                                                                .preemption_count_max = 3});
      EXPECT_EQ(exploration.failure, "");
      EXPECT_TRUE(exploration.complete);
      EXPECT_GT(exploration.schedule_count, 1000u);
    }
  }
}

// As a loop that sleeps on more than the ring: it goes round whether or not it has slept.
struct SleepsInParts : Correct<Memory> {
  template <class Parking, class IsReady, class Rest>
  static void rest(Parking& parking, const IsReady& is_ready, const Rest& rest) {
    if (!parking.park(is_ready)) {
      rest();
    }
    parking.unpark();
  }
};

TEST(RingModel, WakesASleeperThatSleepsInParts) {
  for (const std::size_t batch : {1u, 2u}) {
    for (const std::uint64_t first_position : {0u, 1u, 4u}) {
      const Exploration exploration = explore<SleepsInParts>({.message_count = 4,
                                                              .batch = batch,
                                                              .first_position = first_position,
                                                              .preemption_count_max = 3});
      EXPECT_EQ(exploration.failure, "");
      EXPECT_TRUE(exploration.complete);
      EXPECT_GT(exploration.schedule_count, 1000u);
    }
  }
}

template <class Sides>
void expect_found(const Trial& trial, const std::string& words) {
  const Exploration exploration = explore<Sides>(trial);
  EXPECT_EQ(exploration.failure.find(words), 0u) << "found: " << exploration.failure;
}

// Sleeping on a store that is still held back when the other end looks whether anybody sleeps.
TEST(RingModel, FindsTheWakeUpThatIsLostWithoutAFence) {
  expect_found<Correct<ModelMemory<WeakAtom>>>({}, "no body can go on");
}

// The consumer polls, as one that sleeps would be the first to fail.
TEST(RingModel, FindsTheMessageThatIsPublishedWithoutRelease) {
  using Sides = Correct<ModelMemory<LooseAtom>>;
  const Exploration exploration = Explorer({}).explore([] {
    const auto scene = std::make_shared<Scene<Sides>>(2, 0);
    return Program{.bodies = {[scene] { static_cast<void>(Sides::push(*scene, 1, 1)); },
                              [scene] {
                                static_cast<void>(
                                    Sides::pop(*scene, 1, [](std::size_t, const auto& words) {
                                      require(words == words_of<Sides::Policy>(1), "torn");
                                      return true;
                                    }));
                              }}};
  });
  EXPECT_EQ(exploration.failure.find("torn"), 0u) << "found: " << exploration.failure;
}

// Says that a message is there before it is.
struct PublishesFirst : Correct<Memory> {
  template <class Scene>
  static std::size_t push(Scene& scene, std::uint64_t first, std::size_t count) {
    if (scene.producer.is_ready()) {
      scene.cells[(first - 1) % scene.cells.size()].turn.store(first);
    }
    return Correct<Memory>::push(scene, first, count);
  }
};

TEST(RingModel, FindsTheMessageThatIsPublishedBeforeItIsWritten) {
  expect_found<PublishesFirst>({.message_count = 2}, "a message is not the next one, whole");
}

// Gives a cell back before it has read it.
struct GivesBackFirst : Correct<Memory> {
  template <class Scene, class Take>
  static std::size_t pop(Scene& scene, std::size_t count, const Take& take) {
    if (scene.consumer.is_ready()) {
      scene.consumer_lines.taken.store(scene.taken_count + 1);
    }
    return Correct<Memory>::pop(scene, count, take);
  }
};

TEST(RingModel, FindsTheCellThatIsUsedAgainTooEarly) {
  expect_found<GivesBackFirst>({}, "a message is not the next one, whole");
}

// Goes to sleep at once after saying so.
struct NeverLooksAgain : Correct<Memory> {
  template <class Parking, class IsReady, class Rest>
  static void rest(Parking& parking, const IsReady& is_ready, const Rest& rest) {
    bool slept = false;
    static_cast<void>(
        parking.park_until([&] { return slept && is_ready(); }, [&] { return slept = rest(); }));
  }
};

TEST(RingModel, FindsTheWakeUpThatIsLostWithoutALookAfterParking) {
  expect_found<NeverLooksAgain>({}, "no body can go on");
}

// Says once that it sleeps, and then sleeps several times.
struct SaysItOnce : Correct<Memory> {
  template <class Parking, class IsReady, class Rest>
  static void rest(Parking& parking, const IsReady& is_ready, const Rest& rest) {
    const auto rest_on = [&] {
      do {
        rest();
      } while (!is_ready());
      return true;
    };
    static_cast<void>(parking.park_until(is_ready, rest_on));
  }
};

TEST(RingModel, FindsTheWakeUpThatWasSpentOnAnEarlierMessage) {
  expect_found<SaysItOnce>({}, "no body can go on");
}

// Looks, and then says that it sleeps.
struct LooksFirst : Correct<Memory> {
  template <class Parking, class IsReady, class Rest>
  static void rest(Parking& parking, const IsReady& is_ready, const Rest& rest) {
    const bool ready = is_ready();
    static_cast<void>(parking.park([] { return false; }));
    if (!ready) {
      rest();
    }
    parking.unpark();
  }
};

TEST(RingModel, FindsTheWakeUpThatIsLostByASleepInPartsThatLooksFirst) {
  expect_found<LooksFirst>({}, "no body can go on");
}

// Says the same number before each sleep.
struct NeverCounts : Correct<Memory> {
  template <class Parking, class IsReady, class Rest>
  static void rest(const Parking& parking, const IsReady& is_ready, const Rest& rest) {
    Parking first_time = parking;
    SleepsInParts::rest(first_time, is_ready, rest);
  }
};

TEST(RingModel, FindsTheSecondSleepInPartsThatNobodyEnds) {
  expect_found<NeverCounts>({}, "no body can go on");
}

}  // namespace
}  // namespace pinion
