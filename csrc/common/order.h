#pragma once
// The one definition of "more relevant", used by rank and topk_mask on both devices.
// A total order: larger saliency first, -0 = +0, NaN after everything else; equal values by the tie-break word, then by index.
#include <cstdint>

#include "dtype.h"
#include "macros.h"
#include "random.h"

namespace saliency_ext {

// Unsigned key that sorts ascending where saliency sorts descending. The sign trick: flip all bits of negatives and the
// sign bit of the rest to get an ascending key, then complement it.
template <class T>
SX_HD Bits<T> order_key(T saliency) {
  using Key = Bits<T>;
  constexpr Key kSign = Key(1) << (8 * sizeof(T) - 1);
  Key bits = bit_cast<Key>(saliency);
  bits = (bits << 1) == 0 ? Key(0) : bits;
  const Key ascending = (bits & kSign) ? ~bits : (bits | kSign);
  return saliency != saliency ? ~Key(0) : ~ascending;
}

enum class Ties : int { kIndex = 0, kRandom = 1 };

// What settles equal keys.
struct TieRule {
  Ties kind;
  uint64_t seed;
  const int64_t* sample_ids;  // (N,)

  SX_HD uint32_t word(int64_t row, int64_t pixel) const {
    return kind == Ties::kRandom ? tie_break(seed, sample_ids[row], pixel) : 0u;
  }
};

// Place of one pixel in the order of its map.
template <class Key>
struct OrderKey {
  Key key;
  uint32_t tie;
  int64_t index;

  SX_HD bool before(const OrderKey& other) const {
    if (key != other.key) return key < other.key;
    if (tie != other.tie) return tie < other.tie;
    return index < other.index;
  }
};

}  // namespace saliency_ext
