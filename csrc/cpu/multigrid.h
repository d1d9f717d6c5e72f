#pragma once
// Grids of one mask for the linear infill: the V-cycle that preconditions it, and a first guess. The passes of a cycle take a
// row in turn, each one row behind the pass before, so that they meet their rows in the cache.
#include <limits>
#include <vector>

#include "infill_grid.h"
#include "multiversion.h"

namespace saliency_ext {

template <InfillStencil kStencil, class T>
class Multigrid {
  static constexpr int kGuessSweeps = 2;  // over each grid's guess: cheaper than the cycle that they save

 public:
  // unknown: (height, width) bytes. Grids end where every unknown cell is coupled strongly to known pixels.
  void build(const uint8_t* unknown, int64_t height, int64_t width) {
    if (grids_.empty() || finest().height != height || finest().width != width) resize(height, width);
    run_best([&]() SX_INLINE_LAMBDA { mark_finest(unknown); });
    finest().prepare();
    T weakest = T(0);
    for (levels_ = 1; levels_ < grids_.size() && weakest < infill_strong_coupling<kStencil, T>(); ++levels_) {
      run_best([&]() SX_INLINE_LAMBDA { weakest = coarsen(grids_[levels_ - 1], grids_[levels_], levels_ == 1); });
      grids_[levels_].prepare();
    }
  }

  SX_HD Grid<T>& finest() { return grids_.front(); }

  // V-cycle, the preconditioner: writes an approximation of A^-1 rhs to finest().to. before(y) is called when a row of the rhs is
  // needed, after(y) when a row of the result is there.
  template <class Before, class After>
  SX_HD void cycle(const Before& before, const After& after) {
    const auto nothing = [](int64_t) SX_INLINE_LAMBDA {};
    descend(0, before);
    for (size_t level = 1; level < levels_; ++level) descend(level, nothing);
    for (size_t level = levels_ - 1; level > 0; --level) ascend(level, nothing);
    ascend(0, after);
  }

  // Unknown pixels of `values`, which must be 0, become what the means of known pixels in cells of growing size suggest.
  SX_HD void guess(Plane<T>& values) {
    for (size_t level = 1; level < levels_; ++level) add_up(level == 1 ? values : grids_[level - 1].guess, grids_[level]);
    for (size_t level = levels_ - 1; level > 0; --level) {
      Grid<T>& grid = grids_[level];
      spread_guess(level);
      for (int time = 0; time < kGuessSweeps; ++time) {
        for (int64_t y = 0; y < grid.height; ++y) {
          const T* share = grid.share.row(y);
          relax_row<kStencil>(grid, y, grid.guess, line(0), [&](int64_t x) SX_INLINE_LAMBDA { return load(share + x) == T(0); });
        }
      }
    }
    Grid<T>& grid = finest();
    for (int64_t y = 0; y < grid.height && levels_ > 1; ++y) {
      const T* inverse = grid.inverse.row(y);
      T* __restrict result = values.row(y);
      grid.for_runs(y, [&](int64_t begin, int64_t end) SX_INLINE_LAMBDA {
        interpolate_row(grids_[1].guess, grids_[1], y, begin, end, line(0),
                        [&](int64_t x, T value) SX_INLINE_LAMBDA { result[x] = inverse[x] > T(0) ? value : result[x]; });
      });
    }
    for (int time = 0; time < kGuessSweeps; ++time) {
      for (int64_t y = 0; y < grid.height; ++y) {
        const T* inverse = grid.inverse.row(y);
        relax_row<kStencil>(grid, y, values, line(0), [&](int64_t x) SX_INLINE_LAMBDA { return load(inverse + x) > T(0); });
      }
    }
  }

 private:
  void resize(int64_t height, int64_t width) {
    grids_.clear();
    while (true) {
      grids_.emplace_back();
      grids_.back().resize(height, width, grids_.size() == 1);
      if (!infill_has_coarser(height, width)) break;
      height = infill_coarser(height);
      width = infill_coarser(width);
    }
    line_stride_ = finest().width + 6 * kLanes;
    lines_.assign(static_cast<size_t>(3 * line_stride_), T(0));
  }

