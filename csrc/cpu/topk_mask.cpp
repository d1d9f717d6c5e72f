// topk_mask on the CPU. Unit: a row (one map). No full sort: a histogram of the keys' leading digits tells in which bin
// each count falls, one pass collects the pixels of these bins alone, and the one at place `count` becomes a threshold with
// which the row is compared.
#include <algorithm>
#include <vector>

#include "../kernels.h"
#include "multiversion.h"

namespace saliency_ext {
namespace {

constexpr int kLeadingBits = 12;
constexpr int kBins = 1 << kLeadingBits;

template <class T>
class Selector {
 public:
  using Key = Bits<T>;

  explicit Selector(const TopkProblem& problem)
      : problem_(problem), keys_(problem.pixels), below_(kBins + 1), slot_(kBins), candidates_(problem.masks) {}

  void row(int64_t row) {
    const T* saliency = static_cast<const T*>(problem_.saliency) + row * problem_.pixels;
    std::fill(below_.begin(), below_.end(), 0);
    for (int64_t i = 0; i < problem_.pixels; ++i) {
      keys_[i] = order_key(saliency[i]);
      ++below_[leading(keys_[i]) + 1];
    }
    for (int bin = 0; bin < kBins; ++bin) below_[bin + 1] += below_[bin];
    collect_candidates(row);
    for (int64_t k = 0; k < problem_.masks; ++k) {
      uint8_t* mask = problem_.out + (k * problem_.rows + row) * problem_.pixels;
      const int64_t count = problem_.counts[k];
      if (is_partial(count)) {
        write_mask(count, row, mask);
      } else {
        std::fill(mask, mask + problem_.pixels, count > 0);
      }
    }
  }

 private:
  static int leading(Key key) { return static_cast<int>(key >> (8 * sizeof(Key) - kLeadingBits)); }
  bool is_partial(int64_t count) const { return count > 0 && count < problem_.pixels; }
  int bin_of(int64_t count) const {
    return static_cast<int>(std::upper_bound(below_.begin(), below_.end(), count) - below_.begin()) - 1;
  }

  // The pixels of every bin that some count falls into; slot_ is 1 + the bin's place in candidates_, 0 = not wanted.
  void collect_candidates(int64_t row) {
    std::fill(slot_.begin(), slot_.end(), 0);
    int32_t used = 0;
    for (int64_t k = 0; k < problem_.masks; ++k) {
      if (!is_partial(problem_.counts[k])) continue;
      int32_t& slot = slot_[bin_of(problem_.counts[k])];
      if (slot != 0) continue;
      slot = ++used;
      candidates_[slot - 1].clear();
    }
    for (int64_t i = 0; i < problem_.pixels; ++i) {
      const int32_t slot = slot_[leading(keys_[i])];
      if (slot != 0) candidates_[slot - 1].push_back({keys_[i], problem_.ties.word(row, i), i});
    }
  }

  void write_mask(int64_t count, int64_t row, uint8_t* mask) {
    // The pixel at place `count`: the first that is not in the mask.
    const int bin = bin_of(count);
    std::vector<OrderKey<Key>>& candidates = candidates_[slot_[bin] - 1];
    const auto place = candidates.begin() + (count - below_[bin]);
    const auto before = [](const OrderKey<Key>& a, const OrderKey<Key>& b) { return a.before(b); };
    std::nth_element(candidates.begin(), place, candidates.end(), before);
    const OrderKey<Key> limit = *place;
    const Key* keys = keys_.data();
    run_best([&]() SX_INLINE_LAMBDA {
      for (int64_t i = 0; i < problem_.pixels; ++i) mask[i] = keys[i] < limit.key;
    });
    // Of the pixels that share the limit's key, those before it in the tie order.
    for (auto tied = candidates.begin(); tied != place; ++tied) {
      if (tied->key == limit.key) mask[tied->index] = 1;
    }
  }

  const TopkProblem problem_;
  std::vector<Key> keys_;
  std::vector<int64_t> below_;
  std::vector<int32_t> slot_;
  std::vector<std::vector<OrderKey<Key>>> candidates_;
};

template <class T>
void select_rows(int64_t begin, int64_t end, const TopkProblem& problem) {
  Selector<T> selector(problem);
  for (int64_t row = begin; row < end; ++row) selector.row(row);
}

}  // namespace

void topk_mask_cpu(int64_t begin, int64_t end, const TopkProblem& problem) {
  if (problem.dtype == DType::kFloat64) {
    select_rows<double>(begin, end, problem);
  } else {
    select_rows<float>(begin, end, problem);
  }
}

}  // namespace saliency_ext
