// Total variation on the device. A block owns a chunk of rows of one map (see variation_rows_per_chunk): it reads the
// chunk once (neighbours come from the L1 cache) and, where asked, writes the gradient once: 4 (8 with gradient) bytes per
// float32 pixel. A map of up to 65,536 pixels is one block, so its sum needs no second launch.
#include "../kernels.h"
#include "block.cuh"
#include "launch.h"

namespace saliency_ext {
namespace {

using cuda::VariationTuning;

template <class T>
struct Slopes {
  T along_x, along_y;
};

template <Variation kKind, Power kPower, class T>
__device__ __forceinline__ T term_at(const T* map, int64_t height, int64_t width, int64_t y, int64_t x, T beta, T eps,
                                     Slopes<T>* slopes) {
  const T here = map[y * width + x];
  const bool has_x = x + 1 < width, has_y = y + 1 < height;
  const T dx = has_x ? map[y * width + x + 1] - here : T(0);
  const T dy = has_y ? map[(y + 1) * width + x] - here : T(0);
  return variation_term<kKind, kPower>(dx, dy, has_x, has_y, beta, eps, &slopes->along_x, &slopes->along_y);
}

template <Variation kKind, Power kPower, class T>
__global__ void __launch_bounds__(VariationTuning::kThreads)
    variation_kernel(TotalVariationProblem problem, int64_t rows, int64_t chunks) {
  const int64_t height = problem.height, width = problem.width;
  const int64_t unit = blockIdx.x;
  const int64_t map_index = unit / chunks, first = unit % chunks * rows;
  const int64_t count = (first + rows < height ? rows : height - first) * width;
  const T* map = static_cast<const T*>(problem.values) + map_index * height * width;
  T* gradient = problem.gradient == nullptr ? nullptr : static_cast<T*>(problem.gradient) + map_index * height * width;
  const T weight = gradient == nullptr ? T(0) : static_cast<const T*>(problem.weights)[map_index];
  const T beta = static_cast<T>(problem.rule.beta), eps = static_cast<T>(problem.rule.eps);

  // 1. Each thread: terms of its pixels, in double; the gradient gathers the slopes of three terms.
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += VariationTuning::kThreads) {
    const int64_t y = first + i / width, x = i % width;
    Slopes<T> here, left{}, above{};
    sum += static_cast<double>(term_at<kKind, kPower>(map, height, width, y, x, beta, eps, &here));
    if (gradient != nullptr) {
      if (x > 0) term_at<kKind, kPower>(map, height, width, y, x - 1, beta, eps, &left);
      if (y > 0) term_at<kKind, kPower>(map, height, width, y - 1, x, beta, eps, &above);
      gradient[y * width + x] = weight * ((left.along_x - here.along_x) + (above.along_y - here.along_y));
    }
  }

  // 2. The block's sum, in a fixed order. A map of one chunk is finished here.
  if (problem.sums == nullptr) return;
  const double total = cuda::block_sum<VariationTuning::kThreads>(sum);
  if (threadIdx.x == 0) {
    if (chunks == 1) {
      static_cast<T*>(problem.sums)[map_index] = static_cast<T>(total);
    } else {
      problem.partial[unit] = total;
    }
  }
}

// Sums of maps of several chunks, in order.
template <class T>
__global__ void __launch_bounds__(VariationTuning::kThreads)
    chunk_sum_kernel(const double* partial, int64_t maps, int64_t chunks, T* sums) {
  const int64_t map = cuda::global_thread();
  if (map >= maps) return;
  double sum = 0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += partial[map * chunks + chunk];
  sums[map] = static_cast<T>(sum);
}

template <class T>
int launch(const TotalVariationProblem& problem, void* stream) {
  const int64_t rows = variation_rows_per_chunk(problem.height, problem.width);
  const int64_t chunks = (problem.height + rows - 1) / rows;
  const unsigned grid = cuda::grid_of(problem.maps * chunks);
  int status = with_variation(problem.rule, [&](auto kind, auto power) {
    return SX_LAUNCH((variation_kernel<decltype(kind)::value, decltype(power)::value, T>), grid,
                     VariationTuning::kThreads, stream, problem, rows, chunks);
  });
  if (status == 0 && chunks > 1 && problem.sums != nullptr) {
    status = SX_LAUNCH(chunk_sum_kernel<T>, cuda::blocks_for(problem.maps, VariationTuning::kThreads),
                       VariationTuning::kThreads, stream, static_cast<const double*>(problem.partial), problem.maps, chunks,
                       static_cast<T*>(problem.sums));
  }
  return status;
}

}  // namespace

int total_variation_cuda(const TotalVariationProblem& problem, void* stream) {
  return problem.dtype == DType::kFloat64 ? launch<double>(problem, stream) : launch<float>(problem, stream);
}

}  // namespace saliency_ext