  // One of three rows of scratch memory.
  SX_HD T* line(int64_t number) { return lines_.data() + number * line_stride_ + kLanes; }

  SX_HD void mark_finest(const uint8_t* unknown) {
    Grid<T>& grid = grids_[0];
    T* __restrict sums = line(0);
    for (int64_t y = 0; y < grid.height; ++y) {
      if (y < 2 || y == grid.height - 1) {
        for (int64_t x = 0; x < grid.width; ++x) {
          sums[x] = static_cast<T>(infill_weight_sum<kStencil>(y, x, grid.height, grid.width));
        }
      }
      const uint8_t* marks = unknown + y * grid.width;
      T *__restrict diagonal = grid.diagonal.row(y), *__restrict inverse = grid.inverse.row(y);
      for (int64_t x = 0; x < grid.width; ++x) {
        const T sum = marks[x] != 0 ? sums[x] : T(0);
        diagonal[x] = sum;
        inverse[x] = sum > T(0) ? T(1) / sum : T(0);
      }
    }
  }

  // Marks, Dirichlet couplings and numbers of known pixels of a grid, from those of the finer one. While grids are built,
  // couplings stand in `rhs` and numbers in `guess`. Returns the smallest coupling of an unknown cell.
  SX_HD T coarsen(const Grid<T>& fine, Grid<T>& coarse, bool from_finest) {
    T *__restrict pulls = line(0), *__restrict counts = line(1), *__restrict marks = line(2);
    const T gain = infill_gain<T>(fine.height, fine.width);
    T weakest = std::numeric_limits<T>::max();
    for (int64_t y = 0; y < coarse.height; ++y) {
      const int64_t rows = std::min<int64_t>(2, fine.height - 2 * y);
      for (int64_t x = 0; x < fine.width + 2; ++x) pulls[x] = counts[x] = marks[x] = T(0);
      for (int64_t row = 2 * y; row < 2 * y + rows; ++row) {
        const T *inverse = fine.inverse.row(row), *couplings = fine.rhs.row(row);
        const T* numbers = from_finest ? inverse : fine.guess.row(row);
        for (int64_t x = 0; x < fine.width; ++x) {
          const T mark = inverse[x] > T(0) ? T(1) : T(0);
          pulls[x] += infill_coupling<kStencil>(mark > T(0), from_finest ? T(0) : gain * couplings[x]);
          counts[x] += from_finest ? T(1) - mark : numbers[x];
          marks[x] += mark;
        }
      }
      T *__restrict diagonal = coarse.diagonal.row(y), *__restrict inverse = coarse.inverse.row(y);
      T *__restrict couplings = coarse.rhs.row(y), *__restrict numbers = coarse.guess.row(y);
      T* __restrict share = coarse.share.row(y);
      for (int64_t x = 0; x < coarse.width; ++x) {
        const T coupling = pulls[2 * x] + pulls[2 * x + 1], number = counts[2 * x] + counts[2 * x + 1];
        const bool unknown = marks[2 * x] + marks[2 * x + 1] > T(0);
        const T sum = static_cast<T>(infill_weight_sum<kStencil>(y, x, coarse.height, coarse.width)) + coupling;
        couplings[x] = coupling;
        numbers[x] = number;
        share[x] = number > T(0) ? T(1) / number : T(0);
        diagonal[x] = unknown ? sum : T(0);
        inverse[x] = unknown && sum > T(0) ? T(1) / sum : T(0);
        weakest = unknown && coupling < weakest ? coupling : weakest;
      }
    }
    return weakest;
  }

