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
  static constexpr int kThreads = 1024;  // one block owns a row; 32 warps hide the latency of its scattered writes
  static constexpr int kDigitBits = 8;   // 32 warps x 256 counters x 4 bytes = 32 KiB of shared memory
};
struct TopkTuning {
  static constexpr int kThreads = 512;
  static constexpr int kDigitBits = 8;
};
struct BlendTuning {
  static constexpr int kThreads = 256;
  static constexpr int kStoreBytes = 16;  // a thread writes whole 16-byte vectors
  static constexpr int kSteps = 32;       // steps per block: image, infill and codes are loaded once for these
};
struct BlendGradTuning {
  static constexpr int kThreads = 256;
};
struct BlendUpdateTuning {
  static constexpr int kThreads = 256;
};
struct VariationTuning {
  static constexpr int kThreads = 512;
};
struct NoiseTuning {
  static constexpr int kThreads = 256;
};
struct LinearInfillTuning {
  static constexpr int kThreads = 512;
  static constexpr int64_t kBlocks = 132;  // planes in work at a time, each with scratch of its own
};
struct MaskStepTuning {
  static constexpr int kThreads = 512;
};
struct SmoothMaximumTuning {
  static constexpr int kThreads = 256;
};

// The grid of so many blocks. More than a grid's first dimension holds becomes 0, which the launch refuses with a status.
inline unsigned grid_of(int64_t blocks) { return blocks <= INT32_MAX ? static_cast<unsigned>(blocks) : 0u; }

// The grid whose blocks of `size` threads cover `count` items.
inline unsigned blocks_for(int64_t count, int64_t size) { return grid_of((count + size - 1) / size); }

__device__ __forceinline__ int64_t global_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

}  // namespace saliency_ext::cuda
