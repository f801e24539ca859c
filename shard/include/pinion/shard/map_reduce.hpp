#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <typeinfo>
#include <utility>
#include <vector>

#include <pinion/core/job_context.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/aggregator.hpp>
#include <pinion/shard/device_body.hpp>
#include <pinion/shard/input.hpp>
#include <pinion/shard/key_hash.hpp>
#include <pinion/shard/planner.hpp>
#include <pinion/shard/shard.hpp>
#include <pinion/shard/step.hpp>

namespace pinion {

/// What map_reduce() takes as an aggregator: an IAggregator with the typed ends that the program
/// sees. The Emitter is made of (IAggregator&, const Shard&), is what the body calls, and hands
/// over what it holds in flush(). The Result is made of the step's partitions by create().
template <class A>
concept Aggregation = std::derived_from<A, IAggregator> && std::copy_constructible<A> &&
    requires(IAggregator& state, const Shard& shard, std::vector<Blob> partitions) {
  typename A::Emitter;
  typename A::Result;
  { A::kPartitionCount } -> std::convertible_to<std::uint32_t>;
  requires std::constructible_from<typename A::Emitter, IAggregator&, const Shard&>;
  requires requires(typename A::Emitter & emitter) {
    emitter.flush();
  };
  { A::Result::create(std::move(partitions)) } -> std::same_as<Result<typename A::Result>>;
};

namespace detail {

[[nodiscard]] inline std::uint64_t fingerprint_of(std::string_view description) {
  return hash_text(description);
}

template <class A>
[[nodiscard]] std::string describe_aggregation(const A& aggregator) {
  std::string words = type_name(typeid(A));
  if constexpr (requires {
                  { aggregator.describe() } -> std::convertible_to<std::string>;
                }) {
    words += " " + std::string(aggregator.describe());
  }
  return words;
}

[[nodiscard]] inline StepSpec make_step(std::string_view operation, Input input,
                                        Partitioning partitioning, CallSite where) {
  StepSpec spec;
  spec.description = describe_step(operation, input, partitioning, where);
  spec.fingerprint = fingerprint_of(spec.description);
  spec.input = std::move(input);
  spec.partitioning = std::move(partitioning);
  return spec;
}

// Runs a step whose bodies emit into `aggregator`, up to its sealed partitions.
template <class Body, class A>
[[nodiscard]] Result<StepOutcome> run_map_reduce(IJobContext& job, StepSpec spec, const Body& body,
                                                 const A& aggregator) {
  static_assert(Aggregation<A>,
                "the last argument must be an aggregator such as pinion::sum_by_key<Key, Value>(): "
                "see the concept pinion::Aggregation");
  static_assert(std::invocable<const Body&, const Shard&, typename A::Emitter&>,
                "the body must be callable as body(const pinion::Shard&, auto& emit); it runs on "
                "several threads at once, so it must not be mutable");
  spec.partition_count = A::kPartitionCount;
  spec.prototype = &aggregator;
  spec.combines = CombinesPartials<A>;
  spec.body = [&body](const Shard& shard, IAggregator& state) {
    typename A::Emitter emit(state, shard);
    body(shard, emit);
    emit.flush();
  };
  if constexpr (kIsDeviceBody<Body>) {
    static_assert(
        std::invocable<const decltype(body.finish)&, const DevicePiece&, typename A::Emitter&>,
        "the second function of on_gpu() must be callable as finish(const "
        "pinion::DevicePiece&, auto& emit); it must not be mutable");
    spec.device = {
        .kernel = body.kernel,
        .finish = [&body](const Shard& shard, const DevicePiece& piece, IAggregator& state) {
          typename A::Emitter emit(state, shard);
          body.finish(piece, emit);
          emit.flush();
        }};
  }
  return run_step(job, spec);
}

}  // namespace detail

/// Calls `body(shard, emit)` for every shard of `input`, on all workers of all ranks, and joins
/// what the bodies emit. A collective operation: every rank calls it, in the same order, with the
/// same arguments and equal captures, and every rank gets the same answer.
///
/// The body runs concurrently, may run more than once for a shard (what it emits counts once, its
/// other effects happen at least once), and may throw: the shard is tried again, some times.
///
/// Blocks and fails as run_step() does.
template <class Body, class A>
[[nodiscard]] Result<typename A::Result> map_reduce(IJobContext& job, Input input,
                                                    Partitioning partitioning, Body body,
                                                    A aggregator,
                                                    CallSite where = CallSite::current()) {
  Result<StepOutcome> outcome = detail::run_map_reduce(
      job,
      detail::make_step("map_reduce into " + detail::describe_aggregation(aggregator),
                        std::move(input), std::move(partitioning), where),
      body, aggregator);
  if (!outcome) {
    return std::move(outcome).error();
  }
  return A::Result::create(std::move(outcome->partitions));
}

/// Calls `body(shard)` for every shard of `input`, on all workers of all ranks, for its effects,
/// which happen at least once a shard. A collective operation like map_reduce().
template <class Body>
[[nodiscard]] Status for_each_shard(IJobContext& job, Input input, Partitioning partitioning,
                                    Body body, CallSite where = CallSite::current()) {
  static_assert(std::invocable<const Body&, const Shard&>,
                "the body must be callable as body(const pinion::Shard&); it runs on several "
                "threads at once, so it must not be mutable");
  StepSpec spec =
      detail::make_step("for_each_shard", std::move(input), std::move(partitioning), where);
  spec.body = [&body = std::as_const(body)](const Shard& shard, IAggregator&) { body(shard); };
  Result<StepOutcome> outcome = run_step(job, spec);
  return outcome ? Status() : std::move(outcome).error();
}

/// Calls `function()` on one rank, whichever is free, on one of its workers: printing, writing a
/// file. At least once: when that rank dies before the job has taken note, another calls it again.
/// A collective operation like map_reduce(); every rank goes on when it is done.
template <class Function>
[[nodiscard]] Status once(IJobContext& job, Function function,
                          CallSite where = CallSite::current()) {
  static_assert(std::invocable<const Function&>,
                "the function must be callable without arguments and must not be mutable");
  StepSpec spec = detail::make_step("once", indices(1), by_index_range(1), where);
  spec.body = [&function = std::as_const(function)](const Shard&, IAggregator&) { function(); };
  Result<StepOutcome> outcome = run_step(job, spec);
  return outcome ? Status() : std::move(outcome).error();
}

}  // namespace pinion
