// Mistakes with barriers, each beside its corrected kernel (kFixed): 4 blocks of 256 threads reverse their values.

#include "launch.h"

namespace {

constexpr int kThreads = 256;
constexpr int kBlocks = 4;

template <bool kFixed>
__global__ void missing_barrier(const int* values, int* results) {
  SX_SHARED(int, tile, kThreads);
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  tile[threadIdx.x] = values[i];
  if (kFixed) __syncthreads();
  results[i] = tile[kThreads - 1 - threadIdx.x];
}

// The shared array is used again before everybody has read it.
template <bool kFixed>
__global__ void missing_second_barrier(const int* values, int* results) {
  SX_SHARED(int, tile, kThreads);
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  int value = values[i];
  for (int round = 0; round < 3; ++round) {
    tile[threadIdx.x] = value;
    __syncthreads();
    value = tile[kThreads - 1 - threadIdx.x];
    if (kFixed) __syncthreads();
  }
  results[i] = value;
}

template <bool kFixed>
__global__ void divergent_barrier(const int* values, int* results) {
  SX_SHARED(int, tile, kThreads);
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  tile[threadIdx.x] = values[i];
  if (kFixed) {
    __syncthreads();
  } else if (threadIdx.x < 128) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  results[i] = tile[kThreads - 1 - threadIdx.x];
}

template <bool kFixed>
__global__ void exit_before_barrier(const int* values, int* results) {
  SX_SHARED(int, tile, kThreads);
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  tile[threadIdx.x] = values[i];
  if (!kFixed && threadIdx.x == 200) return;
  __syncthreads();
  results[i] = tile[kThreads - 1 - threadIdx.x];
}

// Only one of many blocks is wrong, and the last to start.
template <bool kFixed>
__global__ void exit_in_one_block(const int* values, int* results) {
  const unsigned i = blockIdx.x % kBlocks * kThreads + threadIdx.x;
  if (!kFixed && blockIdx.x == gridDim.x - 1 && threadIdx.x == 7) return;
  __syncthreads();
  if (blockIdx.x < kBlocks) results[i] = values[blockIdx.x * kThreads + kThreads - 1 - threadIdx.x];
}

}  // namespace

#define SX_PLANTED(name, blocks)                                                                \
  extern "C" int run_##name(int fixed, const int* values, int* results) {                       \
    if (fixed != 0) return SX_LAUNCH(name<true>, blocks, kThreads, nullptr, values, results);   \
    return SX_LAUNCH(name<false>, blocks, kThreads, nullptr, values, results);                  \
  }

SX_PLANTED(missing_barrier, kBlocks)
SX_PLANTED(missing_second_barrier, kBlocks)
SX_PLANTED(divergent_barrier, kBlocks)
SX_PLANTED(exit_before_barrier, kBlocks)
SX_PLANTED(exit_in_one_block, 1000)
