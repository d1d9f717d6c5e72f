// Keyed noise on the device: a thread turns one counter block into the four pixels it belongs to, and writes them at once.
#include "../kernels.h"
#include "index.cuh"
#include "launch.h"

namespace saliency_ext {
namespace {

using cuda::NoiseTuning;

template <Distribution kKind>
__global__ void __launch_bounds__(NoiseTuning::kThreads)
    noise_kernel(NoiseProblem problem, cuda::Divisor blocks_of_sample, cuda::Divisor blocks_of_plane, int64_t first_sample) {
  const cuda::Quotient unit = blocks_of_sample(blockIdx.x), part = blocks_of_plane(unit.remainder);
  const int64_t sample = first_sample + unit.quotient, channel = part.quotient;
  const int64_t block = static_cast<int64_t>(part.remainder) * NoiseTuning::kThreads + threadIdx.x;
  if (4 * block >= problem.pixels) return;
  float values[4];
  noise_block<kKind>(philox_at(problem.seed, problem.sample_ids[sample], problem.stream, channel, block), values);
  float* out = problem.out + (sample * problem.channels + channel) * problem.pixels + 4 * block;
  if (4 * block + 4 <= problem.pixels && cuda::is_aligned16(out)) {
    cuda::store16(out, values);
    return;
  }
  SX_UNROLL
  for (int lane = 0; lane < 4; ++lane) {
    if (4 * block + lane < problem.pixels) out[lane] = values[lane];
  }
}

}  // namespace

int noise_cuda(const NoiseProblem& problem, void* stream) {
  const int64_t of_plane = cuda::blocks_for(problem.pixels, 4 * NoiseTuning::kThreads), of_sample = problem.channels * of_plane;
  return cuda::launch_in_parts(problem.samples, of_sample, [&](int64_t first, int64_t, unsigned grid) {
    const cuda::Divisor blocks_of_sample(of_sample), blocks_of_plane(of_plane);
    return problem.distribution == Distribution::kNormal
               ? SX_LAUNCH(noise_kernel<Distribution::kNormal>, grid, NoiseTuning::kThreads, stream, problem, blocks_of_sample,
                           blocks_of_plane, first)
               : SX_LAUNCH(noise_kernel<Distribution::kUniform>, grid, NoiseTuning::kThreads, stream, problem,
                           blocks_of_sample, blocks_of_plane, first);
  });
}

}  // namespace saliency_ext
