// A step of a mask optimiser on the CPU. Unit: a row, one mask with its planes: its gradient is pulled back to the cells row by
// row of the image, so that nothing of the image's size is written but the mask and the next masked inputs.
#include <algorithm>
#include <vector>

#include "../kernels.h"
#include "simd.h"
#include "multiversion.h"
#include "resize.h"

namespace saliency_ext {
namespace {

// Sum of f(i), i < count, in eight fixed lanes of double, where four terms meet in T first: vectorises, and does not depend on
// threads.
template <class T, class Term>
SX_HD double lane_sum(int64_t count, const Term& term) {
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
    SX_UNROLL for (int lane = 0; lane < kLanes; ++lane) {
      const int64_t at = i + lane;
      const T four = (term(at) + term(at + kLanes)) + (term(at + 2 * kLanes) + term(at + 3 * kLanes));
      lanes[lane] += static_cast<double>(four);
    }
  }
  for (; i < count; ++i) lanes[i % kLanes] += static_cast<double>(term(i));
  double sum = 0;
  for (double lane : lanes) sum += lane;
  return sum;
}

template <class T>
class MaskOptimizer {
 public:
  explicit MaskOptimizer(const MaskStepProblem& problem)
      : q_(problem),
        cells_(problem.down.cells * problem.across.cells),
        same_(is_identity<T>(problem.down) && is_identity<T>(problem.across)),
        along_rows_(problem.across),
        along_(problem.width),
        wide_(same_ ? 0 : problem.down.cells * problem.width),
        slopes_(problem.planes * cells_) {
    if (q_.gradient == nullptr || q_.rule.variation == 0) return;
    const Resizing &down = q_.down, &across = q_.across;
    rough_ = {1, q_.rule.on_cells ? down.cells : down.pixels, q_.rule.on_cells ? across.cells : across.pixels, q_.dtype,
              q_.roughness, nullptr, &weight_, nullptr, nullptr, &unused_};
    uneven_.resize(rough_.height * rough_.width);
    partial_.resize(total_variation_chunks(rough_.height, rough_.width));
    rough_.gradient = uneven_.data();
    rough_.partial = partial_.data();
  }

  SX_HD void row(int64_t r) {
    if (q_.gradient != nullptr) {
      gather(r);
      if (q_.active[r] != 0) update(r);
    }
    for (int64_t p = 0; p < q_.planes; ++p) render(r * q_.planes + p, r);
  }

 private:
  SX_HD const T* window(const void* images, int64_t index, int64_t channel, int64_t y, int64_t left) const {
    return static_cast<const T*>(images) +
           ((index * q_.channels + channel) * q_.image_height + y) * q_.image_width + left;
  }

  // 1. d loss / d cells, and the terms.
  SX_HD void gather(int64_t r) {
    double norm = 0, area = 0, variation = 0;
    for (int64_t p = 0; p < q_.planes; ++p) {
      const int64_t map = r * q_.planes + p;
      if (!uneven_.empty()) variation += unevenness(map);
      std::fill(wide_.begin(), wide_.end(), T(0));
      T* slopes = slopes_.data() + p * cells_;
      for (int64_t y = 0; y < q_.height; ++y) norm += pixel_row(r, map, y, slopes, &area);
      if (!same_) along_rows_.gather(wide_.data(), slopes, q_.down.cells);
      if (q_.rule.on_cells) area += add_terms(static_cast<const T*>(q_.cells) + map * cells_, uneven(0), slopes, cells_);
    }
    double* terms = q_.terms + 3 * r;
    terms[0] = norm, terms[1] = area, terms[2] = variation;
    if (!std::isfinite(norm)) q_.active[r] = 0;
  }

  // Variation of a map, its weighted slopes in uneven_.
  double unevenness(int64_t map) {
    const void* maps = q_.rule.on_cells ? q_.cells : q_.mask;
    rough_.values = static_cast<const T*>(maps) + map * rough_.height * rough_.width;
    const int64_t chunks = static_cast<int64_t>(partial_.size());
    total_variation_cpu(0, chunks, rough_);
    double sum = 0;
    for (double part : partial_) sum += part;
    return sum;
  }

  // Slopes of the variation from this place on, or null where it has no weight.
  SX_HD const T* uneven(int64_t place) const { return uneven_.empty() ? nullptr : uneven_.data() + place; }

