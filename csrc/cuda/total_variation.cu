// Total variation on the device. A block owns a tile of one map: it reads the tile with a border of one pixel into shared
// memory, takes each term once (those of the left and the upper neighbours too, whose slopes the tile's gradient gathers), and
// writes the gradient. The tiles' sums are added up in their order by a warp per map.
#include "../kernels.h"
#include "block.cuh"
#include "index.cuh"
#include "launch.h"

namespace saliency_ext {
namespace {

using cuda::VariationTuning;

constexpr int kThreads = VariationTuning::kThreads;
constexpr int kTileWidth = static_cast<int>(kVariationTileWidth), kTileHeight = static_cast<int>(kVariationTileHeight);
constexpr int kStride = kTileWidth + 2;  // of the tile with its border

template <Variation kKind, Power kPower, class T>
__global__ void __launch_bounds__(kThreads)
    variation_kernel(TotalVariationProblem problem, cuda::Divisor tiles, cuda::Divisor tiles_across, int64_t first_map) {
  SX_SHARED(T, values, (kTileHeight + 2) * kStride);
  SX_SHARED(T, along_x, kTileHeight * (kTileWidth + 1));  // of the tile's pixels, and of those left of it
  SX_SHARED(T, along_y, (kTileHeight + 1) * kTileWidth);  // of those above it, and of the tile's
  const cuda::Quotient unit = tiles(blockIdx.x), tile = tiles_across(unit.remainder);
  const int64_t map_index = first_map + unit.quotient, height = problem.height, width = problem.width;
  const int64_t top = static_cast<int64_t>(tile.quotient) * kTileHeight, left = static_cast<int64_t>(tile.remainder) * kTileWidth;
  const int rows = static_cast<int>(height - top < kTileHeight ? height - top : kTileHeight);
  const int columns = static_cast<int>(width - left < kTileWidth ? width - left : kTileWidth);
  const T* map = static_cast<const T*>(problem.values) + map_index * height * width;
  const bool slopes = problem.gradient != nullptr;

  // 1. The tile, then its left and right border. What lies outside the map is not read.
  for (int i = static_cast<int>(threadIdx.x); i < (kTileHeight + 2) * kTileWidth; i += kThreads) {
    const int row = i / kTileWidth - 1, column = i % kTileWidth;
    const bool there = top + row >= 0 && row <= rows && top + row < height && column < columns && (row >= 0 || slopes);
    if (there) values[(row + 1) * kStride + column + 1] = map[(top + row) * width + left + column];
  }
  for (int i = static_cast<int>(threadIdx.x); i < 2 * (kTileHeight + 2); i += kThreads) {
    const int row = i / 2 - 1, column = i % 2 == 0 ? -1 : columns;
    const bool there = top + row >= 0 && row <= rows && top + row < height && left + column >= 0 && left + column < width;
    if (there && (column > 0 || slopes)) values[(row + 1) * kStride + column + 1] = map[(top + row) * width + left + column];
  }
  __syncthreads();

  // 2. Each term once. The sum takes the tile's own, in double; the border gives slopes.
  const T beta = static_cast<T>(problem.rule.beta), eps = static_cast<T>(problem.rule.eps);
  const auto term_at = [&](int row, int column, T* slope_x, T* slope_y) {
    const T* here = values + (row + 1) * kStride + column + 1;
    const bool has_x = left + column + 1 < width, has_y = top + row + 1 < height;
    const T dx = has_x ? here[1] - here[0] : T(0), dy = has_y ? here[kStride] - here[0] : T(0);
    return variation_term<kKind, kPower>(dx, dy, has_x, has_y, beta, eps, slope_x, slope_y);
  };
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < kTileHeight * kTileWidth; i += kThreads) {
    const int row = i / kTileWidth, column = i % kTileWidth;
    if (row >= rows || column >= columns) continue;
    T slope_x, slope_y;
    sum += static_cast<double>(term_at(row, column, &slope_x, &slope_y));
    along_x[row * (kTileWidth + 1) + column + 1] = slope_x;
    along_y[(row + 1) * kTileWidth + column] = slope_y;
  }
  if (slopes) {
    for (int i = static_cast<int>(threadIdx.x); i < kTileHeight + kTileWidth; i += kThreads) {
      T slope_x = T(0), slope_y = T(0);
      if (i < kTileHeight) {
        if (left > 0 && i < rows) term_at(i, -1, &slope_x, &slope_y);
        along_x[i * (kTileWidth + 1)] = slope_x;
      } else {
        const int column = i - kTileHeight;
        if (top > 0 && column < columns) term_at(-1, column, &slope_x, &slope_y);
        along_y[column] = slope_y;
      }
    }
    __syncthreads();
    const T weight = static_cast<const T*>(problem.weights)[map_index];
    T* gradient = static_cast<T*>(problem.gradient) + map_index * height * width;
    for (int i = static_cast<int>(threadIdx.x); i < kTileHeight * kTileWidth; i += kThreads) {
      const int row = i / kTileWidth, column = i % kTileWidth;
      if (row >= rows || column >= columns) continue;
      const T* x = along_x + row * (kTileWidth + 1) + column;
      const T* y = along_y + row * kTileWidth + column;
      gradient[(top + row) * width + left + column] = weight * ((x[0] - x[1]) + (y[0] - y[kTileWidth]));
    }
  }

