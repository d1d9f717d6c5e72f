#pragma once
// The linear infill's preconditioner on the device: the V-cycle of cpu/multigrid.h, down to the coarsest grid, one cell per
// thread and step, by one block.
// Planes have a border of zeros. Every pass ends with a barrier, so that the next one may read its neighbours' cells.
#include "../kernels.h"
#include "block.cuh"
#include "launch.h"

namespace saliency_ext::cuda {

// One grid of the pyramid of grids that lie in memory one after the other.
struct InfillLevel {
  int64_t height, width, offset;

  __host__ __device__ __forceinline__ int64_t stride() const { return width + 2; }
  __host__ __device__ __forceinline__ int64_t elements() const { return (height + 2) * (width + 2); }
  // Memory of cell (y, x), either of which may be -1 or one too large.
  __host__ __device__ __forceinline__ int64_t at(int64_t y, int64_t x) const { return offset + (y + 1) * stride() + x + 1; }
  __host__ __device__ __forceinline__ InfillLevel coarser() const {
    return {infill_coarser(height), infill_coarser(width), offset + elements()};
  }
};

__host__ __device__ __forceinline__ InfillLevel infill_level(int64_t height, int64_t width, int number) {
  InfillLevel level{height, width, 0};
  for (int i = 0; i < number; ++i) level = level.coarser();
  return level;
}

__host__ __device__ __forceinline__ int infill_level_count(int64_t height, int64_t width) {
  int count = 1;
  for (InfillLevel level{height, width, 0}; infill_has_coarser(level.height, level.width); level = level.coarser()) ++count;
  return count;
}

// Elements of all grids together.
__host__ __device__ __forceinline__ int64_t infill_pyramid(int64_t height, int64_t width) {
  const InfillLevel last = infill_level(height, width, infill_level_count(height, width) - 1);
  return last.offset + last.elements();
}

// Calls body(y, x, memory of the cell) for the block's cells of a grid.
template <class Body>
__device__ __forceinline__ void for_cells(const InfillLevel& level, const Body& body) {
  const uint32_t cells = static_cast<uint32_t>(level.height * level.width), width = static_cast<uint32_t>(level.width);
  for (uint32_t i = threadIdx.x; i < cells; i += LinearInfillTuning::kThreads) {
    const uint32_t y = i / width, x = i % width;
    body(static_cast<int64_t>(y), static_cast<int64_t>(x), level.at(y, x));
  }
}

// Share of a fine cell's residual that coarse cell `to` gets, along one axis: 3/4 for the cell it lies in and 1/4 for the next
// one, or all of it at the border.
template <class T>
__device__ __forceinline__ T restriction(int64_t from, int64_t to, int64_t fine, int64_t coarse) {
  const bool inside = from / 2 == to;
  const bool border = (from == 0 && to == 0) || (from == fine - 1 && fine % 2 == 0 && to == coarse - 1);
  return (inside ? T(0.75) : T(0.25)) + (border ? T(0.25) : T(0));
}

// Pyramids of one block.
template <InfillStencil kStencil, class T>
struct DeviceMultigrid {
  T *diagonal, *inverse, *rhs, *from, *to;
  int64_t height, width;
  int levels;

  __device__ T neighbours(const T* plane, int64_t at, int64_t stride) const {
    return infill_neighbours<kStencil>(plane + at - stride, plane + at, plane + at + stride, 0);
  }

  // d and 1 / d of the unknown cells of all grids; Dirichlet couplings stand in `rhs` meanwhile. unknown: (height, width) bytes.
  __device__ void build(const uint8_t* unknown) {
    InfillLevel level{height, width, 0}, fine{};
    for (int number = 0; number < levels; ++number) {
      for_cells(level, [&](int64_t y, int64_t x, int64_t at) {
        bool solved = number == 0 && unknown[y * width + x] != 0;
        T coupling = T(0);
        for (int part = 0; number > 0 && part < 4; ++part) {
          const int64_t row = 2 * y + part / 2, column = 2 * x + part % 2;
          if (row >= fine.height || column >= fine.width) continue;
          const int64_t cell = fine.at(row, column);
          const bool open = diagonal[cell] > T(0);
          solved = solved || open;
          coupling += infill_coupling<kStencil>(open, infill_gain<T>(fine.height, fine.width) * rhs[cell]);
        }
        const T sum = static_cast<T>(infill_weight_sum<kStencil>(y, x, level.height, level.width)) + coupling;
        solved = solved && sum > T(0);
        rhs[at] = coupling;
        diagonal[at] = solved ? sum : T(0);
        inverse[at] = solved ? T(1) / sum : T(0);
      });
      __syncthreads();
      fine = level;
      level = level.coarser();
    }
  }