  // coarse.guess = sums over the cells of `values`.
  SX_HD void add_up(const Plane<T>& values, Grid<T>& coarse) {
    for (int64_t y = 0; y < coarse.height; ++y) {
      const T *first = values.row(2 * y), *second = values.row(2 * y + 1);
      T* __restrict result = coarse.guess.row(y);
      for (int64_t x = 0; x < coarse.width; ++x) {
        result[x] = (first[2 * x] + first[2 * x + 1]) + (second[2 * x] + second[2 * x + 1]);
      }
    }
  }

  // Cells of a coarse grid without a known pixel get values from the next coarser one; the others, the means of theirs.
  SX_HD void spread_guess(size_t level) {
    Grid<T>& grid = grids_[level];
    for (int64_t y = 0; y < grid.height; ++y) {
      const T* share = grid.share.row(y);
      T* __restrict result = grid.guess.row(y);
      if (level + 1 == levels_) {
        for (int64_t x = 0; x < grid.width; ++x) result[x] *= share[x];
        continue;
      }
      const Grid<T>& coarser = grids_[level + 1];
      interpolate_row(coarser.guess, coarser, y, 0, grid.width, line(0), [&](int64_t x, T value) SX_INLINE_LAMBDA {
        result[x] = share[x] > T(0) ? result[x] * share[x] : value;
      });
      result[grid.width] = T(0);  // beyond the border, as everywhere
    }
  }

  // Two sweeps from zero, and the coarser grid's right-hand side, their restricted residual.
  template <class Before>
  SX_HD void descend(size_t level, const Before& before) {
    Grid<T>& grid = grids_[level];
    const T one = infill_sweep<kStencil, T>(0, grid.height, grid.width);
    const T two = infill_sweep<kStencil, T>(1, grid.height, grid.width);
    const bool coarsest = level + 1 == levels_;
    for (int64_t y = 0; y < grid.height + 2; ++y) {
      if (y < grid.height) {
        before(y);
        first_sweep_row(grid, y, grid.from, one);
      }
      if (y >= 1 && y - 1 < grid.height) sweep_row<kStencil>(grid, y - 1, grid.from, grid.to, two);
      const int64_t ready = y - 2;
      if (coarsest || ready < 0) continue;
      Grid<T>& coarse = grids_[level + 1];
      residual_row<kStencil>(grid, ready, grid.to, grid.from.row(ready));
      if (ready >= 2 && ready % 2 == 0) restrict_row(grid, grid.from, coarse, ready / 2 - 1, line(0));
      if (ready == grid.height - 1) restrict_row(grid, grid.from, coarse, coarse.height - 1, line(0));
    }
  }

  // Adds the coarser grid's correction on unknown cells, then two sweeps.
  template <class After>
  SX_HD void ascend(size_t level, const After& after) {
    Grid<T>& grid = grids_[level];
    const T one = infill_sweep<kStencil, T>(0, grid.height, grid.width);
    const T two = infill_sweep<kStencil, T>(1, grid.height, grid.width);
    for (int64_t y = 0; y < grid.height + 2; ++y) {
      if (y < grid.height && level + 1 < levels_) {
        const T* inverse = grid.inverse.row(y);
        T* __restrict result = grid.to.row(y);
        grid.for_runs(y, [&](int64_t begin, int64_t end) SX_INLINE_LAMBDA {
          interpolate_row(grids_[level + 1].to, grids_[level + 1], y, begin, end, line(0),
                          [&](int64_t x, T value) SX_INLINE_LAMBDA { result[x] += inverse[x] > T(0) ? value : T(0); });
        });
      }
      if (y >= 1 && y - 1 < grid.height) sweep_row<kStencil>(grid, y - 1, grid.to, grid.from, two);
      if (y < 2) continue;
      sweep_row<kStencil>(grid, y - 2, grid.from, grid.to, one);
      after(y - 2);
    }
  }

  size_t levels_ = 0;
  std::vector<Grid<T>> grids_;
  std::vector<T> lines_;
  int64_t line_stride_ = 0;
};

}  // namespace saliency_ext
