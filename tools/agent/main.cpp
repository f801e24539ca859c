#include <pinion/runtime/launch.hpp>

int main(int argc, char** argv) {
  return pinion::run_agent(argc, argv);
}