  // result = one damped Jacobi sweep from `start`, or from zero where start is null.
  __device__ void sweep(const InfillLevel& level, const T* level_rhs, const T* start, T* result, T factor) {
    for_cells(level, [&](int64_t, int64_t, int64_t at) {
      const T sum = start == nullptr ? level_rhs[at] : level_rhs[at] + neighbours(start, at, level.stride());
      const T rest = start == nullptr ? T(0) : (T(1) - factor) * start[at];
      result[at] = rest + (factor * inverse[at]) * sum;
    });
    __syncthreads();
  }

  // from = level_rhs - (d to - neighbours of to) on unknown cells, then its share for the coarser grid.
  __device__ void restrict_residual(const InfillLevel& level, const T* level_rhs) {
    for_cells(level, [&](int64_t, int64_t, int64_t at) {
      const T residual = level_rhs[at] + neighbours(to, at, level.stride()) - diagonal[at] * to[at];
      from[at] = diagonal[at] > T(0) ? residual : T(0);
    });
    __syncthreads();
    const InfillLevel coarse = level.coarser();
    for_cells(coarse, [&](int64_t y, int64_t x, int64_t at) {
      T sum = T(0);
      for (int64_t row = 2 * y - 1; row <= 2 * y + 2; ++row) {
        if (row < 0 || row >= level.height) continue;
        const T share = restriction<T>(row, y, level.height, coarse.height);
        for (int64_t column = 2 * x - 1; column <= 2 * x + 2; ++column) {
          if (column < 0 || column >= level.width) continue;
          sum += share * restriction<T>(column, x, level.width, coarse.width) * from[level.at(row, column)];
        }
      }
      rhs[at] = infill_gain<T>(level.height, level.width) * sum;
    });
    __syncthreads();
  }

  // to += the coarser grid's correction, interpolated bilinearly between cell centres, on unknown cells.
  __device__ void add_interpolated(const InfillLevel& level) {
    const InfillLevel coarse = level.coarser();
    for_cells(level, [&](int64_t y, int64_t x, int64_t at) {
      if (!(diagonal[at] > T(0))) return;
      const int64_t near_y = y / 2, near_x = x / 2;
      int64_t far_y = y % 2 == 0 ? near_y - 1 : near_y + 1, far_x = x % 2 == 0 ? near_x - 1 : near_x + 1;
      far_y = far_y < 0 ? 0 : (far_y < coarse.height ? far_y : coarse.height - 1);
      far_x = far_x < 0 ? 0 : (far_x < coarse.width ? far_x : coarse.width - 1);
      const T near_line = T(0.75) * to[coarse.at(near_y, near_x)] + T(0.25) * to[coarse.at(far_y, near_x)];
      const T far_line = T(0.75) * to[coarse.at(near_y, far_x)] + T(0.25) * to[coarse.at(far_y, far_x)];
      to[at] += T(0.75) * near_line + T(0.25) * far_line;
    });
    __syncthreads();
  }

  // V-cycle: writes an approximation of A^-1 rhs to the finest level of `to`.
  __device__ void cycle(const T* finest_rhs) {
    for (int number = 0; number < levels; ++number) {
      const InfillLevel level = infill_level(height, width, number);
      const T* level_rhs = number == 0 ? finest_rhs : rhs;
      const T one = infill_sweep<kStencil, T>(0, level.height, level.width);
      const T two = infill_sweep<kStencil, T>(1, level.height, level.width);
      sweep(level, level_rhs, nullptr, from, one);
      sweep(level, level_rhs, from, to, two);
      if (number + 1 < levels) restrict_residual(level, level_rhs);
    }
    for (int number = levels - 1; number >= 0; --number) {
      const InfillLevel level = infill_level(height, width, number);
      const T* level_rhs = number == 0 ? finest_rhs : rhs;
      const T one = infill_sweep<kStencil, T>(0, level.height, level.width);
      const T two = infill_sweep<kStencil, T>(1, level.height, level.width);
      if (number + 1 < levels) add_interpolated(level);
      sweep(level, level_rhs, to, from, two);
      sweep(level, level_rhs, from, to, one);
    }
  }
};

}  // namespace saliency_ext::cuda
