#pragma once
// Grids of the linear infill's preconditioner, and the passes over them: plain loops over rows that vectorise. Planes have a
// border of zeros, so that a neighbour outside the image adds nothing.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "../common/linear_infill.h"
#include "multiversion.h"

namespace saliency_ext {

// Values of one grid. Row y begins at row(y); its places -1 and width (one more for odd widths) are the border.
template <class T>
class Plane {
 public:
  void resize(int64_t height, int64_t width) {
    stride_ = width + 3;
    values_.assign(static_cast<size_t>((height + 2) * stride_), T(0));
  }
  SX_HD T* row(int64_t y) { return values_.data() + (y + 1) * stride_ + 1; }
  SX_HD const T* row(int64_t y) const { return values_.data() + (y + 1) * stride_ + 1; }

 private:
  int64_t stride_ = 0;
  std::vector<T> values_;
};

template <class T>
struct Grid {
  int64_t height = 0, width = 0;
  Plane<T> diagonal, inverse;  // d and 1 / d where the cell is unknown, else 0
  Plane<T> right, from, to;    // right side of the correction equation, and the sweeps' two sides

  void resize(int64_t rows, int64_t columns) {
    height = rows;
    width = columns;
    for (Plane<T>* plane : {&diagonal, &inverse, &right, &from, &to}) plane->resize(rows, columns);
  }
};

// Sums and maxima run in this many lanes, in a fixed order whatever the instruction set.
constexpr int kLanes = 16;

// Sum of a[x] b[x] over a row.
template <class T>
SX_HD double row_dot(const T* __restrict a, const T* __restrict b, int64_t width) {
  T lanes[kLanes] = {};
  int64_t x = 0;
  for (; x + kLanes <= width; x += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += a[x + lane] * b[x + lane];
  }
  double sum = 0;
  for (; x < width; ++x) sum += static_cast<double>(a[x]) * static_cast<double>(b[x]);
  for (int lane = 0; lane < kLanes; ++lane) sum += static_cast<double>(lanes[lane]);
  return sum;
}

// Largest |a[x]| of a row and `largest`.
template <class T>
SX_HD T row_largest(const T* __restrict a, int64_t width, T largest) {
  T lanes[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = largest;
  int64_t x = 0;
  for (; x + kLanes <= width; x += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const T value = std::abs(a[x + lane]);
      lanes[lane] = value > lanes[lane] ? value : lanes[lane];
    }
  }
  for (; x < width; ++x) largest = std::max(largest, std::abs(a[x]));
  for (int lane = 0; lane < kLanes; ++lane) largest = std::max(largest, lanes[lane]);
  return largest;
}

// Marks the unknown cells, from rows of bytes (1 = unknown). Returns whether there is one.
template <InfillStencil kStencil, class T>
SX_HD void mark_unknown(Grid<T>& grid, const uint8_t* unknown) {
  for (int64_t y = 0; y < grid.height; ++y) {
    T *diagonal = grid.diagonal.row(y), *inverse = grid.inverse.row(y);
    for (int64_t x = 0; x < grid.width; ++x) {
      const int sum = infill_weight_sum<kStencil>(y, x, grid.height, grid.width);
      const bool solved = unknown[y * grid.width + x] != 0 && sum > 0;
      diagonal[x] = solved ? static_cast<T>(sum) : T(0);
      inverse[x] = solved ? T(1) / static_cast<T>(sum) : T(0);
    }
  }
}

// to = (1 - factor) from + factor (right + neighbours of from) / d: one damped Jacobi sweep.
template <InfillStencil kStencil, class T>
SX_HD void sweep(const Grid<T>& grid, const Plane<T>& right, const Plane<T>& from, Plane<T>& to, T factor) {
  const T rest = T(1) - factor;
  for (int64_t y = 0; y < grid.height; ++y) {
    const T *above = from.row(y - 1), *here = from.row(y), *below = from.row(y + 1);
    const T *wanted = right.row(y), *inverse = grid.inverse.row(y);
    T* __restrict result = to.row(y);
    for (int64_t x = 0; x < grid.width; ++x) {
      const T sum = wanted[x] + infill_neighbours<kStencil>(above, here, below, x);
      result[x] = rest * here[x] + (factor * inverse[x]) * sum;
    }
  }
}

// The same from zero: no neighbours.
template <class T>
SX_HD void first_sweep(const Grid<T>& grid, const Plane<T>& right, Plane<T>& to, T factor) {
  for (int64_t y = 0; y < grid.height; ++y) {
    const T *wanted = right.row(y), *inverse = grid.inverse.row(y);
    T* __restrict result = to.row(y);
    for (int64_t x = 0; x < grid.width; ++x) result[x] = (factor * inverse[x]) * wanted[x];
  }
}

// to = right - (d values - neighbours of values) on unknown cells.
template <InfillStencil kStencil, class T>
SX_HD void residual(const Grid<T>& grid, const Plane<T>& right, const Plane<T>& values, Plane<T>& to) {
  for (int64_t y = 0; y < grid.height; ++y) {
    const T *above = values.row(y - 1), *here = values.row(y), *below = values.row(y + 1);
    const T *wanted = right.row(y), *diagonal = grid.diagonal.row(y);
    T* __restrict result = to.row(y);
    for (int64_t x = 0; x < grid.width; ++x) {
      const T left = wanted[x] + infill_neighbours<kStencil>(above, here, below, x) - diagonal[x] * here[x];
      result[x] = diagonal[x] > T(0) ? left : T(0);
    }
  }
}

// The transpose of `add_interpolated`: right side of the coarser grid from the residual of the finer one. A fine cell gives
// 3/4 to the coarse cell it lies in and 1/4 to the next one along each axis, or all of it at the border.
template <class T>
SX_HD void restrict_to(const Grid<T>& fine, const Plane<T>& values, Grid<T>& coarse, std::vector<T>& scratch) {
  T* __restrict line = scratch.data() + 1;  // zeros at -1, width and width + 1
  line[-1] = line[fine.width] = line[fine.width + 1] = T(0);
  const int64_t last_row = coarse.height - 1, last = coarse.width - 1;
  for (int64_t y = 0; y < coarse.height; ++y) {
    const T *before = values.row(2 * y - 1), *first = values.row(2 * y), *second = values.row(2 * y + 1);
    const T* after = values.row(std::min(2 * y + 2, fine.height));
    for (int64_t x = 0; x < fine.width; ++x) line[x] = T(0.75) * (first[x] + second[x]) + T(0.25) * (before[x] + after[x]);
    if (y == 0) {
      for (int64_t x = 0; x < fine.width; ++x) line[x] += T(0.25) * first[x];
    }
    if (y == last_row && fine.height % 2 == 0) {
      for (int64_t x = 0; x < fine.width; ++x) line[x] += T(0.25) * second[x];
    }
    T* __restrict result = coarse.right.row(y);
    for (int64_t x = 0; x <= last; ++x) {
      result[x] = T(0.75) * (line[2 * x] + line[2 * x + 1]) + T(0.25) * (line[2 * x - 1] + line[2 * x + 2]);
    }
    result[0] += T(0.25) * line[0];
    if (fine.width % 2 == 0) result[last] += T(0.25) * line[fine.width - 1];
  }
}

// values += the coarse correction, interpolated bilinearly between cell centres, on unknown cells.
template <class T>
SX_HD void add_interpolated(const Grid<T>& coarse, const Plane<T>& correction, const Grid<T>& fine, Plane<T>& values,
                            std::vector<T>& scratch) {
  T* __restrict line = scratch.data() + 1;
  const int64_t last = coarse.width - 1;
  for (int64_t y = 0; y < fine.height; ++y) {
    const int64_t inside = y / 2, next = std::clamp<int64_t>(y % 2 == 0 ? inside - 1 : inside + 1, 0, coarse.height - 1);
    const T *near = correction.row(inside), *far = correction.row(next), *diagonal = fine.diagonal.row(y);
    for (int64_t x = 0; x <= last; ++x) line[x] = T(0.75) * near[x] + T(0.25) * far[x];
    line[-1] = line[0];
    line[last + 1] = line[last];
    T* __restrict result = values.row(y);
    const int64_t pairs = fine.width / 2;
    for (int64_t x = 0; x < pairs; ++x) {
      const T left = T(0.75) * line[x] + T(0.25) * line[x - 1], right = T(0.75) * line[x] + T(0.25) * line[x + 1];
      result[2 * x] += diagonal[2 * x] > T(0) ? left : T(0);
      result[2 * x + 1] += diagonal[2 * x + 1] > T(0) ? right : T(0);
    }
    if (fine.width % 2 == 1) {
      const T left = T(0.75) * line[last] + T(0.25) * line[last - 1];
      result[2 * last] += diagonal[2 * last] > T(0) ? left : T(0);
    }
  }
}

// The grids of one mask, and the V-cycle on them.
template <InfillStencil kStencil, class T>
class Multigrid {
 public:
  // unknown: (height, width) bytes. Grids end where no cell is unknown any more.
  void build(const uint8_t* unknown, int64_t height, int64_t width) {
    levels_ = 0;
    scratch_.resize(static_cast<size_t>(width) + 4);
    marks_.assign(unknown, unknown + height * width);
    while (true) {
      if (levels_ == static_cast<int>(grids_.size())) grids_.emplace_back();
      Grid<T>& grid = grids_[static_cast<size_t>(levels_++)];
      if (grid.height != height || grid.width != width) grid.resize(height, width);
      run_best([&]() SX_INLINE_LAMBDA { mark_unknown<kStencil>(grid, marks_.data()); });
      if (!infill_has_coarser(height, width) || !coarsen(&height, &width)) return;
    }
  }

