// As transfer_pinion, by MPI: rank 1 asks rank 0, which sends.
//
//   mpirun -n 2 transfer_openmpi

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

void transfer(const Transfer& transfer, bool asks) {
  std::vector<std::vector<std::byte>> memory(transfer.at_once,
                                             std::vector<std::byte>(transfer.bytes, std::byte{7}));
  std::vector<MPI_Request> requests(transfer.at_once);
  if (asks) {
    std::printf("%zu", transfer.bytes);
  }
  for (std::size_t round = 0; round < transfer.rounds; ++round) {
    std::uint64_t number = 0;
    const double begin = MPI_Wtime();
    if (!asks) {
      MPI_Recv(&number, 8, MPI_BYTE, 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    }
    for (std::size_t i = 0; i < transfer.at_once; ++i) {
      const auto count = static_cast<int>(transfer.bytes);
      if (asks) {
        MPI_Irecv(memory[i].data(), count, MPI_BYTE, 0, 1, MPI_COMM_WORLD, &requests[i]);
      } else {
        MPI_Isend(memory[i].data(), count, MPI_BYTE, 1, 1, MPI_COMM_WORLD, &requests[i]);
      }
    }
    if (asks) {
      MPI_Send(&number, 8, MPI_BYTE, 0, 0, MPI_COMM_WORLD);
    }
    MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE);
    if (asks) {
      print_rate(transfer, MPI_Wtime() - begin, round);
    }
  }
  if (asks) {
    std::printf("\n");
  }
}

}  // namespace
}  // namespace pinion::bench

int main(int count, char** arguments) {
  MPI_Init(&count, &arguments);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  pinion::bench::ping(rank == 1);
  for (const pinion::bench::Transfer& transfer : pinion::bench::kTransfers) {
    pinion::bench::transfer(transfer, rank == 1);
  }
  MPI_Finalize();
  return 0;
}
