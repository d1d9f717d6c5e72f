#pragma once
// Cells to pixels along rows, and gradients back: sparse matrices whose rows are bands. See Resizing.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "../common/mask_step.h"

namespace saliency_ext {

template <class T>
class RowResizer {
 public:
  explicit RowResizer(const Resizing& across) : q_(across), blocks_(2 * (across.pixels / kBlock)) {
    const int32_t* bands = q_.bands + 2 * q_.cells;
    for (int64_t b = 0; b < q_.pixels / kBlock; ++b) {
      int32_t first = INT32_MAX, last = 0;
      for (int64_t x = b * kBlock; x < (b + 1) * kBlock; ++x) {
        if (bands[2 * x] == bands[2 * x + 1]) continue;
        first = std::min(first, bands[2 * x]), last = std::max(last, bands[2 * x + 1]);
      }
      blocks_[2 * b] = first, blocks_[2 * b + 1] = last;
    }
  }

  // A row of cells -> a row of pixels. Eight pixels at a time, over all cells that one of them reads: a weight of 0 adds nothing.
  SX_HD void spread(const T* __restrict cells, T* __restrict pixels) const {
    const T* __restrict matrix = static_cast<const T*>(q_.matrix);
    const int64_t width = q_.pixels;
    int64_t x = 0;
    for (int64_t b = 0; x + kBlock <= width; x += kBlock, ++b) {
      T sums[kBlock] = {};
      for (int64_t j = blocks_[2 * b]; j < blocks_[2 * b + 1]; ++j) {
        SX_UNROLL for (int k = 0; k < kBlock; ++k) sums[k] += matrix[j * width + x + k] * cells[j];
      }
      SX_UNROLL for (int k = 0; k < kBlock; ++k) pixels[x + k] = sums[k];
    }
    for (; x < width; ++x) {
      const int32_t* band = q_.bands + 2 * (q_.cells + x);
      T sum = T(0);
      for (int64_t j = band[0]; j < band[1]; ++j) sum += matrix[j * width + x] * cells[j];
      pixels[x] = sum;
    }
  }

  // Rows of pixels' slopes -> rows of cells' slopes. Eight rows at a time: eight sums that do not wait for each other.
  SX_HD void gather(const T* __restrict pixels, T* __restrict cells, int64_t rows) const {
    int64_t y = 0;
    for (; y + kBlock <= rows; y += kBlock) gather_rows<kBlock>(pixels + y * q_.pixels, cells + y * q_.cells);
    for (; y < rows; ++y) gather_rows<1>(pixels + y * q_.pixels, cells + y * q_.cells);
  }

 private:
  static constexpr int kBlock = 8;

  template <int kRows>
  SX_HD void gather_rows(const T* __restrict pixels, T* __restrict cells) const {
    for (int64_t j = 0; j < q_.cells; ++j) {
      const T* __restrict weights = static_cast<const T*>(q_.matrix) + j * q_.pixels;
      const int32_t* band = q_.bands + 2 * j;
      T sums[kRows] = {};
      for (int64_t x = band[0]; x < band[1]; ++x) {
        SX_UNROLL for (int k = 0; k < kRows; ++k) sums[k] += weights[x] * pixels[k * q_.pixels + x];
      }
      SX_UNROLL for (int k = 0; k < kRows; ++k) cells[k * q_.cells + j] = sums[k];
    }
  }

  const Resizing q_;
  std::vector<int32_t> blocks_;  // of each eight pixels: the cells [first, last) that one of them reads
};

// Whether each pixel is a cell.
template <class T>
bool is_identity(const Resizing& axis) {
  if (axis.cells != axis.pixels) return false;
  for (int64_t i = 0; i < axis.cells; ++i) {
    const int32_t* band = axis.bands + 2 * i;
    if (band[0] != i || band[1] != i + 1 || static_cast<const T*>(axis.matrix)[i * axis.pixels + i] != T(1)) return false;
  }
  return true;
}

}  // namespace saliency_ext
