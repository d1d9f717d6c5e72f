// rank on the CPU. Unit: a row (one map). Three radix passes for float32, six for float64; the last one writes ranks straight
// to their pixels. Ties by index cost nothing (the sort is stable); ties at random order each run of equal keys afterwards.
#include <vector>

#include "../kernels.h"
#include "row_sort.h"

namespace saliency_ext {
namespace {

template <class T>
void rank_rows(int64_t begin, int64_t end, const RankProblem& problem) {
  using Key = Bits<T>;
  const int64_t pixels = problem.pixels;
  const bool random = problem.ties.kind == Ties::kRandom;
  RowSorter<Key> sorter(pixels);
  TieSettler<Key> settler(problem.ties, random ? pixels : 0);
  std::vector<Entry<Key>> sorted(random ? pixels : 0);
  for (int64_t row = begin; row < end; ++row) {
    const T* saliency = static_cast<const T*>(problem.saliency) + row * pixels;
    for (int64_t i = 0; i < pixels; ++i) sorter.front[i] = {order_key(saliency[i]), static_cast<int32_t>(i)};
    int32_t* ranks = problem.ranks + row * pixels;
    if (random) {
      sorter.sort(pixels, [to = sorted.data()](const Entry<Key>& entry, int32_t place) { to[place] = entry; });
      settler.settle(sorted, row);
      for (int64_t i = 0; i < pixels; ++i) ranks[sorted[i].pixel] = static_cast<int32_t>(i);
    } else {
      sorter.sort(pixels, [ranks](const Entry<Key>& entry, int32_t place) { ranks[entry.pixel] = place; });
    }
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
