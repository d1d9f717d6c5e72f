// rank on the device. One block owns a row: a stable least-significant-digit radix sort of (key, pixel) in scratch memory,
// which a row of 50,176 pixels (2 x 392 KiB) keeps in the L2 cache. Eight-bit digits: four passes for float32, eight for
// float64; the last one writes ranks. Ties at random sort by the tie-break word first: four passes more.
//
// A pass, with each warp owning a contiguous segment of the row (reads are coalesced, order is kept):
//   1. count digits per warp; lanes with equal digits find each other by a match, their lowest lane adds for all
//   2. offsets = exclusive sum over (digit, warp)
//   3. scatter: offset + number of earlier lanes with the same digit
#include "../kernels.h"
#include "block.cuh"
#include "launch.h"

namespace saliency_ext {
namespace {

using cuda::RankTuning;

constexpr int kWarps = RankTuning::kThreads / cuda::kWarpSize;
constexpr int kBins = 1 << RankTuning::kDigitBits;
constexpr uint32_t kNoDigit = kBins;  // lanes past the end of the row

// Keys and pixels of one row, twice: a pass reads one pair, writes the other, and swaps them.
template <class Key>
struct RowBuffers {
  Key *keys, *next_keys;
  int32_t *pixels, *next_pixels;

  __device__ void swap() {
    Key* key = keys;
    keys = next_keys, next_keys = key;
    int32_t* pixel = pixels;
    pixels = next_pixels, next_pixels = pixel;
  }
};

template <class Key>
SX_HD int64_t row_bytes(int64_t pixels) {
  return (2 * pixels * static_cast<int64_t>(sizeof(Key) + sizeof(int32_t)) + 15) / 16 * 16;
}

template <class Key>
__device__ RowBuffers<Key> row_buffers(void* scratch, int64_t row, int64_t pixels) {
  auto* keys = reinterpret_cast<Key*>(static_cast<char*>(scratch) + row * row_bytes<Key>(pixels));
  auto* indices = reinterpret_cast<int32_t*>(keys + 2 * pixels);
  return {keys, keys + pixels, indices, indices + pixels};
}

template <class Key>
struct Entry {
  Key key;
  int32_t pixel;
};

// load(i) -> Entry at place i; store(place, entry). offsets: kWarps x kBins counters in shared memory.
template <class Load, class Store>
__device__ __forceinline__ void radix_pass(int64_t count, int shift, int32_t* offsets, const Load& load,
                                           const Store& store) {
  const int warp = cuda::warp_id(), lane = cuda::lane_id();
  const int64_t segment = (count + kWarps - 1) / kWarps;
  const int64_t first = warp * segment;
  const int64_t stop = first + segment < count ? first + segment : count;
  int32_t* mine = offsets + warp * kBins;

  for (int bin = threadIdx.x; bin < kWarps * kBins; bin += RankTuning::kThreads) offsets[bin] = 0;
  __syncthreads();

  // 1. Count.
  for (int64_t base = first; base < stop; base += cuda::kWarpSize) {
    const int64_t i = base + lane;
    const uint32_t digit = i < stop ? static_cast<uint32_t>(load(i).key >> shift) & (kBins - 1) : kNoDigit;
    const unsigned equal = cuda::warp_match_any(digit);
    if (digit != kNoDigit && lane == __ffs(static_cast<int>(equal)) - 1) mine[digit] += __popc(equal);
    __syncwarp();
  }
  __syncthreads();

  // 2. Offsets: a thread owns a digit.
  int32_t of_digit = 0;
  if (threadIdx.x < kBins) {
    for (int w = 0; w < kWarps; ++w) of_digit += offsets[w * kBins + threadIdx.x];
  }
  int32_t total;
  int32_t running = cuda::block_exclusive_scan<RankTuning::kThreads>(of_digit, &total);
  if (threadIdx.x < kBins) {
    for (int w = 0; w < kWarps; ++w) {
      const int32_t size = offsets[w * kBins + threadIdx.x];
      offsets[w * kBins + threadIdx.x] = running;
      running += size;
    }
  }
  __syncthreads();

  // 3. Scatter.
  for (int64_t base = first; base < stop; base += cuda::kWarpSize) {
    const int64_t i = base + lane;
    auto entry = load(i < stop ? i : first);
    const uint32_t digit = i < stop ? static_cast<uint32_t>(entry.key >> shift) & (kBins - 1) : kNoDigit;
    const unsigned equal = cuda::warp_match_any(digit);
    const int earlier = __popc(equal & ((1u << lane) - 1u));
    if (digit != kNoDigit) store(mine[digit] + earlier, entry);
    __syncwarp();
    if (digit != kNoDigit && earlier == 0) mine[digit] += __popc(equal);
    __syncwarp();
  }
  __syncthreads();
}

template <class T>
__global__ void __launch_bounds__(RankTuning::kThreads) rank_kernel(RankProblem problem, void* scratch) {
  using Key = Bits<T>;
  const int64_t row = blockIdx.x, count = problem.pixels;
  const T* saliency = static_cast<const T*>(problem.saliency) + row * count;
  int32_t* ranks = problem.ranks + row * count;
  RowBuffers<Key> buffers = row_buffers<Key>(scratch, row, count);
  const bool random = problem.ties.kind == Ties::kRandom;
  SX_SHARED(int32_t, offsets, kWarps * kBins);

  // Ties at random: order pixels by their word; the stable passes over the key keep that order among equals.
  if (random) {
    for (int shift = 0; shift < 32; shift += RankTuning::kDigitBits, buffers.swap()) {
      radix_pass(
          count, shift, offsets,
          [&](int64_t i) {
            return shift == 0 ? Entry<uint32_t>{problem.ties.word(row, i), static_cast<int32_t>(i)}
                              : Entry<uint32_t>{static_cast<uint32_t>(buffers.keys[i]), buffers.pixels[i]};
          },
          [&](int32_t place, const Entry<uint32_t>& entry) {
            buffers.next_keys[place] = entry.key;
            buffers.next_pixels[place] = entry.pixel;
          });
    }
  }

  constexpr int kBitsOfKey = 8 * static_cast<int>(sizeof(Key));
  for (int shift = 0; shift < kBitsOfKey; shift += RankTuning::kDigitBits, buffers.swap()) {
    const bool last = shift + RankTuning::kDigitBits >= kBitsOfKey;
    radix_pass(
        count, shift, offsets,
        [&](int64_t i) {
          if (shift > 0) return Entry<Key>{buffers.keys[i], buffers.pixels[i]};
          const int32_t pixel = random ? buffers.pixels[i] : static_cast<int32_t>(i);
          return Entry<Key>{order_key(saliency[pixel]), pixel};
        },
        [&](int32_t place, const Entry<Key>& entry) {
          if (last) {
            ranks[entry.pixel] = place;
          } else {
            buffers.next_keys[place] = entry.key;
            buffers.next_pixels[place] = entry.pixel;
          }
        });
  }
}

}  // namespace

int64_t rank_scratch_bytes(const RankProblem& problem) {
  return problem.rows * (problem.dtype == DType::kFloat64 ? row_bytes<uint64_t>(problem.pixels)
                                                          : row_bytes<uint32_t>(problem.pixels));
}

int rank_cuda(const RankProblem& problem, void* scratch, void* stream) {
  const unsigned grid = cuda::grid_of(problem.rows);
  return problem.dtype == DType::kFloat64
             ? SX_LAUNCH(rank_kernel<double>, grid, RankTuning::kThreads, stream, problem, scratch)
             : SX_LAUNCH(rank_kernel<float>, grid, RankTuning::kThreads, stream, problem, scratch);
}

const char* cuda_status_text(int status) { return cudaGetErrorString(static_cast<cudaError_t>(status)); }

}  // namespace saliency_ext
