#pragma once
// How much of the image shows, for the families that mix: shares of one step over pieces of a tile, in the order of its
// elements (channels_last: each pixel's share once per channel), so that the loop that mixes reads all operands alike.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "../common/mask_families.h"
#include "blend_tile.h"

namespace saliency_ext {

// A given mask: one piece, the tile.
template <class T>
class DenseShares {
 public:
  struct Share {
    const T* given;
    SX_HD T operator()(int64_t element) const { return given[element]; }
  };

  DenseShares(const BlendProblem& problem, const KeepDense<T>& keep, int64_t tile)
      : keep_(keep),
        channels_(problem.channels_last ? problem.channels : 1),
        steps_(problem.steps),
        elements_(channels_ > 1 ? tile * channels_ : 0) {}

  int64_t steps_at_once() const { return steps_; }
  SX_HD void prepare(int64_t, int64_t, int64_t) {}

  template <class Use>
  SX_HD void pieces(int64_t n, int64_t s, int64_t first, int64_t count, const Use& use) {
    const T* given = keep_.step(n, s).mask + first;
    if (channels_ > 1) {
      expand(given, count, channels_, elements_.data());
      given = elements_.data();
    }
    use(0, count * channels_, Share{given});
  }

 private:
  const KeepDense<T> keep_;
  const int64_t channels_, steps_;
  std::vector<T> elements_;
};

// A grid is separable: its rows of cells are interpolated across once per step, and kept for all pixel rows of all images.
// What is left per pixel is to interpolate between two such rows, which lie in memory as the pixels do.
class GridShares {
 public:
  struct Share {
    const float *upper, *lower;
    float fraction;
    SX_HD float operator()(int64_t element) const { return KeepGrid::lerp(upper[element], lower[element], fraction); }
  };

  GridShares(const BlendProblem& problem, const KeepGrid& keep, int64_t)
      : keep_(keep),
        channels_(problem.channels_last ? problem.channels : 1),
        width_(problem.width),
        row_elements_(width_ * channels_),
        steps_at_once_(std::max<int64_t>(
            1, std::min(problem.steps, kTableElements / std::max<int64_t>(1, keep.rows * row_elements_)))),
        table_(steps_at_once_ * keep.rows * row_elements_),
        fractions_(row_elements_),
        runs_(width_ + 1) {}

  int64_t steps_at_once() const { return steps_at_once_; }

  // Rows of cells of steps [begin, end), interpolated across.
  SX_HD void prepare(int64_t n, int64_t begin, int64_t end) {
    const int64_t owner = keep_.per_image ? n : 0;
    if (owner == owner_ && begin == begin_) return;
    owner_ = owner;
    begin_ = begin;
    for (int64_t s = begin; s < end; ++s) interpolate(keep_.step(n, s), table(s));
  }

  template <class Use>
  SX_HD void pieces(int64_t n, int64_t s, int64_t first, int64_t count, const Use& use) {
    const float* rows = table(s);
    const int32_t shift = keep_.step(n, s).shift_y;
    int64_t y = first / width_, x = first % width_;
    for (int64_t i = 0; i < count; x = 0, ++y) {
      const int64_t length = std::min(width_ - x, count - i);
      const KeepGrid::Between at = KeepGrid::between(static_cast<int32_t>(y) + shift, keep_.scale_y);
      const float* upper = rows + keep_.border(at.before, keep_.rows) * row_elements_ + x * channels_;
      const float* lower = rows + keep_.border(at.before + 1, keep_.rows) * row_elements_ + x * channels_;
      use(i * channels_, length * channels_, Share{upper, lower, at.fraction});
      i += length;
    }
  }

 private:
  static constexpr int64_t kTableElements = 65536;  // 256 KiB: stays in the second-level cache

  // Pixels from `first` on, up to the next run, lie between the same two columns of cells.
  struct Run {
    int32_t first, left, right;
  };

  SX_HD float* table(int64_t s) { return table_.data() + (s - begin_) * keep_.rows * row_elements_; }

  SX_HD void interpolate(const KeepGrid::Step& step, float* __restrict rows) {
    int64_t runs = 0;
    int32_t previous = 0;
    for (int64_t x = 0; x < width_; ++x) {
      const KeepGrid::Between at = KeepGrid::between(static_cast<int32_t>(x) + step.shift_x, keep_.scale_x);
      for (int64_t c = 0; c < channels_; ++c) fractions_[x * channels_ + c] = at.fraction;
      if (x == 0 || at.before != previous) {
        runs_[runs++] = {static_cast<int32_t>(x), keep_.border(at.before, keep_.columns),
                         keep_.border(at.before + 1, keep_.columns)};
      }
      previous = at.before;
    }
    runs_[runs].first = static_cast<int32_t>(width_);
    const float* __restrict fractions = fractions_.data();
    for (int32_t row = 0; row < keep_.rows; ++row) {
      const uint8_t* bits = step.bits + row * keep_.columns;
      float* __restrict target = rows + row * row_elements_;
      for (int64_t run = 0; run < runs; ++run) {
        const float left = KeepGrid::share(bits[runs_[run].left]), right = KeepGrid::share(bits[runs_[run].right]);
        const int64_t stop = runs_[run + 1].first * channels_;
        for (int64_t i = runs_[run].first * channels_; i < stop; ++i) target[i] = KeepGrid::lerp(left, right, fractions[i]);
      }
    }
  }

  const KeepGrid keep_;
  const int64_t channels_, width_, row_elements_, steps_at_once_;
  int64_t owner_ = -1, begin_ = -1;
  std::vector<float> table_, fractions_;
  std::vector<Run> runs_;
};

}  // namespace saliency_ext
