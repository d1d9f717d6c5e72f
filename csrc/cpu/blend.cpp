// The renderer on the CPU. Unit: a tile of pixels of one image, all channels, all steps.
//
// Per tile: load image and infill once. The families that choose normalise and cast them once, and then per step only move
// bits: out = keep ? image : infill over a run of consecutive output elements. Those that mix do the arithmetic per step.
// A tile's working set (two images, codes or shares, one finished row) stays in the first-level cache.
#include <algorithm>
#include <vector>

#include "../kernels.h"
#include "blend_shares.h"
#include "blend_tile.h"
#include "multiversion.h"
#include "streaming_store.h"

namespace saliency_ext {
namespace {

// Where finished elements go: straight to the output, or through a row in cache where the output is too large to stay there.
template <class Out>
class Target {
 public:
  Target(const BlendProblem& problem, int64_t capacity)
      : problem_(problem),
        streams_(exceeds_last_level_cache(problem.steps * problem.images * problem.image_elements() *
                                          static_cast<int64_t>(sizeof(Out)))),
        row_(capacity * (problem.channels_last ? problem.channels : 1)) {}

  // Calls write(run, elements) for each run of consecutive output elements of a tile.
  template <class Write>
  SX_HD void fill(int64_t n, int64_t s, int64_t first, const TileLayout& layout, const Write& write) {
    Out* image = static_cast<Out*>(problem_.out) + (s * problem_.images + n) * problem_.image_elements();
    for (int64_t run = 0; run < layout.runs; ++run) {
      Out* target = problem_.channels_last ? image + first * problem_.channels : image + run * problem_.pixels() + first;
      Out* row = streams_ ? row_.data() : target;
      write(run, row);
      if (streams_) stream_copy(target, row, static_cast<size_t>(layout.run_elements) * sizeof(Out));
    }
  }

 private:
  const BlendProblem problem_;
  const bool streams_;
  std::vector<Out> row_;
};

// Families that keep or remove: the tile is kept as finished output elements.
template <class Out, class T, class Keep>
class SelectRenderer {
 public:
  SelectRenderer(const BlendProblem& problem, const Keep& keep)
      : problem_(problem),
        keep_(keep),
        capacity_(tile_pixels(problem)),
        target_(problem, capacity_),
        image_(capacity_ * problem.channels),
        infill_(capacity_ * problem.channels),
        codes_(capacity_),
        element_codes_(problem.channels_last ? capacity_ * problem.channels : 0) {}

  int64_t steps_at_once() const { return problem_.steps; }

  SX_HD void tile(int64_t n, int64_t first, int64_t begin, int64_t end) {
    const int64_t count = std::min(capacity_, problem_.pixels() - first);
    const TileLayout layout(problem_, capacity_, count);
    load_tile<T>(problem_, problem_.inputs, layout, n, first, count, image_.data(), true);
    load_tile<T>(problem_, problem_.infill, layout, n, first, count, infill_.data(), true);
    for (int64_t i = 0; i < count; ++i) codes_[i] = keep_.code(n, first + i);
    if (problem_.channels_last) expand(codes_.data(), count, problem_.channels, element_codes_.data());
    const auto* codes = problem_.channels_last ? element_codes_.data() : codes_.data();
    for (int64_t s = begin; s < end; ++s) {
      const typename Keep::Step step = keep_.step(n, s);
      target_.fill(n, s, first, layout, [&](int64_t run, Out* row) SX_INLINE_LAMBDA {
        select(image_.data() + run * capacity_, infill_.data() + run * capacity_, codes, step, layout.run_elements, row);
      });
    }
  }

 private:
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

