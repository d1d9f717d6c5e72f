#pragma once
// Linear infill: every removed pixel is the weighted mean of its neighbours, removed or not. Weights at a distance of
//   road      2 directly, 1 diagonally      [Rong 2022, Sec. 4.2: 1/6 and 1/12]
//   harmonic  1 directly, 0 diagonally      the discrete Laplace equation
// A neighbour outside the image is left out and the others share its weight. With d the sum of the weights inside, one
// equation per removed pixel u reads   d(u) x(u) - sum over its neighbours v of weight(u, v) x(v) = 0:   symmetric, and
// positive definite as soon as one pixel is known.
//
// Solved by conjugate gradients, preconditioned by one multigrid V-cycle of cells of 2 x 2 pixels, half as many cells along
// each side from level to level. A coarse cell is unknown where one of its pixels is. The same stencil serves on every level;
// known pixels inside an unknown cell are a Dirichlet coupling to 0, which adds to its d.
#include <cmath>
#include <cstdint>

#include "macros.h"

namespace saliency_ext {

enum class InfillStencil : int { kRoad = 0, kHarmonic = 1 };

// Iterations after which the answer is given as it is: many more than any usual image needs.
constexpr int kInfillIterations = 200;

// Factors of the two damped Jacobi sweeps before the coarse grid, and in reverse after it: the Chebyshev polynomial of
// degree 2 over [0.35, 4/3] for road and [0.4, 2] for harmonic, and for road on a grid one cell wide, where the stencils agree.
// The eigenvalues that the coarse grid does not see begin at 2/3 and 1/2; those next to a border of known pixels, where it sees
// little, lie below.
template <InfillStencil kStencil, class T>
SX_HD T infill_sweep(int number, int64_t height, int64_t width) {
  if (kStencil == InfillStencil::kRoad && height > 1 && width > 1) {
    return number == 0 ? T(2.0242676) : T(0.8408113);
  } else {
    return number == 0 ? T(1.5765048) : T(0.5663523);
  }
}

// What a part of a coarse cell adds to the cell's Dirichlet coupling: a known pixel this much, and an unknown cell with a
// `coupling` of its own as two conductors in series. Tuned: weaker couplings make the correction too large, stronger ones too
// small.
template <InfillStencil kStencil, class T>
SX_HD T infill_coupling(bool unknown, T coupling) {
  constexpr T kKnown = kStencil == InfillStencil::kRoad ? T(18) : T(6);
  return unknown ? kKnown * coupling / (kKnown + coupling) : kKnown;
}

// Scaling of restricted couplings between levels. Cells twice as far apart conduct half as well.
// Two rows in one make up for it, but a line of cells has only itself: counted like others, its corrections would halve from
// level to level, and the preconditioned residual of a long gap would be that much smaller than its error.
template <class T>
SX_HD T infill_gain(int64_t height, int64_t width) {
  return height == 1 || width == 1 ? T(2) : T(1);
}

// Where every unknown cell of a grid has a Dirichlet coupling as large as this, two sweeps solve it: no coarser grid is needed.
template <InfillStencil kStencil, class T>
SX_HD T infill_strong_coupling() {
  return kStencil == InfillStencil::kRoad ? T(8) : T(2.5);
}

// Sum of the weights of a pixel's neighbours inside the image. Along one axis the road weights with the centre are 1 2 1;
// their product has 4 at the centre.
template <InfillStencil kStencil>
SX_HD int infill_weight_sum(int64_t y, int64_t x, int64_t height, int64_t width) {
  const int before_y = y > 0, after_y = y + 1 < height, before_x = x > 0, after_x = x + 1 < width;
  if constexpr (kStencil == InfillStencil::kRoad) {
    return (2 + before_y + after_y) * (2 + before_x + after_x) - 4;
  } else {
    return before_y + after_y + before_x + after_x;
  }
}

// Weighted sum of the neighbours of place x of the middle one of three rows. Places outside the image hold 0.
template <InfillStencil kStencil, class T>
SX_HD T infill_neighbours(const T* above, const T* here, const T* below, int64_t x) {
  const T direct = (above[x] + below[x]) + (here[x - 1] + here[x + 1]);
  if constexpr (kStencil == InfillStencil::kRoad) {
    return T(2) * direct + ((above[x - 1] + above[x + 1]) + (below[x - 1] + below[x + 1]));
  } else {
    return direct;
  }
}

// Known values are added up this much smaller, so that the sum of the largest numbers does not overflow. Exact.
constexpr double kInfillShrink = 1.0 / (int64_t{1} << 32);

// Unit in which an image of this spread is solved, so that squares neither overflow nor vanish: a power of two, which is exact.
SX_HD double infill_unit(double spread) {
  int exponent = 0;
  frexp(spread, &exponent);
  return ldexp(1.0, exponent < -1000 ? -1000 : exponent - 1);
}

// float32 holds about 7 digits, and the solver loses one: beyond that it works in float64. In a narrow image it loses more: what
// rounding does to the equations adds up along a gap, and its sum adds up once more. `spread` is the largest distance of a known
// value from their mean.
SX_HD bool infill_needs_double(double tolerance, double spread, int64_t height, int64_t width) {
  const double aspect = height > width ? static_cast<double>(height) / static_cast<double>(width)
                                       : static_cast<double>(width) / static_cast<double>(height);
  return tolerance < 1e-5 * spread * (aspect * aspect);
}

// The largest value of the preconditioned residual estimates the error, as long as coarse grids correct by the right amount, see
// infill_gain. Half the tolerance is asked of it, and not less than what the arithmetic can give.
SX_HD double infill_goal(double tolerance, double spread, bool in_double) {
  const double least = (in_double ? 1e-14 : 1e-7) * spread;
  return tolerance / 2 > least ? tolerance / 2 : least;
}

// Cells of the next coarser level along one axis.
SX_HD int64_t infill_coarser(int64_t size) { return (size + 1) / 2; }

SX_HD bool infill_has_coarser(int64_t height, int64_t width) { return height > 2 || width > 2; }

}  // namespace saliency_ext
