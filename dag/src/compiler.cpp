#include "compiler.hpp"

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace pinion {
namespace {

constexpr std::size_t kTaskCountMax = std::size_t{1} << 30;
constexpr std::size_t kEdgeCountMax = UINT32_MAX;
constexpr std::uint32_t kNone = UINT32_MAX;

// Longer cycles are named in part.
constexpr std::size_t kNamedTasksMax = 16;

}  // namespace

Result<CompiledGraph> Compiler::compile() {
  if (graph_.tasks_.size() > kTaskCountMax || graph_.edges_.size() > kEdgeCountMax) {
    return Status(ErrorCode::kResourceExhausted,
                  "the graph has " + std::to_string(graph_.tasks_.size()) + " tasks and " +
                      std::to_string(graph_.edges_.size()) +
                      " edges; at most 2^30 and 2^32 - 1 can be compiled: make several graphs");
  }
  tables_->options = std::move(graph_.options_);
  tables_->options_of = std::move(graph_.options_of_);
  tables_->values = std::move(graph_.values_);
  tables_->values_size = graph_.values_size_;
  PINION_RETURN_IF_ERROR(check_names());
  PINION_RETURN_IF_ERROR(check_options());
  PINION_RETURN_IF_ERROR(collect_edges());
  PINION_RETURN_IF_ERROR(put_in_order());
  fill_tables();
  fill_levels();
  tables_->bodies = std::move(graph_.bodies_);
  return CompiledGraph(tables_);
}

Status Compiler::check_names() const {
  std::unordered_map<std::string_view, std::uint32_t> tasks;
  for (std::uint32_t task = 0; task < tables_->options_of.size(); ++task) {
    const std::uint32_t index = tables_->options_of[task];
    if (index == 0 || tables_->options[index - 1].name.empty()) {
      continue;
    }
    const auto [other, is_new] = tasks.emplace(tables_->options[index - 1].name, task);
    if (!is_new) {
      return Status(ErrorCode::kAlreadyExists, "tasks " + std::to_string(other->second) + " and " +
                                                   std::to_string(task) + " are both named '" +
                                                   tables_->options[index - 1].name +
                                                   "'; names are unique in a graph");
    }
  }
  return {};
}

// Refuses policies without sense, and finds out what runs of the graph need.
Status Compiler::check_options() {
  for (std::uint32_t task = 0; task < tables_->options_of.size(); ++task) {
    if (tables_->options_of[task] == 0) {
      continue;
    }
    const TaskOptions& options = tables_->options[tables_->options_of[task] - 1];
    const RetryPolicy& retry = options.retry;
    const Duration least =
        std::min({retry.backoff, retry.backoff_max, retry.attempt_limit, retry.total_limit});
    if (retry.attempt_count_max == 0 || least < Duration::zero()) {
      return Status(ErrorCode::kInvalidArgument,
                    "the retry policy of '" + tables_->name_of(task) +
                        "' has attempt_count_max 0 or a negative time; 1 attempt and no time are "
                        "the least");
    }
    const bool is_limited =
        retry.attempt_limit > Duration::zero() || retry.total_limit > Duration::zero();
    tables_->has_places |= options.place.has_value();
    tables_->has_priorities |= options.priority != TaskPriority::kNormal;
    tables_->has_limits |= is_limited;
    tables_->has_compensations |= static_cast<bool>(options.compensation);
    tables_->needs_timer |=
        is_limited || (retry.backoff > Duration::zero() && retry.attempt_count_max > 1);
  }
  return {};
}

// Sorts the edges by the task that they come from, without comparing.
Status Compiler::collect_edges() {
  const std::uint32_t count = task_count();
  predecessor_counts_.assign(count, 0);
  first_successors_.assign(count + std::size_t{1}, 0);
  for (const Graph::Edge& edge : graph_.edges_) {
    if (edge.before >= count || edge.after >= count) {
      return Status(ErrorCode::kInvalidArgument,
                    "an edge goes from task " + std::to_string(edge.before) + " to task " +
                        std::to_string(edge.after) + ", and the graph has " +
                        std::to_string(count) + " tasks; add tasks before their edges");
    }
    ++predecessor_counts_[edge.after];
    ++first_successors_[edge.before];
  }
  std::uint32_t end = 0;
  for (std::uint32_t& first : first_successors_) {
    end += std::exchange(first, end);
  }
  successors_.resize(graph_.edges_.size());
  for (const Graph::Edge& edge : graph_.edges_) {
    successors_[first_successors_[edge.before]++] = edge.after;
  }
  // Each is now at its end, where the next one begins.
  for (std::uint32_t task = count; task > 0; --task) {
    first_successors_[task] = first_successors_[task - 1];
  }
  if (count > 0) {
    first_successors_[0] = 0;
  }
  graph_.edges_ = {};
  return {};
}

bool Compiler::run_alike(std::uint32_t task, std::uint32_t other) const noexcept {
  if (!tables_->has_places && !tables_->has_priorities) {
    return true;
  }
  const TaskOptions& left = tables_->options_of_task(task);
  const TaskOptions& right = tables_->options_of_task(other);
  return left.place == right.place && left.priority == right.priority;
}

// Whether the only successor has no other predecessor, and runs where the task does: the two are
// one strand.
bool Compiler::is_chained(std::uint32_t task) const noexcept {
  const std::uint32_t first = first_successors_[task];
  return first_successors_[task + 1] - first == 1 && predecessor_counts_[successors_[first]] == 1 &&
         run_alike(task, successors_[first]);
}

void Compiler::place(std::uint32_t task) {
  tables_->position_of[task] = static_cast<std::uint32_t>(tables_->task_of.size());
  tables_->task_of.push_back(task);
}

// In the order in which one worker runs them, which is depth first: so the tables are read from
// front to back, and a strand is one piece.
Status Compiler::put_in_order() {
  const std::uint32_t count = task_count();
  tables_->position_of.assign(count, kNone);
  tables_->task_of.reserve(count);
  progress_.resize(count);
  for (std::uint32_t task = 0; task < count; ++task) {
    progress_[task].waiting_count = predecessor_counts_[task];
  }
  std::vector<std::uint32_t> ready;
  for (std::uint32_t root = 0; root < count; ++root) {
    if (predecessor_counts_[root] > 0) {
      continue;
    }
    tables_->roots.push_back(static_cast<std::uint32_t>(tables_->task_of.size()));
    ready.push_back(root);
    while (!ready.empty()) {
      const std::uint32_t task = ready.back();
      ready.pop_back();
      place(task);
      const std::uint32_t next_level = progress_[task].level + (is_chained(task) ? 0 : 1);
      for (std::uint32_t i = first_successors_[task]; i < first_successors_[task + 1]; ++i) {
        Progress& successor = progress_[successors_[i]];
        successor.level = std::max(successor.level, next_level);
        if (--successor.waiting_count == 0) {
          ready.push_back(successors_[i]);
        }
      }
    }
  }
  return tables_->task_of.size() == count ? Status() : words_of_cycle();
}

// Every task that was not placed has a predecessor that was not placed: going back ends in a cycle.
Status Compiler::words_of_cycle() const {
  std::vector<std::uint32_t> before(task_count(), kNone);
  std::uint32_t task = kNone;
  for (std::uint32_t i = 0; i < task_count(); ++i) {
    if (tables_->position_of[i] != kNone) {
      continue;
    }
    task = i;
    for (std::uint32_t j = first_successors_[i]; j < first_successors_[i + 1]; ++j) {
      before[successors_[j]] = i;
    }
  }
  std::vector<bool> seen(task_count());
  while (!seen[task]) {
    seen[task] = true;
    task = before[task];
  }
  std::vector<std::uint32_t> cycle = {task};
  for (std::uint32_t other = before[task]; other != task; other = before[other]) {
    cycle.push_back(other);
  }
  // From the lowest number, in the direction of the edges.
  std::reverse(cycle.begin(), cycle.end());
  std::rotate(cycle.begin(), std::min_element(cycle.begin(), cycle.end()), cycle.end());
  std::string words = "the graph has a cycle of " + std::to_string(cycle.size()) + ": ";
  for (std::size_t i = 0; i < std::min(cycle.size(), kNamedTasksMax); ++i) {
    words += "'" + tables_->name_of(cycle[i]) + "' -> ";
  }
  words += cycle.size() > kNamedTasksMax ? "..." : "'" + tables_->name_of(cycle.front()) + "'";
  return Status(ErrorCode::kInvalidArgument, words + "; take one of its edges out");
}

void Compiler::fill_tables() {
  Tables& tables = *tables_;
  const std::uint32_t count = task_count();
  tables.records.resize(count + std::size_t{1});
  tables.successors.reserve(successors_.size());
  for (std::uint32_t position = 0; position < count; ++position) {
    const std::uint32_t task = tables.task_of[position];
    TaskRecord& record = tables.records[position];
    record.body = graph_.tasks_[task];
    record.first_successor = static_cast<std::uint32_t>(tables.successors.size());
    record.links = predecessor_counts_[task];
    if (is_chained(task)) {
      record.links |= TaskRecord::kChained;
      continue;
    }
    for (std::uint32_t i = first_successors_[task]; i < first_successors_[task + 1]; ++i) {
      const std::uint32_t successor = successors_[i];
      const bool has_one = predecessor_counts_[successor] == 1;
      tables.successors.push_back(tables.position_of[successor] | (has_one ? kMark : 0));
    }
  }
  tables.records[count].first_successor = static_cast<std::uint32_t>(tables.successors.size());
}

// Sorts the units by their levels, without comparing. In a level they lie as they were added, as
// what neighbours read and write is likely to be together.
void Compiler::fill_levels() {
  Tables& tables = *tables_;
  const std::uint32_t count = task_count();
  std::vector<bool> is_head(count, true);
  std::uint32_t level_count = 0;
  for (std::uint32_t position = 0; position < count; ++position) {
    if (tables.records[position].chained()) {
      is_head[tables.task_of[position + 1]] = false;
    }
  }
  for (const Progress& progress : progress_) {
    level_count = std::max(level_count, progress.level + 1);
  }
  tables.level_begins.assign(level_count + std::size_t{1}, 0);
  for (std::uint32_t task = 0; task < count; ++task) {
    tables.level_begins[progress_[task].level] += is_head[task] ? 1 : 0;
  }
  std::uint32_t end = 0;
  for (std::uint32_t& begin : tables.level_begins) {
    end += std::exchange(begin, end);
  }
  tables.unit_heads.assign(end + std::size_t{kUnitsAhead}, 0);
  for (std::uint32_t task = 0; task < count; ++task) {
    if (is_head[task]) {
      tables.unit_heads[tables.level_begins[progress_[task].level]++] = tables.position_of[task];
    }
  }
  // Each is now at its end, where the next one begins.
  for (std::uint32_t level = level_count; level > 0; --level) {
    tables.level_begins[level] = tables.level_begins[level - 1];
  }
  tables.level_begins[0] = 0;
}

}  // namespace pinion
