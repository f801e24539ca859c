#pragma once

#include <sys/mman.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>

#include <pinion/core/clock.hpp>

namespace pinion::bench {

/// What the contenders of bench/transport_hosts carry: the parts [i * bytes, (i + 1) * bytes) of
/// the source, all of a round at once.
struct Transfer {
  std::size_t bytes;
  std::size_t at_once;
  std::size_t rounds;
};

inline constexpr std::array<Transfer, 6> kTransfers = {{{std::size_t{64} << 10, 1, 200},
                                                        {std::size_t{1} << 20, 1, 60},
                                                        {std::size_t{1} << 20, 8, 12},
                                                        {std::size_t{8} << 20, 1, 12},
                                                        {std::size_t{8} << 20, 4, 6},
                                                        {std::size_t{64} << 20, 1, 6}}};
inline constexpr std::size_t kSourceBytes = std::size_t{64} << 20;
inline constexpr std::size_t kRequestCount = 3000;

/// Pages of zeros that nobody has touched. Ends the process where there are none.
class FreshMemory {
 public:
  explicit FreshMemory(std::size_t size)
      : size_(size),
        memory_(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    if (memory_ == MAP_FAILED) {
      std::perror("mmap");
      std::exit(71);
    }
  }
  ~FreshMemory() { ::munmap(memory_, size_); }
  FreshMemory(const FreshMemory&) = delete;
  FreshMemory& operator=(const FreshMemory&) = delete;

  [[nodiscard]] std::span<std::byte> bytes() const {
    return {static_cast<std::byte*>(memory_), size_};
  }
  /// Of part `index` of a transfer.
  [[nodiscard]] std::span<std::byte> part(const Transfer& transfer, std::size_t index) const {
    return bytes().subspan(index * transfer.bytes, transfer.bytes);
  }

 private:
  std::size_t size_;
  void* memory_;
};

/// The same bytes for all contenders, no two parts alike.
inline void fill_source(std::span<std::byte> source) {
  for (std::uint64_t at = 0; at + sizeof(at) <= source.size(); at += sizeof(at)) {
    std::uint64_t word = (at + 1) * 0x9e3779b97f4a7c15U;
    word ^= word >> 29;
    std::memcpy(source.data() + at, &word, sizeof(word));
  }
}

/// Prints "answer WORK NUMBER", by which the contenders are compared.
inline void print_answer(const Transfer& transfer, std::span<const std::byte> received) {
  std::uint64_t sum = 0;
  for (std::size_t at = 0; at + sizeof(sum) <= received.size(); at += sizeof(sum)) {
    std::uint64_t word = 0;
    std::memcpy(&word, received.data() + at, sizeof(word));
    sum = (sum ^ word) * 0x100000001b3U;
  }
  std::printf("answer %zux%zu %016llx\n", transfer.bytes, transfer.at_once,
              static_cast<unsigned long long>(sum));
}

/// How often a transfer is made: the first time to warm up, the last time for the answer.
inline std::size_t rounds_of(const Transfer& transfer) {
  return transfer.rounds + 1;
}

/// Whether the last argument of a program asks for memory that is new in each round.
inline bool wants_new_memory(int count, char** arguments) {
  return count > 1 && std::strcmp(arguments[count - 1], "new") == 0;
}

/// All rounds of a transfer, for who receives. The memory for what comes is the same for all, or
/// new in each, and then made within the time. Prints "WORK RATE...", in bytes a second, and the
/// answer: what has arrived in the last round.
class Rounds {
 public:
  Rounds(const Transfer& transfer, bool new_memory)
      : transfer_(transfer),
        new_memory_(new_memory),
        memory_(std::make_unique<FreshMemory>(transfer.bytes * transfer.at_once)) {
    std::printf("%zux%zu", transfer.bytes, transfer.at_once);
  }

  /// Begins a round: the memory for its parts; nothing after the last one.
  const FreshMemory* begin() {
    const std::size_t size = memory_->bytes().size();
    if (round_ == rounds_of(transfer_)) {
      print_answer(transfer_, memory_->bytes());
      return nullptr;
    }
    if (round_ == transfer_.rounds) {
      std::printf("\n");
      std::memset(memory_->bytes().data(), 0, size);
    } else if (new_memory_) {
      memory_.reset();
    }
    begin_ = clock_.now();
    if (memory_ == nullptr) {
      memory_ = std::make_unique<FreshMemory>(size);
    }
    return memory_.get();
  }

  void end() {
    const std::chrono::duration<double> seconds = clock_.now() - begin_;
    if (round_ > 0 && round_ < transfer_.rounds) {
      std::printf(" %.0f", static_cast<double>(memory_->bytes().size()) / seconds.count());
    }
    ++round_;
  }

 private:
  const SystemClock clock_;
  const Transfer transfer_;
  const bool new_memory_;
  std::unique_ptr<FreshMemory> memory_;
  std::size_t round_ = 0;
  Instant begin_ = {};
};

}  // namespace pinion::bench
