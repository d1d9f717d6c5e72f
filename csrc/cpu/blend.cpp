// The renderer on the CPU. Unit: a tile of pixels of one image, all channels, all steps.
//
// Per tile: load image and infill once, normalise and cast them once (binary families), then per step only move bits:
// out = keep ? image : infill over a run of consecutive output elements. The families that mix do the arithmetic per step.
// A tile's working set (two images, the codes, one finished row) stays in the first-level cache.
#include <algorithm>
#include <vector>

#include "../kernels.h"
#include "multiversion.h"
#include "stream.h"

namespace saliency_ext {
namespace {

constexpr int64_t kTileElements = 3072;  // image + infill + code + row at 4 bytes: 48 KiB at most
constexpr int64_t kMinTilePixels = 64;   // many channels: still runs of a useful length

int64_t tile_pixels(const BlendProblem& problem) {
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

// Repeats each pixel's value for its channels, where these lie side by side.
template <class V>
SX_HD void expand(const V* pixels, int64_t count, int64_t channels, V* elements) {
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t c = 0; c < channels; ++c) elements[i * channels + c] = pixels[i];
  }
}

template <class Out, class T, class Keep>
class Renderer {
 public:
  Renderer(const BlendProblem& problem, const Keep& keep)
      : problem_(problem),
        keep_(keep),
        capacity_(tile_pixels(problem)),
        streams_(exceeds_last_level_cache(problem.steps * problem.images * problem.image_elements() *
                                          static_cast<int64_t>(sizeof(Out)))),
        image_(capacity_ * problem.channels),
        infill_(capacity_ * problem.channels),
        codes_(capacity_),
        element_codes_(Keep::kBinary && problem.channels_last ? capacity_ * problem.channels : 0),
        weights_(Keep::kBinary ? 0 : capacity_),
        element_weights_(!Keep::kBinary && problem.channels_last ? capacity_ * problem.channels : 0),
        row_(capacity_ * (problem.channels_last ? problem.channels : 1)) {
    if (Keep::kBinary || problem.mean == nullptr) return;
    // One constant per element of a run, so that the loop that mixes reads all its operands alike.
    means_.resize(image_.size());
    stds_.resize(image_.size());
    for (int64_t c = 0; c < problem.channels; ++c) {
      for (int64_t i = 0; i < capacity_; ++i) {
        const int64_t at = problem.channels_last ? i * problem.channels + c : c * capacity_ + i;
        means_[at] = static_cast<const T*>(problem.mean)[c];
        stds_[at] = static_cast<const T*>(problem.std)[c];
      }
    }
  }

  SX_HD void tile(int64_t n, int64_t first) {
    const int64_t count = std::min(capacity_, problem_.pixels() - first);
    const TileLayout layout(problem_, capacity_, count);
    load_tile<T>(problem_, problem_.inputs, layout, n, first, count, image_.data(), Keep::kBinary);
    load_tile<T>(problem_, problem_.infill, layout, n, first, count, infill_.data(), Keep::kBinary);
    for (int64_t i = 0; i < count; ++i) codes_[i] = keep_.code(n, first + i);
    if (Keep::kBinary && problem_.channels_last) expand(codes_.data(), count, problem_.channels, element_codes_.data());
    for (int64_t s = 0; s < problem_.steps; ++s) step(n, s, first, count, layout);
  }

 private:
  // Binary families keep the tile as finished output elements, the others in the compute type.
  template <bool kBinary, class A, class B>
  struct Choose {
    using type = A;
  };
  template <class A, class B>
  struct Choose<false, A, B> {
    using type = B;
  };
  using Stored = typename Choose<Keep::kBinary, Out, T>::type;

  SX_HD void step(int64_t n, int64_t s, int64_t first, int64_t count, const TileLayout& layout) {
    const typename Keep::Step step = keep_.step(n, s);
    Out* image = static_cast<Out*>(problem_.out) + (s * problem_.images + n) * problem_.image_elements();
    const T* weights = nullptr;
    if constexpr (!Keep::kBinary) {
      weigh(keep_, codes_.data(), step, count, weights_.data());
      if (problem_.channels_last) expand(weights_.data(), count, problem_.channels, element_weights_.data());
      weights = problem_.channels_last ? element_weights_.data() : weights_.data();
    }
    for (int64_t run = 0; run < layout.runs; ++run) {
      Out* target = problem_.channels_last ? image + first * problem_.channels : image + run * problem_.pixels() + first;
      Out* row = streams_ ? row_.data() : target;
      if constexpr (Keep::kBinary) {
        const auto* codes = problem_.channels_last ? element_codes_.data() : codes_.data();
        select(image_.data() + run * capacity_, infill_.data() + run * capacity_, codes, step, layout.run_elements, row);
      } else {
        const bool plain = problem_.mean == nullptr;
        blend(image_.data() + run * capacity_, infill_.data() + run * capacity_, weights,
              plain ? nullptr : means_.data() + run * capacity_, plain ? nullptr : stds_.data() + run * capacity_,
              layout.run_elements, row);
      }
      if (streams_) stream_copy(target, row, static_cast<size_t>(layout.run_elements) * sizeof(Out));
    }
  }

