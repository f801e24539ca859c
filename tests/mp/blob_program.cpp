// Makes blobs that belong to no step, and prints what came of it.
//
//   blob_program turns        Each rank makes 20 of 8 MiB, one after the other, and opens each.
//   blob_program wait DIR     Rank 0 has 40 MiB until rank 1, which wants 32, has made DIR/wanted.
//   blob_program keep DIR     Rank 0 has them until DIR/enough is there, at most a minute.

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include <pinion/pinion.hpp>

namespace {

constexpr std::uint64_t kBlobBytes = std::uint64_t{8} << 20;

void touch(const std::string& path) {
  close(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

void wait_for(const std::string& path) {
  for (int round = 0; round < 6000 && access(path.c_str(), F_OK) != 0; ++round) {
    poll(nullptr, 0, 10);
  }
}

pinion::Result<pinion::Blob> make_blob(pinion::Job& job, std::uint64_t size_bytes) {
  pinion::Result<pinion::BlobWriter> writer =
      job.store().create(size_bytes, {.host = job.info().host});
  if (!writer) {
    return std::move(writer).error();
  }
  writer->bytes()[0] = std::byte{42};
  return writer->seal();
}

pinion::Status take_turns(pinion::Job& job) {
  for (int i = 0; i < 20; ++i) {
    const pinion::Result<pinion::Blob> made = make_blob(job, kBlobBytes);
    if (!made) {
      return made.error();
    }
    if (const auto opened = job.store().open(made->handle()); !opened) {
      return opened.error();
    }
  }
  return {};
}

// `signal`: the name of the file at which rank 0 drops what it has.
pinion::Status want_what_is_taken(pinion::Job& job, const std::string& folder,
                                  const std::string& signal) {
  if (job.rank() == 0) {
    std::vector<pinion::Blob> in_the_way;
    for (int i = 0; i < 5; ++i) {
      pinion::Result<pinion::Blob> made = make_blob(job, kBlobBytes);
      if (!made) {
        return std::move(made).error();
      }
      in_the_way.push_back(*std::move(made));
    }
    touch(folder + "/held");
    wait_for(folder + signal);
    return {};
  }
  wait_for(folder + "/held");
  // A rank knows what the host holds from what the agent has said last.
  if (const pinion::Result<pinion::Blob> first = make_blob(job, kBlobBytes / 8); !first) {
    return first.error();
  }
  touch(folder + "/wanted");
  const pinion::Result<pinion::Blob> made = make_blob(job, 4 * kBlobBytes);
  return made ? pinion::Status() : made.error();
}

}  // namespace

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  if (!job) {
    return pinion::report(job.error());
  }
  const std::string mode = argc < 2 ? "" : argv[1];
  pinion::Status made;
  if (mode == "turns") {
    made = take_turns(*job);
  } else if (argc == 3) {
    made = want_what_is_taken(*job, argv[2], mode == "wait" ? "/wanted" : "/enough");
  }
  if (!made.ok()) {
    return pinion::report(made);
  }
  std::printf("rank %u had room\n", job->rank());
  return 0;
}
