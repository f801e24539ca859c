// A kernel on a device as a task of a graph: the task puts its work into a stream and ends when the
// stream has passed it, so no worker waits for the device. Here the device is an emulated one.

#include <array>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <utility>

#include <pinion/core/executor.hpp>
#include <pinion/dag/graph.hpp>
#include <pinion/gpu/emulated_devices.hpp>
#include <pinion/gpu/kernels.hpp>

int main() {
  pinion::KernelRegistry kernels;
  pinion::Status ok = pinion::add_pinion_kernels(kernels);
  const pinion::EmulationSpec spec = pinion::parse_emulation_spec("emu:1,time=real").value();
  const auto devices = pinion::EmulatedDevices::create(spec, kernels).value();
  pinion::IDevice& device = *devices->devices()[0];
  const auto executor = pinion::Executor::create({.groups = {{.worker_count = 2}}}).value();

  std::string text;
  std::array<std::uint64_t, 256> counts = {};
  const pinion::DeviceBuffer memory = device.allocate(4096).value();
  const auto stream = device.create_stream().value();

  pinion::Graph graph;
  const pinion::TaskId write = graph.add([&] { text = "how many of them are there"; });
  const pinion::TaskId count = graph.add({.name = "count on the device"}, [&] {
    const std::array buffers = {memory.span().part(0, text.size()),
                                memory.span().part(2048, sizeof(counts))};
    ok = stream->copy_in(buffers[0], std::as_bytes(std::span(text)));
    if (ok.ok()) {
      ok = stream->launch(pinion::kHistogramU8, {}, buffers);
    }
    if (ok.ok()) {
      ok = stream->copy_out(std::as_writable_bytes(std::span(counts)), buffers[1]);
    }
    return stream->reached();
  });
  const pinion::TaskId print = graph.add([&] {
    std::printf("%d of a, %d of e\n", static_cast<int>(counts['a']), static_cast<int>(counts['e']));
  });
  graph.add_edge(write, count);
  graph.add_edge(count, print);
  const pinion::CompiledGraph compiled = std::move(graph).compile().value();
  const pinion::Status ended = compiled.run(*executor)->wait();
  return pinion::report(ok.ok() ? ended : ok);
}
