#include <pinion/core/place.hpp>

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

namespace pinion {
namespace {

TEST(Place, IsEqualOnlyWhenAllFieldsAre) {
  const Place place{.kind = PlaceKind::kDevice, .index = 1, .host = 2};
  EXPECT_EQ(place, (Place{.kind = PlaceKind::kDevice, .index = 1, .host = 2}));
  EXPECT_NE(place, (Place{.kind = PlaceKind::kNuma, .index = 1, .host = 2}));
  EXPECT_NE(place, (Place{.kind = PlaceKind::kDevice, .index = 0, .host = 2}));
  EXPECT_NE(place, (Place{.kind = PlaceKind::kDevice, .index = 1, .host = 3}));
}

TEST(Place, OrdersByKindThenIndexThenHost) {
  const std::vector<Place> ordered = {{.kind = PlaceKind::kNuma, .index = 0, .host = 0},
                                      {.kind = PlaceKind::kNuma, .index = 0, .host = 7},
                                      {.kind = PlaceKind::kNuma, .index = 1, .host = 0},
                                      {.kind = PlaceKind::kDevice, .index = 0, .host = 0}};
  EXPECT_TRUE(std::is_sorted(ordered.begin(), ordered.end()));
  EXPECT_EQ(std::adjacent_find(ordered.begin(), ordered.end()), ordered.end());
}

TEST(Place, ComesBeforeThoseOfLaterHostsByHost) {
  const std::vector<Place> ordered = {{.kind = PlaceKind::kNuma, .index = 1, .host = 0},
                                      {.kind = PlaceKind::kDevice, .index = 0, .host = 0},
                                      {.kind = PlaceKind::kNuma, .index = 0, .host = 7},
                                      {.kind = PlaceKind::kNuma, .index = 1, .host = 7}};
  for (std::size_t i = 0; i < ordered.size(); ++i) {
    for (std::size_t j = 0; j < ordered.size(); ++j) {
      EXPECT_EQ(before_by_host(ordered[i], ordered[j]), i < j);
    }
  }
}

}  // namespace
}  // namespace pinion
