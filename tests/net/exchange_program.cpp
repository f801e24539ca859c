// Two ranks, each on a host of its own: each makes blobs of several sizes that belong to no step,
// opens those of the other, in parts and as a whole, and prints what came of it. What it has made
// stays until the other is done.
//
//   exchange_program DIR

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <pinion/pinion.hpp>

namespace {

// In slabs up to 256 KiB, beyond that with a segment of their own.
constexpr std::array<std::uint64_t, 6> kSizes = {0, 1, 100 << 10, 256 << 10, 257 << 10, 8 << 20};

// What a rank tells the other.
struct Handles {
  std::array<pinion::BlobHandle, kSizes.size()> blobs = {};
  pinion::BlobHandle stale = {};    // Of a descriptor that the first of these has now.
  pinion::BlobHandle dropped = {};  // Of one that nobody has.
};

std::byte byte_at(std::uint64_t at, std::uint32_t rank) {
  return static_cast<std::byte>((at * 31 + (at >> 8) + rank * 101 + 7) & 0xff);
}

bool are_bytes_of(std::span<const std::byte> bytes, std::uint64_t begin, std::uint32_t rank) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] != byte_at(begin + i, rank)) {
      return false;
    }
  }
  return true;
}

pinion::Status wrong(const std::string& what) {
  return {pinion::ErrorCode::kInternal, what};
}

void wait_for(const std::string& path) {
  for (int round = 0; round < 6000 && access(path.c_str(), F_OK) != 0; ++round) {
    poll(nullptr, 0, 10);
  }
}

std::string path_of(const std::string& folder, const char* name, std::uint32_t rank) {
  return folder + "/" + name + "." + std::to_string(rank);
}

// Is there as a whole, or not.
void write_whole(const std::string& path, std::span<const std::byte> bytes) {
  std::ofstream(path + ".part", std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  std::rename((path + ".part").c_str(), path.c_str());
}

pinion::Result<pinion::Blob> make_blob(pinion::Job& job, std::uint64_t size_bytes) {
  pinion::Result<pinion::BlobWriter> writer =
      job.store().create(size_bytes, {.host = job.info().host});
  if (!writer) {
    return std::move(writer).error();
  }
  const std::span<std::byte> bytes = writer->bytes();
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = byte_at(i, job.rank());
  }
  return writer->seal();
}

// One of 100 bytes that is let go of at once.
pinion::Result<pinion::BlobHandle> make_and_drop(pinion::Job& job) {
  const pinion::Result<pinion::Blob> blob = make_blob(job, 100);
  return blob ? pinion::Result<pinion::BlobHandle>(blob->handle()) : blob.error();
}

// What is to stay is `held`.
pinion::Result<Handles> make_all(pinion::Job& job, std::vector<pinion::Blob>& held) {
  Handles handles;
  const pinion::Result<pinion::BlobHandle> stale = make_and_drop(job);
  for (std::size_t i = 0; stale && i < kSizes.size(); ++i) {
    pinion::Result<pinion::Blob> blob = make_blob(job, kSizes[i]);
    if (!blob) {
      return std::move(blob).error();
    }
    handles.blobs[i] = blob->handle();
    held.push_back(*std::move(blob));
  }
  const pinion::Result<pinion::BlobHandle> dropped = make_and_drop(job);
  if (!stale || !dropped) {
    return stale ? dropped.error() : stale.error();
  }
  handles.stale = *stale;
  handles.dropped = *dropped;
  if (handles.blobs[0].index != handles.stale.index) {
    return wrong("the descriptor of what was dropped is not used again");
  }
  return handles;
}

pinion::Status expect_refusal(pinion::Job& job, const pinion::BlobHandle& handle,
                              pinion::ErrorCode code) {
  const pinion::Result<pinion::Blob> opened = job.store().open(handle);
  if (opened) {
    return wrong("a blob that is not there was opened");
  }
  return opened.error().code() == code ? pinion::Status() : pinion::Status(opened.error());
}

pinion::Status open_all(pinion::Job& job, const Handles& handles, std::uint32_t maker) {
  std::vector<pinion::BlobPart> parts;
  for (const pinion::BlobHandle& handle : handles.blobs) {
    const std::uint64_t begin = handle.length_bytes / 2;
    parts.push_back({handle, begin, handle.length_bytes - begin});
  }
  const pinion::Result<std::vector<pinion::Blob>> opened = job.store().open_parts(parts)();
  if (!opened) {
    return opened.error();
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if ((*opened)[i].bytes().size() != parts[i].length_bytes ||
        !are_bytes_of((*opened)[i].bytes(), parts[i].offset, maker)) {
      return wrong("wrong bytes in a part of a blob of " + std::to_string(kSizes[i]));
    }
  }
  for (std::size_t i = 0; i < kSizes.size(); ++i) {
    const pinion::Result<pinion::Blob> whole = job.store().open(handles.blobs[i]);
    if (!whole) {
      return whole.error();
    }
    if (whole->bytes().size() != kSizes[i] || !are_bytes_of(whole->bytes(), 0, maker)) {
      return wrong("wrong bytes in a blob of " + std::to_string(kSizes[i]));
    }
  }
  PINION_RETURN_IF_ERROR(
      expect_refusal(job, handles.stale, pinion::ErrorCode::kFailedPrecondition));
  return expect_refusal(job, handles.dropped, pinion::ErrorCode::kNotFound);
}

pinion::Status exchange(pinion::Job& job, const std::string& folder) {
  const std::uint32_t other = 1 - job.rank();
  std::vector<pinion::Blob> held;
  const pinion::Result<Handles> made = make_all(job, held);
  if (!made) {
    return made.error();
  }
  write_whole(path_of(folder, "handles", job.rank()), std::as_bytes(std::span(&*made, 1)));
  wait_for(path_of(folder, "handles", other));
  Handles handles;
  std::ifstream(path_of(folder, "handles", other), std::ios::binary)
      .read(reinterpret_cast<char*>(&handles), sizeof(handles));
  const pinion::Status opened = open_all(job, handles, other);
  write_whole(path_of(folder, "done", job.rank()), {});
  wait_for(path_of(folder, "done", other));
  return opened;
}

}  // namespace

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (!job || argc != 2 || job->rank_count() != 2) {
    std::fputs("usage, on two ranks: exchange_program DIR\n", stderr);
    return 64;
  }
  const pinion::Status exchanged = exchange(*job, argv[1]);
  if (exchanged.ok()) {
    std::printf("rank %u opened all\n", job->rank());
  }
  return pinion::report(exchanged);
}
