#pragma once

#include <type_traits>
#include <utility>

#include <pinion/core/shard_devices.hpp>
#include <pinion/shard/shard.hpp>

namespace pinion {

/// A body that devices may do in place of CPUs: see on_gpu().
template <class Body, class Finish>
struct DeviceBody {
  Body body;
  DeviceKernel kernel;
  Finish finish;

  template <class Emitter>
  void operator()(const Shard& shard, Emitter& emit) const {
    body(shard, emit);
  }
};

template <class Body>
inline constexpr bool kIsDeviceBody = false;
template <class Body, class Finish>
inline constexpr bool kIsDeviceBody<DeviceBody<Body, Finish>> = true;

/// A body with a variant for devices: `map_reduce(job, input, by_bytes(), on_gpu(body,
/// histogram_u8(), finish), aggregator)`. Where a rank has devices, shards are copied to them, the
/// kernel runs, and `finish(piece, emit)` emits on the host what it made of them, for a shard or,
/// where it fits no device whole, for each piece of it. `body(shard, emit)` does the others: those
/// that the workers take because they are free, all where there is no device, and those that have
/// failed before. Both ways must emit the same.
///
/// Which shards go to a device is decided by how long each takes there and here, as it is measured
/// while the step runs. Steps of indices, of partitions and in order (ordered()) run on CPUs alone.
///
/// `finish` is called as a body is: concurrently, maybe more than once for a shard, and it may
/// throw. The piece's bytes are valid during the call.
template <class Body, class Finish>
[[nodiscard]] DeviceBody<std::decay_t<Body>, std::decay_t<Finish>> on_gpu(Body&& body,
                                                                          DeviceKernel kernel,
                                                                          Finish&& finish) {
  return {std::forward<Body>(body), std::move(kernel), std::forward<Finish>(finish)};
}

}  // namespace pinion
