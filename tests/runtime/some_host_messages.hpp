#pragma once

#include <chrono>
#include <cstddef>
#include <vector>

#include "hosts/host_messages.hpp"

namespace pinion {

/// At least one of each kind.
inline std::vector<HostMessage> some_host_messages() {
  const BlobHandle blob{.job = 1,
                        .generation = 2,
                        .length_bytes = 3,
                        .epoch = 4,
                        .host = 5,
                        .segment = 6,
                        .index = 7};
  using namespace std::chrono_literals;
  const std::vector<std::byte> bytes = {std::byte{0}, std::byte{255}, std::byte{7}};
  return {
      HostHello{.version = "1.2.3", .host = 3, .address = "10.0.0.1"},
      HostRankJoined{.rank = 1, .incarnation = 2, .pid = 1234567890123},
      HostRankLost{.rank = 1, .incarnation = 2, .returns = true, .reason = "killed"},
      HostRankLost{.rank = 1, .incarnation = 2, .returns = false, .reason = ""},
      HostRankLeft{.rank = 1, .incarnation = 2},
      FromRank{.rank = 1, .incarnation = 2, .output_bytes = 77, .message = bytes},
      HostRankFailed{.exit_status = 137, .others_go_on = true},
      HostRankFailed{.exit_status = -1, .others_go_on = false},
      HostBroken{.code = ErrorCode::kDataLoss, .text = "gone"},
      HostRanksOver{},
      HostRanksOver{.traffic = {{.host = 1, .path = "tcp", .pulled_count = 2, .pulled_bytes = 3},
                                {.host = 0, .slow = "why", .bulk_bytes = 4, .bulk_time = 5s}}},
      BeginJob{.addresses = {"a", "", "c"}},
      ToRank{.rank = 1, .incarnation = 2, .message = bytes},
      ToRank{},
      KeepBlob{blob},
      ReleaseBlob{blob},
      EndRanks{.exit_status = 3, .patience = std::chrono::milliseconds(300)},
      SignalRanks{.signal = 15},
      LeaveJob{},
      HostTookInput{},
      HostPlaced{.lines = {"rank 1: 1 worker", ""}},
      JobInput{.bytes = bytes},
      JobInput{},
      HostPrinted{.on_errors = true, .bytes = bytes},
      HostPrinted{},
      HeadTookOutput{.of_errors = true, .byte_count = 9, .is_closed = true},
      HeadTookOutput{.of_errors = false, .byte_count = ~std::uint64_t{0}, .is_closed = false},
      HostNotStarted{.host = 3, .exit_status = 69, .reason = "why"},
      HostMissed{.host = 2, .reason = "no way"},
      HostIsLost{.host = 2, .reason = ""}};
}

}  // namespace pinion
