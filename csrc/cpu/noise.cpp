// Keyed noise on the CPU. Unit: one (sample, channel) plane; each counter block fills four neighbouring pixels.
#include "../kernels.h"

namespace saliency_ext {
namespace {

template <Distribution kKind>
void plane(const NoiseProblem& problem, int64_t sample, int64_t channel) {
  float* out = problem.out + (sample * problem.channels + channel) * problem.pixels;
  for (int64_t first = 0; first < problem.pixels; first += 4) {
    float values[4];
    noise_block<kKind>(philox_at(problem.seed, problem.sample_ids[sample], problem.stream, channel, first >> 2), values);
    for (int64_t lane = 0; lane < 4 && first + lane < problem.pixels; ++lane) out[first + lane] = values[lane];
  }
}

}  // namespace

int64_t noise_units(const NoiseProblem& problem) { return problem.samples * problem.channels; }

void noise_cpu(int64_t begin, int64_t end, const NoiseProblem& problem) {
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t sample = unit / problem.channels, channel = unit % problem.channels;
    if (problem.distribution == Distribution::kNormal) {
      plane<Distribution::kNormal>(problem, sample, channel);
    } else {
      plane<Distribution::kUniform>(problem, sample, channel);
    }
  }
}

}  // namespace saliency_ext
