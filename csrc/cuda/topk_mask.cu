// topk_mask on the device: a radix select. It walks the digits of (key, tie-break word, pixel) from the most significant; at each
// it counts the pixels that agree so far, until the pixel at place `count` is known, and then compares all pixels with it.
// Rows are split into tiles of a block each, and all counts of a row share the reads. A level:
//   1. topk_count_kernel    a tile's digits of the pixels that agree, added up over the tiles: integers, so in any order
//   2. topk_choose_kernel   a warp per (row, count) takes the digit in which its place lies
// Words and pixels are only looked at in rows where several pixels have the key at the place.
#include "../kernels.h"
#include "block.cuh"
#include "index.cuh"
#include "launch.h"

namespace saliency_ext {
namespace {

using cuda::TopkTuning;

constexpr int kThreads = TopkTuning::kThreads, kTile = kThreads * TopkTuning::kItems, kGroup = TopkTuning::kGroup;
constexpr int kBins = 1 << TopkTuning::kDigitBits;

enum class Field { kKey, kWord, kPixel };

// What is known of the pixel at a place.
struct Limit {
  uint64_t key;
  uint32_t word, pixel;
  int64_t remaining;  // its place among the pixels that agree
  int64_t equal;      // how many of them agree in the last digit too
  int32_t tied;       // several pixels have its key
  int32_t trivial;    // count <= 0: 1, count >= pixels: 2, else 0
};

// Scratch memory. counts: two levels, of (rows, masks, kBins); a level's are cleared while the other one is chosen from.
struct Scratch {
  Limit* limits;  // (rows, masks)
  unsigned *even, *odd;

