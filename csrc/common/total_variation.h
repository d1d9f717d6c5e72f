#pragma once
// Total variation: the term of one pixel and its derivative by the two forward differences.
//   anisotropic  sum |dx|^beta + |dy|^beta          (with eps: (d^2 + eps)^(beta/2)), over pairs of neighbours
//   isotropic    sum (dx^2 + dy^2 + eps)^(beta/2)   over pixels; a difference across the border is 0 [Rudin 1992; Fong 2017, Eq. 4]
//   squared      sum dx^2 + dy^2                    [Gupta 2022, Sec. 5]
#include <cmath>
#include <cstdint>

#include "macros.h"

namespace saliency_ext {

enum class Variation : int { kAnisotropic = 0, kIsotropic = 1, kSquared = 2 };

struct VariationRule {
  Variation kind;
  double beta;
  double eps;
};

SX_HD float power(float base, float exponent) { return powf(base, exponent); }
SX_HD double power(double base, double exponent) { return pow(base, exponent); }
SX_HD float root(float value) { return sqrtf(value); }
SX_HD double root(double value) { return sqrt(value); }

// How a squared length q (plus eps) becomes a term: kAbsolute is |d| itself (anisotropic, beta = 1, eps = 0: exact, no
// square to underflow), kRoot, kSquare and kCube are beta = 1, 2 and 3, kGeneral needs pow (40 times slower).
enum class Power : int { kAbsolute = 0, kRoot = 1, kSquare = 2, kCube = 3, kGeneral = 4 };

// q^(beta/2), and its derivative by q times 2. At q = 0 the derivative is taken as 0, the minimal subgradient for beta = 1.
// A NaN stays one: only 0 is set apart.
template <Power kPower, class T>
SX_HD T length_power(T q, T beta, T* twice_slope) {
  if constexpr (kPower == Power::kSquare) {
    *twice_slope = T(2);
    return q;
  } else if constexpr (kPower == Power::kCube) {
    const T length = root(q);
    *twice_slope = T(3) * length;
    return q * length;
  } else {
    const bool zero = q == T(0);
    const T safe = zero ? T(1) : q;
    const T length = kPower == Power::kGeneral ? power(safe, beta * T(0.5)) : root(safe);
    const T slope = kPower == Power::kGeneral ? beta * length / safe : T(1) / length;
    *twice_slope = zero ? T(0) : slope;
    return zero ? T(0) : length;
  }
}

// |d|^beta (with eps) of one difference and its slope.
template <Power kPower, class T>
SX_HD T difference_power(T d, T beta, T eps, T* slope) {
  if constexpr (kPower == Power::kAbsolute) {
    const T sign = static_cast<T>((d > T(0)) - (d < T(0)));
    *slope = d == d ? sign : d;
    return d < T(0) ? -d : d;
  } else {
    T twice;
    const T term = length_power<kPower>(d * d + eps, beta, &twice);
    *slope = twice * d;
    return term;
  }
}

// Term of a pixel with forward differences dx, dy (0, and has_* false, where the neighbour is outside), and
// slope_x = d term / d dx, slope_y = d term / d dy.
template <Variation kKind, Power kPower, class T>
SX_HD T variation_term(T dx, T dy, bool has_x, bool has_y, T beta, T eps, T* slope_x, T* slope_y) {
  if constexpr (kKind == Variation::kSquared) {
    *slope_x = T(2) * dx;
    *slope_y = T(2) * dy;
    return dx * dx + dy * dy;
  } else if constexpr (kKind == Variation::kIsotropic) {
    T twice;
    const T term = length_power<kPower>(dx * dx + dy * dy + eps, beta, &twice);
    *slope_x = twice * dx;
    *slope_y = twice * dy;
    return term;
  } else {
    const T term_x = difference_power<kPower>(dx, beta, eps, slope_x);
    const T term_y = difference_power<kPower>(dy, beta, eps, slope_y);
    return (has_x ? term_x : T(0)) + (has_y ? term_y : T(0));
  }
}

template <auto kValue>
struct Constant {
  static constexpr auto value = kValue;
};

// Calls body(Constant<kind>, Constant<power>) for the cheapest form of the rule. Host side: picks the instantiation.
template <class Body>
auto with_variation(const VariationRule& rule, const Body& body) {
  const auto with_power = [&](auto kind) {
    if (rule.beta == 1.0) return body(kind, Constant<Power::kRoot>{});
    if (rule.beta == 2.0) return body(kind, Constant<Power::kSquare>{});
    if (rule.beta == 3.0) return body(kind, Constant<Power::kCube>{});
    return body(kind, Constant<Power::kGeneral>{});
  };
  if (rule.kind == Variation::kSquared) return body(Constant<Variation::kSquared>{}, Constant<Power::kSquare>{});
  if (rule.kind == Variation::kIsotropic) return with_power(Constant<Variation::kIsotropic>{});
  if (rule.beta == 1.0 && rule.eps == 0.0) return body(Constant<Variation::kAnisotropic>{}, Constant<Power::kAbsolute>{});
  return with_power(Constant<Variation::kAnisotropic>{});
}

// Rows of a map are summed in chunks of this many, so that a large map keeps many workers busy. The chunking depends on
// the map's own size alone: a map's sum has the same bits in any batch.
SX_HD int64_t variation_rows_per_chunk(int64_t height, int64_t width) {
  const int64_t rows = 65536 / (width > 0 ? width : 1);
  return rows < 1 ? 1 : (rows < height || height == 0 ? rows : height);
}

// The CUDA kernel sums in tiles of this size, for the same reason: 512 pixels, so that one map of 224 x 224 is 112 of them.
constexpr int64_t kVariationTileWidth = 64, kVariationTileHeight = 8;
SX_HD int64_t variation_tiles(int64_t height, int64_t width) {
  return ((height + kVariationTileHeight - 1) / kVariationTileHeight) * ((width + kVariationTileWidth - 1) / kVariationTileWidth);
}

}  // namespace saliency_ext
