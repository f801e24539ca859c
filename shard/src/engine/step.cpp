#include <pinion/shard/step.hpp>

#include <cxxabi.h>

#include <cstdlib>
#include <memory>

namespace pinion {

std::string describe_step(std::string_view operation, const Input& input,
                          const Partitioning& partitioning, CallSite where) {
  // Ranks may be built in different folders: only the file's own name is compared.
  std::string_view file = where.file;
  file.remove_prefix(file.rfind('/') + 1);
  std::string words(operation);
  words += " over " + input.describe() + " cut " + partitioning.description + " at ";
  words += file;
  words += ":" + std::to_string(where.line);
  return words;
}

std::string type_name(const std::type_info& type) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> name(
      abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), &std::free);
  return status == 0 ? name.get() : type.name();
}

}  // namespace pinion