  Grid<T>& finest() { return grids_.front(); }

  // Where z, about A^-1 right, is after the cycle: the preconditioner.
  SX_HD Plane<T>& cycle(const Plane<T>& right) {
    const T one = infill_sweep<kStencil, T>(0), two = infill_sweep<kStencil, T>(1);
    for (int level = 0; level < levels_; ++level) {
      Grid<T>& grid = grids_[static_cast<size_t>(level)];
      const Plane<T>& wanted = level == 0 ? right : grid.right;
      first_sweep(grid, wanted, grid.from, one);
      sweep<kStencil>(grid, wanted, grid.from, grid.to, two);
      if (level + 1 == levels_) break;
      residual<kStencil>(grid, wanted, grid.to, grid.from);
      restrict_to(grid, grid.from, grids_[static_cast<size_t>(level) + 1], scratch_);
    }
    for (int level = levels_ - 1; level >= 0; --level) {
      Grid<T>& grid = grids_[static_cast<size_t>(level)];
      const Plane<T>& wanted = level == 0 ? right : grid.right;
      if (level + 1 < levels_) {
        const Grid<T>& coarse = grids_[static_cast<size_t>(level) + 1];
        add_interpolated(coarse, coarse.to, grid, grid.to, scratch_);
      }
      sweep<kStencil>(grid, wanted, grid.to, grid.from, two);
      sweep<kStencil>(grid, wanted, grid.from, grid.to, one);
    }
    return grids_.front().to;
  }

 private:
  // The marks of the next coarser grid: unknown where all of its up to four cells are. False if none is.
  bool coarsen(int64_t* height, int64_t* width) {
    const int64_t rows = infill_coarser(*height), columns = infill_coarser(*width);
    bool any = false;
    for (int64_t y = 0; y < rows; ++y) {  // in place: what is written lies before what is still read
      const uint8_t* first = marks_.data() + 2 * y * *width;
      const uint8_t* second = 2 * y + 1 < *height ? first + *width : first;
      for (int64_t x = 0; x < columns; ++x) {
        const int64_t left = 2 * x, right = std::min(left + 1, *width - 1);
        const bool all = first[left] && first[right] && second[left] && second[right];
        marks_[static_cast<size_t>(y * columns + x)] = all;
        any = any || all;
      }
    }
    *height = rows;
    *width = columns;
    return any;
  }

  int levels_ = 0;
  std::vector<Grid<T>> grids_;
  std::vector<uint8_t> marks_;
  std::vector<T> scratch_;
};

}  // namespace saliency_ext
