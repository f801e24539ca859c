// As transfer_pinion, by MPI: rank 1 asks rank 0, which sends.
//
//   mpirun -n 2 transfer_openmpi [new]

#define OMPI_SKIP_MPICXX 1
#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "transfer.hpp"

namespace pinion::bench {
namespace {

void ping(bool asks) {
  std::uint64_t number = 0;
  std::vector<double> samples;
  for (std::size_t i = 0; i < kRequestCount; ++i) {
    const double begin = MPI_Wtime();
    if (asks) {
      MPI_Send(&number, 8, MPI_BYTE, 0, 0, MPI_COMM_WORLD);
      MPI_Recv(&number, 8, MPI_BYTE, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      samples.push_back((MPI_Wtime() - begin) * 1e6);
    } else {
      MPI_Recv(&number, 8, MPI_BYTE, 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      MPI_Send(&number, 8, MPI_BYTE, 1, 0, MPI_COMM_WORLD);
    }
  }
  if (asks) {
    std::printf("request");
    for (const double sample : samples) {
      std::printf(" %.3f", sample);
    }
    std::printf("\n");
  }
}

constexpr int kAsks = 0;
constexpr int kSends = 1;

void receive(const Transfer& transfer, const FreshMemory& memory) {
  std::vector<MPI_Request> requests(transfer.at_once);
  for (std::size_t i = 0; i < transfer.at_once; ++i) {
    MPI_Irecv(memory.part(transfer, i).data(), static_cast<int>(transfer.bytes), MPI_BYTE, 0,
              kSends, MPI_COMM_WORLD, &requests[i]);
  }
  const std::uint64_t number = 0;
  MPI_Send(&number, 8, MPI_BYTE, 0, kAsks, MPI_COMM_WORLD);
  MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE);
}

void send(const Transfer& transfer, const FreshMemory& source) {
  std::vector<MPI_Request> requests(transfer.at_once);
  std::uint64_t number = 0;
  MPI_Recv(&number, 8, MPI_BYTE, 1, kAsks, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  for (std::size_t i = 0; i < transfer.at_once; ++i) {
    MPI_Isend(source.part(transfer, i).data(), static_cast<int>(transfer.bytes), MPI_BYTE, 1,
              kSends, MPI_COMM_WORLD, &requests[i]);
  }
  MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE);
}

void run(bool asks, bool new_memory) {
  ping(asks);
  const FreshMemory source(asks ? 1 : kSourceBytes);
  fill_source(source.bytes());
  for (const Transfer& transfer : kTransfers) {
    if (asks) {
      Rounds rounds(transfer, new_memory);
      while (const FreshMemory* const memory = rounds.begin()) {
        receive(transfer, *memory);
        rounds.end();
      }
    } else {
      for (std::size_t round = 0; round < rounds_of(transfer); ++round) {
        send(transfer, source);
      }
    }
  }
}

}  // namespace
}  // namespace pinion::bench

int main(int count, char** arguments) {
  MPI_Init(&count, &arguments);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  pinion::bench::run(rank == 1, pinion::bench::wants_new_memory(count, arguments));
  MPI_Finalize();
  return 0;
}