  // Both operands are loaded before the choice, so that the loop has no branch and vectorises.
  SX_HD static void select(const Out* image, const Out* infill, const typename Keep::Code* codes,
                           const typename Keep::Step& step, int64_t count, Out* out) {
    const auto* a = reinterpret_cast<const Bits<Out>*>(image);
    const auto* b = reinterpret_cast<const Bits<Out>*>(infill);
    auto* __restrict o = reinterpret_cast<Bits<Out>*>(out);
    const typename Keep::Step local = step;
    for (int64_t i = 0; i < count; ++i) {
      const Bits<Out> shown = a[i], hidden = b[i];
      o[i] = Keep::keep(codes[i], local) ? shown : hidden;
    }
  }

  // By value and restrict: a family read through `this` could alias the stores and keep the loop scalar.
  SX_HD static void weigh(const Keep keep, const typename Keep::Code* __restrict codes, const typename Keep::Step step,
                          int64_t count, T* __restrict weights) {
    for (int64_t i = 0; i < count; ++i) weights[i] = static_cast<T>(keep.weight(codes[i], step));
  }

  SX_HD static void blend(const T* __restrict image, const T* __restrict infill, const T* __restrict weights,
                          const T* __restrict means, const T* __restrict stds, int64_t count, Out* __restrict out) {
    if (means == nullptr) {
      for (int64_t i = 0; i < count; ++i) out[i] = cast_to<Out>(mix(weights[i], image[i], infill[i]));
    } else {
      for (int64_t i = 0; i < count; ++i) {
        out[i] = cast_to<Out>((mix(weights[i], image[i], infill[i]) - means[i]) / stds[i]);
      }
    }
  }

  const BlendProblem problem_;
  const Keep keep_;
  const int64_t capacity_;
  const bool streams_;
  std::vector<Stored> image_, infill_;
  std::vector<typename Keep::Code> codes_, element_codes_;
  std::vector<T> weights_, element_weights_, means_, stds_;
  std::vector<Out> row_;
};

template <class Out, class T, class Keep>
void render(int64_t begin, int64_t end, const BlendProblem& problem, const Keep& keep) {
  const int64_t capacity = tile_pixels(problem);
  const int64_t tiles = (problem.pixels() + capacity - 1) / capacity;
  Renderer<Out, T, Keep> renderer(problem, keep);
  run_best([&]() SX_INLINE_LAMBDA {
    for (int64_t unit = begin; unit < end; ++unit) renderer.tile(unit / tiles, unit % tiles * capacity);
  });
  stream_fence();
}

template <class Keep>
void render_any(int64_t begin, int64_t end, const BlendProblem& problem, const Keep& keep) {
  switch (problem.output) {
    case DType::kFloat64: return render<double, double>(begin, end, problem, keep);
    case DType::kFloat32: return render<float, float>(begin, end, problem, keep);
    case DType::kFloat16: return render<Half, float>(begin, end, problem, keep);
    case DType::kBFloat16: return render<BFloat16, float>(begin, end, problem, keep);
  }
}

}  // namespace

int64_t blend_units(const BlendProblem& problem) {
  if (problem.pixels() == 0 || problem.channels == 0 || problem.steps == 0) return 0;
  const int64_t capacity = tile_pixels(problem);
  return problem.images * ((problem.pixels() + capacity - 1) / capacity);
}

void blend_cpu(int64_t begin, int64_t end, const BlendProblem& problem, const KeepRank& keep) {
  render_any(begin, end, problem, keep);
}
void blend_cpu(int64_t begin, int64_t end, const BlendProblem& problem, const KeepBox& keep) {
  render_any(begin, end, problem, keep);
}
void blend_cpu(int64_t begin, int64_t end, const BlendProblem& problem, const KeepSegment& keep) {
  render_any(begin, end, problem, keep);
}
void blend_cpu(int64_t begin, int64_t end, const BlendProblem& problem, const KeepGrid& keep) {
  render_any(begin, end, problem, keep);
}
void blend_cpu(int64_t begin, int64_t end, const BlendProblem& problem, const KeepDense<float>& keep) {
  render_any(begin, end, problem, keep);
}
void blend_cpu(int64_t begin, int64_t end, const BlendProblem& problem, const KeepDense<double>& keep) {
  render_any(begin, end, problem, keep);
}

}  // namespace saliency_ext
