#include "blob_life.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "atom.hpp"
#include "explorer.hpp"

// One blob of a slab: the writer uses its memory again when it may, readers take references by
// handle, the agent pins it for the job or while it copies it, clears the row of a reader that died
// and lets a reader in.

namespace pinion {
namespace {

using model::block_until;
using model::Exploration;
using model::Explorer;
using model::Program;
using model::require;

using Life = BlobLife<model::Atom>;

constexpr std::uint64_t kOld = 1;  // The generation that readers ask for.
constexpr int kOldBytes = 11;
constexpr int kNewBytes = 22;

template <class Steps>
struct Scene {
  model::Atom<std::uint64_t> life{life_of(kOld, BlobPhase::kSealed)};
  model::Atom<std::uint64_t> pinned{0};
  model::Atom<int> bytes{kOldBytes};
  std::array<model::Atom<std::uint32_t>, 2> counters = {};
  std::array<model::Atom<std::uint32_t>, 2> subscribed = {};
  model::Atom<int> granted{0};
  bool reused = false;
  bool kept = false;
  int refused_count = 0;

  Scene() {
    subscribed[0].store(1);
    subscribed[1].store(1);
  }

  bool is_referenced() {
    if (pinned.load() == kOld) {
      return true;
    }
    for (std::size_t i = 0; i < counters.size(); ++i) {
      if (subscribed[i].load() != 0 && counters[i].load() != 0) {
        return true;
      }
    }
    return false;
  }

  // The writer makes another blob of the same memory, if it may.
  void write_again() {
    if (!Steps::retire(life, [this] { return is_referenced(); })) {
      return;
    }
    reused = true;
    life.store(life_of(kOld + 1, BlobPhase::kWriting));
    bytes.store(kNewBytes);
    life.store(life_of(kOld + 1, BlobPhase::kSealed));
  }

  void read(std::size_t reader) {
    if (!Steps::take(counters[reader], life)) {
      ++refused_count;
      return;
    }
    require(bytes.load() == kOldBytes, "a reader found other bytes");
    require(bytes.load() == kOldBytes, "the bytes changed under a reader");
    Life::drop(counters[reader]);
  }

  // A reader that is killed while it reads, or at any store before that.
  void die_reading(std::size_t reader) {
    if (Steps::take(counters[reader], life)) {
      require(bytes.load() == kOldBytes, "a reader found other bytes");
    }
  }

  void keep() {
    kept = Steps::pin(pinned, life);
    if (kept) {
      require(bytes.load() == kOldBytes, "the agent kept other bytes");
    }
  }

  // For another host. Twice: the second finds the word as the first has left it.
  void copy_twice() {
    for (int i = 0; i < 2; ++i) {
      if (!Steps::pin(pinned, life)) {
        ++refused_count;
      } else {
        Steps::copy_and_unpin(pinned, [this] {
          require(bytes.load() == kOldBytes, "the agent copied other bytes");
          require(bytes.load() == kOldBytes, "the bytes changed under the agent");
        });
      }
    }
  }

