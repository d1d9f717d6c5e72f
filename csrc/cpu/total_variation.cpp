// Total variation on the CPU. Unit: a chunk of rows of one map. Value and gradient come from one pass, and what is not asked
// is not computed: the slopes of a row's terms are kept in a buffer, and a pixel's gradient gathers the slopes of its own term,
// its left and its upper neighbour's. Sums run in eight fixed lanes of double, which vectorises and does not depend on threads.
#include <algorithm>
#include <vector>

#include "../kernels.h"
#include "simd.h"
#include "multiversion.h"

namespace saliency_ext {
namespace {

template <Variation kKind, Power kPower, bool kValue, bool kGradient, class T>
class Walker {
 public:
  explicit Walker(const TotalVariationProblem& problem)
      : problem_(problem),
        beta_(static_cast<T>(problem.rule.beta)),
        eps_(static_cast<T>(problem.rule.eps)),
        // One leading zero: the slope of the term left of column 0.
        along_x_(problem.width + 1, T(0)),
        along_y_(problem.width, T(0)),
        above_(problem.width, T(0)),
        terms_(problem.width) {}

  SX_HD void chunk(int64_t unit) {
    const int64_t rows = variation_rows_per_chunk(problem_.height, problem_.width);
    const int64_t chunks = total_variation_chunks(problem_.height, problem_.width);
    const int64_t map = unit / chunks, first = unit % chunks * rows;
    const int64_t last = std::min(first + rows, problem_.height);
    double lanes[kLanes] = {};
    if constexpr (kGradient) {
      if (first > 0) {
        row_terms<true>(map, first - 1);
        along_y_.swap(above_);
      } else {
        std::fill(above_.begin(), above_.end(), T(0));
      }
    }
    for (int64_t y = first; y < last; ++y) {
      if (y + 1 < problem_.height) {
        one_row<true>(map, y);
      } else {
        one_row<false>(map, y);
      }
      if constexpr (kValue) add_terms(lanes);
    }
    if constexpr (kValue) {
      double sum = 0;
      for (double lane : lanes) sum += lane;
      problem_.partial[unit] = sum;
    }
  }

 private:
  // Whether the slope along x depends on dx alone: then the left neighbour's is cheaper to compute again than to store.
  static constexpr bool kSeparable = kKind != Variation::kIsotropic;

  // kHasY: there is a row below. The last row differs from the others in what the compiler makes of its loops.
  template <bool kHasY>
  SX_HD void one_row(int64_t map, int64_t y) {
    if constexpr (kGradient && kSeparable) {
      separable_row<kHasY>(map, y);
    } else {
      row_terms<kHasY>(map, y);
      if constexpr (kGradient) {
        write_gradient(map, y);
        along_y_.swap(above_);
      }
    }
  }

  // Terms, and gradient, of a row in one loop; above_ holds the slopes along y of the row before, and then of this one.
  template <bool kHasY>
  SX_HD void separable_row(int64_t map, int64_t y) {
    const int64_t width = problem_.width;
    const T* __restrict row = static_cast<const T*>(problem_.values) + (map * problem_.height + y) * width;
    const T* __restrict below = row + width;  // read where there is one
    T* __restrict out = static_cast<T*>(problem_.gradient) + (map * problem_.height + y) * width;
    T* __restrict above = above_.data();
    T* __restrict terms = terms_.data();
    const T weight = static_cast<const T*>(problem_.weights)[map], beta = beta_, eps = eps_;
    const auto pixel = [=](int64_t x, T left, T right, bool has_x) SX_INLINE_LAMBDA {
      T from_left, to_right, down, none;
      variation_term<kKind, kPower>(left, T(0), true, false, beta, eps, &from_left, &none);
      const T term =
          variation_term<kKind, kPower>(right, kHasY ? below[x] - row[x] : T(0), has_x, kHasY, beta, eps, &to_right, &down);
      out[x] = weight * ((from_left - to_right) + (above[x] - down));
      above[x] = down;
      if constexpr (kValue) terms[x] = term;
    };
    pixel(0, T(0), width > 1 ? row[1] - row[0] : T(0), width > 1);
    for (int64_t x = 1; x + 1 < width; ++x) pixel(x, row[x] - row[x - 1], row[x + 1] - row[x], true);
    if (width > 1) pixel(width - 1, row[width - 1] - row[width - 2], T(0), false);
  }

