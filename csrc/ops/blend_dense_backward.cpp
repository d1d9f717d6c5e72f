#include "dispatch.h"
#include "ops.h"

namespace saliency_ext::ops {

static OpCounter counter("blend_dense_backward");

// Gradients by the mask (always per image: (N, S, H, W)), the inputs and the infill.
std::tuple<Tensor, Tensor, Tensor> blend_dense_backward(const Tensor& gradient, const Tensor& inputs, const Tensor& infill,
                                                        const Tensor& mask, std::optional<Tensor> std) {
  const char* op = "blend_dense_backward";
  require(inputs.dim() == 4, op, "inputs", "of shape (N, C, H, W)", shape_text(inputs));
  require(gradient.dim() == 5, op, "gradient", "of shape (S, N, C, H, W)", shape_text(gradient));
  const int64_t s = gradient.size(0), n = inputs.size(0), c = inputs.size(1), h = inputs.size(2), w = inputs.size(3);
  require_shape(op, "gradient", gradient, {s, n, c, h, w});
  require_countable(op, "gradient", {s, n, c, h, w});
  require_shape(op, "infill", infill, {n, c, h, w});
  const bool per_image = is_per_image(op, "mask", mask, n, s, {h, w});
  for (const Tensor* tensor : {&gradient, &infill, &mask}) {
    require(tensor->scalar_type() == inputs.scalar_type(), op, "gradient, infill, mask", "of the inputs' dtype", "another dtype");
    require_same_device(op, "gradient, infill, mask", *tensor, inputs);
  }
  if (std.has_value()) {
    require_shape(op, "std", *std, {c});
    require(std->scalar_type() == inputs.scalar_type() && std->is_contiguous(), op, "std",
            "contiguous and of the inputs' dtype", "another tensor");
    require_same_device(op, "std", *std, inputs);
  }
  const Tensor upstream = packed(gradient), masks = packed(mask);
  Tensor grad_mask = empty_like_device({n, s, h, w}, inputs.scalar_type(), inputs);
  Tensor grad_inputs = empty_like_device({n, c, h, w}, inputs.scalar_type(), inputs);
  Tensor grad_infill = empty_like_device({n, c, h, w}, inputs.scalar_type(), inputs);
  if (s * c == 0) {  // sums over nothing
    torch::stable::zero_(grad_mask);
    torch::stable::zero_(grad_inputs);
    torch::stable::zero_(grad_infill);
    return {grad_mask, grad_inputs, grad_infill};
  }
  const BlendDenseGradProblem problem{s,
                                      n,
                                      c,
                                      h,
                                      w,
                                      compute_dtype_of(op, "inputs", inputs),
                                      upstream.const_data_ptr(),
                                      view_of(inputs),
                                      view_of(infill),
                                      masks.const_data_ptr(),
                                      per_image,
                                      std.has_value() ? std->const_data_ptr() : nullptr,
                                      grad_mask.mutable_data_ptr(),
                                      grad_inputs.mutable_data_ptr(),
                                      grad_infill.mutable_data_ptr()};
  if (n * h * w == 0) return {grad_mask, grad_inputs, grad_infill};
  if (runs_cuda_kernel(inputs)) {
    run_cuda(counter, inputs, [&](void* stream) { return blend_dense_backward_cuda(problem, stream); });
  } else {
    const auto kernel = [&](int64_t begin, int64_t end) { blend_dense_backward_cpu(begin, end, problem); };
    const int64_t units = blend_dense_backward_units(problem);
    run_cpu(counter, units, s * n * c * h * w / units, kernel);
  }
  return {grad_mask, grad_inputs, grad_infill};
}

}  // namespace saliency_ext::ops
