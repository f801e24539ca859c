#pragma once

/// Everything that a program of Pinion needs.

#include <pinion/core/bytes.hpp>
#include <pinion/dag/graph.hpp>
#include <pinion/gpu/kernels.hpp>
#include <pinion/runtime/job.hpp>
#include <pinion/runtime/version.hpp>
#include <pinion/shard/collect.hpp>
#include <pinion/shard/device_body.hpp>
#include <pinion/shard/distributed.hpp>
#include <pinion/shard/fold_by_key.hpp>
#include <pinion/shard/fold_objects_by_key.hpp>
#include <pinion/shard/histogram.hpp>
#include <pinion/shard/input.hpp>
#include <pinion/shard/map_reduce.hpp>
#include <pinion/shard/numbers.hpp>
#include <pinion/shard/output.hpp>
#include <pinion/shard/planner.hpp>
#include <pinion/shard/sort.hpp>
#include <pinion/shard/sum_vector.hpp>
#include <pinion/shard/text.hpp>
#include <pinion/shard/top_k.hpp>
#include <pinion/shard/vector_reduce.hpp>
