#pragma once
// Runs a kernel where its tensors live: CPU units over torch's threads, CUDA on the caller's device and current stream.
// With SX_EMULATED_CUDA the same bindings drive the .cu kernels through the host emulation, on CPU tensors, or the CPU kernels.
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "checks.h"
#include "counters.h"

// Bound only under a torch with CUDA; null under a CPU-only torch, where no CUDA tensor can exist.
extern "C" AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device_index, void** stream) __attribute__((weak));

#if defined(SX_EMULATED_CUDA)
extern "C" int sim_device_kernels;
#endif

namespace saliency_ext::ops {

inline bool runs_cuda_kernel(const Tensor& tensor) {
#if defined(SX_EMULATED_CUDA)
  (void)tensor;
  return sim_device_kernels != 0;
#else
  return tensor.is_cuda();
#endif
}

// work: elements that one unit reads or writes. Waking a thread costs as much as some ten thousand of them.
template <class Kernel>
void run_cpu(OpCounter& op, int64_t units, int64_t work, const Kernel& kernel) {
  if (units <= 0) return;
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, work));
  std::atomic<uint64_t> took_part{0};
  torch::stable::parallel_for(0, units, grain, [&](int64_t begin, int64_t end) {
    uint32_t thread = 0;
    torch_get_thread_idx(&thread);
    took_part.fetch_or(uint64_t{1} << (thread & 63u), std::memory_order_relaxed);
    kernel(begin, end);
  });
  op.count(took_part.load());
}

// launch(stream) -> status. The device guard makes the tensor's device current, also for the launch itself.
template <class Launch>
void run_cuda(OpCounter& op, const Tensor& tensor, const Launch& launch) {
#if defined(SX_EMULATED_CUDA)
  (void)tensor;
  const int status = launch(static_cast<void*>(nullptr));
#elif defined(SX_WITH_CUDA)
  STD_TORCH_CHECK(aoti_torch_get_current_cuda_stream != nullptr, op.name(),
                  ": got a CUDA tensor, but the loaded torch has no CUDA streams; install a CUDA build of torch");
  const torch::stable::accelerator::DeviceGuard guard(tensor.get_device_index());
  void* stream = nullptr;
  STD_TORCH_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream) == 0, op.name(), ": no current stream");
  const int status = launch(stream);
#else
  (void)tensor;
  const int status = -1;
#endif
#if defined(SX_EMULATED_CUDA) || defined(SX_WITH_CUDA)
  STD_TORCH_CHECK(status == 0, op.name(), ": CUDA launch failed: ", cuda_status_text(status));
#else
  (void)launch;
  STD_TORCH_CHECK(status == 0, op.name(), ": this build has no CUDA kernels; rebuild where nvcc is found");
#endif
  op.count(0);
}

}  // namespace saliency_ext::ops
