#include "dispatch.h"
#include "ops.h"

namespace saliency_ext::ops {

static OpCounter counter("noise");

Tensor noise(const Tensor& sample_ids, int64_t channels, int64_t height, int64_t width, bool normal, int64_t seed,
             int64_t stream) {
  require(sample_ids.dim() == 1, "noise", "sample_ids", "of shape (N,)", shape_text(sample_ids));
  require_dtype("noise", "sample_ids", sample_ids, ScalarType::Long, "int64");
  require(channels >= 0 && height >= 0 && width >= 0 && channels < 65536, "noise", "channels, height, width",
          ">= 0 and channels < 65536", std::to_string(channels));
  require_countable("noise", "sample_ids, channels, height, width", {sample_ids.size(0), channels, height, width});
  const Tensor ids = packed(sample_ids);
  Tensor out = empty_like_device({ids.size(0), channels, height, width}, ScalarType::Float, sample_ids);
  const NoiseProblem problem{normal ? Distribution::kNormal : Distribution::kUniform,
                             static_cast<uint64_t>(seed),
                             static_cast<uint32_t>(stream),
                             ids.const_data_ptr<int64_t>(),
                             ids.size(0),
                             channels,
                             height * width,
                             out.mutable_data_ptr<float>()};
  if (out.numel() == 0) return out;
  if (runs_cuda_kernel(sample_ids)) {
    run_cuda(counter, sample_ids, [&](void* launch_stream) { return noise_cuda(problem, launch_stream); });
  } else {
    const auto kernel = [&](int64_t begin, int64_t end) { noise_cpu(begin, end, problem); };
    run_cpu(counter, noise_units(problem), problem.pixels, kernel);
  }
  return out;
}

}  // namespace saliency_ext::ops
