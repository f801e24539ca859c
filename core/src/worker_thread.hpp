#pragma once

namespace pinion::detail {

/// Whether the calling thread is inside a task of some Executor.
[[nodiscard]] bool inside_task() noexcept;

}  // namespace pinion::detail
