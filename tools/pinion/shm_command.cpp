#include "shm_command.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <pinion/core/status.hpp>
#include <pinion/shm/inspect.hpp>

#include "running_agents.hpp"
#include "text_columns.hpp"

namespace pinion {
namespace {

using Json = nlohmann::ordered_json;

struct ShmOptions {
  std::int64_t process = 0;
  bool json = false;
};

struct AgentView {
  std::int64_t process = 0;
  StoreView store;
};

std::string owner_of(const StoreView& store, const SegmentState& state) {
  const auto owner =
      std::find_if(store.clients.begin(), store.clients.end(),
                   [&](const StoreClient& client) { return client.client == state.client; });
  return state.owner_gone || owner == store.clients.end() ? "gone" : std::to_string(owner->process);
}

std::string_view kind_of(const SegmentState& state) {
  return state.is_slab ? "slab" : state.spilled ? "file" : "segment";
}

std::string text_of(const AgentView& view) {
  std::vector<TextRow> rows = {{"segment", "kind", "owner", "node", "bytes", "in huge pages",
                                "blobs", "of bytes", "kept", "retired", "references"}};
  for (const SegmentState& state : view.store.segments) {
    const auto of_slab = [&](std::uint64_t count) {
      return state.is_slab ? std::to_string(count) : "-";
    };
    rows.push_back({std::to_string(state.segment), std::string(kind_of(state)),
                    owner_of(view.store, state), std::to_string(state.home.index),
                    std::to_string(state.size_bytes), std::to_string(state.huge_page_bytes),
                    std::to_string(state.blob_count), std::to_string(state.blob_bytes),
                    of_slab(state.kept_count), of_slab(state.retired_count),
                    std::to_string(state.reference_count)});
  }
  std::vector<TextRow> processes = {{"process", "references"}};
  for (const StoreClient& client : view.store.clients) {
    processes.push_back({std::to_string(client.process), std::to_string(client.reference_count)});
  }
  std::string text = fmt::format("job {:016x}, agent {}\n", view.store.job, view.process);
  for (const std::vector<TextRow>& table : {rows, processes}) {
    for (const std::string& line : align(table)) {
      text += "  " + line + "\n";
    }
  }
  return text;
}

Json json_of(const AgentView& view) {
  Json segments = Json::array();
  for (const SegmentState& state : view.store.segments) {
    Json json = {{"segment", state.segment},
                 {"kind", kind_of(state)},
                 {"owner", owner_of(view.store, state)},
                 {"node", state.home.index},
                 {"bytes", state.size_bytes},
                 {"huge_page_bytes", state.huge_page_bytes},
                 {"blob_count", state.blob_count},
                 {"blob_bytes", state.blob_bytes},
                 {"reference_count", state.reference_count}};
    if (state.is_slab) {
      json["kept_count"] = state.kept_count;
      json["retired_count"] = state.retired_count;
    }
    segments.push_back(std::move(json));
  }
  Json processes = Json::array();
  for (const StoreClient& client : view.store.clients) {
    processes.push_back({{"process", client.process}, {"reference_count", client.reference_count}});
  }
  return {{"job", fmt::format("{:016x}", view.store.job)},
          {"agent", view.process},
          {"segments", std::move(segments)},
          {"processes", std::move(processes)}};
}

Status show_blobs(const ShmOptions& options) {
  std::vector<AgentView> views;
  for (const std::int64_t process : find_agents(options.process)) {
    Result<StoreView> store = inspect_store(process);
    if (store) {
      views.push_back({process, std::move(store).value()});
    } else if (options.process != 0) {
      return std::move(store).error();
    }
  }
  if (options.process != 0 && views.empty()) {
    return no_agent(options.process);
  }
  std::string text;
  if (options.json) {
    Json all = Json::array();
    std::transform(views.begin(), views.end(), std::back_inserter(all), json_of);
    text = all.dump(2) + "\n";
  } else {
    for (const AgentView& view : views) {
      text += text_of(view);
    }
    text += views.empty() ? "no job of yours runs on this host\n" : "";
  }
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    return Status::from_errno(errno, "writing to standard output");
  }
  return {};
}

}  // namespace

void add_shm_command(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<ShmOptions>();
  CLI::App* command = app.add_subcommand(
      "shm",
      "Show the blobs that running jobs of yours have on this host: slabs, owners, references");
  command
      ->add_option("process", options->process, "Only the job of this pinion run, or of this agent")
      ->type_name("PID");
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &exit_status] {
    const Status status = show_blobs(*options);
    exit_status = error_info(status.code()).exit_status;
    if (!status.ok()) {
      std::fprintf(stderr, "pinion: %s\n", status.to_string().c_str());
    }
  });
}

}  // namespace pinion
