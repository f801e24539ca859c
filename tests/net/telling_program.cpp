// Takes STEPS steps, each of which prints its number on whichever rank runs it.
//
//   telling_program STEPS

#include <cstdio>
#include <cstdlib>

#include <pinion/pinion.hpp>

int main(int argc, char** argv) {
  auto job = pinion::Job::create(argc, argv);
  const int step_count = argc > 1 ? std::atoi(argv[1]) : 1;
  for (int step = 0; step < step_count; ++step) {
    const pinion::Status printed = job->once([step] { std::printf("step %d\n", step); });
    if (!printed.ok()) {
      return pinion::report(printed);
    }
  }
  return 0;
}
