// Mistakes with warp operations, each beside its corrected kernel (kFixed): 4 blocks of 256 threads; each thread gets
// the value of its neighbour, lane ^ 1.

#include "launch.h"

namespace {

constexpr int kThreads = 256;
constexpr int kBlocks = 4;
constexpr unsigned kAll = 0xffffffffu;

template <bool kFixed>
__global__ void differing_masks(const int* values, int* results) {
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  const unsigned mask = !kFixed && threadIdx.x % 32 < 8 ? 0x0000ffffu : kAll;
  results[i] = __shfl_xor_sync(mask, values[i], 1);
}

// Lanes 0 to 7 agree among themselves and go on; the others wait for them in vain.
template <bool kFixed>
__global__ void subset_of_mask(const int* values, int* results) {
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  const unsigned mask = !kFixed && threadIdx.x % 32 < 8 ? 0x000000ffu : kAll;
  results[i] = __shfl_xor_sync(mask, values[i], 1);
}

template <bool kFixed>
__global__ void mask_without_own_lane(const int* values, int* results) {
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  results[i] = __shfl_xor_sync(kFixed ? kAll : 0xfffffffeu, values[i], 1);
}

template <bool kFixed>
__global__ void exited_lane(const int* values, int* results) {
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  if (!kFixed && threadIdx.x == 9) return;
  results[i] = __shfl_xor_sync(kAll, values[i], 1);
}

__device__ void meet() { __syncthreads(); }

template <bool kFixed>
__global__ void lane_at_barrier(const int* values, int* results) {
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  if (!kFixed && threadIdx.x == 9) meet();
  results[i] = __shfl_xor_sync(kAll, values[i], 1);
  if (kFixed || threadIdx.x != 9) meet();
}

template <bool kFixed>
__global__ void different_operations(const int* values, int* results) {
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  if (kFixed || threadIdx.x % 32 < 16) {
    results[i] = __shfl_xor_sync(kAll, values[i], 1);
  } else {
    results[i] = __shfl_xor_sync(kAll, values[i], 1);
  }
}

// Lanes exchange values through memory: a shuffle makes them meet, but only __syncwarp orders their accesses.
template <bool kFixed>
__global__ void shuffle_as_fence(const int* values, int* results) {
  SX_SHARED(int, tile, kThreads);
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  tile[threadIdx.x] = values[i];
  if (kFixed) {
    __syncwarp();
  } else {
    __shfl_sync(kAll, 0, 0);
  }
  results[i] = tile[threadIdx.x ^ 1u];
}

}  // namespace

#define SX_PLANTED(name)                                                                        \
  extern "C" int run_##name(int fixed, const int* values, int* results) {                       \
    if (fixed != 0) return SX_LAUNCH(name<true>, kBlocks, kThreads, nullptr, values, results);  \
    return SX_LAUNCH(name<false>, kBlocks, kThreads, nullptr, values, results);                 \
  }

SX_PLANTED(differing_masks)
SX_PLANTED(subset_of_mask)
SX_PLANTED(mask_without_own_lane)
SX_PLANTED(exited_lane)
SX_PLANTED(lane_at_barrier)
SX_PLANTED(different_operations)
SX_PLANTED(shuffle_as_fence)
