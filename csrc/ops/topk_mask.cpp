#include "dispatch.h"
#include "ops.h"
#include "ties.h"

namespace saliency_ext::ops {

static OpCounter counter("topk_mask");

Tensor topk_mask(const Tensor& saliency, const Tensor& counts, std::optional<Tensor> sample_ids, int64_t seed) {
  require(saliency.dim() == 3, "topk_mask", "saliency", "of shape (N, H, W)", shape_text(saliency));
  require(counts.dim() == 1, "topk_mask", "counts", "of shape (K,)", shape_text(counts));
  require_dtype("topk_mask", "counts", counts, ScalarType::Long, "int64");
  require_same_device("topk_mask", "counts", counts, saliency);
  require_countable("topk_mask", "counts and saliency together",
                    {counts.size(0), saliency.size(0), saliency.size(1), saliency.size(2)});
  const int64_t rows = saliency.size(0), pixels = saliency.size(1) * saliency.size(2), masks = counts.size(0);
  require(pixels <= INT32_MAX, "topk_mask", "saliency", "of at most 2^31 - 1 pixels a map", shape_text(saliency));
  const Tensor values = packed(saliency), wanted = packed(counts);
  const std::optional<Tensor> ids = checked_sample_ids("topk_mask", sample_ids, saliency);
  Tensor out = empty_like_device({masks, rows, saliency.size(1), saliency.size(2)}, ScalarType::Bool, saliency);
  const TopkProblem problem{values.const_data_ptr(),
                            compute_dtype_of("topk_mask", "saliency", saliency),
                            rows,
                            pixels,
                            masks,
                            tie_rule(ids, seed),
                            wanted.const_data_ptr<int64_t>(),
                            static_cast<uint8_t*>(out.mutable_data_ptr())};
  if (rows == 0 || pixels == 0 || masks == 0) return out;
  if (runs_cuda_kernel(saliency)) {
#if defined(SX_EMULATED_CUDA) || defined(SX_WITH_CUDA)
    const Tensor scratch = empty_like_device({topk_mask_scratch_bytes(problem)}, ScalarType::Byte, saliency);
    run_cuda(counter, saliency, [&](void* stream) { return topk_mask_cuda(problem, scratch.mutable_data_ptr(), stream); });
#endif
  } else {
    run_cpu(counter, rows, (8 + masks) * pixels, [&](int64_t begin, int64_t end) { topk_mask_cpu(begin, end, problem); });
  }
  return out;
}

}  // namespace saliency_ext::ops
