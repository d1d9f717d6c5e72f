#pragma once
// Collectives of a warp and of a block: the only place with shuffles, votes and the barriers they need.
//
// Blocks are one-dimensional and a multiple of 32 threads, and all threads of the warp (or block) take part in a
// call. Every combination happens in a fixed order, so the same values give the same bits. A block collective ends
// with a barrier and may therefore be called again at once.

#include "launch.h"

namespace saliency_ext::cuda {

constexpr int kWarpSize = 32;
constexpr unsigned kFullMask = 0xffffffffu;

__device__ __forceinline__ int lane_id() { return static_cast<int>(threadIdx.x) % kWarpSize; }

__device__ __forceinline__ int warp_id() { return static_cast<int>(threadIdx.x) / kWarpSize; }

// Valid in every lane: the value that `lane` holds.
template <typename T>
__device__ __forceinline__ T warp_broadcast(T value, int lane) {
  return __shfl_sync(kFullMask, value, lane);
}

// Valid in every lane: the mask of the lanes whose value equals this lane's value.
__device__ __forceinline__ unsigned warp_match_any(uint32_t value) { return __match_any_sync(kFullMask, value); }

// Valid in every lane, with the same bits: partners add the same two numbers at each step.
template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(kFullMask, value, offset);
  }
  return value;
}

// Valid in every lane: the largest value.
template <typename T>
__device__ __forceinline__ T warp_largest(T value) {
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    const T other = __shfl_xor_sync(kFullMask, value, offset);
    value = other > value ? other : value;
  }
  return value;
}

// Valid in every lane: the sum of the values of lanes 0..lane.
template <typename T>
__device__ __forceinline__ T warp_inclusive_scan(T value) {
  const int lane = lane_id();
  for (int offset = 1; offset < kWarpSize; offset *= 2) {
    const T below = __shfl_up_sync(kFullMask, value, offset);
    if (lane >= offset) value += below;
  }
  return value;
}

// Valid in every lane: the sum of the values of the lanes below this one, 0 in lane 0.
template <typename T>
__device__ __forceinline__ T warp_exclusive_scan(T value) {
  const T below = __shfl_up_sync(kFullMask, warp_inclusive_scan(value), 1);
  return lane_id() == 0 ? T(0) : below;
}

// Valid in thread 0 only: the sum over the block.
template <int kThreads, typename T>
__device__ __forceinline__ T block_sum(T value) {
  static_assert(kThreads % kWarpSize == 0 && kThreads <= kWarpSize * kWarpSize);
  constexpr int kWarps = kThreads / kWarpSize;
  SX_SHARED(T, partial, kWarps);
  value = warp_sum(value);
  if (lane_id() == 0) partial[warp_id()] = value;
  __syncthreads();
  T total = T(0);
  if (warp_id() == 0) total = warp_sum(lane_id() < kWarps ? partial[lane_id()] : T(0));
  __syncthreads();  // the next call overwrites `partial`
  return total;
}

// Valid in every thread: the sum over the block, with the same bits.
template <int kThreads, typename T>
__device__ __forceinline__ T block_total(T value) {
  SX_SHARED(T, total, 1);
  value = block_sum<kThreads>(value);
  if (threadIdx.x == 0) total[0] = value;
  __syncthreads();
  value = total[0];
  __syncthreads();  // the next call overwrites `total`
  return value;
}

// Valid in every thread: the largest value in the block. A NaN is passed over.
template <int kThreads, typename T>
__device__ __forceinline__ T block_largest(T value) {
  constexpr int kWarps = kThreads / kWarpSize;
  SX_SHARED(T, largest, kWarps);
  value = warp_largest(value);
  if (lane_id() == 0) largest[warp_id()] = value;
  __syncthreads();
  for (int warp = 0; warp < kWarps; ++warp) value = largest[warp] > value ? largest[warp] : value;
  __syncthreads();  // the next call overwrites `largest`
  return value;
}

// Valid in every thread: the sum of the values of the threads before this one; `*total` gets the sum over the block.
template <int kThreads, typename T>
__device__ __forceinline__ T block_exclusive_scan(T value, T* total) {
  static_assert(kThreads % kWarpSize == 0 && kThreads <= kWarpSize * kWarpSize);
  constexpr int kWarps = kThreads / kWarpSize;
  SX_SHARED(T, base, kWarps + 1);  // base[w] = sum of the warps before w; the last entry = sum over the block
  const T inclusive = warp_inclusive_scan(value);
  const T below = __shfl_up_sync(kFullMask, inclusive, 1);
  if (lane_id() == kWarpSize - 1) base[warp_id() + 1] = inclusive;
  __syncthreads();
  if (warp_id() == 0) {
    const T scanned = warp_inclusive_scan(lane_id() < kWarps ? base[lane_id() + 1] : T(0));
    if (lane_id() < kWarps) base[lane_id() + 1] = scanned;
    if (lane_id() == 0) base[0] = T(0);
  }
  __syncthreads();
  const T before = base[warp_id()];
  *total = base[kWarps];
  __syncthreads();  // the next call overwrites `base`
  return lane_id() == 0 ? before : before + below;
}

}  // namespace saliency_ext::cuda
