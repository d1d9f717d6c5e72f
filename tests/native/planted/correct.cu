// Kernels without a bug: what they compute is known exactly.

#include "block.cuh"

namespace {

using namespace saliency_ext::cuda;

constexpr int kThreads = 256;

// Row sums: one block per row. The second sum uses the shared array of the first again.
template <typename T>
__global__ void __launch_bounds__(kThreads) sum_rows(const T* values, int64_t columns, T* sums) {
  const T* row = values + blockIdx.x * columns;
  T sum = 0;
  for (int64_t i = threadIdx.x; i < columns; i += blockDim.x) sum += __ldg(row + i);
  sum = block_sum<kThreads>(sum);
  const T threads = block_sum<kThreads>(T(1));
  if (threadIdx.x == 0) sums[blockIdx.x] = threads == T(kThreads) ? sum : T(-1);
}

// Exclusive scan of each row, one value per thread, twice to use the shared array again.
template <typename T>
__global__ void scan_rows(const T* values, T* before, T* totals) {
  const int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  T total;
  const T first = block_exclusive_scan<kThreads>(values[i], &total);
  const T second = block_exclusive_scan<kThreads>(first, &totals[i]);
  before[2 * i] = first;
  before[2 * i + 1] = second;
  totals[i] = total;
}

// Each block reverses its part of the values through shared memory.
__global__ void reverse_blocks(const int* values, int* reversed) {
  SX_SHARED(int, tile, kThreads);
  const int64_t begin = blockIdx.x * int64_t{kThreads};
  tile[threadIdx.x] = values[begin + threadIdx.x];
  __syncthreads();
  reversed[begin + threadIdx.x] = tile[kThreads - 1 - threadIdx.x];
}

// Counts per value over all blocks: one atomic per group of equal values in a warp.
__global__ void histogram(const unsigned* values, unsigned* counts) {
  const unsigned value = values[blockIdx.x * int64_t{blockDim.x} + threadIdx.x];
  const unsigned peers = warp_match_any(value);
  if (__ffs(static_cast<int>(peers)) - 1 == lane_id()) atomicAdd(&counts[value], static_cast<unsigned>(__popc(peers)));
}

// One row of results per operation.
__global__ void warp_operations(const int64_t* values, int64_t* results) {
  const int n = static_cast<int>(blockDim.x);
  const int t = static_cast<int>(threadIdx.x);
  const int64_t v = values[t];
  results[0 * n + t] = __shfl_sync(kFullMask, v, 5, 8);
  results[1 * n + t] = __shfl_up_sync(kFullMask, v, 3, 16);
  results[2 * n + t] = __shfl_down_sync(kFullMask, v, 3, 16);
  results[3 * n + t] = __shfl_xor_sync(kFullMask, v, 9);
  results[4 * n + t] = __ballot_sync(kFullMask, v % 3 == 0);
  results[5 * n + t] = __match_any_sync(kFullMask, static_cast<unsigned long long>(v % 4));
  results[6 * n + t] = warp_exclusive_scan(v);
  results[7 * n + t] = warp_broadcast(v, 7);
  results[8 * n + t] = __any_sync(kFullMask, v == 3) * 2 + __all_sync(kFullMask, v < 40);
  // The two halves of a warp by themselves.
  const unsigned half = lane_id() < 16 ? 0x0000ffffu : 0xffff0000u;
  if (lane_id() < 16) {
    results[9 * n + t] = __shfl_xor_sync(half, v, 1);
  } else {
    results[9 * n + t] = -__shfl_xor_sync(half, v, 1);
  }
}

}  // namespace

extern "C" {

int sum_rows_float(const float* values, int64_t rows, int64_t columns, float* sums) {
  return SX_LAUNCH((sum_rows<float>), rows, kThreads, nullptr, values, columns, sums);
}
int sum_rows_int64(const int64_t* values, int64_t rows, int64_t columns, int64_t* sums) {
  return SX_LAUNCH(sum_rows<int64_t>, dim3(rows), dim3(kThreads), nullptr, values, columns, sums);
}
int scan_rows_int(const int* values, int64_t rows, int* before, int* totals) {
  return SX_LAUNCH((scan_rows<int>), rows, kThreads, nullptr, values, before, totals);
}
int run_reverse(const int* values, int64_t blocks, int* reversed) {
  return SX_LAUNCH(reverse_blocks, blocks, kThreads, nullptr, values, reversed);
}
int run_histogram(const unsigned* values, int64_t blocks, unsigned* counts) {
  return SX_LAUNCH(histogram, blocks, kThreads, nullptr, values, counts);
}
int run_warp_operations(const int64_t* values, int64_t* results) {
  return SX_LAUNCH(warp_operations, 1, 64, nullptr, values, results);
}
int run_too_many_threads(const int* values, int* reversed) {
  return SX_LAUNCH(reverse_blocks, 1, 2048, nullptr, values, reversed);
}

}  // extern "C"
