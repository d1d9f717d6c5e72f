#pragma once
// The element types a rendered image may have, and exact conversions to the 16-bit ones.
// Own conversions, not a vendor's: the same integers run on both devices, so results are bit-equal.
#include <cstdint>
#include <cstring>

#include "macros.h"

namespace saliency_ext {

enum class DType : int { kFloat32 = 0, kFloat64 = 1, kFloat16 = 2, kBFloat16 = 3 };

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

template <class To, class From>
SX_HD To bit_cast(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To result;
  memcpy(&result, &value, sizeof(To));
  return result;
}

// Unsigned integer as wide as T: selecting pixels moves bits, never values, so NaN payloads survive.
template <int kBytes>
struct BitsOfSize;
template <>
struct BitsOfSize<2> {
  using type = uint16_t;
};
template <>
struct BitsOfSize<4> {
  using type = uint32_t;
};
template <>
struct BitsOfSize<8> {
  using type = uint64_t;
};
template <class T>
using Bits = typename BitsOfSize<sizeof(T)>::type;

// Round to nearest, ties to even; NaN stays NaN (quiet). Ternaries on values already computed: no branch to mispredict.
SX_HD BFloat16 to_bfloat16(float value) {
  const uint32_t bits = bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  const bool is_nan = (bits & 0x7FFFFFFFu) > 0x7F800000u;
  return {static_cast<uint16_t>(is_nan ? 0x7FC0u : rounded)};
}

SX_HD Half to_half(float value) {
  const uint32_t bits = bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  uint32_t result;
  if (magnitude > 0x7F800000u) {
    result = 0x7E00u;
  } else if (magnitude >= 0x477FF000u) {  // rounds to 65536 or more: infinity
    result = 0x7C00u;
  } else if (magnitude >= 0x38800000u) {  // normal in half: rebias the exponent, round the 13 dropped bits
    result = (magnitude - 0x38000000u + 0xFFFu + ((magnitude >> 13) & 1u)) >> 13;
  } else if (magnitude >= 0x33000000u) {  // subnormal in half
    const uint32_t shift = 126u - (magnitude >> 23);
    const uint32_t mantissa = (magnitude & 0x7FFFFFu) | 0x800000u;
    const uint32_t dropped = mantissa & ((1u << shift) - 1u);
    const uint32_t halfway = 1u << (shift - 1u);
    result = mantissa >> shift;
    result += (dropped > halfway || (dropped == halfway && (result & 1u))) ? 1u : 0u;
  } else {
    result = 0;
  }
  return {static_cast<uint16_t>(sign | result)};
}

// Casts a computed value to the element type of the output.
template <class Out, class T>
struct Cast {
  SX_HD static Out apply(T value) { return static_cast<Out>(value); }
};
template <>
struct Cast<Half, float> {
  SX_HD static Half apply(float value) { return to_half(value); }
};
template <>
struct Cast<BFloat16, float> {
  SX_HD static BFloat16 apply(float value) { return to_bfloat16(value); }
};

template <class Out, class T>
SX_HD Out cast_to(T value) {
  return Cast<Out, T>::apply(value);
}

}  // namespace saliency_ext
