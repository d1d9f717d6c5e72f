// Kernels that waste the device, and their twins that do not, for the counts to tell apart. n = 32 x 32 x blocks.
#include <cstdint>

#include "launch.h"

namespace {

constexpr int kThreads = 256;

__global__ void copy_rows(const float* from, float* to, int64_t count) {
  const int64_t i = saliency_ext::cuda::global_thread();
  if (i < count) to[i] = from[i];
}

// A lane reads four bytes of a sector of its own.
__global__ void copy_strided(const float* from, float* to, int64_t count) {
  const int64_t i = saliency_ext::cuda::global_thread();
  if (i < count) to[i] = from[8 * i % count + 8 * i / count];
}

// 32 x 32 tiles, transposed. kStride 33: without bank conflicts; 32: a column lies in one bank.
template <int kStride>
__global__ void transpose(const float* from, float* to, int64_t) {
  SX_SHARED(float, tile, 32 * kStride);
  const int64_t base = static_cast<int64_t>(blockIdx.x) * 1024;
  for (int i = threadIdx.x; i < 1024; i += kThreads) tile[i / 32 * kStride + i % 32] = from[base + i];
  __syncthreads();
  for (int i = threadIdx.x; i < 1024; i += kThreads) to[base + i] = tile[i % 32 * kStride + i / 32];
}

// All by one block.
__global__ void copy_by_one_block(const float* from, float* to, int64_t count) {
  for (int64_t i = threadIdx.x; i < count; i += kThreads) to[i] = from[i];
}

// Reads everything three times, with more in between than the cache holds.
__global__ void copy_thrice(const float* from, float* to, int64_t count) {
  float sum = 0;
  const int64_t part = count / gridDim.x, base = part * blockIdx.x;
  for (int round = 0; round < 3; ++round) {
    for (int64_t i = threadIdx.x; i < part; i += kThreads) sum += from[base + i];
    __syncthreads();
  }
  for (int64_t i = threadIdx.x; i < part; i += kThreads) to[base + i] = sum;
}

}  // namespace

int run_planted(int number, const float* from, float* to, int64_t count) {
  const unsigned grid = static_cast<unsigned>(count / kThreads), tiles = static_cast<unsigned>(count / 1024);
  switch (number) {
    case 0: return SX_LAUNCH(copy_rows, grid, kThreads, nullptr, from, to, count);
    case 1: return SX_LAUNCH(copy_strided, grid, kThreads, nullptr, from, to, count);
    case 2: return SX_LAUNCH(transpose<33>, tiles, kThreads, nullptr, from, to, count);
    case 3: return SX_LAUNCH(transpose<32>, tiles, kThreads, nullptr, from, to, count);
    case 4: return SX_LAUNCH(copy_by_one_block, 1u, kThreads, nullptr, from, to, count);
    default: return SX_LAUNCH(copy_thrice, 2u, kThreads, nullptr, from, to, count);
  }
}
