#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include <pinion/core/assert.hpp>
#include <pinion/core/status.hpp>
#include <pinion/shard/byte_stream.hpp>
#include <pinion/shard/fold.hpp>
#include <pinion/shard/key_sum.hpp>
#include <pinion/shard/keyed_run.hpp>
#include <pinion/shard/table_key.hpp>

// One partition of a sealed keyed state whose values write themselves: a header, a keyed run whose
// states say where the bytes of each value lie, and those bytes. All numbers are little-endian.

namespace pinion {

struct ObjectRunHeader {
  std::uint64_t checksum = 0;  ///< hash_bytes() of all that follows it.
  std::uint64_t run_bytes = 0;
  std::uint64_t object_bytes = 0;
};
static_assert(sizeof(ObjectRunHeader) == 24);

/// Where a value lies in the bytes of all of them.
struct StoredObject {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

/// What the keyed run holds for values of F; its name keeps runs of different folds apart.
template <ObjectFold F>
struct StoredFold {
  using State = StoredObject;
};

/// The parts of a partition, whole.
struct ObjectRunParts {
  std::span<const std::byte> run;
  std::span<const std::byte> objects;
};

/// Errors: kDataLoss for bytes that are not of this form.
[[nodiscard]] Result<ObjectRunParts> check_object_run(std::span<const std::byte> partition);

/// For a state that lies outside of the bytes of all of them, or is not what write() gives.
[[nodiscard]] Status damaged_object(const StoredObject& object, std::uint64_t object_bytes);

/// Writes the header, with its checksum, in front of a run and objects that are written.
void finish_object_run(std::span<std::byte> partition, ObjectRunHeader header);

/// Reads a sealed partition from where it lies.
///
/// Thread safety: immutable.
/// Lifetime: borrows the bytes, and so do texts.
template <AggregationKey Key, ObjectFold F>
class ObjectRunView {
 public:
  using State = typename F::State;

  /// Errors: kDataLoss for bytes that are not a sealed partition of these types.
  [[nodiscard]] static Result<ObjectRunView> open(std::span<const std::byte> partition) {
    const Result<ObjectRunParts> parts = check_object_run(partition);
    if (!parts) {
      return Status(parts.error());
    }
    const auto run = KeyedRunView<Key, StoredFold<F>>::open(parts->run);
    if (!run) {
      return Status(run.error());
    }
    Status status;
    run->for_each([&](const auto&, const StoredObject& object) {
      const std::uint64_t bytes = parts->objects.size();
      if (object.offset > bytes || object.size > bytes - object.offset) {
        status = damaged_object(object, bytes);
      }
    });
    PINION_RETURN_IF_ERROR(status);
    return ObjectRunView(*run, parts->objects);
  }

  [[nodiscard]] std::size_t size() const noexcept { return run_.size(); }
  [[nodiscard]] const KeyedRunHeader& header() const noexcept { return run_.header(); }
  [[nodiscard]] KeySum keys() const noexcept { return run_.keys(); }

  // Precondition of these: index < size().

  [[nodiscard]] Key key(std::size_t index) const noexcept { return run_.key(index); }
  [[nodiscard]] State state(std::size_t index) const { return read(run_.state(index)); }

  [[nodiscard]] std::optional<State> find(const Key& wanted) const {
    const std::optional<StoredObject> found = run_.find(wanted);
    return found ? std::optional<State>(read(*found)) : std::nullopt;
  }

  /// Calls `function(key, state)` for each entry, with the key as tables hold it, up to the first
  /// state that is damaged.
  /// Errors: kDataLoss for that.
  template <class Function>
  [[nodiscard]] Status for_each(Function function) const {
    Status status;
    run_.for_each([&](const auto& key, const StoredObject& object) {
      if (!status.ok()) {
        return;
      }
      ByteReader in = reader(object);
      State state = F::read(in);
      if (!in.is_complete()) {
        status = damaged_object(object, objects_.size());
        return;
      }
      function(key, std::move(state));
    });
    return status;
  }

 private:
  ObjectRunView(const KeyedRunView<Key, StoredFold<F>>& run,
                std::span<const std::byte> objects) noexcept
      : run_(run), objects_(objects) {}

  [[nodiscard]] ByteReader reader(const StoredObject& object) const noexcept {
    return ByteReader(objects_.subspan(static_cast<std::size_t>(object.offset),
                                       static_cast<std::size_t>(object.size)));
  }

  // Behind a checksum that fits, only a fold that does not read what it writes fails here.
  [[nodiscard]] State read(const StoredObject& object) const {
    ByteReader in = reader(object);
    State state = F::read(in);
    PINION_ASSERT(in.is_complete());
    return state;
  }

  KeyedRunView<Key, StoredFold<F>> run_;
  std::span<const std::byte> objects_;
};

}  // namespace pinion
