// A step of a mask optimiser on the device. A block owns a row, one mask with its planes, from the gradient to the next masked
// inputs: what it writes for itself (gradient of the pixels, cells) is read again after a barrier, from the cache. Per pixel,
// channel and infill it reads gradient, image and infill once, then image and infill again, and writes the masked input.
#include "../kernels.h"
#include "block.cuh"
#include "launch.h"

namespace saliency_ext {
namespace {

using cuda::MaskStepTuning;

// Where a window begins in the images and in the infill: elements before its first pixel in channel 0.
struct WindowStart {
  int64_t image, infill;
};

// 0. The row's windows, and those of its next masked inputs, inside the images: places that a host would have refused must not
// lead out of the memory.
__device__ __forceinline__ void find_windows(const MaskStepProblem& q, int64_t r, WindowStart* starts) {
  for (int64_t i = threadIdx.x; i < 2 * q.infills; i += MaskStepTuning::kThreads) {
    const bool now = i < q.infills;
    const int64_t* place = (now ? q.places : q.next_places) + 4 * (r * q.infills + (now ? i : i - q.infills));
    const int64_t top = clamped_index(place[2], q.image_height - q.height);
    const int64_t corner = top * q.image_width + clamped_index(place[3], q.image_width - q.width);
    const int64_t image = q.channels * q.image_height * q.image_width;
    starts[i] = {clamped_index(place[0], q.image_count - 1) * image + corner,
                 clamped_index(place[1], q.infill_count - 1) * image + corner};
  }
}

// 1. Gradient of each pixel of the row's masks, to `pixels`. Returns this thread's part of sum |d loss / d mask|.
template <class T>
__device__ __forceinline__ double pixel_slopes(const MaskStepProblem& q, int64_t r, const WindowStart* starts, T* pixels,
                                               double* area) {
  const int64_t size = q.height * q.width;
  double norm = 0;
  for (int64_t i = threadIdx.x; i < q.planes * size; i += MaskStepTuning::kThreads) {
    const int64_t map = r * q.planes + i / size, y = i % size / q.width, x = i % q.width;
    T slope = T(0);
    for (int64_t u = 0; u < q.infills; ++u) {
      const WindowStart start = starts[u];
      for (int64_t c = 0; c < q.channels; ++c) {
        const int64_t pixel = (c * q.image_height + y) * q.image_width + x;
        const T image = static_cast<const T*>(q.inputs)[start.image + pixel];
        const T other = static_cast<const T*>(q.infill)[start.infill + pixel];
        const int64_t at = (((map * q.infills + u) * q.channels + c) * q.height + y) * q.width + x;
        slope += static_cast<const T*>(q.gradient)[at] * (image - other);
      }
    }
    norm += static_cast<double>(slope < T(0) ? -slope : slope);
    if (!q.rule.on_cells) {
      const int64_t at = r * q.planes * size + i;
      *area += static_cast<double>(static_cast<const T*>(q.mask)[at]);
      slope += static_cast<T>(q.rule.area);
      if (q.variation_gradient != nullptr) slope += static_cast<const T*>(q.variation_gradient)[at];
    }
    pixels[i] = slope;
  }
  return norm;
}

// 2. and 3. Back to the cells: down the columns, then along the rows.
template <class T>
__device__ __forceinline__ void pull_back(const MaskStepProblem& q, int64_t r, const T* pixels, T* wide, T* slopes,
                                          double* area) {
  const int64_t rows = q.down.cells, columns = q.across.cells;
  for (int64_t i = threadIdx.x; i < q.planes * rows * q.width; i += MaskStepTuning::kThreads) {
    const int64_t p = i / (rows * q.width), row = i / q.width % rows, x = i % q.width;
    const Band band = clamped_band(q.down.bands + 2 * row, q.height);
    T sum = T(0);
    for (int64_t y = band.first; y < band.last; ++y) {
      sum += static_cast<const T*>(q.down.matrix)[row * q.height + y] * pixels[(p * q.height + y) * q.width + x];
    }
    wide[i] = sum;
  }
  __syncthreads();
  for (int64_t i = threadIdx.x; i < q.planes * rows * columns; i += MaskStepTuning::kThreads) {
    const int64_t column = i % columns;
    const Band band = clamped_band(q.across.bands + 2 * column, q.width);
    T sum = T(0);
    for (int64_t x = band.first; x < band.last; ++x) {
      sum += static_cast<const T*>(q.across.matrix)[column * q.width + x] * wide[i / columns * q.width + x];
    }
    if (q.rule.on_cells) {
      const int64_t at = r * q.planes * rows * columns + i;
      *area += static_cast<double>(static_cast<const T*>(q.cells)[at]);
      sum += static_cast<T>(q.rule.area);
      if (q.variation_gradient != nullptr) sum += static_cast<const T*>(q.variation_gradient)[at];
    }
    slopes[i] = sum;
  }
}

// 5. and 6. Cells to pixels, and the next masked inputs.
template <class T>
__device__ __forceinline__ void render(const MaskStepProblem& q, int64_t r, const WindowStart* starts, T* wide) {
  const int64_t rows = q.down.cells, columns = q.across.cells, size = q.height * q.width;
  const T* cells = static_cast<const T*>(q.cells) + r * q.planes * rows * columns;
  for (int64_t i = threadIdx.x; i < q.planes * rows * q.width; i += MaskStepTuning::kThreads) {
    const int64_t x = i % q.width, row = i / q.width;
    const Band band = clamped_band(q.across.bands + 2 * (columns + x), columns);
    T sum = T(0);
    for (int64_t j = band.first; j < band.last; ++j) {
      sum += static_cast<const T*>(q.across.matrix)[j * q.width + x] * cells[row * columns + j];
    }
    wide[i] = sum;
  }
  __syncthreads();
  for (int64_t i = threadIdx.x; i < q.planes * size; i += MaskStepTuning::kThreads) {
    const int64_t p = i / size, map = r * q.planes + p, y = i % size / q.width, x = i % q.width;
    const Band band = clamped_band(q.down.bands + 2 * (rows + y), rows);
    T mask = T(0);
    for (int64_t j = band.first; j < band.last; ++j) {
      mask += static_cast<const T*>(q.down.matrix)[j * q.height + y] * wide[(p * rows + j) * q.width + x];
    }
    static_cast<T*>(q.mask)[r * q.planes * size + i] = mask;
    for (int64_t u = 0; u < q.infills; ++u) {
      const WindowStart start = starts[q.infills + u];
      for (int64_t c = 0; c < q.channels; ++c) {
        const int64_t pixel = (c * q.image_height + y) * q.image_width + x;
        const T image = static_cast<const T*>(q.inputs)[start.image + pixel];
        const T other = static_cast<const T*>(q.infill)[start.infill + pixel];
        const int64_t at = (((map * q.infills + u) * q.channels + c) * q.height + y) * q.width + x;
        static_cast<T*>(q.out)[at] = mask * image + (T(1) - mask) * other;
      }
    }
  }
}

// 4. One cell: the optimiser moves its parameters.
template <class T>
__device__ __forceinline__ void move_cell(const MaskStepProblem& q, int64_t base, int64_t cell, int64_t count, T* slopes,
                                          const OptimiserScale<T>& scale) {
  if (q.rule.sigmoid) {
    softmax_slopes(static_cast<const T*>(q.cells) + base + cell, slopes + cell, q.planes, count);
  }
  for (int64_t p = 0; p < q.planes; ++p) {
    const int64_t at = base + p * count + cell;
    T* value = static_cast<T*>(q.values) + at;
    const T moved = optimised(q.rule, scale, *value, slopes[p * count + cell], static_cast<T*>(q.exp_avg) + at,
                              static_cast<T*>(q.exp_avg_sq) + at);
    *value = q.rule.sigmoid ? moved : unit_interval(moved);
  }
}

template <class T>
__global__ void __launch_bounds__(MaskStepTuning::kThreads) step_kernel(MaskStepProblem q, void* scratch) {
  const int64_t r = blockIdx.x, count = q.down.cells * q.across.cells, base = r * q.planes * count;
  WindowStart* starts = static_cast<WindowStart*>(scratch) + r * 2 * q.infills;
  T* pixels = reinterpret_cast<T*>(static_cast<WindowStart*>(scratch) + q.rows * 2 * q.infills) +
              r * q.planes * (q.height * q.width + q.down.cells * q.width + count);
  T* wide = pixels + q.planes * q.height * q.width;
  T* slopes = wide + q.planes * q.down.cells * q.width;
  SX_SHARED(T, factors, 2);
  SX_SHARED(int, going, 1);
  find_windows(q, r, starts);
  __syncthreads();
  if (q.gradient != nullptr) {
    double area = 0;
    double norm = pixel_slopes<T>(q, r, starts, pixels, &area);
    __syncthreads();
    pull_back<T>(q, r, pixels, wide, slopes, &area);
    norm = cuda::block_sum<MaskStepTuning::kThreads>(norm);
    area = cuda::block_sum<MaskStepTuning::kThreads>(area);
    if (threadIdx.x == 0) {
      double variation = 0;
      for (int64_t p = 0; p < q.planes && q.variation_sums != nullptr; ++p) {
        variation += static_cast<double>(static_cast<const T*>(q.variation_sums)[r * q.planes + p]);
      }
      q.terms[3 * r] = norm, q.terms[3 * r + 1] = area, q.terms[3 * r + 2] = variation;
      if (!(norm - norm == 0.0)) q.active[r] = 0;  // NaN or infinity
      going[0] = q.active[r];
      if (going[0] != 0) q.counts[r] = next_count(q.counts[r]);
      const OptimiserScale<T> scale = optimiser_scale<T>(q.rule, q.counts[r]);
      factors[0] = scale.step_size, factors[1] = scale.correction;
    }
    __syncthreads();
    if (going[0] != 0) {
      const OptimiserScale<T> scale{factors[0], factors[1]};
      for (int64_t cell = threadIdx.x; cell < count; cell += MaskStepTuning::kThreads) {
        move_cell<T>(q, base, cell, count, slopes, scale);
      }
    }
  }
  for (int64_t cell = threadIdx.x; cell < count; cell += MaskStepTuning::kThreads) {
    const T* values = static_cast<const T*>(q.values) + base + cell;
    T* cells = static_cast<T*>(q.cells) + base + cell;
    if (q.rule.sigmoid) {
      softmax_shares(values, cells, q.planes, count);
    } else {
      for (int64_t p = 0; p < q.planes; ++p) cells[p * count] = values[p * count];
    }
  }
  __syncthreads();
  render<T>(q, r, starts, wide);
}

template <class T>
int launch(const MaskStepProblem& problem, void* scratch, void* stream) {
  return SX_LAUNCH(step_kernel<T>, cuda::grid_of(problem.rows), MaskStepTuning::kThreads, stream, problem, scratch);
}

}  // namespace

int64_t mask_step_scratch(const MaskStepProblem& q) {
  const int64_t values = q.planes * (q.height * q.width + q.down.cells * q.width + q.down.cells * q.across.cells);
  const int64_t bytes = static_cast<int64_t>(q.dtype == DType::kFloat64 ? sizeof(double) : sizeof(float));
  return q.rows * (values + 2 * q.infills * static_cast<int64_t>(sizeof(WindowStart)) / bytes);
}

int mask_step_cuda(const MaskStepProblem& problem, void* scratch, void* stream) {
  return problem.dtype == DType::kFloat64 ? launch<double>(problem, scratch, stream) : launch<float>(problem, scratch, stream);
}

}  // namespace saliency_ext
