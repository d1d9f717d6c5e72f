#include "dispatch.h"
#include "ops.h"

namespace saliency_ext::ops {

static OpCounter counter("blend_rank_update");

void blend_rank_update(Tensor canvas, const Tensor& source, const Tensor& ranks, const Tensor& lo, const Tensor& hi) {
  const char* op = "blend_rank_update";
  require(canvas.dim() == 4, op, "canvas", "of shape (N, C, H, W)", shape_text(canvas));
  const int64_t n = canvas.size(0), c = canvas.size(1), h = canvas.size(2), w = canvas.size(3);
  require_countable(op, "canvas", {n, c, h, w});
  require_shape(op, "source", source, {n, c, h, w});
  require(source.scalar_type() == canvas.scalar_type(), op, "source", "of the canvas' dtype", "another dtype");
  dtype_of(op, "canvas", canvas);
  require_shape(op, "ranks", ranks, {n, h, w});
  require_dtype(op, "ranks", ranks, ScalarType::Int, "int32");
  for (const Tensor* bound : {&lo, &hi}) {
    require(bound->dim() == 1 && (bound->size(0) == 1 || bound->size(0) == n) && bound->size(0) == lo.size(0), op, "lo, hi",
            "of the same shape (1,) or (N,)", shape_text(*bound));
    require_dtype(op, "lo, hi", *bound, ScalarType::Long, "int64");
    require_same_device(op, "lo, hi", *bound, canvas);
  }
  require_same_device(op, "source", source, canvas);
  require_same_device(op, "ranks", ranks, canvas);
  const Tensor rank_values = packed(ranks), low = packed(lo), high = packed(hi);
  const ImageView target = view_of(canvas);
  BlendUpdateProblem problem{n,
                             c,
                             h,
                             w,
                             static_cast<int>(canvas.element_size()),
                             canvas.mutable_data_ptr(),
                             {target.stride[0], target.stride[1], target.stride[2], target.stride[3]},
                             view_of(source),
                             rank_values.const_data_ptr<int32_t>(),
                             low.const_data_ptr<int64_t>(),
                             high.const_data_ptr<int64_t>(),
                             lo.size(0) == n && n > 1};
  if (canvas.numel() == 0) return;
  if (runs_cuda_kernel(canvas)) {
    run_cuda(counter, canvas, [&](void* stream) { return blend_rank_update_cuda(problem, stream); });
  } else {
    const auto kernel = [&](int64_t begin, int64_t end) { blend_rank_update_cpu(begin, end, problem); };
    const int64_t units = blend_rank_update_units(problem);
    run_cpu(counter, units, n * h * w / units, kernel);
  }
}

}  // namespace saliency_ext::ops
