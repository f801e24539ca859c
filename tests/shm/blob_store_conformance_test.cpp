#include "conformance/blob_store_conformance.hpp"

#include <pinion/shm/local_blob_store.hpp>

#include "shm_host.hpp"

namespace pinion {
namespace {

struct LocalHost {
  static constexpr std::uint64_t kBudgetBytes = std::uint64_t{1} << 20;

  IBlobStore& writer() { return *store; }
  IBlobStore& reader() { return *store; }
  void destroy_stores() { store.reset(); }
  Status keep(const BlobHandle& handle) { return store->keep(handle); }
  void release(const BlobHandle& handle) { store->release(handle); }
  Place place() const { return kTestPlace; }

  std::unique_ptr<LocalBlobStore> store = make_local_blob_store(kTestIdentity, kBudgetBytes);
};

// Two clients of one table, which a host gives their stores.
struct TwoClients {
  static constexpr std::uint64_t kBudgetBytes = std::uint64_t{1} << 20;

  IBlobStore& writer() { return *writer_store; }
  IBlobStore& reader() { return *reader_store; }
  void destroy_stores() {
    writer_store.reset();
    reader_store.reset();
  }
  Status keep(const BlobHandle& handle) { return agent.table().keep(handle); }
  void release(const BlobHandle& handle) { agent.table().release(handle); }
  Place place() const { return kTestPlace; }

  TableAgent agent{1 << 16};
  std::unique_ptr<IBlobStore> writer_store;
  std::unique_ptr<IBlobStore> reader_store;
};

// What the reader opens has come through a descriptor.
struct SharedHost : TwoClients {
  SharedHost() {
    writer_store = agent.make_store(5, kBudgetBytes);
    reader_store = agent.make_store(6, kBudgetBytes);
  }
};

// What is small lies in a slab of the writer, which the reader has mapped.
struct SlabHost : TwoClients {
  SlabHost() {
    writer_store = agent.make_slab_store(5, kBudgetBytes);
    reader_store = agent.make_slab_store(6, kBudgetBytes);
  }
};

// What is not empty lies in files with huge pages, where the system lets us have such.
struct BlobMemoryHost : TwoClients {
  BlobMemoryHost() {
    writer_store = make_store(5);
    reader_store = make_store(6);
  }

  std::unique_ptr<IBlobStore> make_store(std::uint32_t client) {
    SharedBlobStoreOptions options = agent.options(client, kBudgetBytes);
    options.blob_memory = memory;
    options.blob_memory_bytes_min = 0;
    return make_shared_blob_store(options, agent.exchange(client));
  }

  std::shared_ptr<const BlobMemory> memory = [] {
    Result<BlobMemory> made = make_blob_memory(64 * kBudgetBytes);
    return made ? std::make_shared<const BlobMemory>(*std::move(made)) : nullptr;
  }();
};

// With no memory at all, every blob lies in a file.
struct SpillingLocalHost {
  static constexpr std::uint64_t kBudgetBytes = std::uint64_t{1} << 20;

  IBlobStore& writer() { return *store; }
  IBlobStore& reader() { return *store; }
  void destroy_stores() { store.reset(); }
  Status keep(const BlobHandle& handle) { return store->keep(handle); }
  void release(const BlobHandle& handle) { store->release(handle); }
  Place place() const { return kTestPlace; }

  std::unique_ptr<LocalBlobStore> store = std::make_unique<LocalBlobStore>(
      kTestIdentity, MemoryLedger({.budget_bytes = 0}), BindMemory(),
      SpillOptions{.directory = testing::TempDir(), .bytes_max = kBudgetBytes});
};

struct SpillingSharedHost : TwoClients {
  SpillingSharedHost() {
    writer_store = make_store(5);
    reader_store = make_store(6);
  }

  std::unique_ptr<IBlobStore> make_store(std::uint32_t client) {
    SharedBlobStoreOptions options = agent.options(client, 0);
    options.spill = {.directory = testing::TempDir(), .bytes_max = kBudgetBytes};
    return make_shared_blob_store(options, agent.exchange(client));
  }
};

INSTANTIATE_TYPED_TEST_SUITE_P(Local, BlobStoreConformance, LocalHost);
INSTANTIATE_TYPED_TEST_SUITE_P(Shared, BlobStoreConformance, SharedHost);
INSTANTIATE_TYPED_TEST_SUITE_P(Slabs, BlobStoreConformance, SlabHost);
INSTANTIATE_TYPED_TEST_SUITE_P(HugePages, BlobStoreConformance, BlobMemoryHost);
INSTANTIATE_TYPED_TEST_SUITE_P(SpillingLocal, BlobStoreConformance, SpillingLocalHost);
INSTANTIATE_TYPED_TEST_SUITE_P(SpillingShared, BlobStoreConformance, SpillingSharedHost);

}  // namespace
}  // namespace pinion
