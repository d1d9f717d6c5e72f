// rank on the CPU. Unit: a row (one map). A stable least-significant-digit radix sort of (key, pixel), three 11-bit digits
// for float32 and six for float64; the last digit writes ranks straight to their pixels. Ties by index cost nothing
// (the sort is stable); ties at random re-sort each run of equal keys by its tie-break words.
#include <algorithm>
#include <vector>

#include "../kernels.h"

namespace saliency_ext {
namespace {

constexpr int kDigitBits = 11;
constexpr int kBins = 1 << kDigitBits;

template <class Key>
struct Entry {
  Key key;
  int32_t pixel;
};

// One row's buffers, reused for all rows of a range.
template <class Key>
struct RowSorter {
  static constexpr int kDigits = (8 * sizeof(Key) + kDigitBits - 1) / kDigitBits;
  std::vector<Entry<Key>> front, back;
  std::vector<int32_t> offsets;

  explicit RowSorter(int64_t pixels) : front(pixels), back(pixels), offsets(kDigits * kBins) {}

  static int digit(Key key, int index) { return static_cast<int>((key >> (index * kDigitBits)) & (kBins - 1)); }

  // Sorts front[0, count) stably by key; afterwards `front` is in order.
  void sort(int64_t count) {
    std::fill(offsets.begin(), offsets.end(), 0);
    for (int64_t i = 0; i < count; ++i) {
      for (int d = 0; d < kDigits; ++d) ++offsets[d * kBins + digit(front[i].key, d)];
    }
    for (int d = 0; d < kDigits; ++d) {
      int32_t* bins = offsets.data() + d * kBins;
      if (bins[digit(front[0].key, d)] == count) continue;  // all keys share this digit: nothing moves
      int32_t sum = 0;
      for (int bin = 0; bin < kBins; ++bin) {
        const int32_t size = bins[bin];
        bins[bin] = sum;
        sum += size;
      }
      for (int64_t i = 0; i < count; ++i) back[bins[digit(front[i].key, d)]++] = front[i];
      front.swap(back);
    }
  }
};

// Orders the pixels of every run of equal keys by (tie-break word, pixel).
template <class Key>
void settle_ties(std::vector<Entry<Key>>& sorted, int64_t count, const TieRule& ties, int64_t row,
                 RowSorter<uint32_t>& run_sorter) {
  for (int64_t from = 0; from < count;) {
    int64_t to = from + 1;
    while (to < count && sorted[to].key == sorted[from].key) ++to;
    if (to - from > 1) {
      for (int64_t i = from; i < to; ++i) {
        run_sorter.front[i - from] = {ties.word(row, sorted[i].pixel), sorted[i].pixel};
      }
      run_sorter.sort(to - from);
      for (int64_t i = from; i < to; ++i) sorted[i].pixel = run_sorter.front[i - from].pixel;
    }
    from = to;
  }
}

template <class T>
void rank_rows(int64_t begin, int64_t end, const RankProblem& problem) {
  const int64_t pixels = problem.pixels;
  const bool random = problem.ties.kind == Ties::kRandom;
  RowSorter<Bits<T>> sorter(pixels);
  RowSorter<uint32_t> run_sorter(random ? pixels : 0);
  for (int64_t row = begin; row < end; ++row) {
    const T* saliency = static_cast<const T*>(problem.saliency) + row * pixels;
    for (int64_t i = 0; i < pixels; ++i) sorter.front[i] = {order_key(saliency[i]), static_cast<int32_t>(i)};
    sorter.sort(pixels);
    if (random) settle_ties(sorter.front, pixels, problem.ties, row, run_sorter);
    int32_t* ranks = problem.ranks + row * pixels;
    for (int64_t i = 0; i < pixels; ++i) ranks[sorter.front[i].pixel] = static_cast<int32_t>(i);
  }
}

}  // namespace

void rank_cpu(int64_t begin, int64_t end, const RankProblem& problem) {
  if (problem.pixels == 0) return;
  if (problem.dtype == DType::kFloat64) {
    rank_rows<double>(begin, end, problem);
  } else {
    rank_rows<float>(begin, end, problem);
  }
}

}  // namespace saliency_ext
