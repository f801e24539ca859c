// What is kept of the exceptions of a loop, also where there is no memory for all of them.

#include "bulk.hpp"

#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "allocation_counter.hpp"

namespace pinion {
namespace {

using testing::HasSubstr;

void note(detail::BulkErrors& errors, std::size_t index) {
  try {
    throw std::runtime_error("of index " + std::to_string(index));
  } catch (...) {
    errors.note({.begin = index, .end = index + 1});
  }
}

void note_without_memory(detail::BulkErrors& errors, std::size_t index) {
  const std::runtime_error error("of index " + std::to_string(index));
  try {
    throw error;
  } catch (...) {
    const testing_support::RefusedAllocations none;
    errors.note({.begin = index, .end = index + 1});
  }
}

TEST(BulkErrors, AreAllKeptInTheirOrder) {
  detail::BulkErrors errors;
  EXPECT_FALSE(errors.any());
  for (std::size_t index = 0; index < 3; ++index) {
    note(errors, index);
    EXPECT_TRUE(errors.any());
  }
  const std::vector<BulkError> kept = errors.take();
  ASSERT_EQ(kept.size(), 3u);
  for (std::size_t index = 0; index < 3; ++index) {
    EXPECT_EQ(kept[index].at.begin, index);
    EXPECT_THAT(std::string(kept[index].status.message()),
                HasSubstr("of index " + std::to_string(index)));
    EXPECT_THROW(std::rethrow_exception(kept[index].exception), std::runtime_error);
  }
  EXPECT_EQ(errors.uncollected_count(), 0u);
}

TEST(BulkErrors, AreCountedWhereThereIsNoMemoryForMoreThanTheFirst) {
  detail::BulkErrors errors;
  for (std::size_t index = 0; index < 3; ++index) {
    note_without_memory(errors, index);
  }
  const std::vector<BulkError> kept = errors.take();
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept.front().at.begin, 0u);
  EXPECT_THAT(std::string(kept.front().status.message()), HasSubstr("of index 0"));
  EXPECT_EQ(errors.uncollected_count(), 2u);
}

}  // namespace
}  // namespace pinion
