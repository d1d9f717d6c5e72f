#pragma once
// Element maths of a mask optimiser: how a cell's parameters become shares of the mask, and how an optimiser moves them.
#include <cmath>
#include <cstdint>

#include "exponential.h"
#include "macros.h"

namespace saliency_ext {

// What a step minimises besides the model's own loss, and how.
struct MaskStepRule {
  bool sigmoid;   // parameters are logits; else they are the mask itself, kept in [0, 1]
  bool adam;      // else momentum
  bool on_cells;  // area and variation are those of the low-resolution cells, else of the pixels
  double rate, beta1, beta2, eps;  // of Adam; momentum: beta2 is the damping
  double area, variation;                 // weights of sum(mask) and of its total variation
};

// A resizing along one axis: cells to pixels, pixel p = sum over its cells of matrix[cell * pixels + p] * cell.
// bands: for each cell the pixels [first, last) that it reaches, then for each pixel the cells [first, last) it reads. The CPU
// kernel trusts places and bands, which its caller has checked; the CUDA kernel clamps what it reads.
struct Resizing {
  const void* matrix;  // (cells, pixels)
  const int32_t* bands;
  int64_t cells, pixels;
};

// A band as it may be used: no further than `end`, the cells or pixels that there are.
struct Band {
  int32_t first, last;
};
SX_HD Band clamped_band(const int32_t* band, int64_t end) {
  const int32_t most = static_cast<int32_t>(end);
  return {band[0] < 0 ? 0 : band[0], band[1] > most ? most : band[1]};
}

SX_HD int64_t clamped_index(int64_t index, int64_t last) { return index < 0 ? 0 : (index > last ? last : index); }

// Steps done after one more; stays where the counter ends.
SX_HD int64_t next_count(int64_t count) { return count < INT64_MAX ? count + 1 : count; }

template <class T>
struct OptimiserScale {
  T step_size, correction;  // rate / (1 - beta1^count), and 1 / (1 - beta2^count)
};

// Adam's corrections [Kingma 2015, Alg. 1] after `count` steps.
template <class T>
SX_HD OptimiserScale<T> optimiser_scale(const MaskStepRule& rule, int64_t count) {
  if (!rule.adam) return {static_cast<T>(rule.rate), count == 1 ? T(1) : T(0)};
  const double steps = static_cast<double>(count);
  return {static_cast<T>(rule.rate / (1.0 - pow(rule.beta1, steps))),
          static_cast<T>(1.0 / (1.0 - pow(rule.beta2, steps)))};
}

SX_HD float square_root(float value) { return sqrtf(value); }
SX_HD double square_root(double value) { return sqrt(value); }

// One parameter: Adam, or momentum whose first step is undamped.
template <class T>
SX_HD T optimised(const MaskStepRule& rule, const OptimiserScale<T>& scale, T value, T slope, T* exp_avg, T* exp_avg_sq) {
  const T beta1 = static_cast<T>(rule.beta1), beta2 = static_cast<T>(rule.beta2);
  if (rule.adam) {
    *exp_avg = beta1 * *exp_avg + (T(1) - beta1) * slope;
    *exp_avg_sq = beta2 * *exp_avg_sq + (T(1) - beta2) * slope * slope;
    return value - scale.step_size * *exp_avg / (square_root(*exp_avg_sq * scale.correction) + static_cast<T>(rule.eps));
  }
  *exp_avg = scale.correction > T(0) ? slope : beta1 * *exp_avg + (T(1) - beta2) * slope;
  return value - scale.step_size * *exp_avg;
}

template <class T>
SX_HD T unit_interval(T value) {
  return value < T(0) ? T(0) : value > T(1) ? T(1) : value;
}

// 1 / (1 + e^-logit), without a branch.
template <class T>
SX_HD T sigmoid(T logit) {
  const T e = plain_exp(logit < T(0) ? logit : -logit);
  return (logit < T(0) ? e : T(1)) / (T(1) + e);
}

// Shares of one cell's planes, `stride` apart: softmax over the logits and one more that is 0. One plane: the sigmoid.
template <class T>
SX_HD void softmax_shares(const T* logits, T* shares, int64_t planes, int64_t stride) {
  if (planes == 1) {
    *shares = sigmoid(*logits);
    return;
  }
  T most = T(0);
  for (int64_t p = 0; p < planes; ++p) most = logits[p * stride] > most ? logits[p * stride] : most;
  T sum = plain_exp(-most);
  for (int64_t p = 0; p < planes; ++p) {
    shares[p * stride] = plain_exp(logits[p * stride] - most);
    sum += shares[p * stride];
  }
  for (int64_t p = 0; p < planes; ++p) shares[p * stride] /= sum;
}

// Slopes by the shares become slopes by the logits, in place.
template <class T>
SX_HD void softmax_slopes(const T* shares, T* slopes, int64_t planes, int64_t stride) {
  T mean = T(0);
  for (int64_t p = 0; p < planes; ++p) mean += shares[p * stride] * slopes[p * stride];
  for (int64_t p = 0; p < planes; ++p) slopes[p * stride] = shares[p * stride] * (slopes[p * stride] - mean);
}

}  // namespace saliency_ext