  // 3. The tile's sum, in a fixed order.
  if (problem.sums == nullptr) return;
  const double total = cuda::block_sum<kThreads>(sum);
  if (threadIdx.x == 0) problem.partial[map_index * tiles.value() + unit.remainder] = total;
}

// A warp adds up the tiles of a map.
template <class T>
__global__ void __launch_bounds__(kThreads) tile_sum_kernel(const double* partial, int64_t maps, int64_t tiles, T* sums) {
  const int64_t map = cuda::global_thread() / cuda::kWarpSize;
  if (map >= maps) return;
  double sum = 0;
  for (int64_t tile = cuda::lane_id(); tile < tiles; tile += cuda::kWarpSize) sum += partial[map * tiles + tile];
  sum = cuda::warp_sum(sum);
  if (cuda::lane_id() == 0) sums[map] = static_cast<T>(sum);
}

template <class T>
int launch(const TotalVariationProblem& problem, void* stream) {
  const int64_t tiles = variation_tiles(problem.height, problem.width);
  const cuda::Divisor tiles_of_map(tiles), tiles_across(cuda::blocks_for(problem.width, kTileWidth));
  const int status = cuda::launch_in_parts(problem.maps, tiles, [&](int64_t first, int64_t, unsigned grid) {
    return with_variation(problem.rule, [&](auto kind, auto power) {
      return SX_LAUNCH((variation_kernel<decltype(kind)::value, decltype(power)::value, T>), grid, kThreads, stream, problem,
                       tiles_of_map, tiles_across, first);
    });
  });
  if (status != 0 || problem.sums == nullptr) return status;
  constexpr int64_t kMapsPerBlock = kThreads / cuda::kWarpSize;
  return cuda::launch_in_parts(cuda::blocks_for(problem.maps, kMapsPerBlock), 1, [&](int64_t first, int64_t, unsigned grid) {
    const int64_t map = first * kMapsPerBlock;
    return SX_LAUNCH(tile_sum_kernel<T>, grid, kThreads, stream, static_cast<const double*>(problem.partial) + map * tiles,
                     problem.maps - map, tiles, static_cast<T*>(problem.sums) + map);
  });
}

}  // namespace

int total_variation_cuda(const TotalVariationProblem& problem, void* stream) {
  return problem.dtype == DType::kFloat64 ? launch<double>(problem, stream) : launch<float>(problem, stream);
}

}  // namespace saliency_ext
