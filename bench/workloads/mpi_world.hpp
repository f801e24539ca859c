#pragma once

#define OMPI_SKIP_MPICXX 1
#include <mpi.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "harness.hpp"

namespace pinion::bench {

/// MPI, from the construction on until the end. Ranks other than 0 print nothing from there on.
class MpiWorld {
 public:
  MpiWorld(int& argc, char**& argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    if (rank_ != 0 && std::freopen("/dev/null", "w", stdout) == nullptr) {
      throw std::runtime_error("opening /dev/null");
    }
  }
  ~MpiWorld() { MPI_Finalize(); }
  MpiWorld(const MpiWorld&) = delete;
  MpiWorld& operator=(const MpiWorld&) = delete;

  [[nodiscard]] std::size_t rank() const noexcept { return static_cast<std::size_t>(rank_); }
  [[nodiscard]] std::size_t size() const noexcept { return static_cast<std::size_t>(size_); }

  /// Where the part of `rank` begins when `count` things are divided evenly.
  [[nodiscard]] std::size_t begin_of(std::size_t rank, std::size_t count) const noexcept {
    return count / size() * rank + count % size() * rank / size();
  }

  /// Which rank owns a hash.
  [[nodiscard]] std::size_t owner_of(std::uint64_t hash) const noexcept {
    return static_cast<std::size_t>((hash >> 32) * size() >> 32);
  }

  static void wait_for_all() { MPI_Barrier(MPI_COMM_WORLD); }

  /// Gives the i-th list to rank i; returns what the others have for this one, rank after rank.
  template <class T>
  [[nodiscard]] std::vector<T> exchange(const std::vector<std::vector<T>>& lists) const {
    static_assert(std::is_trivially_copyable_v<T>);
    std::vector<T> out;
    std::vector<int> out_counts;
    for (const std::vector<T>& list : lists) {
      out_counts.push_back(static_cast<int>(list.size()));
      out.insert(out.end(), list.begin(), list.end());
    }
    const std::vector<int> in_counts = exchange_counts(out_counts);
    std::vector<T> in(static_cast<std::size_t>(begins_of(in_counts).back()));
    exchange_items(out.data(), out_counts, in.data(), in_counts, sizeof(T));
    return in;
  }

  [[nodiscard]] std::vector<int> exchange_counts(const std::vector<int>& counts) const {
    std::vector<int> in(size());
    MPI_Alltoall(counts.data(), 1, MPI_INT, in.data(), 1, MPI_INT, MPI_COMM_WORLD);
    return in;
  }

  /// Items of `item_bytes` bytes, those for one rank after those for the other.
  void exchange_items(const void* out, const std::vector<int>& out_counts, void* in,
                      const std::vector<int>& in_counts, std::size_t item_bytes) const {
    MPI_Datatype item = MPI_BYTE;
    MPI_Type_contiguous(static_cast<int>(item_bytes), MPI_BYTE, &item);
    MPI_Type_commit(&item);
    MPI_Alltoallv(out, out_counts.data(), begins_of(out_counts).data(), item, in, in_counts.data(),
                  begins_of(in_counts).data(), item, MPI_COMM_WORLD);
    MPI_Type_free(&item);
  }

  /// The answer of the job from those of the ranks: the time of this rank, everything else summed
  /// up. Call it when the answer is complete everywhere.
  [[nodiscard]] static Repetition sum(const Repetition& mine) {
    const auto cpu = static_cast<std::uint64_t>(mine.time.cpu.count());
    const std::uint64_t parts[] = {mine.bytes, mine.rows, mine.checksum, cpu};
    std::uint64_t sums[4] = {};
    MPI_Allreduce(parts, sums, 4, MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD);
    Repetition whole = {.time = mine.time, .bytes = sums[0], .rows = sums[1], .checksum = sums[2]};
    whole.time.cpu = std::chrono::nanoseconds(sums[3]);
    return whole;
  }

 private:
  [[nodiscard]] static std::vector<int> begins_of(const std::vector<int>& counts) {
    std::vector<int> begins = {0};
    for (const int count : counts) {
      begins.push_back(begins.back() + count);
    }
    return begins;
  }

  int rank_ = 0;
  int size_ = 1;
};

}  // namespace pinion::bench
