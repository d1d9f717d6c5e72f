// Gradient of the dense blend on the CPU. Unit: a tile of pixels of one image, all channels, all steps, so that every
// output element has one owner and its sum runs over steps (or channels) in order.
//   d/d mask = sum_c g (image - infill),   d/d image = sum_s g m,   d/d infill = sum_s g (1 - m),   g = gradient / std
#include <algorithm>

#include "../kernels.h"

namespace saliency_ext {
namespace {

constexpr int64_t kTilePixels = 1024;

int64_t tile_count(const BlendDenseGradProblem& problem) {
  return (problem.height * problem.width + kTilePixels - 1) / kTilePixels;
}

template <class T>
void tile(const BlendDenseGradProblem& problem, int64_t n, int64_t first, int64_t last) {
  const int64_t pixels = problem.height * problem.width;
  const T* masks = static_cast<const T*>(problem.masks);
  T* grad_masks = static_cast<T*>(problem.grad_masks);
  T* grad_inputs = static_cast<T*>(problem.grad_inputs);
  T* grad_infill = static_cast<T*>(problem.grad_infill);
  for (int64_t c = 0; c < problem.channels; ++c) {
    const T std = problem.std == nullptr ? T(1) : static_cast<const T*>(problem.std)[c];
    const int64_t image_at = (n * problem.channels + c) * pixels;
    for (int64_t s = 0; s < problem.steps; ++s) {
      const T* gradient = static_cast<const T*>(problem.gradient) + ((s * problem.images + n) * problem.channels + c) * pixels;
      const T* mask = masks + ((problem.per_image ? n * problem.steps : 0) + s) * pixels;
      T* grad_mask = grad_masks == nullptr ? nullptr : grad_masks + (n * problem.steps + s) * pixels;
      int64_t y = first / problem.width, x = first % problem.width;
      for (int64_t p = first; p < last; ++p) {
        const T g = gradient[p] / std;
        if (grad_mask != nullptr) {
          const T term = g * (problem.inputs.at<T>(n, c, y, x) - problem.infill.at<T>(n, c, y, x));
          grad_mask[p] = c == 0 ? term : grad_mask[p] + term;
        }
        if (grad_inputs != nullptr) grad_inputs[image_at + p] = (s == 0 ? T(0) : grad_inputs[image_at + p]) + g * mask[p];
        if (grad_infill != nullptr) {
          grad_infill[image_at + p] = (s == 0 ? T(0) : grad_infill[image_at + p]) + g * (T(1) - mask[p]);
        }
        if (++x == problem.width) x = 0, ++y;
      }
    }
  }
}

}  // namespace

int64_t blend_dense_backward_units(const BlendDenseGradProblem& problem) { return problem.images * tile_count(problem); }

void blend_dense_backward_cpu(int64_t begin, int64_t end, const BlendDenseGradProblem& problem) {
  const int64_t tiles = tile_count(problem);
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t first = unit % tiles * kTilePixels;
    const int64_t last = std::min(first + kTilePixels, problem.height * problem.width);
    if (problem.dtype == DType::kFloat64) {
      tile<double>(problem, unit / tiles, first, last);
    } else {
      tile<float>(problem, unit / tiles, first, last);
    }
  }
}

}  // namespace saliency_ext
