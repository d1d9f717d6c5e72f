// Keyed noise on the CPU. Unit: one (sample, channel) plane. Counter blocks are made in batches, word by word, so that the
// ten rounds and the series of the normal run in vector lanes; each block then fills four neighbouring pixels.
#include <algorithm>

#include "../kernels.h"
#include "multiversion.h"

namespace saliency_ext {
namespace {

constexpr int64_t kBatch = 64;  // blocks

template <Distribution kKind>
SX_HD void batch(const NoiseProblem& problem, int64_t sample_id, int64_t channel, int64_t first, float* values) {
  float lanes[4][kBatch];
  for (int64_t i = 0; i < kBatch; ++i) {
    float block[4];
    noise_block<kKind>(philox_at(problem.seed, sample_id, problem.stream, channel, first + i), block);
    lanes[0][i] = block[0];
    lanes[1][i] = block[1];
    lanes[2][i] = block[2];
    lanes[3][i] = block[3];
  }
  for (int64_t i = 0; i < kBatch; ++i) {
    for (int64_t lane = 0; lane < 4; ++lane) values[4 * i + lane] = lanes[lane][i];
  }
}

template <Distribution kKind>
void planes(int64_t begin, int64_t end, const NoiseProblem& problem) {
  run_best([&]() SX_INLINE_LAMBDA {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t sample_id = problem.sample_ids[unit / problem.channels], channel = unit % problem.channels;
      float* out = problem.out + unit * problem.pixels;
      int64_t pixel = 0;
      for (; pixel + 4 * kBatch <= problem.pixels; pixel += 4 * kBatch) {
        batch<kKind>(problem, sample_id, channel, pixel >> 2, out + pixel);
      }
      if (pixel < problem.pixels) {
        float values[4 * kBatch];
        batch<kKind>(problem, sample_id, channel, pixel >> 2, values);
        std::copy(values, values + (problem.pixels - pixel), out + pixel);
      }
    }
  });
}

}  // namespace

int64_t noise_units(const NoiseProblem& problem) { return problem.samples * problem.channels; }

void noise_cpu(int64_t begin, int64_t end, const NoiseProblem& problem) {
  if (problem.distribution == Distribution::kNormal) {
    planes<Distribution::kNormal>(begin, end, problem);
  } else {
    planes<Distribution::kUniform>(begin, end, problem);
  }
}

}  // namespace saliency_ext
