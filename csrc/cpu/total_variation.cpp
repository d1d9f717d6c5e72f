// Total variation on the CPU. Unit: a chunk of rows of one map. Value and gradient come from one pass: the slopes of a
// row's terms are kept in a buffer, and a pixel's gradient gathers the slopes of its own term, its left and its upper
// neighbour's. Sums run in eight fixed lanes of double, which vectorises and does not depend on threads.
#include <algorithm>
#include <vector>

#include "../kernels.h"
#include "multiversion.h"

namespace saliency_ext {
namespace {

constexpr int kLanes = 8;

template <Variation kKind, Power kPower, class T>
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
    double ignored[kLanes] = {};
    if (problem_.gradient != nullptr) {
      if (first > 0) {
        row_terms(map, first - 1, ignored);
        along_y_.swap(above_);
      } else {
        std::fill(above_.begin(), above_.end(), T(0));
      }
    }
    for (int64_t y = first; y < last; ++y) {
      row_terms(map, y, lanes);
      if (problem_.gradient != nullptr) {
        write_gradient(map, y);
        along_y_.swap(above_);
      }
    }
    double sum = 0;
    for (double lane : lanes) sum += lane;
    problem_.partial[unit] = sum;
  }

 private:
  SX_HD void row_terms(int64_t map, int64_t y, double* lanes) {
    const int64_t width = problem_.width;
    const T* __restrict row = static_cast<const T*>(problem_.values) + (map * problem_.height + y) * width;
    const bool has_y = y + 1 < problem_.height;
    const T* __restrict below = has_y ? row + width : row;  // itself: dy = 0
    T* __restrict along_x = along_x_.data() + 1;
    T* __restrict along_y = along_y_.data();
    T* __restrict terms = terms_.data();
    const T beta = beta_, eps = eps_;  // read through `this` they could alias the stores and keep the loop scalar
    for (int64_t x = 0; x + 1 < width; ++x) {
      terms[x] = variation_term<kKind, kPower>(row[x + 1] - row[x], below[x] - row[x], true, has_y, beta, eps,
                                               along_x + x, along_y + x);
    }
    const int64_t x = width - 1;
    terms[x] = variation_term<kKind, kPower>(T(0), below[x] - row[x], false, has_y, beta, eps, along_x + x, along_y + x);
    int64_t i = 0;
    for (; i + kLanes <= width; i += kLanes) {
      for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += static_cast<double>(terms[i + lane]);
    }
    for (int lane = 0; i < width; ++i, ++lane) lanes[lane] += static_cast<double>(terms[i]);
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

template <Variation kKind, Power kPower, class T>
void walk(int64_t begin, int64_t end, const TotalVariationProblem& problem) {
  Walker<kKind, kPower, T> walker(problem);
  run_best([&]() SX_INLINE_LAMBDA {
    for (int64_t unit = begin; unit < end; ++unit) walker.chunk(unit);
  });
}

template <class T>
void walk_any(int64_t begin, int64_t end, const TotalVariationProblem& problem) {
  with_variation(problem.rule, [&](auto kind, auto power) {
    walk<decltype(kind)::value, decltype(power)::value, T>(begin, end, problem);
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
