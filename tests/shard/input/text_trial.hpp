#pragma once

#include "engine/simd_targets.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <gtest/gtest.h>
#include <hwy/highway.h>

#include "shard/input/trial.hpp"

namespace pinion::testing_input {

/// Runs a test with the kernels of one instruction set, as on a machine that has no better one.
class OnEachTarget : public testing::TestWithParam<std::int64_t> {
 protected:
  void SetUp() override {
    hwy::SetSupportedTargetsForTest(GetParam());
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
  void TearDown() override {
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().DeInit();
  }
};

inline std::string target_name(const testing::TestParamInfo<std::int64_t>& target) {
  return hwy::TargetName(target.param);
}

/// A copy of a text between pages that cannot be read: at the beginning of its memory or at the
/// end.
class GuardedText {
 public:
  enum class Side : std::uint8_t { kBegin, kEnd };

  GuardedText(std::string_view text, Side side) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t inner = (text.size() / page + 1) * page;
    size_ = inner + 2 * page;
    memory_ =
        static_cast<char*>(mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (memory_ == MAP_FAILED || mprotect(memory_ + page, inner, PROT_READ | PROT_WRITE) != 0) {
      throw std::system_error(errno, std::generic_category(), "mapping guarded memory");
    }
    char* const begin = memory_ + page + (side == Side::kBegin ? 0 : inner - text.size());
    std::memcpy(begin, text.data(), text.size());
    text_ = {begin, text.size()};
  }
  GuardedText(const GuardedText&) = delete;
  GuardedText& operator=(const GuardedText&) = delete;
  ~GuardedText() { munmap(memory_, size_); }

  [[nodiscard]] std::string_view text() const { return text_; }

 private:
  char* memory_ = nullptr;
  std::size_t size_ = 0;
  std::string_view text_;
};

/// One letter, more than 4 GiB of it, and `tail` behind; all of it is a few pages of memory.
class HugeText {
 public:
  HugeText(char letter, std::string_view tail) {
    file_ = memfd_create("huge", MFD_CLOEXEC);
    const std::string content(kPieceBytes, letter);
    const std::string end = std::string(tail) + std::string(kPieceBytes - tail.size(), '\0');
    for (const std::string& piece : {content, end}) {
      if (write(file_, piece.data(), piece.size()) != static_cast<ssize_t>(piece.size())) {
        throw std::system_error(errno, std::generic_category(), "writing a memory file");
      }
    }
    memory_ = static_cast<char*>(mmap(nullptr, (kPieceCount + 1) * kPieceBytes, PROT_NONE,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    for (std::size_t piece = 0; piece <= kPieceCount; ++piece) {
      const off_t offset = piece == kPieceCount ? kPieceBytes : 0;
      if (memory_ == MAP_FAILED || mmap(memory_ + piece * kPieceBytes, kPieceBytes, PROT_READ,
                                        MAP_SHARED | MAP_FIXED, file_, offset) == MAP_FAILED) {
        throw std::system_error(errno, std::generic_category(), "mapping a memory file");
      }
    }
    text_ = {memory_, kLetterCount + tail.size()};
  }
  HugeText(const HugeText&) = delete;
  HugeText& operator=(const HugeText&) = delete;
  ~HugeText() {
    munmap(memory_, (kPieceCount + 1) * kPieceBytes);
    close(file_);
  }

  [[nodiscard]] std::string_view text() const { return text_; }

  static constexpr std::size_t kPieceBytes = std::size_t{4} << 20;
  static constexpr std::size_t kPieceCount = 1025;
  static constexpr std::size_t kLetterCount = kPieceBytes * kPieceCount;

 private:
  int file_ = -1;
  char* memory_ = nullptr;
  std::string_view text_;
};

/// A text of `size` bytes. Pieces of each kind come in all lengths up to more than a block.
inline std::string random_text(Random& random, std::size_t size) {
  constexpr std::string_view kLetters = "aZ09zA";
  constexpr std::string_view kOthers("@[`{/:\n\n\r,; \0\x80\xff\xc1", 16);
  const std::uint64_t longest[] = {1, 2, 8, 70, 5000};
  const std::uint64_t letters_max = longest[random.below(5)];
  const std::uint64_t others_max = longest[random.below(4)];
  std::string text;
  while (text.size() < size) {
    for (std::uint64_t count = random.below(letters_max) + 1; count > 0; --count) {
      text += kLetters[random.below(kLetters.size())];
    }
    for (std::uint64_t count = random.below(others_max) + 1; count > 0; --count) {
      text += kOthers[random.below(kOthers.size())];
    }
  }
  text.resize(size);
  return text;
}

/// Sizes around what the kernels look at at once: vectors, chunks, blocks.
inline std::vector<std::size_t> interesting_sizes() {
  std::vector<std::size_t> sizes;
  for (std::size_t size = 0; size <= 200; ++size) {
    sizes.push_back(size);
  }
  for (const std::size_t block : {4096u, 8192u}) {
    for (std::size_t near = 0; near <= 140; near += near < 5 || near > 60 ? 1 : 11) {
      sizes.push_back(block - 70 + near);
    }
  }
  return sizes;
}

}  // namespace pinion::testing_input
