// Keyed noise on the device: a thread turns one counter block into the four pixels it belongs to.
#include "../kernels.h"
#include "launch.h"

namespace saliency_ext {
namespace {

using cuda::NoiseTuning;

template <Distribution kKind>
__global__ void __launch_bounds__(NoiseTuning::kThreads) noise_kernel(NoiseProblem problem, int64_t blocks_per_plane) {
  const int64_t at = cuda::global_thread();
  const int64_t plane = at / blocks_per_plane, block = at % blocks_per_plane;
  if (plane >= problem.samples * problem.channels) return;
  const int64_t sample = plane / problem.channels, channel = plane % problem.channels;
  float values[4];
  noise_block<kKind>(philox_at(problem.seed, problem.sample_ids[sample], problem.stream, channel, block), values);
  SX_UNROLL
  for (int lane = 0; lane < 4; ++lane) {
    const int64_t pixel = 4 * block + lane;
    if (pixel < problem.pixels) problem.out[plane * problem.pixels + pixel] = values[lane];
  }
}

}  // namespace

int noise_cuda(const NoiseProblem& problem, void* stream) {
  const int64_t blocks_per_plane = (problem.pixels + 3) / 4;
  const unsigned grid = cuda::blocks_for(problem.samples * problem.channels * blocks_per_plane, NoiseTuning::kThreads);
  return problem.distribution == Distribution::kNormal
             ? SX_LAUNCH(noise_kernel<Distribution::kNormal>, grid, NoiseTuning::kThreads, stream, problem, blocks_per_plane)
             : SX_LAUNCH(noise_kernel<Distribution::kUniform>, grid, NoiseTuning::kThreads, stream, problem,
                         blocks_per_plane);
}

}  // namespace saliency_ext
