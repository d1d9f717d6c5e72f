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
  double rate, decay, second_decay, eps;  // of Adam; momentum: second_decay is the damping
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
  T first, second;  // 1 / (1 - decay^count) times the rate, and 1 / (1 - second_decay^count)
};

// Adam's corrections [Kingma 2015, Alg. 1] after `count` steps.
template <class T>
SX_HD OptimiserScale<T> optimiser_scale(const MaskStepRule& rule, int64_t count) {
  if (!rule.adam) return {static_cast<T>(rule.rate), count == 1 ? T(1) : T(0)};
  const double steps = static_cast<double>(count);
  return {static_cast<T>(rule.rate / (1.0 - pow(rule.decay, steps))),
          static_cast<T>(1.0 / (1.0 - pow(rule.second_decay, steps)))};
}

SX_HD float square_root(float value) { return sqrtf(value); }
SX_HD double square_root(double value) { return sqrt(value); }

// One parameter: Adam, or momentum whose first step is undamped.
template <class T>
SX_HD T optimised(const MaskStepRule& rule, const OptimiserScale<T>& scale, T value, T slope, T* first, T* second) {
  const T decay = static_cast<T>(rule.decay), other = static_cast<T>(rule.second_decay);
  if (rule.adam) {
    *first = decay * *first + (T(1) - decay) * slope;
    *second = other * *second + (T(1) - other) * slope * slope;
    return value - scale.first * *first / (square_root(*second * scale.second) + static_cast<T>(rule.eps));
  }
  *first = scale.second > T(0) ? slope : decay * *first + (T(1) - other) * slope;
  return value - scale.first * *first;
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
