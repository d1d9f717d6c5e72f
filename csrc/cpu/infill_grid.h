#pragma once
// One grid of the linear infill on the CPU, and the passes over its rows. A pass visits only the runs of a row: the stretches,
// in whole blocks of places, in which something is unknown. Outside the runs lies 0, borders included, and stays there, so that
// a neighbour outside the image adds nothing.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "../common/linear_infill.h"
#include "multiversion.h"
#include "simd.h"

namespace saliency_ext {

// Values of one grid. Row y begins at row(y); one row more above and below, one block more before and after each row. Rows are
// padded so that the coarser grid's blocks, twice as wide here, end inside as well.
template <class T>
class Plane {
 public:
  void resize(int64_t height, int64_t width) {
    stride_ = (width + 2 * kLanes - 1) / (2 * kLanes) * (2 * kLanes) + 2 * kLanes;
    values_.assign(static_cast<size_t>((height + 2) * stride_), T(0));
  }
  void clear() { std::fill(values_.begin(), values_.end(), T(0)); }
  SX_HD T* row(int64_t y) { return values_.data() + (y + 1) * stride_ + kLanes; }
  SX_HD const T* row(int64_t y) const { return values_.data() + (y + 1) * stride_ + kLanes; }

 private:
  int64_t stride_ = 0;
  std::vector<T> values_;
};

// Places [begin, end) of a row, both multiples of a block.
struct Run {
  int64_t begin, end;
};

template <class T>
struct Grid {
  int64_t height = 0, width = 0;
  Plane<T> diagonal, inverse;  // d + Dirichlet coupling and its inverse where the cell is unknown, else 0
  Plane<T> rhs, from, to;      // right-hand side, and the sweeps' two sides
  Plane<T> share, guess;       // of coarse grids: 1 / number of known pixels in a cell, or 0; the first guess

  void resize(int64_t rows, int64_t columns, bool finest) {
    height = rows;
    width = columns;
    for (Plane<T>* plane : {&diagonal, &inverse, &rhs, &from, &to}) plane->resize(rows, columns);
    if (finest) return;
    share.resize(rows, columns);
    guess.resize(rows, columns);
  }

  // After the cells are marked.
  void prepare() {
    find_runs();
    from.clear();
    to.clear();
  }

  // Calls body(begin, end) for the runs of row y.
  template <class Body>
  SX_HD void for_runs(int64_t y, const Body& body) const {
    const Run* run = runs_.data() + first_run_[static_cast<size_t>(y)];
    const Run* last = runs_.data() + first_run_[static_cast<size_t>(y) + 1];
    for (; run < last; ++run) body(run->begin, run->end);
  }

  // Calls body(place) for the blocks of the runs of row y.
  template <class Body>
  SX_HD void for_blocks(int64_t y, const Body& body) const {
    for_runs(y, [&](int64_t begin, int64_t end) SX_INLINE_LAMBDA {
      for (int64_t x = begin; x < end; x += kLanes) body(x);
    });
  }

 private:
  // A gap of one block is passed over with its neighbours: a further run costs more.
  void find_runs() {
    runs_.clear();
    first_run_.assign(1, 0);
    for (int64_t y = 0; y < height; ++y) {
      const T* unknown = inverse.row(y);
      for (int64_t x = 0; x < width; x += kLanes) {
        T sum = T(0);
        for (int64_t lane = 0; lane < kLanes; ++lane) sum += unknown[x + lane];
        if (!(sum > T(0))) continue;
        if (runs_.size() > first_run_.back() && x - runs_.back().end <= kLanes) {
          runs_.back().end = x + kLanes;
        } else {
          runs_.push_back({x, x + kLanes});
        }
      }
      first_run_.push_back(runs_.size());
    }
  }

