#pragma once
// The CUDA vocabulary of the kernels, for g++. What is missing here does not compile, on purpose: __shared__ (use
// SX_SHARED), float atomics (their order is not repeatable), dynamic shared memory.

#include <algorithm>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstring>
#include <type_traits>

#include "sim_runtime.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)

constexpr int warpSize = 32;

// ---- vector types

#define SIM_VECTOR2(name, type, alignment)   \
  struct alignas(alignment) name {           \
    type x, y;                               \
  };                                         \
  inline name make_##name(type x, type y) { return {x, y}; }
#define SIM_VECTOR4(name, type, alignment)   \
  struct alignas(alignment) name {           \
    type x, y, z, w;                         \
  };                                         \
  inline name make_##name(type x, type y, type z, type w) { return {x, y, z, w}; }

SIM_VECTOR2(float2, float, 8)
SIM_VECTOR2(double2, double, 16)
SIM_VECTOR2(int2, int, 8)
SIM_VECTOR2(uint2, unsigned, 8)
SIM_VECTOR4(float4, float, 16)
SIM_VECTOR4(int4, int, 16)
SIM_VECTOR4(uint4, unsigned, 16)
#undef SIM_VECTOR2
#undef SIM_VECTOR4

// ---- arithmetic

template <std::integral T>
constexpr T min(T a, T b) { return b < a ? b : a; }
template <std::integral T>
constexpr T max(T a, T b) { return a < b ? b : a; }
inline float min(float a, float b) { return std::fmin(a, b); }
inline float max(float a, float b) { return std::fmax(a, b); }
inline double min(double a, double b) { return std::fmin(a, b); }
inline double max(double a, double b) { return std::fmax(a, b); }

constexpr int __popc(unsigned v) { return std::popcount(v); }
constexpr int __popcll(unsigned long long v) { return std::popcount(v); }
constexpr int __clz(int v) { return std::countl_zero(static_cast<unsigned>(v)); }
constexpr int __clzll(long long v) { return std::countl_zero(static_cast<unsigned long long>(v)); }
constexpr int __ffs(int v) { return __builtin_ffs(v); }
constexpr int __ffsll(long long v) { return __builtin_ffsll(v); }
constexpr unsigned __brev(unsigned v) {
  unsigned reversed = 0;
  for (int bit = 0; bit < 32; ++bit) reversed |= ((v >> bit) & 1u) << (31 - bit);
  return reversed;
}
constexpr unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((static_cast<unsigned long long>(a) * b) >> 32);
}
inline unsigned __float_as_uint(float v) { return std::bit_cast<unsigned>(v); }
inline int __float_as_int(float v) { return std::bit_cast<int>(v); }
inline float __uint_as_float(unsigned v) { return std::bit_cast<float>(v); }
inline float __int_as_float(int v) { return std::bit_cast<float>(v); }

// ---- loads and stores with a cache hint

template <typename T>
T __ldg(const T* address) { return *address; }
template <typename T>
T __ldcs(const T* address) { return *address; }
template <typename T>
T __ldcg(const T* address) { return *address; }
template <typename T>
void __stcs(T* address, std::type_identity_t<T> value) { *address = value; }
template <typename T>
void __stcg(T* address, std::type_identity_t<T> value) { *address = value; }

// ---- atomics, relaxed as on the device; the types CUDA has

template <typename T>
concept SimAtomic = std::same_as<T, int> || std::same_as<T, unsigned> || std::same_as<T, unsigned long long>;

namespace sim {

template <SimAtomic T, typename Update>
T atomic_update(T* address, Update update) {
  T old = __atomic_load_n(address, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(address, &old, update(old), true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}

}  // namespace sim

template <SimAtomic T>
T atomicAdd(T* address, std::type_identity_t<T> value) { return __atomic_fetch_add(address, value, __ATOMIC_RELAXED); }
template <SimAtomic T>
T atomicOr(T* address, std::type_identity_t<T> value) { return __atomic_fetch_or(address, value, __ATOMIC_RELAXED); }
template <SimAtomic T>
T atomicAnd(T* address, std::type_identity_t<T> value) { return __atomic_fetch_and(address, value, __ATOMIC_RELAXED); }
template <SimAtomic T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  return __atomic_exchange_n(address, value, __ATOMIC_RELAXED);
}
template <SimAtomic T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  return sim::atomic_update(address, [value](T old) { return std::min(old, value); });
}
template <SimAtomic T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  return sim::atomic_update(address, [value](T old) { return std::max(old, value); });
}
template <SimAtomic T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> desired) {
  __atomic_compare_exchange_n(address, &expected, desired, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}

inline void __threadfence() { sim::thread_fence(); }

// ---- barriers, shuffles, votes; the site that a fault names is where the kernel calls them

inline void __syncthreads(sim::Site site = sim::Site::current()) { sim::barrier(site); }

inline void __syncwarp(unsigned mask = ~0u, sim::Site site = sim::Site::current()) {
  sim::warp_op(sim::WarpOp::kSync, mask, 0, 0, site);
}

namespace sim {

template <typename T>
std::uint64_t to_bits(T value) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8), "shuffles move 4 or 8 bytes");
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

template <typename T>
T shuffle(unsigned mask, T value, int source, Site site) {
  const std::uint64_t bits = warp_op(WarpOp::kShuffle, mask, to_bits(value), source, site);
  T result;
  std::memcpy(&result, &bits, sizeof(T));
  return result;
}

}  // namespace sim

// Each segment of `width` lanes shuffles by itself; a lane whose source falls outside keeps its own value.
template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, sim::Site site = sim::Site::current()) {
  const int first = sim::lane() & ~(width - 1);
  return sim::shuffle(mask, value, first | (source & (width - 1)), site);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, sim::Site site = sim::Site::current()) {
  const int source = sim::lane() - static_cast<int>(delta);
  return sim::shuffle(mask, value, source < (sim::lane() & ~(width - 1)) ? sim::lane() : source, site);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, sim::Site site = sim::Site::current()) {
  const int source = sim::lane() + static_cast<int>(delta);
  return sim::shuffle(mask, value, source > (sim::lane() | (width - 1)) ? sim::lane() : source, site);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, sim::Site site = sim::Site::current()) {
  const int source = sim::lane() ^ lanes;
  return sim::shuffle(mask, value, source > (sim::lane() | (width - 1)) ? sim::lane() : source, site);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, sim::Site site = sim::Site::current()) {
  return static_cast<unsigned>(sim::warp_op(sim::WarpOp::kBallot, mask, predicate != 0, 0, site));
}
inline int __any_sync(unsigned mask, int predicate, sim::Site site = sim::Site::current()) {
  return __ballot_sync(mask, predicate, site) != 0;
}
inline int __all_sync(unsigned mask, int predicate, sim::Site site = sim::Site::current()) {
  return __ballot_sync(mask, predicate, site) == mask;
}
template <typename T>
unsigned __match_any_sync(unsigned mask, T value, sim::Site site = sim::Site::current()) {
  return static_cast<unsigned>(sim::warp_op(sim::WarpOp::kMatchAny, mask, sim::to_bits(value), 0, site));
}
