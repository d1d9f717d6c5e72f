// The incremental curve on the CPU: rewrite in place exactly the pixels with lo <= rank < hi. Unit: a tile of pixels of
// one image. A step of a curve touches few pixels, so groups of ranks without a hit are skipped by one vector compare.
#include <algorithm>

#include "../kernels.h"
#include "multiversion.h"

namespace saliency_ext {
namespace {

constexpr int64_t kTilePixels = 8192;
constexpr int64_t kGroup = 16;

int64_t tile_count(const BlendUpdateProblem& problem) {
  return (problem.height * problem.width + kTilePixels - 1) / kTilePixels;
}

template <class Element>
struct Updater {
  const BlendUpdateProblem& problem;
  int64_t n;

  SX_HD void pixel(int64_t p) const {
    const int64_t y = p / problem.width, x = p % problem.width;
    const int64_t* to = problem.canvas_stride;
    const int64_t* from = problem.source.stride;
    Element* canvas = static_cast<Element*>(problem.canvas) + n * to[0] + y * to[2] + x * to[3];
    const Element* source = static_cast<const Element*>(problem.source.data) + n * from[0] + y * from[2] + x * from[3];
    for (int64_t c = 0; c < problem.channels; ++c) canvas[c * to[1]] = source[c * from[1]];
  }

  SX_HD void tile(int64_t first, int64_t last) const {
    const int32_t* ranks = problem.ranks + n * problem.height * problem.width;
    const int64_t at = problem.per_image ? n : 0;
    // lo <= rank < hi as one unsigned compare: rank - lo < hi - lo.
    const int64_t low = std::clamp<int64_t>(problem.lo[at], 0, INT32_MAX);
    const int64_t high = std::clamp<int64_t>(problem.hi[at], low, INT32_MAX);
    const uint32_t lo = static_cast<uint32_t>(low), span = static_cast<uint32_t>(high - low);
    int64_t p = first;
    for (; p + kGroup <= last; p += kGroup) {
      uint32_t hits = 0;
      for (int64_t i = 0; i < kGroup; ++i) hits |= static_cast<uint32_t>(ranks[p + i]) - lo < span ? 1u << i : 0u;
      while (hits != 0) {
        pixel(p + __builtin_ctz(hits));
        hits &= hits - 1;
      }
    }
    for (; p < last; ++p) {
      if (static_cast<uint32_t>(ranks[p]) - lo < span) pixel(p);
    }
  }
};

template <class Element>
void update(int64_t begin, int64_t end, const BlendUpdateProblem& problem) {
  const int64_t tiles = tile_count(problem), pixels = problem.height * problem.width;
  run_best([&]() SX_INLINE_LAMBDA {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t first = unit % tiles * kTilePixels;
      Updater<Element>{problem, unit / tiles}.tile(first, std::min(first + kTilePixels, pixels));
    }
  });
}

}  // namespace

int64_t blend_rank_update_units(const BlendUpdateProblem& problem) { return problem.images * tile_count(problem); }

void blend_rank_update_cpu(int64_t begin, int64_t end, const BlendUpdateProblem& problem) {
  switch (problem.element_bytes) {
    case 2: return update<uint16_t>(begin, end, problem);
    case 4: return update<uint32_t>(begin, end, problem);
    case 8: return update<uint64_t>(begin, end, problem);
  }
}

}  // namespace saliency_ext
