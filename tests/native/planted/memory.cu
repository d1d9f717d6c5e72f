// Mistakes with memory and arithmetic, each beside its corrected kernel (kFixed): 4 blocks of 256 threads copy their
// values, which are the numbers from 0 on.

#include <climits>

#include "launch.h"

namespace {

constexpr int kThreads = 256;
constexpr int kBlocks = 4;

template <bool kFixed>
__global__ void shared_write_after(const int* values, int* results) {
  SX_SHARED(int, tile, kThreads);
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  int* cells = tile;
  cells[threadIdx.x] = values[i];
  if (!kFixed && threadIdx.x == kThreads - 1) cells[threadIdx.x + 1] = 0;
  __syncthreads();
  results[i] = tile[threadIdx.x];
}

template <bool kFixed>
__global__ void shared_write_before(const int* values, int* results) {
  SX_SHARED(int, tile, kThreads);
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  int* cells = tile;
  cells[threadIdx.x] = values[i];
  if (!kFixed && threadIdx.x == 0) cells[values[0] - 1] = 0;
  __syncthreads();
  results[i] = tile[threadIdx.x];
}

template <bool kFixed>
__global__ void shared_read_after(const int* values, int* results) {
  SX_SHARED(int, tile, kThreads);
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  const int* cells = tile;
  tile[threadIdx.x] = values[i];
  __syncthreads();
  results[i] = cells[threadIdx.x + (kFixed ? 0 : 1)];
}

// The array's own type says how long it is.
template <bool kFixed>
__global__ void shared_index(const int* values, int* results) {
  SX_SHARED(int, tile, kThreads);
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  tile[threadIdx.x + (kFixed ? 0 : 1)] = values[i];
  __syncthreads();
  results[i] = tile[threadIdx.x];
}

template <bool kFixed>
__global__ void uninitialised_shared(const int* values, int* results) {
  SX_SHARED(int, tile, kThreads);
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  if (kFixed || threadIdx.x != 100) tile[threadIdx.x] = values[i];
  __syncthreads();
  results[i] = tile[threadIdx.x];
}

template <bool kFixed>
__global__ void signed_overflow(const int* values, int* results) {
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  const int large = values[i] + (INT_MAX - kThreads * kBlocks) + (kFixed ? 0 : 2);
  results[i] = large - (INT_MAX - kThreads * kBlocks) - (kFixed ? 0 : 2);
}

template <bool kFixed>
__global__ void global_write_after(const int* values, int* results) {
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  results[i + (kFixed ? 0 : 1)] = values[i];
}

}  // namespace

#define SX_PLANTED(name)                                                                        \
  extern "C" int run_##name(int fixed, const int* values, int* results) {                       \
    if (fixed != 0) return SX_LAUNCH(name<true>, kBlocks, kThreads, nullptr, values, results);  \
    return SX_LAUNCH(name<false>, kBlocks, kThreads, nullptr, values, results);                 \
  }

SX_PLANTED(shared_write_after)
SX_PLANTED(shared_write_before)
SX_PLANTED(shared_read_after)
SX_PLANTED(shared_index)
SX_PLANTED(uninitialised_shared)
SX_PLANTED(signed_overflow)
SX_PLANTED(global_write_after)