  // Slopes of area and variation are added to those of `count` shares. Returns the area.
  SX_HD double add_terms(const T* __restrict shares, const T* __restrict uneven, T* __restrict slopes, int64_t count) const {
    const T weight = static_cast<T>(q_.rule.area);
    if (uneven == nullptr) {
      for (int64_t i = 0; i < count; ++i) slopes[i] += weight;
    } else {
      for (int64_t i = 0; i < count; ++i) slopes[i] += weight + uneven[i];
    }
    return lane_sum<T>(count, [=](int64_t i) SX_INLINE_LAMBDA { return shares[i]; });
  }

  // Gradient of one row of pixels, pulled back down the columns. Returns the sum of the model's part.
  SX_HD double pixel_row(int64_t r, int64_t map, int64_t y, T* slopes, double* area) {
    const int64_t width = q_.width;
    T* __restrict along = same_ ? slopes + y * width : along_.data();
    for (int64_t u = 0; u < q_.infills; ++u) {
      const int64_t* place = q_.places + (r * q_.infills + u) * 4;
      const int64_t plane = q_.height * width, image_plane = q_.image_height * q_.image_width;
      const T* __restrict slope =
          static_cast<const T*>(q_.gradient) + (map * q_.infills + u) * q_.channels * plane + y * width;
      const T* __restrict image = window(q_.inputs, place[0], 0, place[2] + y, place[3]);
      const T* __restrict other = window(q_.infill, place[1], 0, place[2] + y, place[3]);
      const auto product = [=](int64_t c, int64_t x) SX_INLINE_LAMBDA {
        return slope[c * plane + x] * (image[c * image_plane + x] - other[c * image_plane + x]);
      };
      if (u == 0) std::fill(along, along + width, T(0));
      int64_t c = 0;
      for (; c + 3 <= q_.channels; c += 3) {  // three streams of each tensor at once keep more of the memory busy
        for (int64_t x = 0; x < width; ++x) along[x] += (product(c, x) + product(c + 1, x)) + product(c + 2, x);
      }
      for (; c < q_.channels; ++c) {
        for (int64_t x = 0; x < width; ++x) along[x] += product(c, x);
      }
    }
    const double norm = lane_sum<T>(width, [=](int64_t x) SX_INLINE_LAMBDA { return std::abs(along[x]); });
    if (!q_.rule.on_cells) {
      const T* mask = static_cast<const T*>(q_.mask) + (map * q_.height + y) * width;
      *area += add_terms(mask, uneven(y * width), along, width);
    }
    if (same_) return norm;
    const int32_t* band = q_.down.bands + 2 * (q_.down.cells + y);
    for (int64_t i = band[0]; i < band[1]; ++i) {
      const T weight = static_cast<const T*>(q_.down.matrix)[i * q_.height + y];
      T* __restrict wide = wide_.data() + i * width;
      for (int64_t x = 0; x < width; ++x) wide[x] += weight * along[x];
    }
    return norm;
  }

  // 2. The optimiser.
  SX_HD void update(int64_t r) {
    const int64_t base = r * q_.planes * cells_, count = q_.planes * cells_;
    T* __restrict slopes = slopes_.data();
    if (q_.rule.sigmoid) {
      const T* __restrict cells = static_cast<const T*>(q_.cells) + base;
      if (q_.planes == 1) {  // a constant to the compiler: the loop vectorises
        for (int64_t i = 0; i < cells_; ++i) softmax_slopes(cells + i, slopes + i, 1, 1);
      } else {
        for (int64_t i = 0; i < cells_; ++i) softmax_slopes(cells + i, slopes + i, q_.planes, cells_);
      }
    }
    q_.counts[r] = next_count(q_.counts[r]);
    MaskStepRule rule = q_.rule;
    const OptimiserScale<T> scale = optimiser_scale<T>(rule, q_.counts[r]);
    T* __restrict values = static_cast<T*>(q_.values) + base;
    T* __restrict exp_avg = static_cast<T*>(q_.exp_avg) + base;
    T* __restrict exp_avg_sq = static_cast<T*>(q_.exp_avg_sq) + base;
    if (rule.adam) {
      rule.adam = true;  // the same for the compiler
      for (int64_t i = 0; i < count; ++i) values[i] = optimised(rule, scale, values[i], slopes[i], exp_avg + i, exp_avg_sq + i);
    } else {
      for (int64_t i = 0; i < count; ++i) values[i] = optimised(rule, scale, values[i], slopes[i], exp_avg + i, exp_avg_sq + i);
    }
    if (rule.sigmoid) return;
    for (int64_t i = 0; i < count; ++i) values[i] = unit_interval(values[i]);
  }

