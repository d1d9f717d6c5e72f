// The renderer on the device. A block owns a tile of one image's output, kTile consecutive elements, for some of the steps; a
// thread writes one 16-byte vector per step. Image and infill come into shared memory in the order of their own layout, which
// coalesces, and leave it in that of the output.
//   families that select   Each pixel's choices for the block's steps are one word of 32 bits. A step costs a thread a bit test
//                          and a select per element, of values that are normalised and cast already.
//   families that mix      At each step a warp takes the weights of its own pixels once, for all channels.
// Per step nothing is read but the step's parameters, so the bytes are those of the output.
#include "../kernels.h"
#include "block.cuh"
#include "index.cuh"
#include "launch.h"

namespace saliency_ext {
namespace {

using cuda::BlendTuning;

constexpr int kThreads = BlendTuning::kThreads;

// A vector of the output, and the tile of a block: elements.
template <class Out>
constexpr int kElements = cuda::kVectorOf<Out>;
template <class Out>
constexpr int kTile = kThreads * kElements<Out>;

// What the host knows of the shapes.
struct BlendShape {
  cuda::Divisor tiles, step_blocks, channels, pixels, width;
  int64_t steps_of_block;
  bool by_planes;   // the output is channels_last, image and infill are not
  bool dense_rows;  // rows of image and infill follow each other: a pixel's address needs no division
  bool aligned;     // each vector of the output is whole and begins at a multiple of 16 bytes
};

// Where an element of the tile lies. `pixel` may be 2^31 - 1.
struct Element {
  uint32_t channel, pixel;
};

// A tile: its first element as channel and pixel, from which its other elements are found in 32 bits.
struct Tile {
  int64_t first;
  int count;
  uint32_t channel, pixel;
  bool channels_last;

