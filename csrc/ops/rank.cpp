#include "dispatch.h"
#include "ops.h"
#include "ties.h"

namespace saliency_ext::ops {

static OpCounter counter("rank");

Tensor rank(const Tensor& saliency, std::optional<Tensor> sample_ids, int64_t seed) {
  require(saliency.dim() == 3, "rank", "saliency", "of shape (N, H, W)", shape_text(saliency));
  require_countable("rank", "saliency", {saliency.size(0), saliency.size(1), saliency.size(2)});
  const int64_t rows = saliency.size(0), pixels = saliency.size(1) * saliency.size(2);
  require(pixels <= INT32_MAX, "rank", "saliency", "of at most 2^31 - 1 pixels a map", shape_text(saliency));
  const Tensor values = packed(saliency);
  const std::optional<Tensor> ids = checked_sample_ids("rank", sample_ids, saliency);
  Tensor ranks = empty_like_device({rows, saliency.size(1), saliency.size(2)}, ScalarType::Int, saliency);
  const RankProblem problem{values.const_data_ptr(),    compute_dtype_of("rank", "saliency", saliency), rows, pixels,
                            tie_rule(ids, seed),        ranks.mutable_data_ptr<int32_t>()};
  if (rows == 0 || pixels == 0) return ranks;
  if (runs_cuda_kernel(saliency)) {
#if defined(SX_EMULATED_CUDA) || defined(SX_WITH_CUDA)
    const Tensor scratch = empty_like_device({rank_scratch_bytes(problem)}, ScalarType::Byte, saliency);
    run_cuda(counter, saliency, [&](void* stream) { return rank_cuda(problem, scratch.mutable_data_ptr(), stream); });
#endif
  } else {
    run_cpu(counter, rows, 8 * pixels, [&](int64_t begin, int64_t end) { rank_cpu(begin, end, problem); });
  }
  return ranks;
}

}  // namespace saliency_ext::ops
