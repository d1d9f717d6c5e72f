#pragma once
// Arithmetic of indices without 64-bit divisions: a kernel divides 32-bit numbers by divisors known before its launch.
#include "launch.h"

namespace saliency_ext::cuda {

struct Quotient {
  uint32_t quotient, remainder;
};

// n / divisor and n % divisor for every 32-bit n, by a multiplication [Granlund 1994, Fig. 4.1].
class Divisor {
 public:
  Divisor() = default;
  // value: 1 .. 2^32 - 1.
  explicit Divisor(int64_t value) : value_(static_cast<uint32_t>(value)) {
    int bits = 0;  // the smallest with 2^bits >= value
    while (bits < 32 && (uint64_t{1} << bits) < value_) ++bits;
    multiplier_ = static_cast<uint32_t>((((uint64_t{1} << bits) - value_) << 32) / value_ + 1);
    first_shift_ = bits < 1 ? bits : 1;
    second_shift_ = bits > 1 ? bits - 1 : 0;
  }
  __device__ __forceinline__ uint32_t value() const { return value_; }
  __device__ __forceinline__ Quotient operator()(uint32_t n) const {
    const uint32_t high = __umulhi(multiplier_, n);
    const uint32_t quotient = (high + ((n - high) >> first_shift_)) >> second_shift_;
    return {quotient, n - quotient * value_};
  }

 private:
  uint32_t value_ = 1, multiplier_ = 1;
  int first_shift_ = 0, second_shift_ = 0;
};

// ---- vectors: 16 bytes by one load or store. The address is a multiple of their size.

#ifdef __CUDACC__
using Bytes16 = uint4;
#else
typedef uint32_t Bytes16 __attribute__((vector_size(16)));
#endif

template <class T>
constexpr int kVectorOf = 16 / static_cast<int>(sizeof(T));

template <class T>
__device__ __forceinline__ bool is_aligned16(const T* address) {
  return reinterpret_cast<uintptr_t>(address) % 16 == 0;
}

template <class T>
__device__ __forceinline__ void load16(const T* from, T (&to)[kVectorOf<T>]) {
  const Bytes16 bytes = *reinterpret_cast<const Bytes16*>(from);
  memcpy(to, &bytes, 16);
}

template <class T>
__device__ __forceinline__ void store16(T* to, const T (&from)[kVectorOf<T>]) {
  Bytes16 bytes;
  memcpy(&bytes, from, 16);
  *reinterpret_cast<Bytes16*>(to) = bytes;
}

}  // namespace saliency_ext::cuda
