// The incremental curve on the device: a thread looks at one rank (4 bytes) and touches the canvas only on a hit.
#include "../kernels.h"
#include "index.cuh"
#include "launch.h"

namespace saliency_ext {
namespace {

using cuda::BlendUpdateTuning;

template <class Element>
__global__ void __launch_bounds__(BlendUpdateTuning::kThreads)
    update_kernel(BlendUpdateProblem problem, cuda::Divisor blocks_of_image, cuda::Divisor width, int64_t first_image) {
  const int64_t pixels = problem.height * problem.width;
  const cuda::Quotient unit = blocks_of_image(blockIdx.x);
  const int64_t n = first_image + unit.quotient;
  const int64_t p = static_cast<int64_t>(unit.remainder) * BlendUpdateTuning::kThreads + threadIdx.x;
  if (p >= pixels) return;
  const int64_t rank = problem.ranks[n * pixels + p];
  const int64_t row = problem.per_image ? n : 0;
  if (rank < problem.lo[row] || rank >= problem.hi[row]) return;
  const cuda::Quotient place = width(static_cast<uint32_t>(p));
  const int64_t y = place.quotient, x = place.remainder;
  const int64_t* to = problem.canvas_stride;
  const int64_t* from = problem.source.stride;
  Element* canvas = static_cast<Element*>(problem.canvas) + n * to[0] + y * to[2] + x * to[3];
  const Element* source = static_cast<const Element*>(problem.source.data) + n * from[0] + y * from[2] + x * from[3];
  for (int64_t c = 0; c < problem.channels; ++c) canvas[c * to[1]] = source[c * from[1]];
}

}  // namespace

int blend_rank_update_cuda(const BlendUpdateProblem& problem, void* stream) {
  constexpr int kThreads = BlendUpdateTuning::kThreads;
  const int64_t of_image = cuda::blocks_for(problem.height * problem.width, kThreads);
  const cuda::Divisor blocks_of_image(of_image), width(problem.width);
  return cuda::launch_in_parts(problem.images, of_image, [&](int64_t first, int64_t, unsigned grid) {
    switch (problem.element_bytes) {
      case 2: return SX_LAUNCH(update_kernel<uint16_t>, grid, kThreads, stream, problem, blocks_of_image, width, first);
      case 4: return SX_LAUNCH(update_kernel<uint32_t>, grid, kThreads, stream, problem, blocks_of_image, width, first);
      default: return SX_LAUNCH(update_kernel<uint64_t>, grid, kThreads, stream, problem, blocks_of_image, width, first);
    }
  });
}

}  // namespace saliency_ext
