#pragma once
// What every CUDA file needs to compile for the device or, through the host emulation, for the CPU.
//
// SX_SHARED(type, name, count)  declares a shared array of constant size; the only way to declare one.
// SX_LAUNCH(kernel, grid, block, stream, args...)  launches and returns an int status, 0 = ok. A template
//     instantiation with a comma is put in parentheses: SX_LAUNCH((kernel<A, B>), ...).

#include <cstdint>

#ifdef __CUDACC__

#include <cuda_runtime.h>

#define SX_SHARED(type, name, count) __shared__ type name[count]

#define SX_LAUNCH(kernel, grid, block, stream, ...)                                    \
  (kernel<<<(grid), (block), 0, static_cast<cudaStream_t>(stream)>>>(__VA_ARGS__), \
   static_cast<int>(cudaGetLastError()))

#else

#include "cuda_sim.h"

// One array per place in the code and per running block; the address of `name_site` is the place's identity.
#define SX_SHARED(type, name, count)   \
  static const char name##_site = 0;   \
  auto& name = *static_cast<type(*)[count]>(::sim::shared_array(&name##_site, sizeof(type) * (count), #name))

#define SX_LAUNCH(kernel, grid, block, stream, ...) \
  ::sim::launch(#kernel, kernel, (grid), (block), static_cast<cudaStream_t>(stream) __VA_OPT__(, ) __VA_ARGS__)

#endif

namespace saliency_ext::cuda {

// Block sizes and work per thread, one struct per op: the algorithms name no number.
struct RankTuning {
  static constexpr int kThreads = 256;
  static constexpr int kItems = 12;     // of a thread: a row of 224 x 224 is 17 tiles, whose runs of equal digits are 12 long
  static constexpr int kDigitBits = 8;  // 8 warps x 256 counters x 4 bytes = 8 KiB of shared memory
};
struct TopkTuning {
  static constexpr int kThreads = 256;
  static constexpr int kItems = 12;
  static constexpr int kDigitBits = 8;
  static constexpr int kGroup = 8;  // places whose digits a block counts at once
};
struct BlendTuning {
  static constexpr int kThreads = 256;
  static constexpr int kSteps = 32;  // of a block at most, a bit of a word each: image, infill and codes are loaded once for these
  static constexpr int kLeastSteps = 8;
  static constexpr int kBits = 2048;  // bytes of the bits of a block's steps in shared memory
  static constexpr int kBlocksPerMultiprocessor = 2;  // wanted: where there are fewer, a block takes fewer steps
};
struct BlendGradTuning {
  static constexpr int kThreads = 256;
  static constexpr int kChannels = 4;  // whose sums a thread keeps in registers
};
struct BlendUpdateTuning {
  static constexpr int kThreads = 256;
};
struct VariationTuning {
  static constexpr int kThreads = 256;  // two pixels of a tile each
};
struct NoiseTuning {
  static constexpr int kThreads = 256;
};
struct LinearInfillTuning {
  static constexpr int kThreads = 512;
  static constexpr int64_t kBlocks = 132;  // planes in work at a time, each with scratch of its own
};
struct MaskStepTuning {
  static constexpr int kThreads = 256;
};
struct SmoothMaximumTuning {
  static constexpr int kThreads = 256;
};

// Of the current device. How work is spread may depend on it, never what comes out.
inline int64_t device_attribute(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return 1;
  return cudaDeviceGetAttribute(&value, attribute, device) == cudaSuccess && value > 0 ? value : 1;
}
inline int64_t multiprocessors() { return device_attribute(cudaDevAttrMultiProcessorCount); }
inline int64_t level_two_cache() { return device_attribute(cudaDevAttrL2CacheSize); }  // bytes

// Calls launch(first item, number of items, grid) once for as many items, of so many blocks each, as one grid holds, until all
// have been. Kernels so count blocks in 32 bits. Returns the first status that is not 0.
template <class Launch>
int launch_in_parts(int64_t items, int64_t blocks_of_item, const Launch& launch) {
  if (blocks_of_item > INT32_MAX) return static_cast<int>(cudaErrorInvalidConfiguration);
  const int64_t at_once = INT32_MAX / blocks_of_item;
  int status = 0;
  for (int64_t first = 0; first < items && status == 0; first += at_once) {
    const int64_t count = items - first < at_once ? items - first : at_once;
    status = launch(first, count, static_cast<unsigned>(count * blocks_of_item));
  }
  return status;
}

inline int64_t blocks_for(int64_t count, int64_t size) { return (count + size - 1) / size; }

__device__ __forceinline__ int64_t global_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

}  // namespace saliency_ext::cuda