  __device__ unsigned* counts(int level) const { return level % 2 == 0 ? even : odd; }
};

// One digit of one field.
struct Level {
  Field field;
  int shift, bits;  // bits of the field
  int number;       // of levels before
  bool shared;      // all places of a row count alike: the first digit
  bool last;        // of the field
};

__device__ __forceinline__ bool takes_part(const Limit& limit, const Level& level) {
  return limit.trivial == 0 && (level.field == Field::kKey || (limit.tied != 0 && limit.equal > 1));
}

// Does the part of the field above the digit agree with what is known?
template <class Number>
__device__ __forceinline__ bool agrees(Number value, Number known, const Level& level) {
  const int above = level.shift + TopkTuning::kDigitBits;
  return above >= level.bits || ((value ^ known) >> above) == 0;
}

__global__ void __launch_bounds__(kThreads) topk_start_kernel(TopkProblem problem, Scratch scratch, int64_t first, int64_t places) {
  const int64_t at = cuda::global_thread();
  if (at >= places * kBins) return;
  scratch.even[first * kBins + at] = 0;
  scratch.odd[first * kBins + at] = 0;
  if (at >= places) return;
  const int64_t count = problem.counts[(first + at) % problem.masks];
  scratch.limits[first + at] = {0, 0, 0, count, 0, 0, count <= 0 ? 1 : (count >= problem.pixels ? 2 : 0)};
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    topk_count_kernel(TopkProblem problem, Scratch scratch, Level level, cuda::Divisor tiles, int64_t first_row) {
  using Key = Bits<T>;
  SX_SHARED(unsigned, histogram, kGroup * kBins);
  SX_SHARED(Limit, limits, kGroup);
  SX_SHARED(int, wanted, 1);
  const cuda::Quotient unit = tiles(blockIdx.x);
  const int64_t row = first_row + unit.quotient, first = static_cast<int64_t>(unit.remainder) * kTile;
  const T* saliency = static_cast<const T*>(problem.saliency) + row * problem.pixels;
  const int64_t masks = level.shared ? 1 : problem.masks;
  for (int64_t base = 0; base < masks; base += kGroup) {
    const int group = static_cast<int>(masks - base < kGroup ? masks - base : kGroup);
    if (threadIdx.x == 0) wanted[0] = 0;
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < group) {
      limits[threadIdx.x] = scratch.limits[row * problem.masks + base + threadIdx.x];
      if (level.shared || takes_part(limits[threadIdx.x], level)) atomicOr(&wanted[0], 1);
    }
    for (int i = static_cast<int>(threadIdx.x); i < group * kBins; i += kThreads) histogram[i] = 0;
    __syncthreads();
    if (wanted[0] != 0) {
      for (int item = 0; item < TopkTuning::kItems; ++item) {
        const int64_t i = first + item * kThreads + threadIdx.x;
        const bool there = i < problem.pixels;
        const Key key = there ? order_key(saliency[i]) : Key(0);
        const bool needs_word =
            level.field == Field::kWord || (level.field == Field::kPixel && problem.ties.kind == Ties::kRandom);
        const uint32_t word = there && needs_word ? problem.ties.word(row, i) : 0u;
        for (int k = 0; k < group; ++k) {
          const Limit& limit = limits[k];
          uint32_t digit = kBins;
          if (there && (level.shared || takes_part(limit, level))) {
            const Key known = static_cast<Key>(limit.key);
            if (level.field == Field::kKey) {
              if (agrees(key, known, level)) digit = static_cast<uint32_t>(key >> level.shift) & (kBins - 1);
            } else if (key == known && level.field == Field::kWord) {
              if (agrees(word, limit.word, level)) digit = word >> level.shift & (kBins - 1);
            } else if (key == known && word == limit.word) {
              const uint32_t pixel = static_cast<uint32_t>(i);
              if (agrees(pixel, limit.pixel, level)) digit = pixel >> level.shift & (kBins - 1);
            }
          }
          // Lanes with equal digits add once, or a map of equal values would queue up for one counter.
          const unsigned equal = cuda::warp_match_any(digit);
          if (digit < kBins && cuda::lane_id() == __ffs(static_cast<int>(equal)) - 1) {
            atomicAdd(&histogram[k * kBins + digit], static_cast<unsigned>(__popc(equal)));
          }
        }
      }
    }
    __syncthreads();
    unsigned* counts = scratch.counts(level.number) + (row * problem.masks + base) * kBins;
    for (int i = static_cast<int>(threadIdx.x); i < group * kBins; i += kThreads) {
      if (histogram[i] != 0) atomicAdd(&counts[i], histogram[i]);
    }
    __syncthreads();
  }
}

// A warp per place; a lane owns some digits that follow each other.
__global__ void __launch_bounds__(kThreads)
    topk_choose_kernel(Scratch scratch, Level level, int64_t masks, int64_t first_place, int64_t places) {
  constexpr int kOwn = kBins / cuda::kWarpSize;
  const int64_t at = cuda::global_thread() / cuda::kWarpSize;
  if (at >= places) return;
  const int64_t place = first_place + at;
  unsigned* others = scratch.counts(level.number + 1) + place * kBins;
  for (int bin = cuda::lane_id(); bin < kBins; bin += cuda::kWarpSize) others[bin] = 0;
  Limit limit = scratch.limits[place];
  if (!takes_part(limit, level)) return;
  const unsigned* counts = scratch.counts(level.number) + (level.shared ? place / masks * masks : place) * kBins;
  unsigned size[kOwn];
  int64_t sum = 0;
  SX_UNROLL
  for (int i = 0; i < kOwn; ++i) sum += size[i] = counts[cuda::lane_id() * kOwn + i];
  int64_t before = cuda::warp_exclusive_scan(sum);
  __syncwarp();  // every lane has read the limit before one writes it: a shuffle orders no memory
  SX_UNROLL
  for (int i = 0; i < kOwn; ++i) {
    if (before <= limit.remaining && limit.remaining < before + size[i]) {  // in one lane, once
      const uint64_t digit = static_cast<uint64_t>(cuda::lane_id() * kOwn + i) << level.shift;
      if (level.field == Field::kKey) limit.key |= digit;
      if (level.field == Field::kWord) limit.word |= static_cast<uint32_t>(digit);
      if (level.field == Field::kPixel) limit.pixel |= static_cast<uint32_t>(digit);
      limit.remaining -= before;
      limit.equal = size[i];
      if (level.field == Field::kKey && level.last) limit.tied = limit.equal > 1;
      scratch.limits[place] = limit;
      break;
    }
    before += size[i];
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    topk_compare_kernel(TopkProblem problem, Scratch scratch, cuda::Divisor tiles, int64_t first_row) {
  using Key = Bits<T>;
  const cuda::Quotient unit = tiles(blockIdx.x);
  const int64_t row = first_row + unit.quotient, first = static_cast<int64_t>(unit.remainder) * kTile;
  const T* saliency = static_cast<const T*>(problem.saliency) + row * problem.pixels;
  for (int item = 0; item < TopkTuning::kItems; ++item) {
    const int64_t i = first + item * kThreads + threadIdx.x;
    if (i >= problem.pixels) return;
    const Key key = order_key(saliency[i]);
    for (int64_t k = 0; k < problem.masks; ++k) {
      const Limit& limit = scratch.limits[row * problem.masks + k];
      const Key known = static_cast<Key>(limit.key);
      bool inside = limit.trivial == 2;
      if (limit.trivial == 0) {
        inside = key < known;
        if (limit.tied != 0 && key == known) {
          const OrderKey<Key> at_place{known, limit.word, static_cast<int64_t>(limit.pixel)};
          inside = OrderKey<Key>{key, problem.ties.word(row, i), i}.before(at_place);
        }
      }
      problem.out[(k * problem.rows + row) * problem.pixels + i] = inside;
    }
  }
}

int64_t places_of(const TopkProblem& problem) { return problem.rows * problem.masks; }

template <class T>
int launch(const TopkProblem& problem, void* memory, void* stream) {
  Scratch scratch;
  scratch.limits = static_cast<Limit*>(memory);
  scratch.even = reinterpret_cast<unsigned*>(scratch.limits + places_of(problem));
  scratch.odd = scratch.even + places_of(problem) * kBins;
  const int64_t tiles = cuda::blocks_for(problem.pixels, kTile), blocks_of_row = tiles > problem.masks ? tiles : problem.masks;
  const cuda::Divisor tiles_of_row(tiles);
  return cuda::launch_in_parts(problem.rows, blocks_of_row, [&](int64_t first, int64_t rows, unsigned) {
    const int64_t places = rows * problem.masks, first_place = first * problem.masks;
    const unsigned grid = static_cast<unsigned>(rows * tiles);
    const auto blocks = [](int64_t threads) { return static_cast<unsigned>(cuda::blocks_for(threads, kThreads)); };
    int status = SX_LAUNCH(topk_start_kernel, blocks(places * kBins), kThreads, stream, problem, scratch, first_place, places);
    int number = 0;
    const auto select = [&](Field field, int bits) {
      for (int shift = bits - TopkTuning::kDigitBits; shift >= 0 && status == 0; shift -= TopkTuning::kDigitBits, ++number) {
        const Level level{field, shift, bits, number, number == 0, shift == 0};
        status = SX_LAUNCH(topk_count_kernel<T>, grid, kThreads, stream, problem, scratch, level, tiles_of_row, first);
        if (status != 0) return;
        status = SX_LAUNCH(topk_choose_kernel, blocks(places * cuda::kWarpSize), kThreads, stream, scratch, level, problem.masks,
                           first_place, places);
      }
    };
    select(Field::kKey, 8 * static_cast<int>(sizeof(T)));
    if (problem.ties.kind == Ties::kRandom) select(Field::kWord, 32);
    int bits = TopkTuning::kDigitBits;
    while ((problem.pixels - 1) >> bits != 0) bits += TopkTuning::kDigitBits;
    select(Field::kPixel, bits);
    if (status != 0) return status;
    return SX_LAUNCH(topk_compare_kernel<T>, grid, kThreads, stream, problem, scratch, tiles_of_row, first);
  });
}

}  // namespace

int64_t topk_mask_scratch_bytes(const TopkProblem& problem) {
  return places_of(problem) * static_cast<int64_t>(sizeof(Limit) + 2 * kBins * sizeof(unsigned));
}

int topk_mask_cuda(const TopkProblem& problem, void* scratch, void* stream) {
  return problem.dtype == DType::kFloat64 ? launch<double>(problem, scratch, stream) : launch<float>(problem, scratch, stream);
}

}  // namespace saliency_ext
