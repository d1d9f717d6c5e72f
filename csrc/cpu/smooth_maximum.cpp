// Smooth maximum on the CPU. Unit: a map. A row of cells is spread over the pixels that it reaches, two image rows at a time:
// weights depend on the distance along each axis alone, so rows at equal distance above and below share their exponentials,
// and so do neighbours of equal value. A few distances are taken at once: neighbouring cells write overlapping pixels, and a
// load that meets two stores still under way would wait for both. All loops over pixels run over whole tiles of a multiple of
// eight: weights beyond a cell's reach are 0, and sums have room beyond the image, so that nothing is clipped.
#include <algorithm>
#include <cmath>
#include <vector>

#include "../kernels.h"
#include "multiversion.h"

namespace saliency_ext {
namespace {

constexpr int64_t kDistances = 4;  // at once: measured best of 1, 2, 4 and 8

template <class T>
class SmoothMaxRenderer {
 public:
  explicit SmoothMaxRenderer(const SmoothMaximumProblem& problem)
      : q_(problem),
        tile_((problem.step * (2 * problem.reach + 1) + 7) / 8 * 8),
        before_(problem.step * problem.reach),
        distances_(problem.step * (problem.reach + 1)),
        room_(std::max<int64_t>(0, before_ - problem.margin)),
        stride_(room_ + std::max(problem.width, problem.margin + (problem.columns - 1) * problem.step - before_ + tile_)),
        weights_(distances_ * tile_),
        one_(kDistances * tile_),
        two_(kDistances * tile_),
        slopes_(problem.slopes == nullptr ? 0 : problem.columns * tile_),
        upper_(problem.height * stride_),
        lower_(upper_.size()) {
    const T* weights = static_cast<const T*>(problem.weights);
    for (int64_t d = 0; d < distances_; ++d) {
      for (int64_t x = 0; x < before_ + distances_; ++x) {
        weights_[d * tile_ + x] = weights[d * distances_ + std::abs(x - before_)];
      }
    }
  }

  // Numerators and denominators grow in upper_ and lower_.
  SX_HD void forward(int64_t map) {
    std::fill(upper_.begin(), upper_.end(), T(0));
    std::fill(lower_.begin(), lower_.end(), static_cast<T>((2 * q_.reach + 1) * (2 * q_.reach + 1)));
    const auto prepare = [&](const T* weights, int64_t count, T value, auto exponential) SX_INLINE_LAMBDA {
      const T exponent = static_cast<T>(q_.inverse_temperature) * value;
      T* terms = one_.data();
      T* added = two_.data();
      SX_INDEPENDENT for (int64_t x = 0; x < count; ++x) {
        const T e = exponential(exponent * weights[x]);
        terms[x] = weights[x] * value * e;
        added[x] = e - T(1);
      }
    };
    each_cell(map, true, prepare, [&](int64_t, int64_t at, int64_t y, int64_t left) SX_INLINE_LAMBDA {
      const T *terms = one_.data() + at, *added = two_.data() + at;
      T *numerator = upper_.data() + y * stride_ + left, *sum = lower_.data() + y * stride_ + left;
      SX_INDEPENDENT for (int64_t x = 0; x < tile_; ++x) {
        numerator[x] += terms[x];
        sum[x] += added[x];
      }
    });
    const int64_t width = q_.width;
    for (int64_t y = 0; y < q_.height; ++y) {
      const T* __restrict numerator = upper_.data() + y * stride_ + room_;
      const T* __restrict sum = lower_.data() + y * stride_ + room_;
      T* __restrict out = static_cast<T*>(q_.out) + (map * q_.height + y) * width;
      T* __restrict sums = static_cast<T*>(q_.sums) + (map * q_.height + y) * width;
      for (int64_t x = 0; x < width; ++x) out[x] = numerator[x] / sum[x], sums[x] = sum[x];
    }
  }

