// A step of a mask optimiser on the device, in four kernels: gradient of each pixel of the masks; its sums down the columns of
// cells; a block per row that moves the cells and spreads them along the rows; pixels of the mask and the next masked inputs.
// Rows are taken so many at a time that image and infill, which the first and the last kernel read, stay in the L2 cache.
#include "../kernels.h"
#include "block.cuh"
#include "index.cuh"
#include "launch.h"

namespace saliency_ext {
namespace {

using cuda::MaskStepTuning;

constexpr int kThreads = MaskStepTuning::kThreads;

// Scratch memory of all rows. `norms` and `areas` are sums over the pixels of a block.
template <class T>
struct Scratch {
  double *norms, *areas;  // (R, blocks)
  T* pixels;              // (R, P, H, W) gradient
  T* columns;             // (R, P, h, W) its sums down the columns
  T* slopes;              // (R, P, h, w) gradient of the cells
  T* wide;                // (R, P, h, W) cells, spread along the rows
};

int64_t blocks_of_masks(const MaskStepProblem& q) { return cuda::blocks_for(q.planes * q.height * q.width, kThreads); }

template <class T>
Scratch<T> scratch_of(const MaskStepProblem& q, void* memory) {
  const int64_t planes = q.rows * q.planes;
  Scratch<T> s;
  s.norms = static_cast<double*>(memory);
  s.areas = s.norms + q.rows * blocks_of_masks(q);
  s.pixels = reinterpret_cast<T*>(s.areas + q.rows * blocks_of_masks(q));
  s.columns = s.pixels + planes * q.height * q.width;
  s.slopes = s.columns + planes * q.down.cells * q.width;
  s.wide = s.slopes + planes * q.down.cells * q.across.cells;
  return s;
}

// Where a window begins in the images and in the infill: elements before its first pixel in channel 0.
struct WindowStart {
  int64_t image, infill;
};

// Window u of row r, inside the images: places that a host would have refused must not lead out of the memory.
__device__ __forceinline__ WindowStart window_start(const MaskStepProblem& q, const int64_t* places, int64_t r, int64_t u) {
  const int64_t* place = places + 4 * (r * q.infills + u);
  const int64_t top = clamped_index(place[2], q.image_height - q.height);
  const int64_t corner = top * q.image_width + clamped_index(place[3], q.image_width - q.width);
  const int64_t image = q.channels * q.image_height * q.image_width;
  return {clamped_index(place[0], q.image_count - 1) * image + corner,
          clamped_index(place[1], q.infill_count - 1) * image + corner};
}

// Splits a block's number and a thread's into a row of the problem and one of its `size` items. False: beyond them.
struct Item {
  int64_t r;
  uint32_t block, i;
};
__device__ __forceinline__ bool find_item(const cuda::Divisor& blocks_of_row, int64_t first_row, uint32_t size, Item* item) {
  const cuda::Quotient unit = blocks_of_row(blockIdx.x);
  item->r = first_row + unit.quotient;
  item->block = unit.remainder;
  item->i = unit.remainder * kThreads + threadIdx.x;
  return item->i < size;
}

// 1. Gradient of each pixel of the row's masks, and the block's sums of |d loss / d mask| and of the area.
template <class T>
__global__ void __launch_bounds__(kThreads, 4) pixel_slope_kernel(MaskStepProblem q, Scratch<T> scratch, cuda::Divisor blocks_of_row,
                                                               cuda::Divisor plane_size, cuda::Divisor width, int64_t first_row) {
  Item item;
  double norm = 0, area = 0;
  if (find_item(blocks_of_row, first_row, static_cast<uint32_t>(q.planes) * plane_size.value(), &item)) {
    const cuda::Quotient plane = plane_size(item.i), place = width(plane.remainder);
    const int64_t size = q.height * q.width, image_size = q.image_height * q.image_width;
    const int64_t map = item.r * q.planes + plane.quotient;
    const int64_t inside = static_cast<int64_t>(place.quotient) * q.image_width + place.remainder;
    T slope = T(0);
    for (int64_t u = 0; u < q.infills; ++u) {
      const WindowStart start = window_start(q, q.places, item.r, u);
      const T* image = static_cast<const T*>(q.inputs) + start.image + inside;
      const T* infill = static_cast<const T*>(q.infill) + start.infill + inside;
      const T* gradient = static_cast<const T*>(q.gradient) + (map * q.infills + u) * q.channels * size + plane.remainder;
      for (int64_t c = 0; c < q.channels; ++c) {
        slope += gradient[c * size] * (image[c * image_size] - infill[c * image_size]);
      }
    }
    norm = static_cast<double>(slope < T(0) ? -slope : slope);
    const int64_t at = map * size + plane.remainder;
    if (!q.rule.on_cells) {
      area = static_cast<double>(static_cast<const T*>(q.mask)[at]);
      slope += static_cast<T>(q.rule.area);
      if (q.variation_gradient != nullptr) slope += static_cast<const T*>(q.variation_gradient)[at];
    }
    scratch.pixels[at] = slope;
  }
  norm = cuda::block_sum<kThreads>(norm);
  area = cuda::block_sum<kThreads>(area);
  if (threadIdx.x == 0) {
    const int64_t at = item.r * blocks_of_row.value() + item.block;
    scratch.norms[at] = norm, scratch.areas[at] = area;
  }
}

// 2. Back to the rows of cells: down the columns.
template <class T>
__global__ void __launch_bounds__(kThreads) column_kernel(MaskStepProblem q, Scratch<T> scratch, cuda::Divisor blocks_of_row,
                                                          cuda::Divisor rows_of_cells, cuda::Divisor width, int64_t first_row) {
  Item item;
  const uint32_t count = static_cast<uint32_t>(q.planes) * rows_of_cells.value() * width.value();
  if (!find_item(blocks_of_row, first_row, count, &item)) return;
  const cuda::Quotient line = width(item.i), plane = rows_of_cells(line.quotient);
  const int64_t row = plane.remainder, map = item.r * q.planes + plane.quotient;
  const Band band = clamped_band(q.down.bands + 2 * row, q.height);
  const T* matrix = static_cast<const T*>(q.down.matrix) + row * q.height;
  const T* pixels = scratch.pixels + map * q.height * q.width + line.remainder;
  T sum = T(0);
  for (int32_t y = band.first; y < band.last; ++y) sum += matrix[y] * pixels[y * q.width];
  scratch.columns[item.r * count + item.i] = sum;
}

// 3a. Back to the cells: along the rows.
template <class T>
__device__ __forceinline__ void pull_back(const MaskStepProblem& q, int64_t r, const cuda::Divisor& columns, const T* lines,
                                          T* slopes, double* area) {
  const uint32_t count = static_cast<uint32_t>(q.planes * q.down.cells) * columns.value();
  for (uint32_t i = threadIdx.x; i < count; i += kThreads) {
    const cuda::Quotient cell = columns(i);
    const Band band = clamped_band(q.across.bands + 2 * cell.remainder, q.width);
    const T* matrix = static_cast<const T*>(q.across.matrix) + cell.remainder * q.width;
    const T* line = lines + cell.quotient * q.width;
    T sum = T(0);
    for (int32_t x = band.first; x < band.last; ++x) sum += matrix[x] * line[x];
    if (q.rule.on_cells) {
      const int64_t at = r * count + i;
      *area += static_cast<double>(static_cast<const T*>(q.cells)[at]);
      sum += static_cast<T>(q.rule.area);
      if (q.variation_gradient != nullptr) sum += static_cast<const T*>(q.variation_gradient)[at];
    }
    slopes[i] = sum;
  }
}

// 3b. One cell: the optimiser moves its parameters.
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

// 3. A block per row: gradient of the cells, the sums, the optimiser, the cells and their values along the rows of pixels.
template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    cell_kernel(MaskStepProblem q, Scratch<T> scratch, int64_t blocks, cuda::Divisor columns, cuda::Divisor width,
                int64_t first_row) {
  SX_SHARED(T, factors, 2);
  SX_SHARED(int, going, 1);
  const int64_t r = first_row + blockIdx.x, count = q.down.cells * q.across.cells, base = r * q.planes * count;
  const int64_t lines = r * q.planes * q.down.cells * q.width;
  if (q.gradient != nullptr) {
    double norm = 0, area = 0;
    for (int64_t block = threadIdx.x; block < blocks; block += kThreads) {
      norm += scratch.norms[r * blocks + block];
      area += scratch.areas[r * blocks + block];
    }
    pull_back<T>(q, r, columns, scratch.columns + lines, scratch.slopes + base, &area);
    norm = cuda::block_sum<kThreads>(norm);
    area = cuda::block_sum<kThreads>(area);
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
      for (int64_t cell = threadIdx.x; cell < count; cell += kThreads) {
        move_cell<T>(q, base, cell, count, scratch.slopes + base, scale);
      }
    }
  }
  for (int64_t cell = threadIdx.x; cell < count; cell += kThreads) {
    const T* values = static_cast<const T*>(q.values) + base + cell;
    T* cells = static_cast<T*>(q.cells) + base + cell;
    if (q.rule.sigmoid) {
      softmax_shares(values, cells, q.planes, count);
    } else {
      for (int64_t p = 0; p < q.planes; ++p) cells[p * count] = values[p * count];
    }
  }
  __syncthreads();
  const uint32_t wide_count = static_cast<uint32_t>(q.planes * q.down.cells) * width.value();
  for (uint32_t i = threadIdx.x; i < wide_count; i += kThreads) {
    const cuda::Quotient place = width(i);
    const Band band = clamped_band(q.across.bands + 2 * (q.across.cells + place.remainder), q.across.cells);
    const T* cells = static_cast<const T*>(q.cells) + base + place.quotient * q.across.cells;
    T sum = T(0);
    for (int32_t j = band.first; j < band.last; ++j) {
      sum += static_cast<const T*>(q.across.matrix)[j * q.width + place.remainder] * cells[j];
    }
    scratch.wide[lines + i] = sum;
  }
}

// 4. Down to pixels, and the next masked inputs.
template <class T>
__global__ void __launch_bounds__(kThreads, 4) render_kernel(MaskStepProblem q, Scratch<T> scratch, cuda::Divisor blocks_of_row,
                                                          cuda::Divisor plane_size, cuda::Divisor width, int64_t first_row) {
  Item item;
  if (!find_item(blocks_of_row, first_row, static_cast<uint32_t>(q.planes) * plane_size.value(), &item)) return;
  const cuda::Quotient plane = plane_size(item.i), place = width(plane.remainder);
  const int64_t size = q.height * q.width, image_size = q.image_height * q.image_width;
  const int64_t map = item.r * q.planes + plane.quotient;
  const Band band = clamped_band(q.down.bands + 2 * (q.down.cells + place.quotient), q.down.cells);
  const T* lines = scratch.wide + map * q.down.cells * q.width + place.remainder;
  T mask = T(0);
  for (int32_t j = band.first; j < band.last; ++j) {
    mask += static_cast<const T*>(q.down.matrix)[j * q.height + place.quotient] * lines[j * q.width];
  }
  static_cast<T*>(q.mask)[map * size + plane.remainder] = mask;
  const int64_t inside = static_cast<int64_t>(place.quotient) * q.image_width + place.remainder;
  for (int64_t u = 0; u < q.infills; ++u) {
    const WindowStart start = window_start(q, q.next_places, item.r, u);
    const T* image = static_cast<const T*>(q.inputs) + start.image + inside;
    const T* infill = static_cast<const T*>(q.infill) + start.infill + inside;
    T* out = static_cast<T*>(q.out) + (map * q.infills + u) * q.channels * size + plane.remainder;
    for (int64_t c = 0; c < q.channels; ++c) {
      out[c * size] = mask * image[c * image_size] + (T(1) - mask) * infill[c * image_size];
    }
  }
}

// Rows whose data fill half of the L2 cache: gradient, image, infill and masked input, and mask, its variation and its gradient.
int64_t rows_at_once(const MaskStepProblem& q) {
  const int64_t values = q.planes * q.height * q.width * (3 + 4 * q.infills * q.channels);
  const int64_t row = values * static_cast<int64_t>(q.dtype == DType::kFloat64 ? sizeof(double) : sizeof(float));
  const int64_t rows = cuda::level_two_cache() / 2 / row;
  return rows < 1 ? 1 : rows;
}

template <class T>
int launch(const MaskStepProblem& q, void* memory, void* stream) {
  const Scratch<T> scratch = scratch_of<T>(q, memory);
  const int64_t of_masks = blocks_of_masks(q), of_columns = cuda::blocks_for(q.planes * q.down.cells * q.width, kThreads);
  const cuda::Divisor masks(of_masks), columns(of_columns), plane_size(q.height * q.width), width(q.width);
  const cuda::Divisor rows_of_cells(q.down.cells), columns_of_cells(q.across.cells);
  const auto step = [&](int64_t first, int64_t rows) {
    const auto at = [&](int64_t blocks) { return static_cast<unsigned>(rows * blocks); };
    int status = 0;
    if (q.gradient != nullptr) {
      status = SX_LAUNCH(pixel_slope_kernel<T>, at(of_masks), kThreads, stream, q, scratch, masks, plane_size, width, first);
      if (status != 0) return status;
      status = SX_LAUNCH(column_kernel<T>, at(of_columns), kThreads, stream, q, scratch, columns, rows_of_cells, width, first);
      if (status != 0) return status;
    }
    status = SX_LAUNCH(cell_kernel<T>, at(1), kThreads, stream, q, scratch, of_masks, columns_of_cells, width, first);
    if (status != 0) return status;
    return SX_LAUNCH(render_kernel<T>, at(of_masks), kThreads, stream, q, scratch, masks, plane_size, width, first);
  };
  const int64_t most = rows_at_once(q);
  return cuda::launch_in_parts(q.rows, of_masks, [&](int64_t first, int64_t count, unsigned) {
    int status = 0;
    for (int64_t row = first; row < first + count && status == 0; row += most) {
      status = step(row, first + count - row < most ? first + count - row : most);
    }
    return status;
  });
}

}  // namespace

int64_t mask_step_scratch(const MaskStepProblem& q) {
  const int64_t values = q.planes * (q.height * q.width + 2 * q.down.cells * q.width + q.down.cells * q.across.cells);
  const int64_t bytes = static_cast<int64_t>(q.dtype == DType::kFloat64 ? sizeof(double) : sizeof(float));
  return q.rows * (values + 2 * blocks_of_masks(q) * static_cast<int64_t>(sizeof(double)) / bytes);
}

int mask_step_cuda(const MaskStepProblem& problem, void* scratch, void* stream) {
  return problem.dtype == DType::kFloat64 ? launch<double>(problem, scratch, stream) : launch<float>(problem, scratch, stream);
}

}  // namespace saliency_ext