  std::vector<Run> runs_;
  std::vector<size_t> first_run_;  // of each row, and the end
};

// Weighted sums of the neighbours of a block of places, computed in Wide.
template <InfillStencil kStencil, class Wide, class T>
SX_HD Lanes<Wide> neighbours(const T* above, const T* here, const T* below) {
  const auto at = [](const T* from) SX_INLINE_LAMBDA { return load_as<Wide>(from); };
  const Lanes<Wide> direct = (at(above) + at(below)) + (at(here - 1) + at(here + 1));
  if constexpr (kStencil == InfillStencil::kRoad) {
    return Wide(2) * direct + ((at(above - 1) + at(above + 1)) + (at(below - 1) + at(below + 1)));
  } else {
    return direct;
  }
}

// Sum of a[x] b[x] over a row, and the largest |a[x]|.
template <class T>
struct RowSummary {
  double product;
  T largest;
};

template <class T>
SX_HD RowSummary<T> summary_of_row(const Grid<T>& grid, int64_t y, const T* a, const T* b) {
  Lanes<T> sums = {}, largest = {};
  grid.for_blocks(y, [&](int64_t x) SX_INLINE_LAMBDA {
    const Lanes<T> value = load(a + x), size = value < T(0) ? -value : value;
    sums += value * load(b + x);
    largest = size > largest ? size : largest;
  });
  RowSummary<T> summary{0, T(0)};
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    summary.product += static_cast<double>(sums[lane]);
    summary.largest = std::max(summary.largest, largest[lane]);
  }
  return summary;
}

// to = (1 - factor) from + factor (rhs + neighbours of from) / d: a row of one damped Jacobi sweep.
template <InfillStencil kStencil, class T>
SX_HD void sweep_row(const Grid<T>& grid, int64_t y, const Plane<T>& from, Plane<T>& to, T factor) {
  const T rest = T(1) - factor;
  const T *above = from.row(y - 1), *here = from.row(y), *below = from.row(y + 1);
  const T *rhs = grid.rhs.row(y), *inverse = grid.inverse.row(y);
  T* result = to.row(y);
  grid.for_blocks(y, [&](int64_t x) SX_INLINE_LAMBDA {
    const Lanes<T> sum = load(rhs + x) + neighbours<kStencil, T>(above + x, here + x, below + x);
    store(result + x, rest * load(here + x) + (factor * load(inverse + x)) * sum);
  });
}

// The same from zero: no neighbours.
template <class T>
SX_HD void first_sweep_row(const Grid<T>& grid, int64_t y, Plane<T>& to, T factor) {
  const T *rhs = grid.rhs.row(y), *inverse = grid.inverse.row(y);
  T* result = to.row(y);
  grid.for_blocks(y, [&](int64_t x) SX_INLINE_LAMBDA {
    store(result + x, (factor * load(inverse + x)) * load(rhs + x));
  });
}

// result = neighbours of values - d values on unknown cells, 0 on others; computed in Wide.
template <InfillStencil kStencil, class Wide, class T>
SX_HD void pull_row(const Grid<T>& grid, int64_t y, const Plane<T>& values, T* result) {
  const T *above = values.row(y - 1), *here = values.row(y), *below = values.row(y + 1), *diagonal = grid.diagonal.row(y);
  grid.for_blocks(y, [&](int64_t x) SX_INLINE_LAMBDA {
    const Lanes<Wide> d = load_as<Wide>(diagonal + x), zero = {};
    const Lanes<Wide> pull = neighbours<kStencil, Wide>(above + x, here + x, below + x) - d * load_as<Wide>(here + x);
    store(result + x, __builtin_convertvector(d > Wide(0) ? pull : zero, Lanes<T>));
  });
}

// result = rhs + neighbours of values - d values on unknown cells, 0 on others: the residual.
template <InfillStencil kStencil, class T>
SX_HD void residual_row(const Grid<T>& grid, int64_t y, const Plane<T>& values, T* result) {
  const T *above = values.row(y - 1), *here = values.row(y), *below = values.row(y + 1);
  const T *rhs = grid.rhs.row(y), *diagonal = grid.diagonal.row(y);
  grid.for_blocks(y, [&](int64_t x) SX_INLINE_LAMBDA {
    const Lanes<T> d = load(diagonal + x), zero = {};
    const Lanes<T> sum = load(rhs + x) + neighbours<kStencil, T>(above + x, here + x, below + x);
    store(result + x, d > T(0) ? sum - d * load(here + x) : zero);
  });
}

