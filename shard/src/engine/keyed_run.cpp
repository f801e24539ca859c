#include <pinion/shard/keyed_run.hpp>

#include <string>

namespace pinion {
namespace {

constexpr std::uint64_t align_up(std::uint64_t bytes) {
  return (bytes + 7) / 8 * 8;
}

Status damaged(const std::string& what) {
  return Status(ErrorCode::kDataLoss, "a sealed keyed run is damaged: " + what);
}

std::uint64_t checksum_of(std::span<const std::byte> run) {
  return hash_bytes(run.subspan(sizeof(std::uint64_t)));
}

Status check_text_ends(std::span<const std::byte> run, const KeyedRunHeader& header) {
  const KeyedRunLayout layout = layout_keyed_run(header);
  std::uint64_t last = 0;
  for (std::uint64_t i = 0; i < header.counts[2]; ++i) {
    std::uint64_t end = 0;
    std::memcpy(&end, run.data() + layout.ends + i * sizeof(end), sizeof(end));
    if (end < last || end > header.text_bytes) {
      return damaged("text " + std::to_string(i) + " ends at " + std::to_string(end) + " of " +
                     std::to_string(header.text_bytes) + " bytes, the one before it at " +
                     std::to_string(last));
    }
    last = end;
  }
  if (last != header.text_bytes) {
    return damaged("its texts end at " + std::to_string(last) + ", not at " +
                   std::to_string(header.text_bytes));
  }
  return {};
}

}  // namespace

KeyedRunLayout layout_keyed_run(const KeyedRunHeader& header) {
  const bool is_text = header.key_width == 0;
  const std::array<std::uint64_t, 3> widths = {is_text ? sizeof(ShortText) : header.key_width,
                                               sizeof(MediumText), sizeof(std::uint64_t)};
  KeyedRunLayout layout;
  std::uint64_t at = sizeof(KeyedRunHeader);
  for (std::size_t section = 0; section < widths.size(); ++section) {
    layout.keys[section] = at;
    at += align_up(header.counts[section] * widths[section]);
    layout.states[section] = at;
    at += align_up(header.counts[section] * header.state_width);
  }
  layout.ends = at;
  layout.texts = at + header.counts[2] * sizeof(std::uint64_t);
  layout.size_bytes = layout.texts + header.text_bytes;
  return layout;
}

Result<KeyedRunHeader> check_keyed_run(std::span<const std::byte> run,
                                       const KeyedRunHeader& expected) {
  KeyedRunHeader header;
  if (run.size() < sizeof(header)) {
    return damaged("it has " + std::to_string(run.size()) + " bytes, its header alone has " +
                   std::to_string(sizeof(header)));
  }
  std::memcpy(&header, run.data(), sizeof(header));
  if (header.checksum != checksum_of(run)) {
    return damaged("its checksum is not that of its bytes");
  }
  if (header.type != expected.type || header.key_width != expected.key_width ||
      header.state_width != expected.state_width) {
    return damaged("it holds keys or states of other types");
  }
  if (header.range.partition >= header.range.partition_count) {
    return damaged("it says it is partition " + std::to_string(header.range.partition) + " of " +
                   std::to_string(header.range.partition_count));
  }
  // The counts are bounded before the layout multiplies them, so that nothing overflows.
  for (const std::uint64_t count : header.counts) {
    if (count > run.size()) {
      return damaged("it says it holds " + std::to_string(count) + " entries in " +
                     std::to_string(run.size()) + " bytes");
    }
  }
  const bool is_text = header.key_width == 0;
  if (header.text_bytes > run.size() ||
      (!is_text && (header.counts[1] != 0 || header.counts[2] != 0 || header.text_bytes != 0))) {
    return damaged("it says it holds texts that it cannot hold");
  }
  if (const KeyedRunLayout layout = layout_keyed_run(header); layout.size_bytes != run.size()) {
    return damaged("its entries need " + std::to_string(layout.size_bytes) + " bytes, it has " +
                   std::to_string(run.size()));
  }
  PINION_RETURN_IF_ERROR(check_text_ends(run, header));
  return header;
}

Status check_written_keys(const KeySum& expected, const WrittenKeys& written) {
  if (written.sum == expected && written.is_in_order) {
    return {};
  }
  const auto in_words = [](const KeySum& keys) {
    return std::to_string(keys.count) + " keys whose hashes add up to " +
           std::to_string(keys.hashes);
  };
  const std::string found =
      written.sum == expected ? "as many that are not in their order" : in_words(written.sum);
  return Status(ErrorCode::kDataLoss,
                "a keyed state does not hold what came into it: " + in_words(expected) +
                    " were expected, " + found +
                    " were found; memory of a host or Pinion is at fault. Run it again, and test "
                    "the memory where it fails again");
}

Status check_partition(const HashRange& expected, const HashRange& found) {
  if (found == expected) {
    return {};
  }
  const auto in_words = [](const HashRange& range) {
    return "partition " + std::to_string(range.partition) + " of " +
           std::to_string(range.partition_count);
  };
  return Status(ErrorCode::kDataLoss, "a sealed keyed run is of " + in_words(found) +
                                          ", expected was one of " + in_words(expected) +
                                          "; memory of a host or Pinion is at fault");
}

void finish_keyed_run(std::span<std::byte> run, KeyedRunHeader header) {
  PINION_ASSERT(run.size() == layout_keyed_run(header).size_bytes);
  std::memcpy(run.data(), &header, sizeof(header));
  header.checksum = checksum_of(run);
  std::memcpy(run.data(), &header.checksum, sizeof(header.checksum));
}

}  // namespace pinion
