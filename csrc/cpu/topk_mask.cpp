// topk_mask on the CPU. Unit: a row (one map). No full sort: a histogram of the keys' leading bits tells in which bin each
// count falls, one pass collects the pixels of these bins alone, selection among them gives the key at place `count`, and
// the row is compared with it. Only pixels that share that key ever ask for a tie-break.
#include <algorithm>
#include <bit>
#include <vector>

#include "../kernels.h"
#include "multiversion.h"
#include "row_sort.h"

namespace saliency_ext {
namespace {

// About as many bins as pixels, within what the second-level cache holds.
int leading_bits(int64_t pixels) { return std::clamp(static_cast<int>(std::bit_width(static_cast<uint64_t>(pixels))), 8, 16); }

template <class T>
class Selector {
 public:
  using Key = Bits<T>;

  explicit Selector(const TopkProblem& problem)
      : problem_(problem),
        shift_(8 * static_cast<int>(sizeof(Key)) - leading_bits(problem.pixels)),
        bins_(int64_t{1} << leading_bits(problem.pixels)),
        keys_(problem.pixels),
        below_(bins_ + 1),
        slot_(bins_),
        candidates_(problem.masks),
        settler_(problem.ties, problem.ties.kind == Ties::kRandom ? problem.pixels : 0) {}

  void row(int64_t row) {
    const T* saliency = static_cast<const T*>(problem_.saliency) + row * problem_.pixels;
    std::fill(below_.begin(), below_.end(), 0);
    for (int64_t i = 0; i < problem_.pixels; ++i) {
      keys_[i] = order_key(saliency[i]);
      ++below_[leading(keys_[i]) + 1];
    }
    for (int64_t bin = 0; bin < bins_; ++bin) below_[bin + 1] += below_[bin];
    collect_candidates();
    tied_.clear();
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
  int64_t leading(Key key) const { return static_cast<int64_t>(key >> shift_); }
  bool is_partial(int64_t count) const { return count > 0 && count < problem_.pixels; }
  int64_t bin_of(int64_t count) const { return std::upper_bound(below_.begin(), below_.end(), count) - below_.begin() - 1; }

  // The pixels, in order of index, of every bin that some count falls into; slot_ is 1 + the bin's place in candidates_.
  void collect_candidates() {
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
      if (slot != 0) candidates_[slot - 1].push_back(static_cast<int32_t>(i));
    }
  }

  // Locals only: a byte pointer may alias anything, and members read through `this` would keep the loop scalar.
  SX_HD static void compare(const Key* __restrict keys, Key limit, int64_t count, uint8_t* __restrict mask) {
    for (int64_t i = 0; i < count; ++i) mask[i] = keys[i] < limit;
  }

  void write_mask(int64_t count, int64_t row, uint8_t* mask) {
    // 1. The key at place `count`: pixels with a smaller one are in, those with a larger one are out.
    const int64_t bin = bin_of(count);
    const std::vector<int32_t>& candidates = candidates_[slot_[bin] - 1];
    selection_.clear();
    for (const int32_t i : candidates) selection_.push_back(keys_[i]);
    const auto place = selection_.begin() + (count - below_[bin]);
    std::nth_element(selection_.begin(), place, selection_.end());
    const Key limit = *place;
    run_best([&]() SX_INLINE_LAMBDA { compare(keys_.data(), limit, problem_.pixels, mask); });

    // 2. Of those with this very key, the first in the tie order fill the rest.
    const int64_t rest =
        count - below_[bin] - std::count_if(selection_.begin(), selection_.end(), [limit](Key key) { return key < limit; });
    if (rest == 0) return;
    if (tied_.empty() || tied_.front().key != limit) {  // counts that fall into the same run of equals share its order
      tied_.clear();
      for (const int32_t i : candidates) {
        if (keys_[i] == limit) tied_.push_back({limit, i});
      }
      if (problem_.ties.kind == Ties::kRandom) settler_.settle(tied_, row);
    }
    for (int64_t j = 0; j < rest; ++j) mask[tied_[j].pixel] = 1;
  }

  const TopkProblem problem_;
  const int shift_;
  const int64_t bins_;
  std::vector<Key> keys_, selection_;
  std::vector<int32_t> below_, slot_;
  std::vector<std::vector<int32_t>> candidates_;
  std::vector<Entry<Key>> tied_;
  TieSettler<Key> settler_;
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
