// Gradient of the dense blend on the device: a thread owns one pixel of one image for all channels and steps, so every
// output element has one writer and its sum runs in order; the gradient is read once, coalesced. Sums stay in registers, for
// kChannels channels at a time.
#include "../kernels.h"
#include "index.cuh"
#include "launch.h"

namespace saliency_ext {
namespace {

using cuda::BlendGradTuning;

constexpr int kChannels = BlendGradTuning::kChannels;

template <class T>
__global__ void __launch_bounds__(BlendGradTuning::kThreads)
    backward_kernel(BlendDenseGradProblem problem, cuda::Divisor blocks_of_image, cuda::Divisor width, int64_t first_image) {
  const int64_t pixels = problem.height * problem.width;
  const cuda::Quotient unit = blocks_of_image(blockIdx.x);
  const int64_t n = first_image + unit.quotient;
  const int64_t p = static_cast<int64_t>(unit.remainder) * BlendGradTuning::kThreads + threadIdx.x;
  if (p >= pixels) return;
  const cuda::Quotient place = width(static_cast<uint32_t>(p));
  const T* masks = static_cast<const T*>(problem.masks) + (problem.per_image ? n * problem.steps * pixels : 0) + p;
  T* grad_masks = problem.grad_masks == nullptr ? nullptr : static_cast<T*>(problem.grad_masks) + n * problem.steps * pixels + p;
  for (int64_t first = 0; first < problem.channels; first += kChannels) {
    T std[kChannels], difference[kChannels], to_inputs[kChannels], to_infill[kChannels];
    SX_UNROLL
    for (int i = 0; i < kChannels; ++i) {
      const int64_t c = first + i;
      const bool there = c < problem.channels;
      std[i] = there && problem.std != nullptr ? static_cast<const T*>(problem.std)[c] : T(1);
      difference[i] = there ? problem.inputs.at<T>(n, c, place.quotient, place.remainder) -
                                  problem.infill.at<T>(n, c, place.quotient, place.remainder)
                            : T(0);
      to_inputs[i] = to_infill[i] = T(0);
    }
    for (int64_t s = 0; s < problem.steps; ++s) {
      const T mask = masks[s * pixels];
      const int64_t base = ((s * problem.images + n) * problem.channels + first) * pixels + p;
      T to_mask = grad_masks != nullptr && first > 0 ? grad_masks[s * pixels] : T(0);
      SX_UNROLL
      for (int i = 0; i < kChannels; ++i) {
        if (first + i >= problem.channels) continue;
        const T g = static_cast<const T*>(problem.gradient)[base + i * pixels] / std[i];
        to_inputs[i] = to_inputs[i] + g * mask;
        to_infill[i] = to_infill[i] + g * (T(1) - mask);
        to_mask = first + i == 0 ? g * difference[i] : to_mask + g * difference[i];
      }
      if (grad_masks != nullptr) grad_masks[s * pixels] = to_mask;
    }
    SX_UNROLL
    for (int i = 0; i < kChannels; ++i) {
      if (first + i >= problem.channels) continue;
      const int64_t element = (n * problem.channels + first + i) * pixels + p;
      if (problem.grad_inputs != nullptr) static_cast<T*>(problem.grad_inputs)[element] = to_inputs[i];
      if (problem.grad_infill != nullptr) static_cast<T*>(problem.grad_infill)[element] = to_infill[i];
    }
  }
}

}  // namespace

int blend_dense_backward_cuda(const BlendDenseGradProblem& problem, void* stream) {
  const int64_t of_image = cuda::blocks_for(problem.height * problem.width, BlendGradTuning::kThreads);
  const cuda::Divisor blocks_of_image(of_image), width(problem.width);
  return cuda::launch_in_parts(problem.images, of_image, [&](int64_t first, int64_t, unsigned grid) {
    return problem.dtype == DType::kFloat64
               ? SX_LAUNCH(backward_kernel<double>, grid, BlendGradTuning::kThreads, stream, problem, blocks_of_image, width,
                           first)
               : SX_LAUNCH(backward_kernel<float>, grid, BlendGradTuning::kThreads, stream, problem, blocks_of_image, width,
                           first);
  });
}

}  // namespace saliency_ext
