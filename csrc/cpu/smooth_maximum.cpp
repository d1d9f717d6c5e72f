// Smooth maximum on the CPU. Unit: a map. A cell is spread over the pixels that it reaches, two image rows at a time: weights
// depend on the distance along each axis alone, so rows at equal distance above and below share their exponentials.
#include <algorithm>
#include <vector>

#include "../kernels.h"
#include "multiversion.h"

namespace saliency_ext {
namespace {

template <class T>
class Spreader {
 public:
  explicit Spreader(const SmoothMaximumProblem& problem)
      : q_(problem),
        length_(problem.step * (2 * problem.reach + 1)),
        before_(problem.step * problem.reach),
        distances_(problem.step * (problem.reach + 1)),
        weights_(distances_ * length_),
        e_(length_),
        terms_(length_),
        a_(problem.slopes == nullptr ? 0 : problem.height * problem.width),
        b_(a_.size()) {
    const T* weights = static_cast<const T*>(problem.weights);
    for (int64_t d = 0; d < distances_; ++d) {
      for (int64_t x = 0; x < length_; ++x) weights_[d * length_ + x] = weights[d * distances_ + std::abs(x - before_)];
    }
  }

  SX_HD void forward(int64_t map) {
    const int64_t size = q_.height * q_.width;
    T* __restrict out = static_cast<T*>(q_.out) + map * size;
    T* __restrict sums = static_cast<T*>(q_.sums) + map * size;
    const T neighbours = static_cast<T>((2 * q_.reach + 1) * (2 * q_.reach + 1));
    std::fill(out, out + size, T(0));
    std::fill(sums, sums + size, neighbours);
    each_cell(map, [&](int64_t cell, T value, int64_t top, int64_t first, int64_t last, int64_t left) SX_INLINE_LAMBDA {
      if (value == T(0)) return;  // exp(0) is in the denominator already
      for (int64_t d = 0; d < distances_; ++d) {
        exponentials(d, value, first, last);
        const T* __restrict e = e_.data();
        const T* __restrict terms = terms_.data();
        each_row(top, d, [&](int64_t y) SX_INLINE_LAMBDA {
          T* __restrict numerator = out + y * q_.width + left;
          T* __restrict sum = sums + y * q_.width + left;
          for (int64_t x = first; x < last; ++x) {
            numerator[x] += terms[x];
            sum[x] += e[x] - T(1);
          }
        });
      }
    });
    for (int64_t i = 0; i < size; ++i) out[i] /= sums[i];
  }

  SX_HD void backward(int64_t map) {
    const int64_t size = q_.height * q_.width;
    const T* __restrict gradient = static_cast<const T*>(q_.gradient) + map * size;
    const T* __restrict out = static_cast<const T*>(q_.out) + map * size;
    const T* __restrict sums = static_cast<const T*>(q_.sums) + map * size;
    T* __restrict a = a_.data();
    T* __restrict b = b_.data();
    const T coldness = static_cast<T>(q_.coldness);
    for (int64_t i = 0; i < size; ++i) {
      const PixelSlope<T> slope = pixel_slope(gradient[i], out[i], sums[i], coldness);
      a[i] = slope.a, b[i] = slope.b;
    }
    T* slopes = static_cast<T*>(q_.slopes) + map * q_.rows * q_.columns;
    each_cell(map, [&](int64_t cell, T value, int64_t top, int64_t first, int64_t last, int64_t left) SX_INLINE_LAMBDA {
      T* __restrict terms = terms_.data();
      std::fill(terms_.begin(), terms_.end(), T(0));
      const T cold = coldness * value;
      for (int64_t d = 0; d < distances_; ++d) {
        const T* __restrict weights = weights_.data() + d * length_;
        const T* __restrict e = e_.data();
        only_exponentials(d, value, first, last);
        each_row(top, d, [&](int64_t y) SX_INLINE_LAMBDA {
          const T* __restrict row_a = a + y * q_.width + left;
          const T* __restrict row_b = b + y * q_.width + left;
          for (int64_t x = first; x < last; ++x) terms[x] += weights[x] * e[x] * (row_b[x] + cold * weights[x] * row_a[x]);
        });
      }
      double sum = 0;
      for (int64_t x = first; x < last; ++x) sum += static_cast<double>(terms[x]);
      slopes[cell] = static_cast<T>(sum);
    });
  }

 private:
  // body(cell, value, row of pixels at the cell, columns [first, last) of its tile that are inside, column of tile column 0).
  template <class Body>
  SX_HD void each_cell(int64_t map, const Body& body) {
    const T* values = static_cast<const T*>(q_.values) + map * q_.rows * q_.columns;
    for (int64_t i = 0; i < q_.rows; ++i) {
      for (int64_t j = 0; j < q_.columns; ++j) {
        const int64_t left = q_.margin + j * q_.step - before_;
        const int64_t first = std::max<int64_t>(0, -left), last = std::min(length_, q_.width - left);
        body(i * q_.columns + j, values[i * q_.columns + j], q_.margin + i * q_.step, first, last, left);
      }
    }
  }

  // The rows `distance` below and above.
  template <class Body>
  SX_HD void each_row(int64_t top, int64_t distance, const Body& body) const {
    if (top + distance < q_.height) body(top + distance);
    if (distance > 0 && distance <= before_ && top - distance >= 0) body(top - distance);
  }

  SX_HD void only_exponentials(int64_t distance, T value, int64_t first, int64_t last) {
    const T* __restrict weights = weights_.data() + distance * length_;
    T* __restrict e = e_.data();
    const T cold = static_cast<T>(q_.coldness) * value;
    if (value == T(0)) {
      std::fill(e_.begin(), e_.end(), T(1));
    } else {
      for (int64_t x = first; x < last; ++x) e[x] = plain_exp(cold * weights[x]);
    }
  }

  SX_HD void exponentials(int64_t distance, T value, int64_t first, int64_t last) {
    only_exponentials(distance, value, first, last);
    const T* __restrict weights = weights_.data() + distance * length_;
    const T* __restrict e = e_.data();
    T* __restrict terms = terms_.data();
    for (int64_t x = first; x < last; ++x) terms[x] = weights[x] * value * e[x];
  }

  const SmoothMaximumProblem q_;
  const int64_t length_, before_, distances_;  // of a cell's tile of pixels; pixels of it before the cell; distances in it
  std::vector<T> weights_, e_, terms_, a_, b_;
};

template <class T>
void walk(int64_t begin, int64_t end, const SmoothMaximumProblem& problem) {
  Spreader<T> spreader(problem);
  run_best([&]() SX_INLINE_LAMBDA {
    for (int64_t map = begin; map < end; ++map) {
      if (problem.slopes == nullptr) {
        spreader.forward(map);
      } else {
        spreader.backward(map);
      }
    }
  });
}

}  // namespace

void smooth_maximum_cpu(int64_t begin, int64_t end, const SmoothMaximumProblem& problem) {
  if (problem.dtype == DType::kFloat64) {
    walk<double>(begin, end, problem);
  } else {
    walk<float>(begin, end, problem);
  }
}

}  // namespace saliency_ext
