// The incremental curve on the device: a thread looks at one rank (4 bytes) and touches the canvas only on a hit.
#include "../kernels.h"
#include "launch.h"

namespace saliency_ext {
namespace {

using cuda::BlendUpdateTuning;

template <class Element>
__global__ void __launch_bounds__(BlendUpdateTuning::kThreads) update_kernel(BlendUpdateProblem problem) {
  const int64_t pixels = problem.height * problem.width;
  const int64_t at = cuda::global_thread();
  const int64_t n = at / pixels, p = at % pixels;
  if (n >= problem.images) return;
  const int64_t rank = problem.ranks[at];
  const int64_t row = problem.per_image ? n : 0;
  if (rank < problem.lo[row] || rank >= problem.hi[row]) return;
  const int64_t y = p / problem.width, x = p % problem.width;
  const int64_t* to = problem.canvas_stride;
  const int64_t* from = problem.source.stride;
  Element* canvas = static_cast<Element*>(problem.canvas) + n * to[0] + y * to[2] + x * to[3];
  const Element* source = static_cast<const Element*>(problem.source.data) + n * from[0] + y * from[2] + x * from[3];
  for (int64_t c = 0; c < problem.channels; ++c) canvas[c * to[1]] = source[c * from[1]];
}

}  // namespace

int blend_rank_update_cuda(const BlendUpdateProblem& problem, void* stream) {
  const unsigned grid = cuda::blocks_for(problem.images * problem.height * problem.width, BlendUpdateTuning::kThreads);
  switch (problem.element_bytes) {
    case 2: return SX_LAUNCH(update_kernel<uint16_t>, grid, BlendUpdateTuning::kThreads, stream, problem);
    case 4: return SX_LAUNCH(update_kernel<uint32_t>, grid, BlendUpdateTuning::kThreads, stream, problem);
    default: return SX_LAUNCH(update_kernel<uint64_t>, grid, BlendUpdateTuning::kThreads, stream, problem);
  }
}

}  // namespace saliency_ext
