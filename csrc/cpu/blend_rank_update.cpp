// The incremental curve on the CPU: rewrite in place exactly the pixels with lo <= rank < hi. Unit: a tile of pixels of
// one image. A step of a curve touches few pixels, so groups of ranks without a hit are skipped by one vector compare.
#include <algorithm>
#include <cstring>

#include "../kernels.h"
#include "multiversion.h"

namespace saliency_ext {
namespace {

constexpr int64_t kTilePixels = 8192;
constexpr int64_t kGroup = 64;

int64_t tile_count(const BlendUpdateProblem& problem) {
  return (problem.height * problem.width + kTilePixels - 1) / kTilePixels;
}

template <class Element>
struct Updater {
  const BlendUpdateProblem& problem;
  int64_t n;

  // Rows that follow each other without a gap need no division to find a pixel.
  SX_HD static int64_t offset(const int64_t* stride, int64_t width, int64_t p) {
    if (stride[2] == width * stride[3]) return p * stride[3];
    return p / width * stride[2] + p % width * stride[3];
  }

  SX_HD void pixel(int64_t p) const {
    const int64_t* to = problem.canvas_stride;
    const int64_t* from = problem.source.stride;
    Element* canvas = static_cast<Element*>(problem.canvas) + n * to[0] + offset(to, problem.width, p);
    const Element* source = static_cast<const Element*>(problem.source.data) + n * from[0] + offset(from, problem.width, p);
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
      uint8_t hits[kGroup];  // one byte a pixel: the compare vectorises, and eight bytes are looked at as one word
      for (int64_t i = 0; i < kGroup; ++i) hits[i] = static_cast<uint32_t>(ranks[p + i]) - lo < span;
      for (int64_t i = 0; i < kGroup; i += 8) {
        uint64_t word;
        memcpy(&word, hits + i, 8);
        for (; word != 0; word &= word - 1) pixel(p + i + byte_of(__builtin_ctzll(word)));
      }
    }
    for (; p < last; ++p) {
      if (static_cast<uint32_t>(ranks[p]) - lo < span) pixel(p);
    }
  }

  // Index in memory of the byte that holds this bit of a word.
  SX_HD static int64_t byte_of(int bit) {
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? bit / 8 : 7 - bit / 8;
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
