#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "contest.hpp"

namespace pinion::bench {

/// The bodies of a graph without any edge, on threads that each have a part of the tasks.
///
/// kShared: neighbouring tasks belong to threads by chance, so that words on one line of the cache
/// are written by several, as in a graph; a body is called through a pointer of its task, and after
/// each comes an atomic operation on a line of the thread, the least that makes an end known to
/// others. Else each thread has one piece of the words in a loop, and nothing is shared.
template <bool kShared>
class PlainThreads {
 public:
  PlainThreads(const Shape& shape, const Contest& contest, std::vector<std::uint32_t>& words)
      : words_(words.data()),
        step_count_(contest.step_count),
        spacing_(contest.spacing),
        functions_(shape.task_count, &PlainThreads::call),
        parts_(contest.workers) {
    for (std::uint32_t task = 0; task < shape.task_count; ++task) {
      const std::uint64_t bits = (task + std::uint64_t{1}) * 0x9E3779B97F4A7C15u;
      const std::size_t part =
          kShared ? (bits >> 32) % parts_.size() : task * parts_.size() / shape.task_count;
      parts_[part].tasks.push_back(task);
    }
    for (std::size_t i = 1; i < parts_.size(); ++i) {
      threads_.emplace_back([this, i] { serve(parts_[i]); });
    }
  }
  ~PlainThreads() {
    stopping_ = true;
    ++round_;
    for (std::thread& thread : threads_) {
      thread.join();
    }
  }
  PlainThreads(const PlainThreads&) = delete;
  PlainThreads& operator=(const PlainThreads&) = delete;

  // Threads that wait poll, so that starting them costs nothing.
  void run() {
    open_count_ = parts_.size();
    ++round_;
    do_part(parts_[0]);
    while (open_count_ > 0) {
    }
  }

 private:
  struct alignas(64) Part {
    std::vector<std::uint32_t> tasks;
    std::atomic<std::uint32_t> end_count = 0;
  };

  static void call(void* self, std::uint32_t task) {
    const PlainThreads& of = *static_cast<const PlainThreads*>(self);
    compute(of.words_[std::size_t{task} * of.spacing_], of.step_count_);
  }

  void serve(Part& part) {
    for (std::uint64_t round = 1;; ++round) {
      while (round_ < round) {
      }
      if (stopping_) {
        return;
      }
      do_part(part);
    }
  }

  void do_part(Part& part) {
    for (const std::uint32_t task : part.tasks) {
      if constexpr (kShared) {
        functions_[task](this, task);
        part.end_count.fetch_add(1, std::memory_order_acq_rel);
      } else {
        compute(words_[std::size_t{task} * spacing_], step_count_);
      }
    }
    --open_count_;
  }

  std::uint32_t* words_;
  std::uint32_t step_count_;
  std::uint32_t spacing_;
  std::vector<void (*)(void* self, std::uint32_t task)> functions_;
  std::vector<Part> parts_;
  std::atomic<std::size_t> open_count_ = 0;
  std::atomic<std::uint64_t> round_ = 0;
  std::atomic<bool> stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace pinion::bench
