#include "agent/rank_variables.hpp"

#include <algorithm>

#include <pinion/runtime/launch.hpp>

#include "settings.hpp"

namespace pinion {

using Variables = std::vector<std::pair<std::string, std::string>>;

Variables rank_variables(const RankIdentity& identity) {
  const std::string rank = std::to_string(identity.rank);
  const std::string size = std::to_string(identity.rank_count);
  const std::string local_rank = std::to_string(identity.local_rank);
  const std::string local_size = std::to_string(identity.local_rank_count);
  Variables variables = {{"PINION_RANK", rank},
                         {"PINION_SIZE", size},
                         {"PINION_LOCAL_RANK", local_rank},
                         {"PINION_LOCAL_SIZE", local_size},
                         {"PINION_HOST_ID", std::to_string(identity.host)},
                         {"PINION_INCARNATION", std::to_string(identity.incarnation)},
                         {"PINION_GPU_BUS_ID", identity.gpu_bus_id},
                         {"OMPI_COMM_WORLD_RANK", rank},
                         {"OMPI_COMM_WORLD_SIZE", size},
                         {"OMPI_COMM_WORLD_LOCAL_RANK", local_rank},
                         {"OMPI_COMM_WORLD_LOCAL_SIZE", local_size},
                         {"PMI_RANK", rank},
                         {"PMI_SIZE", size}};
  if (identity.gpu_bus_id.empty()) {
    std::erase_if(variables, [](const auto& it) { return it.first == "PINION_GPU_BUS_ID"; });
  }
  if (!identity.visible_gpu.empty()) {
    variables.emplace_back("CUDA_VISIBLE_DEVICES", identity.visible_gpu);
  }
  return variables;
}

std::vector<std::string> foreign_variables() {
  return {"PMI_FD", "PMI_ID", "PMI_PORT", "PMI_SPAWNED"};
}

bool is_rank_variable(std::string_view name) {
  const Variables ours = rank_variables({.gpu_bus_id = "any"});
  const std::vector<std::string> foreign = foreign_variables();
  return name == "PINION_AGENT_FD" || name == "PINION_JOINED_BY" ||
         std::any_of(ours.begin(), ours.end(), [&](const auto& it) { return it.first == name; }) ||
         std::find(foreign.begin(), foreign.end(), name) != foreign.end();
}

Result<std::pair<std::string, std::string>> variable_to_export(std::string_view text) {
  const std::size_t equals = text.find('=');
  const std::string name(text.substr(0, equals));
  if (name.empty()) {
    return Status(ErrorCode::kInvalidArgument,
                  "the variable has no name; it must be NAME=VALUE, or NAME of one that is set");
  }
  if (is_rank_variable(name)) {
    return Status(
        ErrorCode::kInvalidArgument,
        name + " is set, or taken away, by pinion run for each rank; choose another name");
  }
  if (equals != std::string_view::npos) {
    return std::pair(name, std::string(text.substr(equals + 1)));
  }
  const std::optional<std::string> value = find_environment_value(name.c_str());
  if (!value) {
    return Status(ErrorCode::kNotFound,
                  "no variable " + name + " is set here; set it, or give " + name + "=VALUE");
  }
  return std::pair(name, *value);
}

}  // namespace pinion
