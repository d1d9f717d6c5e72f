// A C++ program without torch that removes the most relevant pixels of an image step by step and asks its own model.
//
//     g++ -std=c++20 -O2 -ffp-contract=off -Icsrc examples/deletion_curve.cpp csrc/cpu/rank.cpp csrc/cpu/blend_rank_update.cpp -pthread
//
// csrc/kernels.h is all it includes: raw pointers, 64-bit sizes, ranges of units that the host splits over its own threads.
#include <cstdio>
#include <thread>
#include <vector>

#include "kernels.h"

using namespace saliency_ext;

namespace {

constexpr int64_t kChannels = 3, kHeight = 32, kWidth = 48, kPixels = kHeight * kWidth;

// Half of the units on each of two threads: the result does not depend on the split.
template <class Kernel>
void on_two_threads(int64_t units, const Kernel& kernel) {
  std::thread other([&] { kernel(units / 2, units); });
  kernel(0, units / 2);
  other.join();
}

// The host's model: any function of an image. This one is its mean value.
double model(const float* image) {
  double sum = 0;
  for (int64_t i = 0; i < kChannels * kPixels; ++i) sum += image[i];
  return sum / (kChannels * kPixels);
}

}  // namespace

int main() {
  std::vector<float> image(kChannels * kPixels), saliency(kPixels);
  for (int64_t c = 0; c < kChannels; ++c) {
    for (int64_t p = 0; p < kPixels; ++p) image[c * kPixels + p] = static_cast<float>((c * 131 + p * 37) % 256) / 256;
  }
  for (int64_t p = 0; p < kPixels; ++p) saliency[p] = static_cast<float>((p * 73) % 64) / 64;  // with ties

  // Order of the pixels: 0 = the most relevant; of equal ones the first comes first.
  std::vector<int32_t> ranks(kPixels);
  const RankProblem rank{saliency.data(), DType::kFloat32, 1, kPixels, {Ties::kIndex, 0, nullptr}, ranks.data()};
  rank_cpu(0, rank.rows, rank);

  // The canvas begins as the image; at each step the pixels with lo <= rank < hi become grey (strides 0: one value for all).
  const std::vector<int64_t> counts{0, kPixels / 4, kPixels / 2, 3 * kPixels / 4, kPixels};
  const float grey = 0.5f;
  std::vector<float> canvas = image;
  BlendUpdateProblem update{1, kChannels, kHeight, kWidth, sizeof(float), canvas.data(), {kChannels * kPixels, kPixels, kWidth, 1},
                            {&grey, {0, 0, 0, 0}}, ranks.data(), nullptr, nullptr, false};
  int64_t removed = 0;
  for (const int64_t count : counts) {
    update.lo = &removed;
    update.hi = &count;
    on_two_threads(blend_rank_update_units(update), [&](int64_t begin, int64_t end) { blend_rank_update_cpu(begin, end, update); });
    removed = count;
    std::printf("%lld %.17g\n", static_cast<long long>(count), model(canvas.data()));
  }
}