  template <bool kHasY>
  SX_HD void row_terms(int64_t map, int64_t y) {
    const int64_t width = problem_.width;
    const T* __restrict row = static_cast<const T*>(problem_.values) + (map * problem_.height + y) * width;
    const T* __restrict below = row + width;  // read where there is one
    T* __restrict along_x = along_x_.data() + 1;
    T* __restrict along_y = along_y_.data();
    T* __restrict terms = terms_.data();
    const T beta = beta_, eps = eps_;  // read through `this` they could alias the stores and keep the loop scalar
    const auto pixel = [=](int64_t x, T dx, bool has_x) SX_INLINE_LAMBDA {
      T slope_x, slope_y;
      const T term = variation_term<kKind, kPower>(dx, kHasY ? below[x] - row[x] : T(0), has_x, kHasY, beta, eps, &slope_x, &slope_y);
      if constexpr (kValue) terms[x] = term;
      if constexpr (kGradient) along_x[x] = slope_x, along_y[x] = slope_y;
    };
    for (int64_t x = 0; x + 1 < width; ++x) pixel(x, row[x + 1] - row[x], true);
    pixel(width - 1, T(0), false);
  }

  // Adds the row's terms to the lanes.
  SX_HD void add_terms(double* lanes) const {
    const int64_t width = problem_.width;
    const T* __restrict terms = terms_.data();
    double sums[kLanes];  // a local copy stays in registers; through the pointer each addition would wait for a store
    for (int lane = 0; lane < kLanes; ++lane) sums[lane] = lanes[lane];
    int64_t i = 0;
    for (; i + 4 * kLanes <= width; i += 4 * kLanes) {
      const T* __restrict t = terms + i;
      SX_UNROLL
      for (int lane = 0; lane < kLanes; ++lane) {  // four terms meet in T first: a quarter of the widening
        sums[lane] += static_cast<double>((t[lane] + t[lane + kLanes]) + (t[lane + 2 * kLanes] + t[lane + 3 * kLanes]));
      }
    }
    for (; i < width; ++i) sums[i % kLanes] += static_cast<double>(terms[i]);
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = sums[lane];
  }

  SX_HD void write_gradient(int64_t map, int64_t y) const {
    const T weight = static_cast<const T*>(problem_.weights)[map];
    T* __restrict out = static_cast<T*>(problem_.gradient) + (map * problem_.height + y) * problem_.width;
    const T* __restrict along_x = along_x_.data();
    const T* __restrict along_y = along_y_.data();
    const T* __restrict above = above_.data();
    for (int64_t x = 0; x < problem_.width; ++x) {
      out[x] = weight * ((along_x[x] - along_x[x + 1]) + (above[x] - along_y[x]));
    }
  }

  const TotalVariationProblem problem_;
  const T beta_, eps_;
  std::vector<T> along_x_, along_y_, above_, terms_;
};

template <Variation kKind, Power kPower, bool kValue, bool kGradient, class T>
void walk(int64_t begin, int64_t end, const TotalVariationProblem& problem) {
  Walker<kKind, kPower, kValue, kGradient, T> walker(problem);
  run_best([&]() SX_INLINE_LAMBDA {
    for (int64_t unit = begin; unit < end; ++unit) walker.chunk(unit);
  });
}

template <class T>
void walk_any(int64_t begin, int64_t end, const TotalVariationProblem& problem) {
  with_variation(problem.rule, [&](auto kind, auto power) {
    constexpr Variation kKind = decltype(kind)::value;
    constexpr Power kPower = decltype(power)::value;
    if (problem.gradient == nullptr) return walk<kKind, kPower, true, false, T>(begin, end, problem);
    if (problem.sums == nullptr) return walk<kKind, kPower, false, true, T>(begin, end, problem);
    return walk<kKind, kPower, true, true, T>(begin, end, problem);
  });
}

}  // namespace

int64_t total_variation_chunks(int64_t height, int64_t width) {
  const int64_t rows = variation_rows_per_chunk(height, width);
  return height > 0 && width > 0 ? (height + rows - 1) / rows : 0;
}

void total_variation_cpu(int64_t begin, int64_t end, const TotalVariationProblem& problem) {
  if (problem.dtype == DType::kFloat64) {
    walk_any<double>(begin, end, problem);
  } else {
    walk_any<float>(begin, end, problem);
  }
}

void total_variation_sum_cpu(int64_t begin, int64_t end, const TotalVariationProblem& problem) {
  const int64_t chunks = total_variation_chunks(problem.height, problem.width);
  for (int64_t map = begin; map < end; ++map) {
    double sum = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += problem.partial[map * chunks + chunk];
    if (problem.dtype == DType::kFloat64) {
      static_cast<double*>(problem.sums)[map] = sum;
    } else {
      static_cast<float*>(problem.sums)[map] = static_cast<float>(sum);
    }
  }
}

}  // namespace saliency_ext
