#pragma once
// A tile of the renderer: a run of pixels of one image with all channels, loaded in the order in which the output stores it.
#include <algorithm>
#include <cstdint>

#include "../common/blend.h"
#include "multiversion.h"

namespace saliency_ext {

constexpr int64_t kTileElements = 3072;  // image + infill + code + row at 4 bytes: 48 KiB at most
constexpr int64_t kMinTilePixels = 64;   // many channels: still runs of a useful length

inline int64_t tile_pixels(const BlendProblem& problem) {
  const int64_t wanted = std::max(kMinTilePixels, kTileElements / std::max<int64_t>(problem.channels, 1));
  return std::max<int64_t>(1, std::min(wanted, problem.pixels()));
}

// Element (channel, local pixel) of a tile, in the order in which the output stores it.
struct TileLayout {
  int64_t channel_stride, pixel_stride, runs, run_elements;

  TileLayout(const BlendProblem& problem, int64_t capacity, int64_t count)
      : channel_stride(problem.channels_last ? 1 : capacity),
        pixel_stride(problem.channels_last ? problem.channels : 1),
        runs(problem.channels_last ? 1 : problem.channels),
        run_elements(problem.channels_last ? count * problem.channels : count) {}
};

// Loads one channel of a tile row by row, so that the inner loop runs over memory with one stride, 1 for packed images.
template <class T, class Store, class Convert>
SX_HD void load_channel(const BlendProblem& problem, const ImageView& view, int64_t n, int64_t c, int64_t first,
                        int64_t count, Store* out, int64_t out_stride, const Convert& convert) {
  const T* plane = static_cast<const T*>(view.data) + n * view.stride[0] + c * view.stride[1];
  const int64_t stride = view.stride[3];
  int64_t y = first / problem.width, x = first % problem.width;
  for (int64_t i = 0; i < count; x = 0, ++y) {
    const int64_t length = std::min(problem.width - x, count - i);
    const T* __restrict row = plane + y * view.stride[2] + x * stride;
    Store* __restrict target = out + i * out_stride;
    if (stride == 1 && out_stride == 1) {
      for (int64_t j = 0; j < length; ++j) target[j] = convert(row[j]);
    } else {
      for (int64_t j = 0; j < length; ++j) target[j * out_stride] = convert(row[j * stride]);
    }
    i += length;
  }
}

// Families that choose store finished output elements; those that mix store operands, to be normalised after the mixing.
template <class T, class Store>
SX_HD void load_tile(const BlendProblem& problem, const ImageView& view, const TileLayout& layout, int64_t n,
                     int64_t first, int64_t count, Store* out, bool finished) {
  for (int64_t c = 0; c < problem.channels; ++c) {
    Store* target = out + c * layout.channel_stride;
    if (finished && problem.mean != nullptr) {
      const T mean = static_cast<const T*>(problem.mean)[c], std = static_cast<const T*>(problem.std)[c];
      load_channel<T>(problem, view, n, c, first, count, target, layout.pixel_stride,
                      [mean, std](T value) SX_INLINE_LAMBDA { return cast_to<Store>((value - mean) / std); });
    } else {
      load_channel<T>(problem, view, n, c, first, count, target, layout.pixel_stride,
                      [](T value) SX_INLINE_LAMBDA { return cast_to<Store>(value); });
    }
  }
}

// Repeats each pixel's value for its channels, where these lie side by side. Three is usual: known, it vectorises.
template <class V>
SX_HD void expand(const V* __restrict pixels, int64_t count, int64_t channels, V* __restrict elements) {
  if (channels == 3) {
    for (int64_t i = 0; i < count; ++i) {
      const V value = pixels[i];
      elements[3 * i] = value;
      elements[3 * i + 1] = value;
      elements[3 * i + 2] = value;
    }
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t c = 0; c < channels; ++c) elements[i * channels + c] = pixels[i];
  }
}

}  // namespace saliency_ext
