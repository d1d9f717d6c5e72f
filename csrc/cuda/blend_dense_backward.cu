// Gradient of the dense blend on the device: a thread owns one pixel of one image for all channels and steps, so every
// output element has one writer and its sum runs in order; the gradient is read once, coalesced.
#include "../kernels.h"
#include "launch.h"

namespace saliency_ext {
namespace {

using cuda::BlendGradTuning;

template <class T>
__global__ void __launch_bounds__(BlendGradTuning::kThreads) backward_kernel(BlendDenseGradProblem problem) {
  const int64_t pixels = problem.height * problem.width;
  const int64_t at = cuda::global_thread();
  const int64_t n = at / pixels, p = at % pixels;
  if (n >= problem.images) return;
  const int64_t y = p / problem.width, x = p % problem.width;
  const T* masks = static_cast<const T*>(problem.masks);
  T* grad_masks = static_cast<T*>(problem.grad_masks);
  for (int64_t c = 0; c < problem.channels; ++c) {
    const T std = problem.std == nullptr ? T(1) : static_cast<const T*>(problem.std)[c];
    const T difference = problem.inputs.at<T>(n, c, y, x) - problem.infill.at<T>(n, c, y, x);
    T to_inputs = T(0), to_infill = T(0);
    for (int64_t s = 0; s < problem.steps; ++s) {
      const T mask = masks[((problem.per_image ? n * problem.steps : 0) + s) * pixels + p];
      const T g = static_cast<const T*>(problem.gradient)[((s * problem.images + n) * problem.channels + c) * pixels + p] / std;
      to_inputs = to_inputs + g * mask;
      to_infill = to_infill + g * (T(1) - mask);
      if (grad_masks != nullptr) {
        T* target = grad_masks + (n * problem.steps + s) * pixels + p;
        *target = c == 0 ? g * difference : *target + g * difference;
      }
    }
    const int64_t element = (n * problem.channels + c) * pixels + p;
    if (problem.grad_inputs != nullptr) static_cast<T*>(problem.grad_inputs)[element] = to_inputs;
    if (problem.grad_infill != nullptr) static_cast<T*>(problem.grad_infill)[element] = to_infill;
  }
}

}  // namespace

int blend_dense_backward_cuda(const BlendDenseGradProblem& problem, void* stream) {
  const unsigned grid = cuda::blocks_for(problem.images * problem.height * problem.width, BlendGradTuning::kThreads);
  return problem.dtype == DType::kFloat64
             ? SX_LAUNCH(backward_kernel<double>, grid, BlendGradTuning::kThreads, stream, problem)
             : SX_LAUNCH(backward_kernel<float>, grid, BlendGradTuning::kThreads, stream, problem);
}

}  // namespace saliency_ext
