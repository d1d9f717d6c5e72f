#pragma once
// e^x without a library call: loops over it vectorise, and every device gives the same bits.
#include <cmath>
#include <cstdint>

#include "dtype.h"
#include "macros.h"

namespace saliency_ext {

constexpr double kPlainExpRange = 87.0;

// By a degree-6 polynomial on |r| <= ln 2 / 2 and a shift of the exponent: within 2e-7 relative. |x| <= kPlainExpRange.
SX_HD float plain_exp_inside(float x) {
  const float shifted = x * 1.44269504f + 12582912.0f;  // 1.5 2^23: the integer nearest to x / ln 2 is in the low bits
  const float whole = shifted - 12582912.0f;
  const float r = (x - whole * 0.693359375f) - whole * -2.12194440e-4f;
  float p = 1.3888889e-3f;
  p = p * r + 8.3333333e-3f;
  p = p * r + 4.1666667e-2f;
  p = p * r + 1.6666667e-1f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const uint32_t exponent = (bit_cast<uint32_t>(shifted) - 0x4B400000u + 127u) << 23;
  return p * bit_cast<float>(exponent);
}
SX_HD double plain_exp_inside(double x) { return exp(x); }

// The same, clamped to what a float32 holds.
SX_HD float plain_exp(float x) {
  x = x < -87.0f ? -87.0f : x;
  return plain_exp_inside(x > 88.0f ? 88.0f : x);
}
SX_HD double plain_exp(double x) { return exp(x); }

}  // namespace saliency_ext
