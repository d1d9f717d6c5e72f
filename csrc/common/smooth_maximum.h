#pragma once
// Smooth maximum of weighted neighbours [Fong 2019, Sec. 3.2]: with v_j = weight(pixel - cell j) * value of cell j, over the
// (2 reach + 1)^2 cells around a pixel,
//   out = sum_j v_j exp(inverse_temperature v_j) / sum_j exp(inverse_temperature v_j).
// A cell outside the grid has value 0, so it adds exp(0) = 1 to the denominator: that starts at (2 reach + 1)^2, and each cell
// inside adds exp(..) - 1.
#include <cmath>
#include <cstdint>

#include "exponential.h"
#include "macros.h"

namespace saliency_ext {

// Slope of out by a cell's value, over the upstream gradient g of one pixel, with k the inverse temperature:
//   weight * e * g / sum * (1 + k (v - out)),
// as weight * e * (b + k * v * a) with a = g / sum and b = a * (1 - k * out), which do not depend on the cell.
template <class T>
struct PixelSlope {
  T a, b;
};
template <class T>
SX_HD PixelSlope<T> pixel_slope(T gradient, T out, T sum, T inverse_temperature) {
  const T a = gradient / sum;
  return {a, a * (T(1) - inverse_temperature * out)};
}

SX_HD int64_t floor_quotient(int64_t value, int64_t divisor) {
  return value >= 0 ? value / divisor : -((divisor - 1 - value) / divisor);
}

}  // namespace saliency_ext
