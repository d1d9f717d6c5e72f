// Smooth maximum on the device. Forward: a thread owns a pixel and visits the cells around it; it reads the cells from the
// cache and writes 8 (float32) bytes. Gradient: a block owns a cell and sums over the pixels that it reaches, in a fixed order.
#include "../kernels.h"
#include "block.cuh"
#include "launch.h"

namespace saliency_ext {
namespace {

using cuda::SmoothMaximumTuning;

__device__ __forceinline__ int64_t distance(int64_t a, int64_t b) { return a < b ? b - a : a - b; }

template <class T>
__global__ void __launch_bounds__(SmoothMaximumTuning::kThreads) smooth_maximum_kernel(SmoothMaximumProblem q) {
  const int64_t size = q.height * q.width, at = cuda::global_thread();
  if (at >= q.maps * size) return;
  const int64_t y = at % size / q.width - q.margin, x = at % q.width - q.margin, distances = q.step * (q.reach + 1);
  const int64_t row = floor_quotient(y, q.step), column = floor_quotient(x, q.step);
  const T* values = static_cast<const T*>(q.values) + at / size * q.rows * q.columns;
  const T* weights = static_cast<const T*>(q.weights);
  const T inverse_temperature = static_cast<T>(q.inverse_temperature);
  T numerator = T(0), sum = static_cast<T>((2 * q.reach + 1) * (2 * q.reach + 1));
  for (int64_t i = row - q.reach; i <= row + q.reach; ++i) {
    if (i < 0 || i >= q.rows) continue;
    for (int64_t j = column - q.reach; j <= column + q.reach; ++j) {
      if (j < 0 || j >= q.columns) continue;
      const T value = values[i * q.columns + j];
      const T weight = weights[distance(y, i * q.step) * distances + distance(x, j * q.step)];
      const T e = plain_exp(inverse_temperature * value * weight);
      numerator += weight * value * e;
      sum += e - T(1);
    }
  }
  static_cast<T*>(q.out)[at] = numerator / sum;
  static_cast<T*>(q.sums)[at] = sum;
}

template <class T>
__global__ void __launch_bounds__(SmoothMaximumTuning::kThreads) smooth_maximum_slope_kernel(SmoothMaximumProblem q) {
  const int64_t cells = q.rows * q.columns, cell = blockIdx.x;
  const int64_t i = cell % cells / q.columns, j = cell % q.columns, distances = q.step * (q.reach + 1);
  const int64_t top = q.step * (i - q.reach) + q.margin, left = q.step * (j - q.reach) + q.margin;
  const int64_t length = q.step * (2 * q.reach + 1), base = cell / cells * q.height * q.width;
  const T value = static_cast<const T*>(q.values)[cell], inverse_temperature = static_cast<T>(q.inverse_temperature);
  double sum = 0;
  for (int64_t k = threadIdx.x; k < length * length; k += SmoothMaximumTuning::kThreads) {
    const int64_t y = top + k / length, x = left + k % length;
    if (y < 0 || y >= q.height || x < 0 || x >= q.width) continue;
    const int64_t at = base + y * q.width + x;
    const PixelSlope<T> slope = pixel_slope(static_cast<const T*>(q.gradient)[at], static_cast<const T*>(q.out)[at],
                                            static_cast<const T*>(q.sums)[at], inverse_temperature);
    const int64_t down = distance(y - q.margin, i * q.step), across = distance(x - q.margin, j * q.step);
    const T weight = static_cast<const T*>(q.weights)[down * distances + across];
    const T e = plain_exp(inverse_temperature * value * weight);
    sum += static_cast<double>(weight * e * (slope.b + inverse_temperature * value * weight * slope.a));
  }
  const double total = cuda::block_sum<SmoothMaximumTuning::kThreads>(sum);
  if (threadIdx.x == 0) static_cast<T*>(q.slopes)[cell] = static_cast<T>(total);
}

template <class T>
int launch(const SmoothMaximumProblem& q, void* stream) {
  constexpr int kThreads = SmoothMaximumTuning::kThreads;
  if (q.slopes != nullptr) {
    return SX_LAUNCH(smooth_maximum_slope_kernel<T>, static_cast<unsigned>(q.maps * q.rows * q.columns), kThreads, stream, q);
  }
  return SX_LAUNCH(smooth_maximum_kernel<T>, static_cast<unsigned>(cuda::blocks_for(q.maps * q.height * q.width, kThreads)),
                   kThreads, stream, q);
}

}  // namespace

int smooth_maximum_cuda(const SmoothMaximumProblem& problem, void* stream) {
  return problem.dtype == DType::kFloat64 ? launch<double>(problem, stream) : launch<float>(problem, stream);
}

}  // namespace saliency_ext
