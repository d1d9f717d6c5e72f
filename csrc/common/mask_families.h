#pragma once
// The mask families of a perturbed input: which pixels of which image stay at which step.
//
// A family answers in two stages, so that the renderer can do the first once per pixel and the second once per step:
//   code(n, pixel)       what the family needs to know about a pixel (its rank, its place, its segment)
//   step(n, s)           what it needs to know about a step
//   keep(code, step)     binary families: does the pixel stay?            (kBinary = true)
//   weight(code, step)   the others: how much of the image shows, in [0, 1]
// Step parameters are (S, ...) shared by all images or (N, S, ...) per image: `per_image` is 0 or 1.
#include <cstdint>

#include "macros.h"

namespace saliency_ext {

struct Place {
  int32_t y, x;
};

// rank < count stays (head), or rank >= count stays (tail).
struct KeepRank {
  static constexpr bool kBinary = true;
  using Code = int32_t;
  struct Step {
    int32_t count;  // clamped to the range of a rank
    bool head;
  };
  const int32_t* ranks;   // (N, H, W)
  const int64_t* counts;  // (S,) or (N, S)
  int64_t pixels, steps;
  bool per_image, head;

  SX_HD Code code(int64_t n, int64_t pixel) const { return ranks[n * pixels + pixel]; }
  SX_HD Step step(int64_t n, int64_t s) const {
    const int64_t count = counts[(per_image ? n * steps : 0) + s];
    return {static_cast<int32_t>(count < 0 ? 0 : (count > INT32_MAX ? INT32_MAX : count)), head};
  }
  SX_HD static bool keep(Code rank, const Step& step) { return (rank < step.count) == step.head; }
};

// Everything outside the box [top, bottom) x [left, right) stays.
struct KeepBox {
  static constexpr bool kBinary = true;
  using Code = Place;
  struct Step {
    int32_t top, left, bottom, right;
  };
  const int32_t* boxes;  // (S, 4) or (N, S, 4): top, left, bottom, right
  int64_t width, steps;
  bool per_image;

  SX_HD Code code(int64_t, int64_t pixel) const {
    return {static_cast<int32_t>(pixel / width), static_cast<int32_t>(pixel % width)};
  }
  SX_HD Step step(int64_t n, int64_t s) const {
    const int32_t* box = boxes + ((per_image ? n * steps : 0) + s) * 4;
    return {box[0], box[1], box[2], box[3]};
  }
  SX_HD static bool keep(Code at, const Step& box) {
    const bool inside = (at.y >= box.top) & (at.y < box.bottom) & (at.x >= box.left) & (at.x < box.right);
    return !inside;
  }
};

// The bit of the pixel's segment decides; a label outside [0, K) belongs to no segment and stays.
struct KeepSegment {
  static constexpr bool kBinary = true;
  using Code = int32_t;
  struct Step {
    const uint8_t* bits;
    int32_t segments;
  };
  const int32_t* labels;      // (N, H, W)
  const uint8_t* coalitions;  // (S, K) or (N, S, K), not 0 = stays
  int64_t pixels, steps;
  int32_t segments;  // K
  bool per_image;

  SX_HD Code code(int64_t n, int64_t pixel) const { return labels[n * pixels + pixel]; }
  SX_HD Step step(int64_t n, int64_t s) const {
    return {coalitions + ((per_image ? n * steps : 0) + s) * segments, segments};
  }
  SX_HD static bool keep(Code label, const Step& step) {
    const bool known = static_cast<uint32_t>(label) < static_cast<uint32_t>(step.segments);
    return !known || step.bits[label] != 0;
  }
};

// RISE masks [Petsiuk 2018, Sec. 3.2]: a low-resolution grid of bits, upsampled bilinearly (half-pixel centres) to
// (rows + 1) * cell_h by (columns + 1) * cell_w and cropped at an offset. Never stored: each weight is computed from bits.
struct KeepGrid {
  static constexpr bool kBinary = false;
  using Code = Place;
  struct Step {
    const uint8_t* bits;
    int32_t shift_y, shift_x;
  };
  const uint8_t* grids;   // (S, rows, columns) or (N, S, rows, columns), not 0 = stays
  const int32_t* shifts;  // (S, 2) or (N, S, 2): y in [0, cell_h), x in [0, cell_w)
  int64_t width, steps;
  int32_t rows, columns;
  int32_t last_shift_y, last_shift_x;
  float scale_y, scale_x;  // grid cells per pixel of the upsampled mask
  bool per_image, mirror;

  SX_HD Code code(int64_t, int64_t pixel) const {
    return {static_cast<int32_t>(pixel / width), static_cast<int32_t>(pixel % width)};
  }
  SX_HD Step step(int64_t n, int64_t s) const {
    const int64_t at = (per_image ? n * steps : 0) + s;
    return {grids + at * rows * columns, clamped(shifts[2 * at], last_shift_y), clamped(shifts[2 * at + 1], last_shift_x)};
  }
  SX_HD int64_t bits_of_step() const { return static_cast<int64_t>(rows) * columns; }
  SX_HD static int32_t clamped(int32_t shift, int32_t last) { return shift < 0 ? 0 : (shift > last ? last : shift); }
  // Index just outside the grid: mirrored (without repeating the border cell) or clamped.
  SX_HD int32_t border(int32_t i, int32_t count) const {
    if (i < 0) return mirror && count > 1 ? 1 : 0;
    if (i >= count) return mirror && count > 1 ? count - 2 : count - 1;
    return i;
  }
  // Where a pixel of the upsampled mask lies: `fraction` of the way from cell `before` to the next, which may be outside.
  struct Between {
    int32_t before;
    float fraction;
  };
  SX_HD static Between between(int32_t at, float scale) {
    const float place = (static_cast<float>(at) + 0.5f) * scale - 0.5f;
    const int32_t before = static_cast<int32_t>(place + 1.0f) - 1;  // floor: place > -1, as no shift is negative
    return {before, place - static_cast<float>(before)};
  }
  SX_HD static float share(uint8_t bit) { return bit != 0 ? 1.0f : 0.0f; }
  SX_HD static float lerp(float a, float b, float fraction) { return (1.0f - fraction) * a + fraction * b; }
  // Across, then down: the CPU kernel interpolates a row of cells across once, for many rows of pixels.
  SX_HD float weight(Code at, const Step& step) const {
    const Between x = between(at.x + step.shift_x, scale_x), y = between(at.y + step.shift_y, scale_y);
    const uint8_t* above = step.bits + border(y.before, rows) * columns;
    const uint8_t* below = step.bits + border(y.before + 1, rows) * columns;
    const int32_t left = border(x.before, columns), right = border(x.before + 1, columns);
    const float upper = lerp(share(above[left]), share(above[right]), x.fraction);
    const float lower = lerp(share(below[left]), share(below[right]), x.fraction);
    return lerp(upper, lower, y.fraction);
  }
};

// A given float mask.
template <class T>
struct KeepDense {
  static constexpr bool kBinary = false;
  using Code = int64_t;
  struct Step {
    const T* mask;
  };
  const T* masks;  // (S, H, W) or (N, S, H, W)
  int64_t pixels, steps;
  bool per_image;

  SX_HD Code code(int64_t, int64_t pixel) const { return pixel; }
  SX_HD Step step(int64_t n, int64_t s) const { return {masks + ((per_image ? n * steps : 0) + s) * pixels}; }
  SX_HD T weight(Code pixel, const Step& step) const { return step.mask[pixel]; }
};

}  // namespace saliency_ext
