// Every CPU kernel, called as a C++ host would, from two threads, on buffers of the exact size; and the CUDA kernel of the
// same problem, run by the emulation. Both must write the same bits (sums of total variation: nearly the same).
// With the argument "cpu" the emulation is left out.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "kernels.h"

using namespace saliency_ext;

namespace {

int failures = 0;
bool emulates = true;
uint64_t state = 1;

uint32_t draw() {  // splitmix64
  uint64_t z = (state += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  return static_cast<uint32_t>((z ^ (z >> 27)) >> 13);
}

template <class T>
std::vector<T> normal(int64_t count) {
  std::vector<T> values(static_cast<size_t>(count));
  for (T& value : values) value = static_cast<T>(static_cast<int32_t>(draw())) * static_cast<T>(0x1p-30);
  return values;
}

template <class T>
std::vector<T> integers(int64_t count, int64_t low, int64_t high) {
  std::vector<T> values(static_cast<size_t>(count));
  for (T& value : values) value = static_cast<T>(low + draw() % (high - low + 1));
  return values;
}

// The units, half on each of two threads.
template <class Kernel>
void on_two_threads(int64_t units, const Kernel& kernel) {
  std::thread other([&] { kernel(units / 2, units); });
  kernel(0, units / 2);
  other.join();
}

void expect(bool holds, const char* what, const char* detail) {
  if (holds) return;
  std::printf("%s: %s\n", what, detail);
  ++failures;
}

template <class T>
void expect_same(const std::vector<T>& a, const std::vector<T>& b, const char* what) {
  if (!emulates) return;
  expect(a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0), what,
         "CPU and CUDA kernels differ");
}

template <class Launch>
void on_device(const char* what, const Launch& launch) {
  if (!emulates) return;
  const int status = launch();
  expect(status == 0, what, cuda_status_text(status));
}

struct Shape {
  int64_t n, c, h, w;
  int64_t pixels() const { return h * w; }
};

template <class T>
void check_rank(const Shape& s, const std::vector<int64_t>& ids) {
  std::vector<T> saliency = normal<T>(s.n * s.pixels());
  for (size_t i = 0; i < saliency.size(); i += 2) saliency[i] = static_cast<T>(draw() % 3) - T(1);
  const DType dtype = sizeof(T) == 4 ? DType::kFloat32 : DType::kFloat64;
  for (const Ties ties : {Ties::kIndex, Ties::kRandom}) {
    const TieRule rule{ties, 17, ids.data()};
    std::vector<int32_t> a(saliency.size()), b(saliency.size());
    RankProblem rank{saliency.data(), dtype, s.n, s.pixels(), rule, a.data()};
    on_two_threads(s.n, [&](int64_t begin, int64_t end) { rank_cpu(begin, end, rank); });
    rank.ranks = b.data();
    std::vector<char> scratch(static_cast<size_t>(rank_scratch_bytes(rank)));
    on_device("rank", [&] { return rank_cuda(rank, scratch.data(), nullptr); });
    expect_same(a, b, "rank");

    const std::vector<int64_t> counts{0, s.pixels() / 2, s.pixels() - 1, s.pixels(), -1, s.pixels() + 1};
    const auto masks = static_cast<int64_t>(counts.size());
    std::vector<uint8_t> kept(saliency.size() * counts.size()), kept_cuda(kept.size());
    TopkProblem topk{saliency.data(), dtype, s.n, s.pixels(), masks, rule, counts.data(), kept.data()};
    on_two_threads(s.n, [&](int64_t begin, int64_t end) { topk_mask_cpu(begin, end, topk); });
    for (size_t i = 0; i < kept.size(); ++i) {
      expect(kept[i] == (a[i % a.size()] < counts[i / a.size()]), "topk_mask", "is not rank < count");
    }
    topk.out = kept_cuda.data();
    std::vector<char> memory(static_cast<size_t>(topk_mask_scratch_bytes(topk)));
    on_device("topk_mask", [&] { return topk_mask_cuda(topk, memory.data(), nullptr); });
    expect_same(kept, kept_cuda, "topk_mask");
  }
}

template <class Out, class Keep>
void check_blend(BlendProblem problem, const Keep& keep, const char* what) {
  std::vector<Bits<Out>> a(static_cast<size_t>(problem.steps * problem.images * problem.image_elements())), b(a.size());
  problem.out = a.data();
  on_two_threads(blend_units(problem), [&](int64_t begin, int64_t end) { blend_cpu(begin, end, problem, keep); });
  problem.out = b.data();
  on_device(what, [&] { return blend_cuda(problem, keep, nullptr); });
  expect_same(a, b, what);
}

template <class T, class Keep>
void check_outputs(BlendProblem problem, const Keep& keep, const void* mean, const void* std, const char* what) {
  for (const bool last : {false, true}) {
    for (const bool normalised : {false, true}) {
      problem.channels_last = last;
      problem.mean = normalised ? mean : nullptr;
      problem.std = normalised ? std : nullptr;
      problem.compute = problem.output = sizeof(T) == 8 ? DType::kFloat64 : DType::kFloat32;
      check_blend<T>(problem, keep, what);
      if constexpr (sizeof(T) == 4) {
        problem.output = DType::kFloat16;
        check_blend<Half>(problem, keep, what);
        problem.output = DType::kBFloat16;
        check_blend<BFloat16>(problem, keep, what);
      }
    }
  }
}

template <class T>
void check_renderer(const Shape& s) {
  constexpr int64_t kSteps = 3, kCells = 3, kSegments = 5;
  const int64_t image = s.c * s.pixels();
  const std::vector<T> inputs = normal<T>(s.n * image), infill = normal<T>(s.c), mean = normal<T>(s.c);
  const std::vector<T> std(static_cast<size_t>(s.c), T(0.75));
  BlendProblem problem{};
  problem.steps = kSteps, problem.images = s.n, problem.channels = s.c, problem.height = s.h, problem.width = s.w;
  problem.inputs = {inputs.data(), {image, s.pixels(), s.w, 1}};
  problem.infill = {infill.data(), {0, 1, 0, 0}};  // one colour, expanded
  for (const bool per_image : {false, true}) {
    const int64_t rows = kSteps * (per_image ? s.n : 1);
    const auto ranks = integers<int32_t>(s.n * s.pixels(), 0, s.pixels() - 1);
    const auto counts = integers<int64_t>(rows, 0, s.pixels());
    for (const bool head : {false, true}) {
      const KeepRank keep{ranks.data(), counts.data(), s.pixels(), kSteps, per_image, head};
      check_outputs<T>(problem, keep, mean.data(), std.data(), "blend_rank");
    }
    const auto boxes = integers<int32_t>(rows * 4, -2, s.w + 2);
    check_outputs<T>(problem, KeepBox{boxes.data(), s.w, kSteps, per_image}, mean.data(), std.data(), "blend_boxes");
    const auto labels = integers<int32_t>(s.n * s.pixels(), -1, kSegments - 1);
    const auto bits = integers<uint8_t>(rows * kSegments, 0, 1);
    const KeepSegment segment{labels.data(), bits.data(), s.pixels(), kSteps, kSegments, per_image};
    check_outputs<T>(problem, segment, mean.data(), std.data(), "blend_segments");
    const auto grids = integers<uint8_t>(rows * kCells * kCells, 0, 1);
    const int64_t cell_h = (s.h + kCells - 1) / kCells, cell_w = (s.w + kCells - 1) / kCells;
    const auto shifts = integers<int32_t>(rows * 2, 0, std::min(cell_h, cell_w) - 1);
    for (const bool mirror : {false, true}) {
      KeepGrid keep{};
      keep.grids = grids.data(), keep.shifts = shifts.data(), keep.width = s.w, keep.steps = kSteps;
      keep.rows = keep.columns = kCells, keep.per_image = per_image, keep.mirror = mirror;
      keep.last_shift_y = static_cast<int32_t>(cell_h) - 1, keep.last_shift_x = static_cast<int32_t>(cell_w) - 1;
      keep.scale_y = static_cast<float>(kCells) / static_cast<float>((kCells + 1) * cell_h);
      keep.scale_x = static_cast<float>(kCells) / static_cast<float>((kCells + 1) * cell_w);
      check_outputs<T>(problem, keep, mean.data(), std.data(), "blend_grids");
    }
    const auto masks = normal<T>(rows * s.pixels());
    const KeepDense<T> dense{masks.data(), s.pixels(), kSteps, per_image};
    check_outputs<T>(problem, dense, mean.data(), std.data(), "blend_dense");

    const auto gradient = normal<T>(kSteps * s.n * image);
    std::vector<T> a[3], b[3];
    for (auto* set : {a, b}) {
      set[0].resize(static_cast<size_t>(s.n * kSteps * s.pixels()));
      set[1].resize(inputs.size());
      set[2].resize(inputs.size());
      BlendDenseGradProblem back{};
      back.steps = kSteps, back.images = s.n, back.channels = s.c, back.height = s.h, back.width = s.w;
      back.dtype = sizeof(T) == 8 ? DType::kFloat64 : DType::kFloat32;
      back.gradient = gradient.data(), back.inputs = problem.inputs, back.infill = problem.infill;
      back.masks = masks.data(), back.per_image = per_image, back.std = std.data();
      back.grad_masks = set[0].data(), back.grad_inputs = set[1].data(), back.grad_infill = set[2].data();
      if (set == a) {
        on_two_threads(blend_dense_backward_units(back),
                       [&](int64_t begin, int64_t end) { blend_dense_backward_cpu(begin, end, back); });
      } else {
        on_device("blend_dense_backward", [&] { return blend_dense_backward_cuda(back, nullptr); });
      }
    }
    for (int i = 0; i < 3; ++i) expect_same(a[i], b[i], "blend_dense_backward");

    std::vector<T> canvas = inputs, canvas_cuda = inputs;
    const int64_t bounds = per_image ? s.n : 1;
    const std::vector<int64_t> lo = integers<int64_t>(bounds, 0, s.pixels() / 2), hi = integers<int64_t>(bounds, 0, s.pixels());
    BlendUpdateProblem update{s.n, s.c, s.h, s.w, sizeof(T), canvas.data(), {image, s.pixels(), s.w, 1}, problem.infill,
                              ranks.data(), lo.data(), hi.data(), per_image};
    on_two_threads(blend_rank_update_units(update),
                   [&](int64_t begin, int64_t end) { blend_rank_update_cpu(begin, end, update); });
    update.canvas = canvas_cuda.data();
    on_device("blend_rank_update", [&] { return blend_rank_update_cuda(update, nullptr); });
    expect_same(canvas, canvas_cuda, "blend_rank_update");
  }
}

template <class T>
void check_variation(const Shape& s) {
  const int64_t maps = s.n * s.c, chunks = total_variation_chunks(s.h, s.w), parts = std::max(chunks, variation_tiles(s.h, s.w));
  const auto values = normal<T>(maps * s.pixels()), weights = normal<T>(maps);
  for (const VariationRule rule : {VariationRule{Variation::kAnisotropic, 1, 0}, VariationRule{Variation::kAnisotropic, 3, 1e-3},
                                   VariationRule{Variation::kIsotropic, 1, 0}, VariationRule{Variation::kIsotropic, 1.5, 0.1},
                                   VariationRule{Variation::kSquared, 1, 0}}) {
    for (const bool with_gradient : {false, true}) {
      std::vector<T> sums(static_cast<size_t>(maps)), sums_cuda(sums), gradient(with_gradient ? values.size() : 0), other(gradient);
      std::vector<double> partial(static_cast<size_t>(maps * parts));
      TotalVariationProblem problem{maps, s.h, s.w, sizeof(T) == 8 ? DType::kFloat64 : DType::kFloat32, rule, values.data(),
                                    weights.data(), with_gradient ? gradient.data() : nullptr, partial.data(), sums.data()};
      on_two_threads(maps * chunks, [&](int64_t begin, int64_t end) { total_variation_cpu(begin, end, problem); });
      on_two_threads(maps, [&](int64_t begin, int64_t end) { total_variation_sum_cpu(begin, end, problem); });
      problem.sums = sums_cuda.data();
      problem.gradient = with_gradient ? other.data() : nullptr;
      on_device("total_variation", [&] { return total_variation_cuda(problem, nullptr); });
      expect_same(gradient, other, "gradient of total_variation");
      for (size_t i = 0; i < sums.size(); ++i) {
        expect(!emulates || std::abs(sums[i] - sums_cuda[i]) <= 1e-5 * std::abs(sums[i]), "total_variation", "sums differ");
      }
    }
  }
}

void check_noise(const Shape& s, const std::vector<int64_t>& ids) {
  for (const Distribution kind : {Distribution::kUniform, Distribution::kNormal}) {
    std::vector<float> a(static_cast<size_t>(s.n * s.c * s.pixels())), b(a.size());
    NoiseProblem problem{kind, 99, 5, ids.data(), s.n, s.c, s.pixels(), a.data()};
    on_two_threads(noise_units(problem), [&](int64_t begin, int64_t end) { noise_cpu(begin, end, problem); });
    problem.out = b.data();
    on_device("noise", [&] { return noise_cuda(problem, nullptr); });
    expect_same(a, b, "noise");
  }
}

// Solved to a tolerance, with sums in another order: nearly the same. Kept pixels are the same.
template <class T>
void check_infill(const Shape& s) {
  const int64_t steps = 3, elements = steps * s.n * s.c * s.pixels();
  const std::vector<T> image = normal<T>(s.n * s.c * s.pixels());
  const std::vector<float> noise = normal<float>(s.n * s.c * s.pixels());
  std::vector<uint8_t> remove = integers<uint8_t>(steps * s.n * s.pixels(), 0, 1);
  for (int64_t i = 0; i < s.pixels(); ++i) remove[static_cast<size_t>(i)] = 1;  // one mask that leaves nothing
  const ImageView view{image.data(), {s.c * s.pixels(), s.pixels(), s.w, 1}};
  for (const InfillStencil stencil : {InfillStencil::kRoad, InfillStencil::kHarmonic}) {
    for (const double tolerance : {1e-3, 1e-6}) {
      std::vector<T> a(static_cast<size_t>(elements)), b(a.size());
      std::vector<float> left(static_cast<size_t>(steps * s.n * s.c)), other(left.size());
      LinearInfillProblem problem{steps,        s.n,     s.c,       s.h, s.w,      sizeof(T) == 4 ? DType::kFloat32 : DType::kFloat64,
                                  view,         remove.data(), noise.data(), stencil, tolerance, 0.5, a.data(), left.data()};
      on_two_threads(linear_infill_units(problem),
                     [&](int64_t begin, int64_t end) { linear_infill_cpu(begin, end, problem); });
      problem.filled = b.data();
      problem.residual = other.data();
      std::vector<double> scratch(static_cast<size_t>(linear_infill_scratch_bytes(problem)) / sizeof(double));
      on_device("linear_infill", [&] { return linear_infill_cuda(problem, scratch.data(), nullptr); });
      for (size_t i = 0; i < a.size() && emulates; ++i) {
        expect(std::abs(static_cast<double>(a[i] - b[i])) <= 2 * tolerance, "linear_infill", "CPU and CUDA kernels differ");
      }
      for (const float gap : left) expect(gap <= tolerance, "linear_infill", "the equations do not hold");
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  emulates = count < 2 || std::strcmp(arguments[1], "cpu") != 0;
  for (const Shape& s : {Shape{1, 1, 1, 1}, Shape{2, 3, 1, 7}, Shape{1, 2, 5, 1}, Shape{3, 5, 3, 37}, Shape{1, 3, 5, 257}}) {
    const auto ids = integers<int64_t>(s.n, 0, 1000);
    check_rank<float>(s, ids);
    check_rank<double>(s, ids);
    check_renderer<float>(s);
    check_renderer<double>(s);
    check_variation<float>(s);
    check_variation<double>(s);
    check_noise(s, ids);
    check_infill<float>(s);
    check_infill<double>(s);
  }
  std::printf("%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
