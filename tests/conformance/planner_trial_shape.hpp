#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include <rapidcheck.h>

#include <pinion/core/place.hpp>

namespace pinion {

/// What an input and a policy are made of, in numbers and words that RapidCheck can make smaller.
struct TrialShape {
  struct Source {
    std::string content = {};
    std::uint16_t home = 0;  ///< A node, which the policy may or may not have.
  };

  std::vector<Source> sources = {};
  std::uint64_t index_count = 0;
  std::uint64_t target_size = 1;
  std::vector<std::uint64_t> place_worker_counts = {1};  ///< One for each place.
  bool tells_worker_counts = false;

  [[nodiscard]] std::vector<Place> places() const {
    std::vector<Place> places(place_worker_counts.size());
    for (std::size_t i = 0; i < places.size(); ++i) {
      places[i].index = static_cast<std::uint16_t>(i);
    }
    return places;
  }

  friend std::ostream& operator<<(std::ostream& out, const TrialShape& shape) {
    for (const Source& source : shape.sources) {
      out << "source at node " << source.home << ": " << rc::toString(source.content) << "\n";
    }
    return out << shape.index_count << " indices, target " << shape.target_size << ", workers "
               << rc::toString(shape.place_worker_counts)
               << (shape.tells_worker_counts ? ", told" : ", not told");
  }
};

/// Every kind of content that matters to cuts at records.
[[nodiscard]] inline rc::Gen<std::string> arbitrary_content() {
  const auto filled = [](char byte, std::size_t size_max) {
    return rc::gen::map(rc::gen::inRange<std::size_t>(0, size_max),
                        [byte](std::size_t size) { return std::string(size, byte); });
  };
  const rc::Gen<std::string> letters = rc::gen::resize(
      60, rc::gen::container<std::string>(rc::gen::elementOf(std::string("ab\n\r"))));
  // Longer than the blocks in which the engine looks for the end of a record.
  const rc::Gen<std::string> long_line =
      rc::gen::map(filled('y', 9000), [](const std::string& line) { return "a\n" + line + "\nb"; });
  return rc::gen::weightedOneOf<std::string>(
      {{6, letters}, {1, filled('x', 300)}, {1, filled('\n', 50)}, {1, long_line}});
}

/// Inputs that are empty or of one source or of several, and policies of one place or of several.
[[nodiscard]] inline rc::Gen<TrialShape> arbitrary_trial_shape() {
  const auto source = rc::gen::build<TrialShape::Source>(
      rc::gen::set(&TrialShape::Source::content, arbitrary_content()),
      rc::gen::set(&TrialShape::Source::home, rc::gen::inRange<std::uint16_t>(0, 6)));
  // The size of a container is also that of what is in it, and ranges of size 6 begin and end at
  // their least.
  const auto some = [](std::size_t count_max, auto of) {
    using Value = typename decltype(of)::ValueType;
    constexpr int kWholeRange = 100;
    return rc::gen::resize(static_cast<int>(count_max), rc::gen::container<std::vector<Value>>(
                                                            rc::gen::resize(kWholeRange, of)));
  };
  return rc::gen::build<TrialShape>(
      rc::gen::set(&TrialShape::sources, some(6, source)),
      rc::gen::set(&TrialShape::index_count,
                   rc::gen::oneOf(rc::gen::inRange<std::uint64_t>(0, 2000),
                                  rc::gen::element<std::uint64_t>(1'000'003, std::uint64_t{1} << 62,
                                                                  std::uint64_t{1} << 63))),
      rc::gen::set(&TrialShape::target_size,
                   rc::gen::element<std::uint64_t>(1, 7, 64, 1000, 100'000)),
      rc::gen::set(&TrialShape::place_worker_counts,
                   rc::gen::map(some(3, rc::gen::inRange<std::uint64_t>(1, 5)),
                                [](std::vector<std::uint64_t> counts) {
                                  counts.push_back(1);
                                  return counts;
                                })),
      rc::gen::set(&TrialShape::tells_worker_counts));
}

}  // namespace pinion
