#pragma once

namespace pinion::sim {

/// Lets malloc() take everything from one heap in huge pages, and keep what is freed for what comes
/// next: a simulation goes through tables of some ten megabytes in no order, and many run after one
/// another. Does nothing where the heap cannot grow or the system gives no huge pages; memory that
/// is beyond the heap's first GiB lies in small ones.
/// Thread safety: call it before other threads exist. Blocks: no. Once a process is enough.
void use_huge_heap() noexcept;

}  // namespace pinion::sim
