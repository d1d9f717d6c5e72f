// topk_mask on the device. A block owns one (count, row): a radix select walks the digits of (key, tie-break word, pixel)
// from the most significant, each time counting the pixels that agree so far, until the pixel at place `count` is known;
// one more pass over the row writes the mask. Four to twelve reads of the row from the L2 cache, one write of the mask.
#include "../kernels.h"
#include "block.cuh"
#include "launch.h"

namespace saliency_ext {
namespace {

using cuda::TopkTuning;

constexpr int kBins = 1 << TopkTuning::kDigitBits;

// Narrows a field of the order to the value it has at place *remaining among the pixels for which active(i) holds.
// On return *remaining counts within the pixels of that value, and *equal says how many these are. All threads agree.
template <class Field, class Active, class Read>
__device__ __forceinline__ Field select_field(int64_t count, const Active& active, const Read& read, int64_t* remaining,
                                              int64_t* equal) {
  SX_SHARED(unsigned, histogram, kBins);
  SX_SHARED(int64_t, found, 3);  // digit, pixels before it, pixels in it
  Field prefix = 0, known = 0;
  for (int shift = 8 * static_cast<int>(sizeof(Field)) - TopkTuning::kDigitBits; shift >= 0;
       shift -= TopkTuning::kDigitBits) {
    for (int bin = threadIdx.x; bin < kBins; bin += TopkTuning::kThreads) histogram[bin] = 0;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < count; i += TopkTuning::kThreads) {
      if (!active(i)) continue;
      const Field field = read(i);
      if ((field & known) == prefix) atomicAdd(&histogram[static_cast<unsigned>(field >> shift) & (kBins - 1)], 1u);
    }
    __syncthreads();
    const int64_t size = threadIdx.x < kBins ? static_cast<int64_t>(histogram[threadIdx.x]) : 0;
    int64_t total;
    const int64_t before = cuda::block_exclusive_scan<TopkTuning::kThreads>(size, &total);
    if (threadIdx.x < kBins && before <= *remaining && *remaining < before + size) {
      found[0] = threadIdx.x;
      found[1] = before;
      found[2] = size;
    }
    __syncthreads();
    prefix |= static_cast<Field>(found[0]) << shift;
    known |= static_cast<Field>(kBins - 1) << shift;
    *remaining -= found[1];
    *equal = found[2];
    __syncthreads();  // `found` and `histogram` are reused
  }
  return prefix;
}

template <class T>
__global__ void __launch_bounds__(TopkTuning::kThreads) topk_kernel(TopkProblem problem) {
  using Key = Bits<T>;
  const int64_t row = blockIdx.x % problem.rows, k = blockIdx.x / problem.rows, pixels = problem.pixels;
  const T* saliency = static_cast<const T*>(problem.saliency) + row * pixels;
  uint8_t* mask = problem.out + (k * problem.rows + row) * pixels;
  const int64_t count = problem.counts[k];
  if (count <= 0 || count >= pixels) {
    for (int64_t i = threadIdx.x; i < pixels; i += TopkTuning::kThreads) mask[i] = count > 0;
    return;
  }

  // 1. Key, then (only among equal keys) the tie-break word, then (only among equal words) the pixel.
  OrderKey<Key> limit{0, 0, 0};
  int64_t remaining = count, equal = 0;
  const auto key_of = [&](int64_t i) { return order_key(saliency[i]); };
  const auto word_of = [&](int64_t i) { return problem.ties.word(row, i); };
  limit.key = select_field<Key>(pixels, [](int64_t) { return true; }, key_of, &remaining, &equal);
  const bool tied = equal > 1;
  if (tied) {
    const auto same_key = [&](int64_t i) { return key_of(i) == limit.key; };
    if (problem.ties.kind == Ties::kRandom) limit.tie = select_field<uint32_t>(pixels, same_key, word_of, &remaining, &equal);
    const auto same_word = [&](int64_t i) { return same_key(i) && word_of(i) == limit.tie; };
    limit.index = select_field<uint32_t>(
        pixels, same_word, [](int64_t i) { return static_cast<uint32_t>(i); }, &remaining, &equal);
  }

  // 2. Compare.
  for (int64_t i = threadIdx.x; i < pixels; i += TopkTuning::kThreads) {
    const Key key = key_of(i);
    mask[i] = key < limit.key || (tied && key == limit.key && OrderKey<Key>{key, word_of(i), i}.before(limit));
  }
}

}  // namespace

int topk_mask_cuda(const TopkProblem& problem, void* stream) {
  const unsigned grid = cuda::grid_of(problem.rows * problem.masks);
  return problem.dtype == DType::kFloat64 ? SX_LAUNCH(topk_kernel<double>, grid, TopkTuning::kThreads, stream, problem)
                                          : SX_LAUNCH(topk_kernel<float>, grid, TopkTuning::kThreads, stream, problem);
}

}  // namespace saliency_ext