// Cells of row y where open(place) holds become the means of their neighbours.
template <InfillStencil kStencil, class T, class Open>
SX_HD void relax_row(const Grid<T>& grid, int64_t y, Plane<T>& values, T* line, const Open& open) {
  const T *above = values.row(y - 1), *below = values.row(y + 1), *inverse = grid.inverse.row(y);
  T* here = values.row(y);
  grid.for_blocks(y, [&](int64_t x) SX_INLINE_LAMBDA {
    const Lanes<T> mean = load(inverse + x) * neighbours<kStencil, T>(above + x, here + x, below + x);
    store(line + x, open(x) ? mean : load(here + x));
  });
  grid.for_blocks(y, [&](int64_t x) SX_INLINE_LAMBDA { store(here + x, load(line + x)); });
}

// Bilinear interpolation of row y between the centres of the coarser grid's cells, over places [begin, end): calls
// put(place, value). `line` holds a coarse row.
template <class T, class Put>
SX_HD void interpolate_row(const Plane<T>& values, const Grid<T>& coarse, int64_t y, int64_t begin, int64_t end,
                           T* __restrict line, const Put& put) {
  const int64_t inside = y / 2, next = std::clamp<int64_t>(y % 2 == 0 ? inside - 1 : inside + 1, 0, coarse.height - 1);
  const T *near = values.row(inside), *far = values.row(next);
  const int64_t first = begin / 2, last = (end + 1) / 2;
  for (int64_t x = first - 1; x <= last; ++x) line[x] = T(0.75) * near[x] + T(0.25) * far[x];
  if (first == 0) line[-1] = line[0];
  if (last >= coarse.width) line[coarse.width] = line[coarse.width - 1];
  for (int64_t x = first; x < last; ++x) {
    put(2 * x, T(0.75) * line[x] + T(0.25) * line[x - 1]);
    put(2 * x + 1, T(0.75) * line[x] + T(0.25) * line[x + 1]);
  }
}

// The transpose: row y of the coarser grid's right-hand side from four rows of the finer one's residual. A fine cell gives 3/4 to
// the coarse cell it lies in and 1/4 to the next one along each axis, or all of it at the border; in the coarser grid's units.
template <class T>
SX_HD void restrict_row(const Grid<T>& fine, const Plane<T>& residual, Grid<T>& coarse, int64_t y, T* __restrict line) {
  const T *before = residual.row(2 * y - 1), *first = residual.row(2 * y), *second = residual.row(2 * y + 1);
  const T* after = residual.row(std::min(2 * y + 2, fine.height));
  const T top = y == 0 ? T(1) : T(0.75), bottom = y == coarse.height - 1 && fine.height % 2 == 0 ? T(1) : T(0.75);
  const T gain = infill_gain<T>(fine.height, fine.width), most = gain * T(0.75), rest = gain * T(0.25);
  T* __restrict result = coarse.rhs.row(y);
  const int64_t last = coarse.width - 1;
  coarse.for_runs(y, [&](int64_t begin, int64_t end) SX_INLINE_LAMBDA {
    for (int64_t x = 2 * begin - 1; x <= 2 * end; ++x) {
      line[x] = (top * first[x] + bottom * second[x]) + T(0.25) * (before[x] + after[x]);
    }
    for (int64_t x = begin; x < end; ++x) {
      result[x] = most * (line[2 * x] + line[2 * x + 1]) + rest * (line[2 * x - 1] + line[2 * x + 2]);
    }
    if (begin == 0) result[0] += rest * line[0];
    if (end > last && fine.width % 2 == 0) result[last] += rest * line[fine.width - 1];
  });
}

}  // namespace saliency_ext
