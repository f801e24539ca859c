#include <pinion/shard/partitioned_blob.hpp>

#include <array>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

namespace pinion {
namespace {

// Partitions of 3, 0 and 100 bytes that hold their own index.
std::vector<std::byte> make_blob() {
  const std::array<std::uint64_t, 3> lengths = {3, 0, 100};
  const PartitionedLayout layout = layout_partitions(lengths);
  std::vector<std::byte> blob(layout.size_bytes);
  write_partition_table(blob, layout);
  for (std::uint32_t i = 0; i < lengths.size(); ++i) {
    for (std::byte& byte : partition_of(std::span(blob), layout, i)) {
      byte = std::byte(i + 1);
    }
  }
  return blob;
}

TEST(PartitionedBlob, GivesBackWhatWasWritten) {
  const std::vector<std::byte> blob = make_blob();
  ASSERT_EQ(partition_count_of(blob).value(), 3u);
  EXPECT_EQ(partition_of(blob, 0)->size(), 3u);
  EXPECT_EQ(partition_of(blob, 1)->size(), 0u);
  const std::span<const std::byte> last = partition_of(blob, 2).value();
  ASSERT_EQ(last.size(), 100u);
  for (const std::byte byte : last) {
    EXPECT_EQ(byte, std::byte(3));
  }
}

TEST(PartitionedBlob, PutsPartitionsAtMultiplesOf64) {
  const std::vector<std::byte> blob = make_blob();
  for (std::uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ((partition_of(blob, i)->data() - blob.data()) % 64, 0);
  }
}

TEST(PartitionedBlob, RefusesAPartitionThatIsNotThere) {
  EXPECT_EQ(partition_of(make_blob(), 3).error().code(), ErrorCode::kDataLoss);
}

TEST(PartitionedBlob, SaysByItsFirstBytesWhereThePartitionsLie) {
  const std::vector<std::byte> blob = make_blob();
  const auto table = std::span(blob).first(partition_table_bytes(3));
  const std::vector<PartitionSlot> slots = read_partition_table(table, blob.size()).value();
  ASSERT_EQ(slots.size(), 3u);
  for (std::uint32_t i = 0; i < 3; ++i) {
    const std::span<const std::byte> bytes = partition_of(blob, i).value();
    EXPECT_EQ(slots[i].offset, static_cast<std::uint64_t>(bytes.data() - blob.data()));
    EXPECT_EQ(slots[i].length, bytes.size());
  }
  EXPECT_FALSE(read_partition_table(table, blob.size() + 1));
  EXPECT_FALSE(read_partition_table(table.first(table.size() - 1), blob.size()));
}

TEST(PartitionedBlob, RefusesEveryLengthButItsOwn) {
  const std::vector<std::byte> blob = make_blob();
  for (std::size_t length = 0; length < blob.size(); ++length) {
    const auto partition = partition_of(std::span(blob).first(length), 0);
    ASSERT_FALSE(partition) << "with " << length << " bytes";
    EXPECT_EQ(partition.error().code(), ErrorCode::kDataLoss);
  }
}

TEST(PartitionedBlob, NeverLeadsOutsideWhateverOneByteOfItBecomes) {
  const std::vector<std::byte> intact = make_blob();
  std::size_t refused = 0;
  for (std::size_t at = 0; at < intact.size(); ++at) {
    for (const unsigned bit : {0u, 3u, 7u}) {
      std::vector<std::byte> blob = intact;
      blob[at] ^= std::byte(1u << bit);
      for (std::uint32_t i = 0; i < 3; ++i) {
        const auto partition = partition_of(std::span<const std::byte>(blob), i);
        if (!partition) {
          ++refused;
          continue;
        }
        ASSERT_GE(partition->data(), blob.data());
        ASSERT_LE(partition->data() + partition->size(), blob.data() + blob.size());
      }
    }
  }
  EXPECT_GT(refused, 0u);
}

TEST(PartitionedBlob, RefusesAnOffsetThatOverflows) {
  std::vector<std::byte> blob = make_blob();
  const std::uint64_t huge = ~std::uint64_t{63};
  std::memcpy(blob.data() + 32, &huge, sizeof(huge));
  EXPECT_EQ(partition_of(std::span<const std::byte>(blob), 0).error().code(), ErrorCode::kDataLoss);
}

}  // namespace
}  // namespace pinion
