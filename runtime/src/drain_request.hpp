#pragma once

namespace pinion {

/// The signal by which an agent is asked to drain the rank whose number comes with it.
[[nodiscard]] int drain_signal() noexcept;

}  // namespace pinion
