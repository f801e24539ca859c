// The decoder of what agents of several hosts send to each other, on messages that are nearly
// right.

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "hosts/host_messages.hpp"
#include "mutate.hpp"
#include "runtime/some_host_messages.hpp"

namespace pinion {
namespace {

TEST(HostMessageFuzz, IsWholeOrRefused) {
  std::vector<std::string> examples;
  for (const HostMessage& message : some_host_messages()) {
    const std::vector<std::byte> bytes = encode(message);
    examples.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  fuzz::for_each_trial([&](fuzz::Mutator& mutator, std::uint64_t) {
    const std::string text = mutator.mutate(examples);
    const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
    if (const Result<HostMessage> message = decode_host_message(bytes)) {
      // Nothing of what came is left out: one message has one form.
      const std::vector<std::byte> again = encode(*message);
      if (!std::holds_alternative<HostBroken>(*message)) {  // Unknown codes become one.
        EXPECT_TRUE(std::equal(again.begin(), again.end(), bytes.begin(), bytes.end()));
      }
    }
  });
}

}  // namespace
}  // namespace pinion
