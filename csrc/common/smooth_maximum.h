#pragma once
// Smooth maximum of weighted neighbours [Fong 2019, Sec. 3.2]: with v_j = weight(pixel - cell j) * value of cell j, over the
// (2 reach + 1)^2 cells around a pixel,
//   out = sum_j v_j exp(coldness v_j) / sum_j exp(coldness v_j).
// A cell outside the grid has value 0, so it adds exp(0) = 1 to the denominator: that starts at (2 reach + 1)^2, and each cell
// inside adds exp(..) - 1.
#include <cmath>
#include <cstdint>

#include "dtype.h"
#include "macros.h"

namespace saliency_ext {

// e^x by a degree-6 polynomial on |r| <= ln 2 / 2 and a shift of the exponent: within 2e-7 relative, without a branch, so that
// loops over it vectorise; and the same bits on every device. Clamped to what a float32 holds.
SX_HD float plain_exp(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
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
SX_HD double plain_exp(double x) { return exp(x); }

// Slope of out by a cell's value, over the upstream gradient g of one pixel: weight * e * g / sum * (1 + coldness (v - out)),
// as weight * e * (b + coldness * v * a) with a = g / sum and b = a * (1 - coldness * out), which do not depend on the cell.
template <class T>
struct PixelSlope {
  T a, b;
};
template <class T>
SX_HD PixelSlope<T> pixel_slope(T gradient, T out, T sum, T coldness) {
  const T a = gradient / sum;
  return {a, a * (T(1) - coldness * out)};
}

SX_HD int64_t floor_quotient(int64_t value, int64_t divisor) {
  return value >= 0 ? value / divisor : -((divisor - 1 - value) / divisor);
}

}  // namespace saliency_ext
