#pragma once

#include <cstdint>

#include <pinion/pinion.hpp>

namespace pinion {

/// A job whose way to the coordinator is another one. Borrows both.
class JobWithLink final : public IJobContext {
 public:
  JobWithLink(Job& job, IControlLink& link) : job_(job), link_(link) {}

  const JobInfo& info() const noexcept override { return job_.info(); }
  Executor& executor() noexcept override { return job_.executor(); }
  IBlobStore& store() noexcept override { return job_.store(); }
  IControlLink& control() noexcept override { return link_; }
  Trace& trace() noexcept override { return job_.trace(); }
  MemoryLedger& memory() noexcept override { return job_.memory(); }
  PagePool& pages() noexcept override { return job_.pages(); }
  Metrics& metrics() noexcept override { return job_.metrics(); }
  IShardDevices* devices() override { return job_.devices(); }
  std::uint64_t begin_step() noexcept override { return job_.begin_step(); }

 private:
  Job& job_;
  IControlLink& link_;
};

}  // namespace pinion
