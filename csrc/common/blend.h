#pragma once
// One value of a perturbed input:  (keep * image + (1 - keep) * infill - mean) / std,  cast to the output type.
// And the problem description that the renderer's kernels share.
#include <cstdint>

#include "dtype.h"
#include "macros.h"

namespace saliency_ext {

// A strided (N, C, H, W) view: expanded, sliced and channels_last images are read in place.
struct ImageView {
  const void* data;
  int64_t stride[4];

  template <class T>
  SX_HD T at(int64_t n, int64_t c, int64_t y, int64_t x) const {
    return static_cast<const T*>(data)[n * stride[0] + c * stride[1] + y * stride[2] + x * stride[3]];
  }
};

// out is (S, N, C, H, W), each image contiguous or channels_last.
struct BlendProblem {
  int64_t steps, images, channels, height, width;
  ImageView inputs, infill;
  const void* mean;  // (C,) of the compute type, or null for no normalisation
  const void* std;
  DType compute, output;
  bool channels_last;
  void* out;

  SX_HD int64_t pixels() const { return height * width; }
  SX_HD int64_t image_elements() const { return channels * height * width; }
};

// Element e of an output image -> its channel and pixel.
struct ElementPlace {
  int64_t channel, pixel;
};
SX_HD ElementPlace place_of(const BlendProblem& problem, int64_t element) {
  return problem.channels_last ? ElementPlace{element % problem.channels, element / problem.channels}
                               : ElementPlace{element / problem.pixels(), element % problem.pixels()};
}

// Division, not a multiplication by the reciprocal: bit-equal to the eager expression.
template <class T>
SX_HD T normalise(T value, const void* mean, const void* std, int64_t channel) {
  return mean == nullptr ? value
                         : (value - static_cast<const T*>(mean)[channel]) / static_cast<const T*>(std)[channel];
}

template <class T>
SX_HD T mix(T keep, T image, T infill) {
  return keep * image + (T(1) - keep) * infill;
}

}  // namespace saliency_ext
