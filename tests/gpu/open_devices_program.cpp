// Opens the GPUs of this process and says what came of it: for tests that start it in different
// surroundings. Ends with status 0 whatever there is.

#include <pinion/gpu/devices.hpp>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

int main() {
  const pinion::Result<std::vector<std::unique_ptr<pinion::IDevice>>> devices =
      pinion::open_devices({.on_message = [](const std::string& message) {
        std::printf("message: %s\n", message.c_str());
      }});
  if (!devices) {
    std::printf("%s\n", devices.error().to_string().c_str());
    return 0;
  }
  for (const std::unique_ptr<pinion::IDevice>& device : *devices) {
    const pinion::DeviceInfo& info = device->info();
    std::printf("opened: %s %s %s %s\n", info.name.c_str(), info.uuid.c_str(),
                info.pci_bus_id.c_str(), info.architecture.c_str());
  }
  return 0;
}