  // What the slopes need of a pixel, in upper_ and lower_, is 0 beyond the image.
  SX_HD void backward(int64_t map) {
    const int64_t width = q_.width;
    const T inverse_temperature = static_cast<T>(q_.inverse_temperature);
    for (int64_t y = 0; y < q_.height; ++y) {
      const int64_t at = (map * q_.height + y) * width;
      const T* __restrict gradient = static_cast<const T*>(q_.gradient) + at;
      const T* __restrict out = static_cast<const T*>(q_.out) + at;
      const T* __restrict sums = static_cast<const T*>(q_.sums) + at;
      T* __restrict a = upper_.data() + y * stride_ + room_;
      T* __restrict b = lower_.data() + y * stride_ + room_;
      for (int64_t x = 0; x < width; ++x) {
        const PixelSlope<T> slope = pixel_slope(gradient[x], out[x], sums[x], inverse_temperature);
        a[x] = slope.a, b[x] = slope.b;
      }
    }
    const auto prepare = [&](const T* weights, int64_t count, T value, auto exponential) SX_INLINE_LAMBDA {
      const T scale = inverse_temperature * value;
      T* heavy = one_.data();
      T* powers = two_.data();
      SX_INDEPENDENT for (int64_t x = 0; x < count; ++x) {
        const T power = scale * weights[x];
        powers[x] = power;
        heavy[x] = weights[x] * exponential(power);
      }
    };
    std::fill(slopes_.begin(), slopes_.end(), T(0));
    each_cell(map, false, prepare, [&](int64_t j, int64_t at, int64_t y, int64_t left) SX_INLINE_LAMBDA {
      const T *heavy = one_.data() + at, *powers = two_.data() + at;
      const T *a = upper_.data() + y * stride_ + left, *b = lower_.data() + y * stride_ + left;
      T* terms = slopes_.data() + j * tile_;
      SX_INDEPENDENT for (int64_t x = 0; x < tile_; ++x) terms[x] += heavy[x] * (b[x] + powers[x] * a[x]);
    });
  }

 private:
  // Of each row of cells, for some distances at a time: prepare(weights, count, value, exponential) where the value is another
  // than the cell's before, for all their tiles; then body(column, tile, row of sums, column of the tile in it) for the rows at
  // those distances.
  template <class Prepare, class Body>
  SX_HD void each_cell(int64_t map, bool skip_zero, const Prepare& prepare, const Body& body) {
    for (int64_t i = 0; i < q_.rows; ++i) {
      const T* values = static_cast<const T*>(q_.values) + (map * q_.rows + i) * q_.columns;
      const int64_t top = q_.margin + i * q_.step;
      for (int64_t near = 0; near < distances_; near += kDistances) {
        const int64_t far = std::min(near + kDistances, distances_);
        const T* prepared = nullptr;
        for (int64_t j = 0; j < q_.columns; ++j) {
          if (skip_zero && values[j] == T(0)) continue;  // exp(0) is in the denominator already
          if (prepared == nullptr || *prepared != values[j]) {
            const T *weights = weights_.data() + near * tile_, value = values[j];
            // Weights are at most 1. The compiler makes of the clamped form half as many instructions again.
            if (std::abs(static_cast<T>(q_.inverse_temperature) * value) <= T(kPlainExpRange)) {
              prepare(weights, (far - near) * tile_, value, [](T x) SX_INLINE_LAMBDA { return plain_exp_inside(x); });
            } else {
              prepare(weights, (far - near) * tile_, value, [](T x) SX_INLINE_LAMBDA { return plain_exp(x); });
            }
            prepared = values + j;
          }
          const int64_t left = room_ + q_.margin - before_ + j * q_.step;
          for (int64_t d = near; d < far; ++d) {
            const int64_t at = (d - near) * tile_;
            if (top + d < q_.height) body(j, at, top + d, left);
            if (d > 0 && d <= before_ && top - d >= 0) body(j, at, top - d, left);
          }
        }
      }
      if (!slopes_.empty()) finish_slopes(static_cast<T*>(q_.slopes) + (map * q_.rows + i) * q_.columns);
    }
  }

  // A row of cells' slopes: the sums over their tiles.
  SX_HD void finish_slopes(T* slopes) {
    for (int64_t j = 0; j < q_.columns; ++j) {
      double sum = 0;
      for (int64_t x = 0; x < tile_; ++x) sum += static_cast<double>(slopes_[j * tile_ + x]);
      slopes[j] = static_cast<T>(sum);
    }
    std::fill(slopes_.begin(), slopes_.end(), T(0));
  }

  const SmoothMaximumProblem q_;
  const int64_t tile_;       // pixels along a row that a cell reaches, and some of weight 0
  const int64_t before_;     // pixels of it before the cell
  const int64_t distances_;  // in it
  const int64_t room_, stride_;  // of the sums: columns before the image's, and from row to row
  std::vector<T> weights_, one_, two_, slopes_, upper_, lower_;
};

template <class T>
void walk(int64_t begin, int64_t end, const SmoothMaximumProblem& problem) {
  SmoothMaxRenderer<T> renderer(problem);
  run_best([&]() SX_INLINE_LAMBDA {
    for (int64_t map = begin; map < end; ++map) {
      if (problem.slopes == nullptr) {
        renderer.forward(map);
      } else {
        renderer.backward(map);
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