  const BlendProblem problem_;
  const Keep keep_;
  const int64_t capacity_;
  Target<Out> target_;
  std::vector<Out> image_, infill_;
  std::vector<typename Keep::Code> codes_, element_codes_;
};

// Families that mix: the tile is kept in the compute type, and normalised after the mixing.
template <class Out, class T, class Keep, class Shares>
class BlendRenderer {
 public:
  BlendRenderer(const BlendProblem& problem, const Keep& keep)
      : problem_(problem),
        capacity_(tile_pixels(problem)),
        target_(problem, capacity_),
        shares_(problem, keep, capacity_),
        image_(capacity_ * problem.channels),
        infill_(capacity_ * problem.channels) {
    if (problem.mean == nullptr) return;
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

  int64_t steps_at_once() const { return shares_.steps_at_once(); }

  SX_HD void tile(int64_t n, int64_t first, int64_t begin, int64_t end) {
    const int64_t count = std::min(capacity_, problem_.pixels() - first);
    const TileLayout layout(problem_, capacity_, count);
    load_tile<T>(problem_, problem_.inputs, layout, n, first, count, image_.data(), false);
    load_tile<T>(problem_, problem_.infill, layout, n, first, count, infill_.data(), false);
    shares_.prepare(n, begin, end);
    for (int64_t s = begin; s < end; ++s) {
      target_.fill(n, s, first, layout, [&](int64_t run, Out* row) SX_INLINE_LAMBDA {
        shares_.pieces(n, s, first, count, [&](int64_t at, int64_t length, const auto& share) SX_INLINE_LAMBDA {
          const int64_t place = run * capacity_ + at;
          const bool plain = problem_.mean == nullptr;
          blend(image_.data() + place, infill_.data() + place, share, plain ? nullptr : means_.data() + place,
                plain ? nullptr : stds_.data() + place, length, row + at);
        });
      });
    }
  }

 private:
  template <class Share>
  SX_HD static void blend(const T* __restrict image, const T* __restrict infill, const Share share,
                          const T* __restrict means, const T* __restrict stds, int64_t count, Out* __restrict out) {
    if (means == nullptr) {
      for (int64_t i = 0; i < count; ++i) out[i] = cast_to<Out>(mix(static_cast<T>(share(i)), image[i], infill[i]));
    } else {
      for (int64_t i = 0; i < count; ++i) {
        out[i] = cast_to<Out>((mix(static_cast<T>(share(i)), image[i], infill[i]) - means[i]) / stds[i]);
      }
    }
  }

  const BlendProblem problem_;
  const int64_t capacity_;
  Target<Out> target_;
  Shares shares_;
  std::vector<T> image_, infill_, means_, stds_;
};

template <class Out, class T, class Keep>
struct RendererOf {
  using type = SelectRenderer<Out, T, Keep>;
};
template <class Out, class T>
struct RendererOf<Out, T, KeepGrid> {
  using type = BlendRenderer<Out, T, KeepGrid, GridShares>;
};
template <class Out, class T, class M>
struct RendererOf<Out, T, KeepDense<M>> {
  using type = BlendRenderer<Out, T, KeepDense<M>, DenseShares<M>>;
};

template <class Out, class T, class Keep>
void render(int64_t begin, int64_t end, const BlendProblem& problem, const Keep& keep) {
  const int64_t capacity = tile_pixels(problem);
  const int64_t tiles = (problem.pixels() + capacity - 1) / capacity;
  typename RendererOf<Out, T, Keep>::type renderer(problem, keep);
  run_best([&]() SX_INLINE_LAMBDA {
    for (int64_t first = 0; first < problem.steps; first += renderer.steps_at_once()) {
      const int64_t last = std::min(problem.steps, first + renderer.steps_at_once());
      for (int64_t unit = begin; unit < end; ++unit) renderer.tile(unit / tiles, unit % tiles * capacity, first, last);
    }
  });
  stream_fence();
}

// Computed in float32. A dense mask is of the type that is computed in, so these are all that a float mask can ask for.
template <class Keep>
void render_float(int64_t begin, int64_t end, const BlendProblem& problem, const Keep& keep) {
  switch (problem.output) {
    case DType::kFloat32: return render<float, float>(begin, end, problem, keep);
    case DType::kFloat16: return render<Half, float>(begin, end, problem, keep);
    default: return render<BFloat16, float>(begin, end, problem, keep);
  }
}

template <class Keep>
void render_any(int64_t begin, int64_t end, const BlendProblem& problem, const Keep& keep) {
  if (problem.output == DType::kFloat64) {
    render<double, double>(begin, end, problem, keep);
  } else {
    render_float(begin, end, problem, keep);
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
  render_float(begin, end, problem, keep);
}
void blend_cpu(int64_t begin, int64_t end, const BlendProblem& problem, const KeepDense<double>& keep) {
  render<double, double>(begin, end, problem, keep);
}

}  // namespace saliency_ext
