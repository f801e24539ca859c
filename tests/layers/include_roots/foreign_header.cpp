#include <pinion/shard/planner.hpp>
