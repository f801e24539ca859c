#pragma once

#include <barrier>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "launch/exchange.hpp"

namespace pinion {

/// An exchange among threads of a test, each of which stands for a process of a launcher.
class SharedExchange {
 public:
  explicit SharedExchange(std::uint32_t process_count)
      : values_(process_count), barrier_(static_cast<std::ptrdiff_t>(process_count)) {}

  /// Runs `body` once for each process, all at once, until all have ended.
  void run(const std::function<void(std::unique_ptr<IExchange>)>& body) {
    std::vector<std::thread> threads;
    for (std::uint32_t process = 0; process < values_.size(); ++process) {
      threads.emplace_back(
          [this, process, &body] { body(std::make_unique<Process>(*this, process)); });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
  }

 private:
  class Process final : public IExchange {
   public:
    Process(SharedExchange& shared, std::uint32_t process) : shared_(shared), process_(process) {}

    [[nodiscard]] std::uint32_t process() const noexcept override { return process_; }
    [[nodiscard]] std::uint32_t process_count() const noexcept override {
      return static_cast<std::uint32_t>(shared_.values_.size());
    }
    [[nodiscard]] Result<std::vector<std::string>> gather(const std::string& value) override {
      shared_.values_[process_] = value;
      shared_.barrier_.arrive_and_wait();
      std::vector<std::string> all = shared_.values_;
      shared_.barrier_.arrive_and_wait();  // Before anybody changes them.
      return all;
    }

   private:
    SharedExchange& shared_;
    const std::uint32_t process_;
  };

  std::vector<std::string> values_;
  std::barrier<> barrier_;
};

}  // namespace pinion
