// A step of a mask optimiser on the CPU. Unit: a row, one mask with its planes: its gradient is pulled back to the cells row by
// row of the image, so that nothing of the image's size is written but the mask and the next masked inputs.
#include <algorithm>
#include <vector>

#include "../kernels.h"
#include "multiversion.h"

namespace saliency_ext {
namespace {

constexpr int kLanes = 8;

// Sum of f(i), i < count, in eight fixed lanes of double: vectorises, and does not depend on threads.
template <class Term>
SX_HD double lane_sum(int64_t count, const Term& term) {
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    SX_UNROLL for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
  }
  for (; i < count; ++i) lanes[i % kLanes] += term(i);
  double sum = 0;
  for (double lane : lanes) sum += lane;
  return sum;
}

template <class T>
class Stepper {
 public:
  explicit Stepper(const MaskStepProblem& problem)
      : q_(problem),
        cells_(problem.down.cells * problem.across.cells),
        along_(problem.width),
        wide_(problem.down.cells * problem.width),
        slopes_(problem.planes * cells_) {}

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
      std::fill(wide_.begin(), wide_.end(), T(0));
      for (int64_t y = 0; y < q_.height; ++y) norm += pixel_row(r, map, y, &area);
      narrow(map, p, &area);
      if (q_.variation_sums != nullptr) variation += static_cast<double>(static_cast<const T*>(q_.variation_sums)[map]);
    }
    double* terms = q_.terms + 3 * r;
    terms[0] = norm, terms[1] = area, terms[2] = variation;
    if (!std::isfinite(norm)) q_.active[r] = 0;
  }

  // Gradient of one row of pixels, pulled back down the columns. Returns the sum of the model's part.
  SX_HD double pixel_row(int64_t r, int64_t map, int64_t y, double* area) {
    const int64_t width = q_.width;
    T* __restrict along = along_.data();
    for (int64_t u = 0; u < q_.infills; ++u) {
      const int64_t* place = q_.places + (r * q_.infills + u) * 4;
      for (int64_t c = 0; c < q_.channels; ++c) {
        const T* __restrict slope =
            static_cast<const T*>(q_.gradient) + (((map * q_.infills + u) * q_.channels + c) * q_.height + y) * width;
        const T* __restrict image = window(q_.inputs, place[0], c, place[2] + y, place[3]);
        const T* __restrict other = window(q_.infill, place[1], c, place[2] + y, place[3]);
        if (u == 0 && c == 0) {
          for (int64_t x = 0; x < width; ++x) along[x] = slope[x] * (image[x] - other[x]);
        } else {
          for (int64_t x = 0; x < width; ++x) along[x] += slope[x] * (image[x] - other[x]);
        }
      }
    }
    const double norm = lane_sum(width, [=](int64_t x) SX_INLINE_LAMBDA { return std::abs(static_cast<double>(along[x])); });
    if (!q_.rule.on_cells) {
      const T* __restrict mask = static_cast<const T*>(q_.mask) + (map * q_.height + y) * width;
      *area += lane_sum(width, [=](int64_t x) SX_INLINE_LAMBDA { return static_cast<double>(mask[x]); });
      const T weight = static_cast<T>(q_.rule.area);
      for (int64_t x = 0; x < width; ++x) along[x] += weight;
      if (q_.variation_gradient != nullptr) {
        const T* __restrict rough = static_cast<const T*>(q_.variation_gradient) + (map * q_.height + y) * width;
        for (int64_t x = 0; x < width; ++x) along[x] += rough[x];
      }
    }
    const int32_t* band = q_.down.bands + 2 * (q_.down.cells + y);
    for (int64_t i = band[0]; i < band[1]; ++i) {
      const T weight = static_cast<const T*>(q_.down.matrix)[i * q_.height + y];
      T* __restrict wide = wide_.data() + i * width;
      for (int64_t x = 0; x < width; ++x) wide[x] += weight * along[x];
    }
    return norm;
  }

  // The rest of the way back, along the rows, and the terms of the cells.
  SX_HD void narrow(int64_t map, int64_t p, double* area) {
    const int64_t columns = q_.across.cells, width = q_.width, count = cells_;
    T* __restrict slopes = slopes_.data() + p * count;
    for (int64_t i = 0; i < q_.down.cells; ++i) {
      const T* __restrict wide = wide_.data() + i * width;
      for (int64_t j = 0; j < columns; ++j) {
        const T* __restrict weights = static_cast<const T*>(q_.across.matrix) + j * width;
        const int32_t* band = q_.across.bands + 2 * j;
        T sum = T(0);
        for (int64_t x = band[0]; x < band[1]; ++x) sum += weights[x] * wide[x];
        slopes[i * columns + j] = sum;
      }
    }
    if (!q_.rule.on_cells) return;
    const T* __restrict cells = static_cast<const T*>(q_.cells) + map * count;
    *area += lane_sum(count, [=](int64_t i) SX_INLINE_LAMBDA { return static_cast<double>(cells[i]); });
    const T weight = static_cast<T>(q_.rule.area);
    for (int64_t i = 0; i < count; ++i) slopes[i] += weight;
    if (q_.variation_gradient == nullptr) return;
    const T* __restrict rough = static_cast<const T*>(q_.variation_gradient) + map * count;
    for (int64_t i = 0; i < count; ++i) slopes[i] += rough[i];
  }

  // 2. The optimiser.
  SX_HD void update(int64_t r) {
    const int64_t base = r * q_.planes * cells_, count = q_.planes * cells_;
    if (q_.rule.sigmoid) {
      const T* cells = static_cast<const T*>(q_.cells) + base;
      for (int64_t i = 0; i < cells_; ++i) softmax_slopes(cells + i, slopes_.data() + i, q_.planes, cells_);
    }
    q_.counts[r] += 1;
    const MaskStepRule rule = q_.rule;
    const OptimiserScale<T> scale = optimiser_scale<T>(rule, q_.counts[r]);
    T* __restrict values = static_cast<T*>(q_.values) + base;
    T* __restrict first = static_cast<T*>(q_.first) + base;
    T* __restrict second = static_cast<T*>(q_.second) + base;
    const T* __restrict slopes = slopes_.data();
    for (int64_t i = 0; i < count; ++i) {
      const T moved = optimised(rule, scale, values[i], slopes[i], first + i, second + i);
      values[i] = rule.sigmoid ? moved : unit_interval(moved);
    }
  }

  // 3. Cells, mask, masked inputs.
  SX_HD void render(int64_t map, int64_t r) {
    const int64_t columns = q_.across.cells, width = q_.width, p = map - r * q_.planes;
    T* cells = static_cast<T*>(q_.cells) + map * cells_;
    const T* values = static_cast<const T*>(q_.values) + map * cells_;
    if (!q_.rule.sigmoid) {
      std::copy(values, values + cells_, cells);
    } else if (p == 0) {
      for (int64_t i = 0; i < cells_; ++i) softmax_shares(values + i, cells + i, q_.planes, cells_);
    }
    std::fill(wide_.begin(), wide_.end(), T(0));
    for (int64_t i = 0; i < q_.down.cells; ++i) {
      T* __restrict wide = wide_.data() + i * width;
      for (int64_t j = 0; j < columns; ++j) {
        const T* __restrict weights = static_cast<const T*>(q_.across.matrix) + j * width;
        const int32_t* band = q_.across.bands + 2 * j;
        const T cell = cells[i * columns + j];
        for (int64_t x = band[0]; x < band[1]; ++x) wide[x] += weights[x] * cell;
      }
    }
    for (int64_t y = 0; y < q_.height; ++y) masked_row(map, r, y);
  }

  SX_HD void masked_row(int64_t map, int64_t r, int64_t y) {
    const int64_t width = q_.width;
    T* __restrict mask = static_cast<T*>(q_.mask) + (map * q_.height + y) * width;
    const int32_t* band = q_.down.bands + 2 * (q_.down.cells + y);
    for (int64_t i = band[0]; i < band[1]; ++i) {
      const T weight = static_cast<const T*>(q_.down.matrix)[i * q_.height + y];
      const T* __restrict wide = wide_.data() + i * width;
      if (i == band[0]) {
        for (int64_t x = 0; x < width; ++x) mask[x] = weight * wide[x];
      } else {
        for (int64_t x = 0; x < width; ++x) mask[x] += weight * wide[x];
      }
    }
    for (int64_t u = 0; u < q_.infills; ++u) {
      const int64_t* place = q_.next_places + (r * q_.infills + u) * 4;
      for (int64_t c = 0; c < q_.channels; ++c) {
        const T* __restrict image = window(q_.inputs, place[0], c, place[2] + y, place[3]);
        const T* __restrict other = window(q_.infill, place[1], c, place[2] + y, place[3]);
        T* __restrict out =
            static_cast<T*>(q_.out) + (((map * q_.infills + u) * q_.channels + c) * q_.height + y) * width;
        for (int64_t x = 0; x < width; ++x) out[x] = mask[x] * image[x] + (T(1) - mask[x]) * other[x];
      }
    }
  }

  const MaskStepProblem q_;
  const int64_t cells_;
  std::vector<T> along_, wide_, slopes_;
};

template <class T>
void walk(int64_t begin, int64_t end, const MaskStepProblem& problem) {
  Stepper<T> stepper(problem);
  run_best([&]() SX_INLINE_LAMBDA {
    for (int64_t row = begin; row < end; ++row) stepper.row(row);
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