  __device__ __forceinline__ Element at(int i, const BlendShape& shape) const {
    if (channels_last) {
      const cuda::Quotient place = shape.channels(channel + static_cast<uint32_t>(i));
      return {place.remainder, pixel + place.quotient};
    }
    const cuda::Quotient place = shape.pixels(pixel + static_cast<uint32_t>(i));
    return {channel + place.quotient, place.remainder};
  }
};

template <class T>
__device__ __forceinline__ T value_at(const ImageView& view, int64_t n, Element e, const BlendShape& shape) {
  if (shape.dense_rows) {
    return static_cast<const T*>(view.data)[n * view.stride[0] + e.channel * view.stride[1] + e.pixel * view.stride[3]];
  }
  const cuda::Quotient place = shape.width(e.pixel);
  return view.at<T>(n, e.channel, place.quotient, place.remainder);
}

template <class Keep>
__device__ __forceinline__ typename Keep::Code code_at(const Keep& keep, int64_t n, uint32_t pixel, const BlendShape& shape) {
  if constexpr (std::is_same_v<typename Keep::Code, Place>) {
    const cuda::Quotient place = shape.width(pixel);
    return {static_cast<int32_t>(place.quotient), static_cast<int32_t>(place.remainder)};
  } else {
    return keep.code(n, pixel);
  }
}

// Calls body(place in the tile, element) for the tile's elements, in the order in which image and infill lie in memory.
template <class Body>
__device__ __forceinline__ void for_elements(const Tile& tile, const BlendShape& shape, const Body& body) {
  if (!shape.by_planes) {
    for (int i = static_cast<int>(threadIdx.x); i < tile.count; i += kThreads) body(i, tile.at(i, shape));
    return;
  }
  const int channels = static_cast<int>(shape.channels.value());
  const uint32_t last = tile.at(tile.count - 1, shape).pixel;
  for (uint32_t pixel = tile.pixel + threadIdx.x; pixel <= last; pixel += kThreads) {
    for (int c = 0; c < channels; ++c) {
      const int i = static_cast<int>(pixel - tile.pixel) * channels + c - static_cast<int>(tile.channel);
      if (i >= 0 && i < tile.count) body(i, Element{static_cast<uint32_t>(c), pixel});
    }
  }
}

// The thread's vector of an array in shared memory.
template <class Stored, int kCount>
__device__ __forceinline__ void take(const Stored* tile, Stored (&vector)[kCount]) {
  constexpr int kParts = static_cast<int>(sizeof(vector)) / 16, kPart = kCount / kParts;
  SX_UNROLL
  for (int part = 0; part < kParts; ++part) {
    Stored values[kPart];
    cuda::load16(tile + static_cast<int>(threadIdx.x) * kCount + part * kPart, values);
    SX_UNROLL
    for (int i = 0; i < kPart; ++i) vector[part * kPart + i] = values[i];
  }
}

template <class Out>
__device__ __forceinline__ void write(const BlendProblem& problem, const Tile& tile, bool aligned, int64_t n, int64_t s,
                                      const Out (&result)[kElements<Out>]) {
  const int first = static_cast<int>(threadIdx.x) * kElements<Out>;
  Out* target = static_cast<Out*>(problem.out) + (s * problem.images + n) * problem.image_elements() + tile.first + first;
  if (aligned) {
    if (first < tile.count) cuda::store16(target, result);
    return;
  }
  SX_UNROLL
  for (int i = 0; i < kElements<Out>; ++i) {
    if (first + i < tile.count) target[i] = result[i];
  }
}

template <class Out>
__device__ __forceinline__ Tile tile_of(const BlendProblem& problem, int64_t number) {
  Tile tile;
  tile.first = number * kTile<Out>;
  const int64_t left = problem.image_elements() - tile.first;
  tile.count = static_cast<int>(left < kTile<Out> ? left : kTile<Out>);
  tile.channels_last = problem.channels_last;
  const ElementPlace place = place_of(problem, tile.first);
  tile.channel = static_cast<uint32_t>(place.channel), tile.pixel = static_cast<uint32_t>(place.pixel);
  return tile;
}

// Place in shared memory of a number per pixel: a word later per eight, so that lanes some pixels apart meet no bank often.
__device__ __forceinline__ int spread(int pixel) { return pixel + pixel / 8; }

// Families that select. `choices` holds a word per pixel: of the tile's pixels, or of each element where the tile goes over the
// end of a plane.
template <class Out, class T, class Keep>
__global__ void __launch_bounds__(kThreads)
    select_kernel(BlendProblem problem, Keep keep, BlendShape shape, int64_t first_image) {
  SX_SHARED(cuda::Bytes16, shown_bytes, kThreads);
  SX_SHARED(cuda::Bytes16, hidden_bytes, kThreads);
  SX_SHARED(uint32_t, choices, kTile<Out> + kTile<Out> / 8);
  Out *shown_tile = reinterpret_cast<Out*>(shown_bytes), *hidden_tile = reinterpret_cast<Out*>(hidden_bytes);
  const cuda::Quotient part = shape.step_blocks(blockIdx.x), unit = shape.tiles(part.quotient);
  const int64_t n = first_image + unit.quotient, first_step = part.remainder * shape.steps_of_block;
  const int64_t left = problem.steps - first_step;
  const int steps = static_cast<int>(left < shape.steps_of_block ? left : shape.steps_of_block);
  const Tile tile = tile_of<Out>(problem, unit.remainder);

  // 1. Load, normalise and cast once.
  for_elements(tile, shape, [&](int i, Element e) {
    shown_tile[i] = cast_to<Out>(normalise(value_at<T>(problem.inputs, n, e, shape), problem.mean, problem.std, e.channel));
    hidden_tile[i] = cast_to<Out>(normalise(value_at<T>(problem.infill, n, e, shape), problem.mean, problem.std, e.channel));
  });

  // 2. Choices of each pixel for all steps.
  const int words = tile.channels_last ? static_cast<int>(tile.at(tile.count - 1, shape).pixel - tile.pixel) + 1 : tile.count;
  for (int i = static_cast<int>(threadIdx.x); i < words; i += kThreads) {
    const uint32_t pixel = tile.channels_last ? tile.pixel + static_cast<uint32_t>(i) : tile.at(i, shape).pixel;
    const typename Keep::Code code = code_at(keep, n, pixel, shape);
    uint32_t word = 0;
    for (int s = 0; s < steps; ++s) word |= static_cast<uint32_t>(Keep::keep(code, keep.step(n, first_step + s))) << s;
    choices[spread(i)] = word;
  }
  __syncthreads();

  // 3. One vector per step.
  Out shown[kElements<Out>], hidden[kElements<Out>], result[kElements<Out>];
  uint32_t word[kElements<Out>];
  take(shown_tile, shown);
  take(hidden_tile, hidden);
  SX_UNROLL
  for (int i = 0; i < kElements<Out>; ++i) {
    const int at = static_cast<int>(threadIdx.x) * kElements<Out> + i, inside = at < tile.count ? at : 0;
    word[i] = choices[spread(tile.channels_last ? static_cast<int>(tile.at(inside, shape).pixel - tile.pixel) : inside)];
  }
  for (int s = 0; s < steps; ++s) {
    SX_UNROLL
    for (int i = 0; i < kElements<Out>; ++i) result[i] = (word[i] >> s & 1u) != 0 ? shown[i] : hidden[i];
    write<Out>(problem, tile, shape.aligned, n, first_step + s, result);
  }
}

// Families whose step is a row of bits, read at random: those of the block's steps fit into shared memory where they are few.
template <class Keep>
concept HasBits = requires(const Keep& keep) { keep.bits_of_step(); };

template <class Keep>
__device__ __forceinline__ bool load_bits(const Keep& keep, int64_t n, int64_t first_step, int64_t stop, uint8_t* bits) {
  if constexpr (HasBits<Keep>) {
    const int64_t count = (stop - first_step) * keep.bits_of_step();
    if (count > BlendTuning::kBits) return false;
    const uint8_t* from = keep.step(n, first_step).bits;
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) bits[i] = from[i];
    return true;
  } else {
    return false;
  }
}

// Families that mix. Element i of a vector has the channel of element i % kPeriod.
template <class Out, class T, class Keep, int kPeriod>
__global__ void __launch_bounds__(kThreads, kPeriod > 4 ? 2 : 3)
    mix_kernel(BlendProblem problem, Keep keep, BlendShape shape, int64_t first_image) {
  constexpr int kCount = kElements<Out>;
  SX_SHARED(cuda::Bytes16, stage, 2 * kTile<Out> * static_cast<int>(sizeof(T)) / 16);
  T *image_tile = reinterpret_cast<T*>(stage), *infill_tile = image_tile + kTile<Out>;
  const cuda::Quotient part = shape.step_blocks(blockIdx.x), unit = shape.tiles(part.quotient);
  const int64_t n = first_image + unit.quotient, first_step = part.remainder * shape.steps_of_block;
  const int64_t stop = first_step + shape.steps_of_block < problem.steps ? first_step + shape.steps_of_block : problem.steps;
  const Tile tile = tile_of<Out>(problem, unit.remainder);
  SX_SHARED(uint8_t, bits, BlendTuning::kBits);
  const bool has_bits = load_bits(keep, n, first_step, stop, bits);

  // 1. Operands of the thread's elements.
  for_elements(tile, shape, [&](int i, Element e) {
    image_tile[i] = value_at<T>(problem.inputs, n, e, shape);
    infill_tile[i] = value_at<T>(problem.infill, n, e, shape);
  });
  __syncthreads();
  T image[kCount], infill[kCount], mean[kPeriod], std[kPeriod];
  take(image_tile, image);
  take(infill_tile, infill);
  __syncthreads();

  // 2. The warp's pixels, which begin at a multiple of eight so that weights from memory are whole sectors.
  const int first = cuda::warp_id() * cuda::kWarpSize * kCount, own = static_cast<int>(threadIdx.x) * kCount;
  if (first >= tile.count) return;
  const int last = first + cuda::kWarpSize * kCount <= tile.count ? first + cuda::kWarpSize * kCount - 1 : tile.count - 1;
  const Element begin = tile.at(first, shape), end = tile.at(last, shape);
  const uint32_t base = begin.pixel & ~7u;
  const int pixels = static_cast<int>(end.pixel - base) + 1;
  const bool one_run = tile.channels_last || begin.channel == end.channel;
  T* weights = image_tile + cuda::warp_id() * (2 * cuda::kWarpSize * kCount);
  const auto element = [&](int i) { return tile.at(own + i < tile.count ? own + i : first, shape); };
  int slot[kCount];
  SX_UNROLL
  for (int i = 0; i < kCount; ++i) slot[i] = spread(static_cast<int>(element(i).pixel - base));
  SX_UNROLL
  for (int i = 0; i < kPeriod; ++i) {
    mean[i] = problem.mean == nullptr ? T(0) : static_cast<const T*>(problem.mean)[element(i).channel];
    std[i] = problem.mean == nullptr ? T(1) : static_cast<const T*>(problem.std)[element(i).channel];
  }

  // 3. One vector per step.
  for (int64_t s = first_step; s < stop; ++s) {
    typename Keep::Step step = keep.step(n, s);
    if constexpr (HasBits<Keep>) step.bits = has_bits ? bits + (s - first_step) * keep.bits_of_step() : step.bits;
    if (one_run) {
      for (int k = cuda::lane_id(); k < pixels; k += cuda::kWarpSize) {
        weights[spread(k)] = static_cast<T>(keep.weight(code_at(keep, n, base + static_cast<uint32_t>(k), shape), step));
      }
      __syncwarp();
    }
    Out result[kCount];
    SX_UNROLL
    for (int i = 0; i < kCount; ++i) {
      const T weight = one_run ? weights[slot[i]]
                               : static_cast<T>(keep.weight(code_at(keep, n, element(i).pixel, shape), step));
      const T value = mix(weight, image[i], infill[i]);
      result[i] = cast_to<Out>(problem.mean == nullptr ? value : (value - mean[i % kPeriod]) / std[i % kPeriod]);
    }
    write<Out>(problem, tile, shape.aligned, n, s, result);
    __syncwarp();
  }
}

bool rows_are_dense(const ImageView& view, int64_t height, int64_t width) {
  return height <= 1 || view.stride[2] == width * view.stride[3];
}

template <class Out, class T, class Keep>
int launch(const BlendProblem& problem, const Keep& keep, void* stream) {
  const int64_t elements = problem.image_elements(), tiles = cuda::blocks_for(elements, kTile<Out>);
  BlendShape shape;
  shape.steps_of_block = problem.steps < BlendTuning::kSteps ? problem.steps : BlendTuning::kSteps;
  const int64_t wanted = BlendTuning::kBlocksPerMultiprocessor * cuda::multiprocessors();
  while (shape.steps_of_block > BlendTuning::kLeastSteps &&
         tiles * problem.images * cuda::blocks_for(problem.steps, shape.steps_of_block) < wanted) {
    shape.steps_of_block = (shape.steps_of_block + 1) / 2;
  }
  const int64_t step_blocks = cuda::blocks_for(problem.steps, shape.steps_of_block);
  shape.steps_of_block = cuda::blocks_for(problem.steps, step_blocks);  // alike many for all
  shape.tiles = cuda::Divisor(tiles);
  shape.step_blocks = cuda::Divisor(step_blocks);
  shape.channels = cuda::Divisor(problem.channels);
  shape.pixels = cuda::Divisor(problem.pixels());
  shape.width = cuda::Divisor(problem.width);
  shape.by_planes = problem.channels_last && problem.inputs.stride[1] != 1 && problem.channels > 1;
  shape.dense_rows = rows_are_dense(problem.inputs, problem.height, problem.width) &&
                     rows_are_dense(problem.infill, problem.height, problem.width);
  shape.aligned = elements % kElements<Out> == 0 && reinterpret_cast<uintptr_t>(problem.out) % 16 == 0;
  return cuda::launch_in_parts(problem.images, tiles * step_blocks, [&](int64_t first, int64_t, unsigned grid) {
    if constexpr (Keep::kBinary) {
      return SX_LAUNCH((select_kernel<Out, T, Keep>), grid, kThreads, stream, problem, keep, shape, first);
    } else {
      constexpr int kShort = kElements<Out> < 3 ? kElements<Out> : 3;
      const bool repeats =
          problem.channels == 1 || (problem.channels_last ? problem.channels == 3 : problem.pixels() % kElements<Out> == 0);
      return repeats ? SX_LAUNCH((mix_kernel<Out, T, Keep, kShort>), grid, kThreads, stream, problem, keep, shape, first)
                     : SX_LAUNCH((mix_kernel<Out, T, Keep, kElements<Out>>), grid, kThreads, stream, problem, keep, shape,
                                 first);
    }
  });
}

// Computed in float32. A dense mask is of the type that is computed in, so these are all that a float mask can ask for.
template <class Keep>
int launch_float(const BlendProblem& problem, const Keep& keep, void* stream) {
  switch (problem.output) {
    case DType::kFloat32: return launch<float, float>(problem, keep, stream);
    case DType::kFloat16: return launch<Half, float>(problem, keep, stream);
    default: return launch<BFloat16, float>(problem, keep, stream);
  }
}

template <class Keep>
int launch_any(const BlendProblem& problem, const Keep& keep, void* stream) {
  return problem.output == DType::kFloat64 ? launch<double, double>(problem, keep, stream)
                                           : launch_float(problem, keep, stream);
}

}  // namespace

int blend_cuda(const BlendProblem& problem, const KeepRank& keep, void* stream) { return launch_any(problem, keep, stream); }
int blend_cuda(const BlendProblem& problem, const KeepBox& keep, void* stream) { return launch_any(problem, keep, stream); }
int blend_cuda(const BlendProblem& problem, const KeepSegment& keep, void* stream) {
  return launch_any(problem, keep, stream);
}
int blend_cuda(const BlendProblem& problem, const KeepGrid& keep, void* stream) { return launch_any(problem, keep, stream); }
int blend_cuda(const BlendProblem& problem, const KeepDense<float>& keep, void* stream) {
  return launch_float(problem, keep, stream);
}
int blend_cuda(const BlendProblem& problem, const KeepDense<double>& keep, void* stream) {
  return launch<double, double>(problem, keep, stream);
}

}  // namespace saliency_ext
