// Makes a large blob and small ones for each NUMA node of the machine, and prints of each, as the
// kernel numbers nodes, where its pages lie: "node 1: 8388608 bytes, own segment, on 1".

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <pinion/numa/topology.hpp>
#include <pinion/pinion.hpp>

namespace {

constexpr std::uint64_t kLargeBytes = std::uint64_t{8} << 20;
constexpr std::uint64_t kSmallBytes = 20'000;
constexpr std::byte kContent{42};

// The nodes of all pages on which some of the bytes lie.
std::string nodes_of(std::span<const std::byte> bytes) {
  // The kernel tells of pages that this process has entered.
  if (!std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte == kContent; })) {
    return "wrong bytes";
  }
  const auto page_bytes = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
  std::vector<void*> pages;
  for (std::uintptr_t at = begin / page_bytes * page_bytes; at < begin + bytes.size();
       at += page_bytes) {
    pages.push_back(reinterpret_cast<void*>(at));
  }
  std::vector<int> nodes(pages.size(), -1);
  if (syscall(SYS_move_pages, 0, pages.size(), pages.data(), nullptr, nodes.data(), 0) != 0) {
    return "nowhere";
  }
  std::string text;
  for (const int node : std::set<int>(nodes.begin(), nodes.end())) {
    text += (text.empty() ? "" : ",") + std::to_string(node);
  }
  return text;
}

pinion::Result<pinion::Blob> make_blob(pinion::Job& job, std::uint64_t size_bytes,
                                       pinion::Place place) {
  pinion::Result<pinion::BlobWriter> writer = job.store().create(size_bytes, place);
  if (!writer) {
    return std::move(writer).error();
  }
  std::fill(writer->bytes().begin(), writer->bytes().end(), kContent);
  return writer->seal();
}

pinion::Status show_blobs(pinion::Job& job) {
  const pinion::Result<pinion::Topology> topology = pinion::Topology::of_this_machine();
  if (!topology) {
    return topology.error();
  }
  std::vector<pinion::Blob> blobs;  // All at once, so that none lies where another one was.
  for (const pinion::NumaNode& node : topology->nodes()) {
    pinion::Place place = node.place;
    place.host = job.info().host;
    for (const std::uint64_t size_bytes : {kLargeBytes, kSmallBytes, kSmallBytes}) {
      pinion::Result<pinion::Blob> made = make_blob(job, size_bytes, place);
      if (!made) {
        return made.error();
      }
      blobs.push_back(*std::move(made));
      std::printf("node %u: %llu bytes, %s, on %s\n", unsigned{place.index},
                  static_cast<unsigned long long>(size_bytes),
                  blobs.back().handle().index == 0 ? "own segment" : "slab",
                  nodes_of(blobs.back().bytes()).c_str());
    }
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (!job) {
    return pinion::report(job.error());
  }
  return pinion::report(show_blobs(*job));
}
