// rank on the device: a stable least-significant-digit radix sort of (key, pixel), eight bits a pass: four passes for float32,
// eight for float64; the last one writes ranks. Ties at random sort by the tie-break word first: four passes more.
// A row is split into tiles of a block each, so that a single row keeps many multiprocessors busy. A pass:
//   1. count the digits of each tile
//   2. offsets = exclusive sum over (digit, tile), a block per row
//   3. scatter: each tile is sorted by its digit in shared memory, so that equal digits leave it next to each other
// In a tile each warp owns a contiguous segment: reads are coalesced and order is kept. Lanes with equal digits find each other
// by a match and their lowest lane adds for all, so maps of many equal values cost no more.
#include <utility>

#include "../kernels.h"
#include "block.cuh"
#include "index.cuh"
#include "launch.h"

namespace saliency_ext {
namespace {

using cuda::RankTuning;

constexpr int kThreads = RankTuning::kThreads, kWarps = kThreads / cuda::kWarpSize, kItems = RankTuning::kItems;
constexpr int kTile = kThreads * kItems, kSegment = cuda::kWarpSize * kItems;
constexpr int kBins = 1 << RankTuning::kDigitBits;
static_assert(kBins == kThreads, "a thread owns a digit");
constexpr uint32_t kNoDigit = kBins;  // lanes past the end of the row

// Keys and pixels of all rows, twice: a pass reads one pair and writes the other. counts: (rows, tiles, kBins).
template <class Key>
struct Buffers {
  Key *keys, *next_keys;
  int32_t *pixels, *next_pixels;
  int32_t* counts;
};

enum class Source { kWords, kSaliency, kBuffers };  // what a pass sorts by: tie-break words or saliency the first time

struct Pass {
  Source source;
  int shift;
  bool sorted_before;  // by words: buffers.pixels holds the order so far
  bool last;
};

template <class Key>
struct Entry {
  Key key;
  int32_t pixel;
};

// Entry at place i of a row.
template <class T>
__device__ __forceinline__ Entry<Bits<T>> load(const RankProblem& problem, const Buffers<Bits<T>>& buffers, const Pass& pass,
                                               int64_t row, int64_t i) {
  using Key = Bits<T>;
  const int64_t at = row * problem.pixels + i;
  if (pass.source == Source::kBuffers) return {buffers.keys[at], buffers.pixels[at]};
  if (pass.source == Source::kWords) return {static_cast<Key>(problem.ties.word(row, i)), static_cast<int32_t>(i)};
  const int32_t pixel = pass.sorted_before ? buffers.pixels[at] : static_cast<int32_t>(i);
  return {order_key(static_cast<const T*>(problem.saliency)[row * problem.pixels + pixel]), pixel};
}

template <class Key>
__device__ __forceinline__ uint32_t digit_of(Key key, int shift) {
  return static_cast<uint32_t>(key >> shift) & (kBins - 1);
}

// A tile: its row, its number there, and the places in the row of the thread's warp.
struct Tile {
  int64_t row;
  uint32_t number;
  int64_t first;  // of the warp's segment
  int64_t count;  // of the row
};
__device__ __forceinline__ Tile tile_of(const RankProblem& problem, const cuda::Divisor& tiles, int64_t first_row) {
  const cuda::Quotient unit = tiles(blockIdx.x);
  return {first_row + unit.quotient, unit.remainder,
          static_cast<int64_t>(unit.remainder) * kTile + cuda::warp_id() * kSegment, problem.pixels};
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    rank_count_kernel(RankProblem problem, Buffers<Bits<T>> buffers, Pass pass, cuda::Divisor tiles, int64_t first_row) {
  SX_SHARED(int32_t, counts, kWarps * kBins);
  const Tile tile = tile_of(problem, tiles, first_row);
  int32_t* own = counts + cuda::warp_id() * kBins;
  for (int bin = cuda::lane_id(); bin < kBins; bin += cuda::kWarpSize) own[bin] = 0;
  __syncwarp();
  for (int item = 0; item < kItems; ++item) {
    const int64_t i = tile.first + item * cuda::kWarpSize + cuda::lane_id();
    uint32_t digit = kNoDigit;
    if (i < tile.count) digit = digit_of(load<T>(problem, buffers, pass, tile.row, i).key, pass.shift);
    const unsigned equal = cuda::warp_match_any(digit);
    if (digit != kNoDigit && cuda::lane_id() == __ffs(static_cast<int>(equal)) - 1) own[digit] += __popc(equal);
    __syncwarp();
  }
  __syncthreads();
  int32_t sum = 0;
  for (int warp = 0; warp < kWarps; ++warp) sum += counts[warp * kBins + threadIdx.x];
  buffers.counts[(tile.row * tiles.value() + tile.number) * kBins + threadIdx.x] = sum;
}

// A block per row; a thread per digit.
__global__ void __launch_bounds__(kThreads) rank_offset_kernel(int32_t* counts, int64_t tiles, int64_t first_row) {
  int32_t* of_digit = counts + (first_row + blockIdx.x) * tiles * kBins + threadIdx.x;
  int32_t sum = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) sum += of_digit[tile * kBins];
  int32_t total;
  int32_t running = cuda::block_exclusive_scan<kThreads>(sum, &total);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const int32_t size = of_digit[tile * kBins];
    of_digit[tile * kBins] = running;
    running += size;
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    rank_scatter_kernel(RankProblem problem, Buffers<Bits<T>> buffers, Pass pass, cuda::Divisor tiles, int64_t first_row) {
  using Key = Bits<T>;
  SX_SHARED(int32_t, counts, kWarps * kBins);  // of a warp's digits; then where they begin in the tile
  SX_SHARED(int32_t, offsets, kBins);          // of a digit: its place in the row, less its place in the tile
  SX_SHARED(Key, keys, kTile);
  SX_SHARED(int32_t, pixels, kTile);
  const Tile tile = tile_of(problem, tiles, first_row);
  int32_t* own = counts + cuda::warp_id() * kBins;
  for (int bin = cuda::lane_id(); bin < kBins; bin += cuda::kWarpSize) own[bin] = 0;
  __syncwarp();

  // 1. Entries, and how many with the same digit came before each in its warp.
  Entry<Key> entries[kItems];
  int32_t before[kItems];
  SX_UNROLL
  for (int item = 0; item < kItems; ++item) {
    const int64_t i = tile.first + item * cuda::kWarpSize + cuda::lane_id();
    entries[item] = {};
    if (i < tile.count) entries[item] = load<T>(problem, buffers, pass, tile.row, i);
    const uint32_t digit = i < tile.count ? digit_of(entries[item].key, pass.shift) : kNoDigit;
    const unsigned equal = cuda::warp_match_any(digit);
    const int earlier = __popc(equal & ((1u << cuda::lane_id()) - 1u));
    before[item] = digit != kNoDigit ? own[digit] + earlier : 0;
    __syncwarp();
    if (digit != kNoDigit && earlier == 0) own[digit] += __popc(equal);
    __syncwarp();
  }
  __syncthreads();

  // 2. Where each warp's digits begin in the tile.
  int32_t size = 0;
  for (int warp = 0; warp < kWarps; ++warp) size += counts[warp * kBins + threadIdx.x];
  int32_t in_tile;
  int32_t running = cuda::block_exclusive_scan<kThreads>(size, &in_tile);
  offsets[threadIdx.x] = buffers.counts[(tile.row * tiles.value() + tile.number) * kBins + threadIdx.x] - running;
  for (int warp = 0; warp < kWarps; ++warp) {
    const int32_t of_warp = counts[warp * kBins + threadIdx.x];
    counts[warp * kBins + threadIdx.x] = running;
    running += of_warp;
  }
  __syncthreads();

  // 3. Ranks, or the tile in order.
  SX_UNROLL
  for (int item = 0; item < kItems; ++item) {
    const int64_t i = tile.first + item * cuda::kWarpSize + cuda::lane_id();
    if (i >= tile.count) continue;
    const uint32_t digit = digit_of(entries[item].key, pass.shift);
    const int32_t place = own[digit] + before[item];
    if (pass.last) {
      problem.ranks[tile.row * problem.pixels + entries[item].pixel] = offsets[digit] + place;
    } else {
      keys[place] = entries[item].key;
      pixels[place] = entries[item].pixel;
    }
  }
  if (pass.last) return;
  __syncthreads();
  for (int place = static_cast<int>(threadIdx.x); place < in_tile; place += kThreads) {
    const Key key = keys[place];
    const int64_t at = tile.row * problem.pixels + offsets[digit_of(key, pass.shift)] + place;
    buffers.next_keys[at] = key;
    buffers.next_pixels[at] = pixels[place];
  }
}

int64_t tiles_of(const RankProblem& problem) { return cuda::blocks_for(problem.pixels, kTile); }

template <class Key>
Buffers<Key> buffers_of(const RankProblem& problem, void* scratch) {
  const int64_t count = problem.rows * problem.pixels;
  Buffers<Key> buffers;
  buffers.keys = static_cast<Key*>(scratch);
  buffers.next_keys = buffers.keys + count;
  buffers.pixels = reinterpret_cast<int32_t*>(buffers.next_keys + count);
  buffers.next_pixels = buffers.pixels + count;
  buffers.counts = buffers.next_pixels + count;
  return buffers;
}

template <class T>
int launch(const RankProblem& problem, void* scratch, void* stream) {
  const int64_t tiles = tiles_of(problem);
  const cuda::Divisor tiles_of_row(tiles);
  return cuda::launch_in_parts(problem.rows, tiles, [&](int64_t first, int64_t rows, unsigned grid) {
    Buffers<Bits<T>> buffers = buffers_of<Bits<T>>(problem, scratch);
    const auto sort_by = [&](const Pass& pass) {
      int status = SX_LAUNCH(rank_count_kernel<T>, grid, kThreads, stream, problem, buffers, pass, tiles_of_row, first);
      if (status != 0) return status;
      status = SX_LAUNCH(rank_offset_kernel, static_cast<unsigned>(rows), kThreads, stream, buffers.counts, tiles, first);
      if (status != 0) return status;
      status = SX_LAUNCH(rank_scatter_kernel<T>, grid, kThreads, stream, problem, buffers, pass, tiles_of_row, first);
      std::swap(buffers.keys, buffers.next_keys);
      std::swap(buffers.pixels, buffers.next_pixels);
      return status;
    };
    const bool random = problem.ties.kind == Ties::kRandom;
    int status = 0;
    for (int shift = 0; random && shift < 32 && status == 0; shift += RankTuning::kDigitBits) {
      status = sort_by({shift == 0 ? Source::kWords : Source::kBuffers, shift, false, false});
    }
    constexpr int kKeyBits = 8 * static_cast<int>(sizeof(T));
    for (int shift = 0; shift < kKeyBits && status == 0; shift += RankTuning::kDigitBits) {
      const bool last = shift + RankTuning::kDigitBits >= kKeyBits;
      status = sort_by({shift == 0 ? Source::kSaliency : Source::kBuffers, shift, random, last});
    }
    return status;
  });
}

}  // namespace

int64_t rank_scratch_bytes(const RankProblem& problem) {
  const int64_t key = problem.dtype == DType::kFloat64 ? 8 : 4;
  return problem.rows * (2 * problem.pixels * (key + 4) + tiles_of(problem) * kBins * 4);
}

int rank_cuda(const RankProblem& problem, void* scratch, void* stream) {
  return problem.dtype == DType::kFloat64 ? launch<double>(problem, scratch, stream) : launch<float>(problem, scratch, stream);
}

const char* cuda_status_text(int status) { return cudaGetErrorString(static_cast<cudaError_t>(status)); }

}  // namespace saliency_ext