  // 3. Cells, mask, masked inputs.
  SX_HD void render(int64_t map, int64_t r) {
    const int64_t columns = q_.across.cells, p = map - r * q_.planes;
    T* __restrict cells = static_cast<T*>(q_.cells) + map * cells_;
    const T* __restrict values = static_cast<const T*>(q_.values) + map * cells_;
    if (!q_.rule.sigmoid) {
      std::copy(values, values + cells_, cells);
    } else if (q_.planes == 1) {
      for (int64_t i = 0; i < cells_; ++i) cells[i] = sigmoid(values[i]);
    } else if (p == 0) {
      for (int64_t i = 0; i < cells_; ++i) softmax_shares(values + i, cells + i, q_.planes, cells_);
    }
    for (int64_t i = 0; i < (same_ ? 0 : q_.down.cells); ++i) {
      along_rows_.spread(cells + i * columns, wide_.data() + i * q_.width);
    }
    for (int64_t y = 0; y < q_.height; ++y) {
      mask_row(map, y);
      masked_row(map, r, y);
    }
  }

  SX_HD void mask_row(int64_t map, int64_t y) const {
    const int64_t width = q_.width;
    T* __restrict mask = static_cast<T*>(q_.mask) + (map * q_.height + y) * width;
    if (same_) {
      const T* cells = static_cast<const T*>(q_.cells) + map * cells_ + y * width;
      std::copy(cells, cells + width, mask);
      return;
    }
    const int32_t* band = q_.down.bands + 2 * (q_.down.cells + y);
    if (band[0] >= band[1]) std::fill(mask, mask + width, T(0));
    for (int64_t i = band[0]; i < band[1]; ++i) {
      const T weight = static_cast<const T*>(q_.down.matrix)[i * q_.height + y];
      const T* __restrict wide = wide_.data() + i * width;
      if (i == band[0]) {
        for (int64_t x = 0; x < width; ++x) mask[x] = weight * wide[x];
      } else {
        for (int64_t x = 0; x < width; ++x) mask[x] += weight * wide[x];
      }
    }
  }

  SX_HD void masked_row(int64_t map, int64_t r, int64_t y) const {
    const int64_t width = q_.width;
    const T* __restrict mask = static_cast<const T*>(q_.mask) + (map * q_.height + y) * width;
    const int64_t plane = q_.height * width, image_plane = q_.image_height * q_.image_width;
    for (int64_t u = 0; u < q_.infills; ++u) {
      const int64_t* place = q_.next_places + (r * q_.infills + u) * 4;
      const T* __restrict image = window(q_.inputs, place[0], 0, place[2] + y, place[3]);
      const T* __restrict other = window(q_.infill, place[1], 0, place[2] + y, place[3]);
      T* __restrict out = static_cast<T*>(q_.out) + (map * q_.infills + u) * q_.channels * plane + y * width;
      const auto blend = [=](int64_t c, int64_t x) SX_INLINE_LAMBDA {
        out[c * plane + x] = mask[x] * image[c * image_plane + x] + (T(1) - mask[x]) * other[c * image_plane + x];
      };
      int64_t c = 0;
      for (; c + 3 <= q_.channels; c += 3) {
        SX_INDEPENDENT for (int64_t x = 0; x < width; ++x) blend(c, x), blend(c + 1, x), blend(c + 2, x);
      }
      for (; c < q_.channels; ++c) {
        SX_INDEPENDENT for (int64_t x = 0; x < width; ++x) blend(c, x);
      }
    }
  }

  const MaskStepProblem q_;
  const int64_t cells_;
  const bool same_;  // each pixel is a cell: no resizing
  const RowResizer<T> along_rows_;
  std::vector<T> along_, wide_, slopes_, uneven_;
  TotalVariationProblem rough_{};
  std::vector<double> partial_;
  const T weight_ = static_cast<T>(q_.rule.variation);
  T unused_ = T(0);  // where the variation's sum would go
};

template <class T>
void walk(int64_t begin, int64_t end, const MaskStepProblem& problem) {
  MaskOptimizer<T> optimizer(problem);
  run_best([&]() SX_INLINE_LAMBDA {
    for (int64_t row = begin; row < end; ++row) optimizer.row(row);
  });
}

}  // namespace

void mask_step_cpu(int64_t begin, int64_t end, const MaskStepProblem& problem) {
  if (problem.dtype == DType::kFloat64) {
    walk<double>(begin, end, problem);
  } else {
    walk<float>(begin, end, problem);
  }
}

}  // namespace saliency_ext