  // A process that the agent lets read the slab.
  void let_in(std::size_t reader) { Steps::let_in(subscribed[reader], granted); }
  void read_once_let_in(std::size_t reader) {
    block_until([this] { return granted.load() != 0; });
    read(reader);
  }
};

struct Right {
  static bool take(Life::Counter& counter, const Life::Word& life) {
    return Life::take(counter, life, kOld);
  }
  template <class IsReferenced>
  static bool retire(Life::Word& life, const IsReferenced& is_referenced) {
    return Life::retire(life, kOld, is_referenced);
  }
  static bool pin(Life::Word& pinned, const Life::Word& life) {
    return Life::pin(pinned, life, kOld);
  }
  template <class Copy>
  static void copy_and_unpin(Life::Word& pinned, const Copy& copy) {
    copy();
    Life::unpin(pinned);
  }
  static void let_in(model::Atom<std::uint32_t>& subscribed, model::Atom<int>& granted) {
    subscribed.store(1);
    granted.store(1);
  }
};

struct LooksBeforeMarking : Right {
  static bool take(Life::Counter& counter, const Life::Word& life) {
    if (life.load() != life_of(kOld, BlobPhase::kSealed)) {
      return false;
    }
    counter.fetch_add(1);
    return true;
  }
};

struct LooksOnceBeforeRetiring : Right {
  template <class IsReferenced>
  static bool retire(Life::Word& life, const IsReferenced& is_referenced) {
    if (is_referenced()) {
      return false;
    }
    Life::close(life, kOld);
    return true;
  }
};

struct RetiresWithoutSayingSo : Right {
  template <class IsReferenced>
  static bool retire(Life::Word&, const IsReferenced& is_referenced) {
    return !is_referenced() && !is_referenced();
  }
};

struct PinsWithoutLooking : Right {
  static bool pin(Life::Word& pinned, const Life::Word& life) {
    const bool is_sealed = life.load() == life_of(kOld, BlobPhase::kSealed);
    pinned.store(kOld);
    return is_sealed;
  }
};

struct UnpinsBeforeItHasCopied : Right {
  template <class Copy>
  static void copy_and_unpin(Life::Word& pinned, const Copy& copy) {
    Life::unpin(pinned);
    copy();
  }
};

struct LeavesThePin : Right {
  template <class Copy>
  static void copy_and_unpin(Life::Word&, const Copy& copy) {
    copy();
  }
};

struct GrantsBeforeSubscribing : Right {
  static void let_in(model::Atom<std::uint32_t>& subscribed, model::Atom<int>& granted) {
    granted.store(1);
    subscribed.store(1);
  }
};

struct KeepsTheMarkWhenRefused : Right {
  static bool take(Life::Counter& counter, const Life::Word& life) {
    counter.fetch_add(1);
    return life.load() == life_of(kOld, BlobPhase::kSealed);
  }
};

// Two readers, the writer and the agent. In the end nobody has a mark, and the memory is either
// used again, or kept, or can be used again.
template <class Steps>
Exploration explore_readers() {
  return Explorer({.preemption_count_max = 3}).explore([] {
    const auto scene = std::make_shared<Scene<Steps>>();
    return Program{.bodies = {[scene] { scene->read(0); }, [scene] { scene->read(1); },
                              [scene] { scene->write_again(); }, [scene] { scene->keep(); }},
                   .check = [scene] {
                     require(!scene->reused || !scene->kept, "what is kept was used again");
                     require(scene->counters[0].load() == 0 && scene->counters[1].load() == 0,
                             "a reference was left behind");
                     require(scene->kept || scene->pinned.load() == 0, "a pin was left behind");
                   }};
  });
}

template <class Steps>
Exploration explore_letting_in() {
  return Explorer({.preemption_count_max = 3}).explore([] {
    const auto scene = std::make_shared<Scene<Steps>>();
    scene->subscribed[1].store(0);
    return Program{.bodies = {[scene] { scene->let_in(1); },
                              [scene] { scene->read_once_let_in(1); },
                              [scene] { scene->write_again(); }}};
  });
}

// The writer, the agent that copies for another host, and a reader. In the end nothing holds it.
template <class Steps>
Exploration explore_copying() {
  return Explorer({.preemption_count_max = 3}).explore([] {
    const auto scene = std::make_shared<Scene<Steps>>();
    return Program{.bodies = {[scene] { scene->read(0); }, [scene] { scene->copy_twice(); },
                              [scene] { scene->write_again(); }},
                   .check = [scene] {
                     if (!scene->reused) {
                       scene->write_again();
                     }
                     require(scene->reused, "what was copied holds memory");
                   }};
  });
}

TEST(BlobLife, IsUsedAgainOnlyWhenNobodyHasIt) {
  const Exploration exploration = explore_readers<Right>();
  EXPECT_EQ(exploration.failure, "");
  EXPECT_TRUE(exploration.complete) << exploration.schedule_count;
}

TEST(BlobLife, CountsAProcessFromBeforeItsFirstReference) {
  const Exploration exploration = explore_letting_in<Right>();
  EXPECT_EQ(exploration.failure, "");
  EXPECT_TRUE(exploration.complete) << exploration.schedule_count;
}

TEST(BlobLife, IsCopiedWholeAndFreedAfterwards) {
  const Exploration exploration = explore_copying<Right>();
  EXPECT_EQ(exploration.failure, "");
  EXPECT_TRUE(exploration.complete) << exploration.schedule_count;
}

TEST(BlobLife, ExplorationFindsEveryPlantedBug) {
  EXPECT_NE(explore_readers<LooksBeforeMarking>().failure, "");
  EXPECT_NE(explore_readers<LooksOnceBeforeRetiring>().failure, "");
  EXPECT_NE(explore_readers<RetiresWithoutSayingSo>().failure, "");
  EXPECT_NE(explore_readers<PinsWithoutLooking>().failure, "");
  EXPECT_NE(explore_readers<KeepsTheMarkWhenRefused>().failure, "");
  EXPECT_NE(explore_copying<LooksOnceBeforeRetiring>().failure, "");
  EXPECT_NE(explore_copying<PinsWithoutLooking>().failure, "");
  EXPECT_NE(explore_copying<UnpinsBeforeItHasCopied>().failure, "");
  EXPECT_NE(explore_copying<LeavesThePin>().failure, "");
  EXPECT_NE(explore_letting_in<GrantsBeforeSubscribing>().failure, "");
}

// The agent clears the row only when the process is dead; until then its mark holds the memory.
TEST(BlobLife, IsFreedAfterAReaderDied) {
  const Exploration exploration = Explorer({.preemption_count_max = 3}).explore([] {
    const auto scene = std::make_shared<Scene<Right>>();
    const auto is_dead = std::make_shared<model::Atom<int>>(0);
    return Program{.bodies = {[scene, is_dead] {
                                scene->die_reading(0);
                                is_dead->store(1);
                              },
                              [scene, is_dead] {
                                block_until([is_dead] { return is_dead->load() != 0; });
                                scene->counters[0].store(0);
                                scene->subscribed[0].store(0);
                              },
                              [scene] { scene->write_again(); }},
                   .check = [scene] {
                     if (!scene->reused) {
                       scene->write_again();
                     }
                     require(scene->reused, "a dead process holds memory");
                   }};
  });
  EXPECT_EQ(exploration.failure, "");
  EXPECT_TRUE(exploration.complete) << exploration.schedule_count;
}

// The job lets go of a blob while its writer wants the memory: nobody finds it, and it is freed.
TEST(BlobLife, IsClosedByTheAgentAndFreedByTheWriter) {
  const Exploration exploration = Explorer({}).explore([] {
    const auto scene = std::make_shared<Scene<Right>>();
    scene->pinned.store(kOld);
    return Program{.bodies = {[scene] {
                                Life::close(scene->life, kOld);
                                scene->pinned.store(0);
                              },
                              [scene] { scene->write_again(); }, [scene] { scene->read(0); }},
                   .check = [scene] {
                     require(
                         scene->reused || scene->life.load() == life_of(kOld, BlobPhase::kRetired),
                         "what the job let go of can be found");
                     if (!scene->reused) {
                       scene->write_again();
                     }
                     require(scene->reused, "what the job let go of holds memory");
                   }};
  });
  EXPECT_EQ(exploration.failure, "");
  EXPECT_TRUE(exploration.complete) << exploration.schedule_count;
}

}  // namespace
}  // namespace pinion
