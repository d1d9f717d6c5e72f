// counts CASE IMAGES: runs the kernels of one case on 224 x 224 images and prints what they asked of the memory, as JSON.
// counts planted NUMBER: one of the kernels of planted.cu.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <numeric>

#include "kernels.h"
#include "profiler.h"

using namespace saliency_ext;
using counting::profiler;

int run_planted(int number, const float* from, float* to, int64_t count);

namespace {

constexpr int64_t kSide = 224, kPixels = kSide * kSide, kChannels = 3, kSteps = 100, kCells = 28, kBits = 7, kSegments = 64;

uint64_t state = 1;

uint32_t draw() {  // splitmix64
  uint64_t z = (state += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  return static_cast<uint32_t>((z ^ (z >> 27)) >> 13);
}

enum class Role { kInput, kOutput, kScratch };

// Device memory of a case; inputs and outputs are what it cannot do without.
std::deque<std::vector<uint64_t>> memory;
int64_t compulsory = 0;

template <class T>
T* buffer(const char* name, Role role, int64_t count) {
  const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
  memory.emplace_back(static_cast<size_t>((bytes + 31) / 8 + 32));  // begins at a multiple of 256 bytes, as cudaMalloc's does
  const auto address = (reinterpret_cast<uintptr_t>(memory.back().data()) + 255) / 256 * 256;
  profiler.add_buffer(name, reinterpret_cast<void*>(address), bytes);
  if (role != Role::kScratch) compulsory += bytes;
  return reinterpret_cast<T*>(address);
}

template <class T>
T* numbers(const char* name, int64_t count, Role role = Role::kInput) {
  T* values = buffer<T>(name, role, count);
  for (int64_t i = 0; i < count; ++i) values[i] = static_cast<T>(static_cast<double>(draw()) * 0x1p-32);
  return values;
}

template <class T>
T* integers(const char* name, int64_t count, int64_t end) {
  T* values = buffer<T>(name, Role::kInput, count);
  for (int64_t i = 0; i < count; ++i) values[i] = static_cast<T>(draw() % static_cast<uint64_t>(end));
  return values;
}

ImageView view(const void* data) { return {data, {kChannels * kPixels, kPixels, kSide, 1}}; }

constexpr uint64_t kSample = 64;  // blocks counted where all of them do alike

int rank(int64_t n, bool half_zero) {
  float* saliency = numbers<float>("saliency", n * kPixels);
  for (int64_t i = 0; half_zero && i < n * kPixels; ++i) saliency[i] = saliency[i] < 0.5f ? 0.0f : saliency[i];
  const RankProblem problem{saliency, DType::kFloat32, n, kPixels, {Ties::kIndex, 0, nullptr},
                            buffer<int32_t>("ranks", Role::kOutput, n * kPixels)};
  profiler.limit_blocks(n == 1 ? 0 : 64, true);
  return rank_cuda(problem, buffer<char>("scratch", Role::kScratch, rank_scratch_bytes(problem)), nullptr);
}

int topk(int64_t n, bool half_zero) {
  constexpr int64_t kMasks = 4;
  float* saliency = numbers<float>("saliency", n * kPixels);
  for (int64_t i = 0; half_zero && i < n * kPixels; ++i) saliency[i] = saliency[i] < 0.5f ? 0.0f : saliency[i];
  int64_t* counts = buffer<int64_t>("counts", Role::kInput, kMasks);
  for (int64_t k = 0; k < kMasks; ++k) counts[k] = kPixels * (k + 1) / 5;
  const TopkProblem problem{saliency, DType::kFloat32, n, kPixels, kMasks, {Ties::kIndex, 0, nullptr}, counts,
                            buffer<uint8_t>("masks", Role::kOutput, kMasks * n * kPixels)};
  profiler.limit_blocks(n == 1 ? 0 : 64, true);
  return topk_mask_cuda(problem, buffer<char>("scratch", Role::kScratch, topk_mask_scratch_bytes(problem)), nullptr);
}

BlendProblem blend_problem(int64_t n) {
  profiler.limit_blocks(kSample, false);
  const float* inputs = numbers<float>("inputs", n * kChannels * kPixels);
  const float* infill = numbers<float>("infill", n * kChannels * kPixels);
  const float* mean = numbers<float>("mean", kChannels);
  const float* std = numbers<float>("std", kChannels);
  return {kSteps, n, kChannels, kSide, kSide, view(inputs), view(infill), mean, std, DType::kFloat32, DType::kBFloat16, true,
          buffer<uint16_t>("out", Role::kOutput, kSteps * n * kChannels * kPixels)};
}

int blend_rank(int64_t n) {
  const BlendProblem problem = blend_problem(n);
  return blend_cuda(problem,
                    KeepRank{integers<int32_t>("ranks", n * kPixels, kPixels), integers<int64_t>("counts", kSteps, kPixels),
                             kPixels, kSteps, false, false},
                    nullptr);
}

int blend_boxes(int64_t n) {
  const BlendProblem problem = blend_problem(n);
  return blend_cuda(problem, KeepBox{integers<int32_t>("boxes", 4 * kSteps, kSide), kSide, kSteps, false}, nullptr);
}

int blend_segments(int64_t n) {
  const BlendProblem problem = blend_problem(n);
  int32_t* labels = buffer<int32_t>("segments", Role::kInput, n * kPixels);
  for (int64_t i = 0; i < n * kPixels; ++i) labels[i] = static_cast<int32_t>(i % kPixels / kSide / kCells * 8 + i % kSide / kCells);
  return blend_cuda(problem,
                    KeepSegment{labels, integers<uint8_t>("coalitions", kSteps * kSegments, 2), kPixels, kSteps,
                                static_cast<int32_t>(kSegments), false},
                    nullptr);
}

int blend_grids(int64_t n) {
  const BlendProblem problem = blend_problem(n);
  KeepGrid keep{};
  keep.grids = integers<uint8_t>("grids", kSteps * kBits * kBits, 2);
  keep.shifts = integers<int32_t>("shifts", 2 * kSteps, kSide / kBits);
  keep.width = kSide, keep.steps = kSteps;
  keep.rows = keep.columns = static_cast<int32_t>(kBits);
  keep.last_shift_y = keep.last_shift_x = static_cast<int32_t>(kSide / kBits) - 1;
  keep.scale_y = keep.scale_x = static_cast<float>(kBits) / static_cast<float>((kBits + 1) * (kSide / kBits));
  return blend_cuda(problem, keep, nullptr);
}

int blend_dense(int64_t n) {
  const BlendProblem problem = blend_problem(n);
  return blend_cuda(problem, KeepDense<float>{numbers<float>("masks", n * kSteps * kPixels), kPixels, kSteps, true}, nullptr);
}

int blend_dense_backward(int64_t n) {
  constexpr int64_t kMasks = 4;
  profiler.limit_blocks(kSample, false);
  BlendDenseGradProblem problem{};
  problem.steps = kMasks, problem.images = n, problem.channels = kChannels, problem.height = problem.width = kSide;
  problem.dtype = DType::kFloat32;
  problem.gradient = numbers<float>("gradient", kMasks * n * kChannels * kPixels);
  problem.inputs = view(numbers<float>("inputs", n * kChannels * kPixels));
  problem.infill = view(numbers<float>("infill", n * kChannels * kPixels));
  problem.masks = numbers<float>("masks", n * kMasks * kPixels);
  problem.per_image = true;
  problem.std = numbers<float>("std", kChannels);
  problem.grad_masks = buffer<float>("grad_masks", Role::kOutput, n * kMasks * kPixels);
  problem.grad_inputs = buffer<float>("grad_inputs", Role::kOutput, n * kChannels * kPixels);
  problem.grad_infill = buffer<float>("grad_infill", Role::kOutput, n * kChannels * kPixels);
  return blend_dense_backward_cuda(problem, nullptr);
}

int blend_rank_update(int64_t n) {
  profiler.limit_blocks(kSample, false);
  BlendUpdateProblem problem{};
  problem.images = n, problem.channels = kChannels, problem.height = problem.width = kSide;
  problem.element_bytes = 4;
  problem.canvas = numbers<float>("canvas", n * kChannels * kPixels, Role::kOutput);
  problem.source = view(numbers<float>("source", n * kChannels * kPixels));
  std::memcpy(problem.canvas_stride, problem.source.stride, sizeof(problem.canvas_stride));
  problem.ranks = integers<int32_t>("ranks", n * kPixels, kPixels);
  int64_t* bounds = buffer<int64_t>("bounds", Role::kInput, 2);
  bounds[0] = 0, bounds[1] = kPixels;  // all pixels: what is touched is a matter of the ranks
  problem.lo = bounds, problem.hi = bounds + 1;
  return blend_rank_update_cuda(problem, nullptr);
}

int total_variation(int64_t n) {
  profiler.limit_blocks(0, true);
  TotalVariationProblem problem{};
  problem.maps = n, problem.height = problem.width = kSide, problem.dtype = DType::kFloat32;
  problem.rule = {Variation::kIsotropic, 1.0, 1e-8};
  problem.values = numbers<float>("mask", n * kPixels);
  problem.weights = numbers<float>("weights", n);
  problem.gradient = buffer<float>("gradient", Role::kOutput, n * kPixels);
  problem.partial = buffer<double>("partial", Role::kScratch, n * variation_tiles(kSide, kSide));
  problem.sums = buffer<float>("sums", Role::kOutput, n);
  return total_variation_cuda(problem, nullptr);
}

int noise(int64_t n) {
  profiler.limit_blocks(kSample, false);
  const NoiseProblem problem{Distribution::kNormal, 1, 2, integers<int64_t>("sample_ids", n, 1000), n, kChannels, kPixels,
                             buffer<float>("out", Role::kOutput, n * kChannels * kPixels)};
  return noise_cuda(problem, nullptr);
}

int smooth_maximum(int64_t n, bool backward) {
  constexpr int64_t kStep = 8, kReach = 3;  // sigma 16
  profiler.limit_blocks(kSample, false);
  SmoothMaximumProblem problem{};
  problem.maps = n, problem.rows = problem.columns = kCells, problem.step = kStep, problem.margin = 16;
  problem.height = problem.width = kSide + 32, problem.reach = kReach, problem.inverse_temperature = 20.0;
  problem.dtype = DType::kFloat32;
  const int64_t pixels = n * problem.height * problem.width;
  problem.values = numbers<float>("cells", n * kCells * kCells);
  problem.weights = numbers<float>("weights", kStep * (kReach + 1) * kStep * (kReach + 1));
  const Role role = backward ? Role::kInput : Role::kOutput;
  problem.out = numbers<float>("out", pixels, role);
  problem.sums = numbers<float>("sums", pixels, role);
  if (backward) {
    problem.gradient = numbers<float>("gradient", pixels);
    problem.slopes = buffer<float>("slopes", Role::kOutput, n * kCells * kCells);
  }
  return smooth_maximum_cuda(problem, nullptr);
}

// Bilinear from cells to pixels along one axis.
Resizing resizing(const char* matrix_name, const char* bands_name) {
  float* matrix = buffer<float>(matrix_name, Role::kInput, kCells * kSide);
  int32_t* bands = buffer<int32_t>(bands_name, Role::kInput, 2 * (kCells + kSide));
  std::fill(matrix, matrix + kCells * kSide, 0.0f);
  for (int64_t i = 0; i < kCells; ++i) bands[2 * i] = static_cast<int32_t>(kSide), bands[2 * i + 1] = 0;
  for (int64_t p = 0; p < kSide; ++p) {
    const double place = (static_cast<double>(p) + 0.5) * kCells / kSide - 0.5;
    const int64_t low = std::max<int64_t>(0, static_cast<int64_t>(place)), high = std::min<int64_t>(kCells - 1, low + 1);
    const float part = static_cast<float>(std::min(1.0, std::max(0.0, place - static_cast<double>(low))));
    matrix[low * kSide + p] += 1 - part, matrix[high * kSide + p] += part;
    bands[2 * (kCells + p)] = static_cast<int32_t>(low), bands[2 * (kCells + p) + 1] = static_cast<int32_t>(high + 1);
    for (const int64_t cell : {low, high}) {
      bands[2 * cell] = std::min(bands[2 * cell], static_cast<int32_t>(p));
      bands[2 * cell + 1] = std::max(bands[2 * cell + 1], static_cast<int32_t>(p + 1));
    }
  }
  return {matrix, bands, kCells, kSide};
}

int mask_step(int64_t n) {
  profiler.limit_blocks(0, true);
  MaskStepProblem q{};
  q.rows = n, q.planes = 1, q.infills = 1, q.channels = kChannels, q.height = q.width = kSide;
  q.image_count = q.infill_count = n, q.image_height = q.image_width = kSide, q.dtype = DType::kFloat32;
  q.rule = {true, true, false, 0.1, 0.9, 0.999, 1e-8, 0.1, 0.1};
  q.gradient = numbers<float>("gradient", n * kChannels * kPixels);
  q.inputs = numbers<float>("inputs", n * kChannels * kPixels);
  q.infill = numbers<float>("infill", n * kChannels * kPixels);
  int64_t* places = buffer<int64_t>("places", Role::kInput, 4 * n);
  for (int64_t r = 0; r < n; ++r) places[4 * r] = places[4 * r + 1] = r, places[4 * r + 2] = places[4 * r + 3] = 0;
  q.places = q.next_places = places;
  q.down = resizing("down", "down_bands");
  q.across = resizing("across", "across_bands");
  q.roughness = {Variation::kSquared, 1.0, 0.0};
  q.variation_gradient = numbers<float>("variation_gradient", n * kPixels);
  q.variation_sums = numbers<float>("variation_sums", n);
  q.values = numbers<float>("values", n * kCells * kCells, Role::kOutput);
  q.exp_avg = numbers<float>("exp_avg", n * kCells * kCells, Role::kOutput);
  q.exp_avg_sq = numbers<float>("exp_avg_sq", n * kCells * kCells, Role::kOutput);
  q.cells = numbers<float>("cells", n * kCells * kCells, Role::kOutput);
  q.mask = numbers<float>("mask", n * kPixels, Role::kOutput);
  q.counts = integers<int64_t>("counts", n, 10);
  q.active = buffer<uint8_t>("active", Role::kOutput, n);
  std::memset(q.active, 1, static_cast<size_t>(n));
  q.terms = buffer<double>("terms", Role::kOutput, 3 * n);
  q.out = buffer<float>("out", Role::kOutput, n * kChannels * kPixels);
  return mask_step_cuda(q, buffer<float>("scratch", Role::kScratch, mask_step_scratch(q)), nullptr);
}

int linear_infill(int64_t n) {
  profiler.limit_blocks(1, false);
  LinearInfillProblem problem{};
  problem.steps = 1, problem.images = n, problem.channels = kChannels, problem.height = problem.width = kSide;
  problem.dtype = DType::kFloat32, problem.inputs = view(numbers<float>("inputs", n * kChannels * kPixels));
  problem.remove = integers<uint8_t>("remove", n * kPixels, 2);
  problem.stencil = InfillStencil::kRoad, problem.tolerance = 1e-3;
  problem.filled = buffer<float>("filled", Role::kOutput, n * kChannels * kPixels);
  problem.residual = buffer<float>("residual", Role::kOutput, n * kChannels);
  return linear_infill_cuda(problem, buffer<double>("scratch", Role::kScratch, linear_infill_scratch_bytes(problem) / 8), nullptr);
}

const std::map<std::string, std::function<int(int64_t)>> kCases = {
    {"rank", [](int64_t n) { return rank(n, false); }},
    {"rank_half_zero", [](int64_t n) { return rank(n, true); }},
    {"topk_mask", [](int64_t n) { return topk(n, false); }},
    {"topk_mask_half_zero", [](int64_t n) { return topk(n, true); }},
    {"blend_rank", blend_rank},
    {"blend_boxes", blend_boxes},
    {"blend_segments", blend_segments},
    {"blend_grids", blend_grids},
    {"blend_dense", blend_dense},
    {"blend_dense_backward", blend_dense_backward},
    {"blend_rank_update", blend_rank_update},
    {"total_variation", total_variation},
    {"noise", noise},
    {"smooth_maximum", [](int64_t n) { return smooth_maximum(n, false); }},
    {"smooth_maximum_backward", [](int64_t n) { return smooth_maximum(n, true); }},
    {"mask_step", mask_step},
    {"linear_infill", linear_infill},
    {"planted", [](int64_t number) {
       constexpr int64_t kCount = 1 << 16;
       const float* from = numbers<float>("from", kCount);
       return run_planted(static_cast<int>(number), from, buffer<float>("to", Role::kOutput, kCount), kCount);
     }},
};

void print_counts(const char* kind, const std::vector<counting::GlobalCounts>& counts) {
  std::printf(", \"%s\": {", kind);
  const char* comma = "";
  for (size_t i = 0; i < counts.size(); ++i) {
    const counting::GlobalCounts& c = counts[i];
    if (c.requests == 0) continue;
    std::printf("%s\"%s\": {\"requests\": %ld, \"lanes\": %ld, \"sectors\": %ld, \"ideal\": %ld, \"traffic\": %ld, \"memory\": %ld}",
                comma,
                profiler.buffers()[i].name.c_str(), c.requests, c.lanes, c.sectors, c.ideal, c.traffic, c.memory);
    comma = ", ";
  }
  std::printf("}");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 || kCases.count(argv[1]) == 0) {
    std::fprintf(stderr, "usage: counts CASE IMAGES, CASE one of");
    for (const auto& [name, run] : kCases) std::fprintf(stderr, " %s", name.c_str());
    std::fprintf(stderr, "\n");
    return 2;
  }
  sim::observer = &profiler;
  const int status = kCases.at(argv[1])(std::atol(argv[2]));
  if (status != 0) {
    std::fprintf(stderr, "%s: %s\n", argv[1], cuda_status_text(status));
    return 1;
  }
  std::printf("{\"compulsory\": %ld, \"launches\": [", compulsory);
  const char* comma = "";
  for (const counting::LaunchCounts& launch : profiler.launches()) {
    std::printf("%s\n {\"kernel\": \"%s\", \"blocks\": %ld, \"threads\": %ld, \"counted_blocks\": %ld", comma,
                launch.kernel.c_str(), launch.blocks, launch.threads, launch.counted_blocks);
    print_counts("loads", launch.loads);
    print_counts("stores", launch.stores);
    std::printf(", \"shared\": {\"requests\": %ld, \"passes\": %ld, \"ideal\": %ld, \"worst\": %.3f}}", launch.shared.requests,
                launch.shared.passes, launch.shared.ideal, launch.shared.worst);
    comma = ",";
  }
  std::printf("]}\n");
  return 0;
}
