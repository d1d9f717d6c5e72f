#include "dispatch.h"
#include "ops.h"

namespace saliency_ext::ops {

static OpCounter counter("linear_infill");

std::tuple<Tensor, Tensor> linear_infill(const Tensor& inputs, const Tensor& remove, std::optional<Tensor> noise,
                                         int64_t stencil, double tolerance, double noise_std) {
  const char* op = "linear_infill";
  require(inputs.dim() == 4, op, "inputs", "of shape (N, C, H, W)", shape_text(inputs));
  const DType dtype = compute_dtype_of(op, "inputs", inputs);
  const int64_t images = inputs.size(0), channels = inputs.size(1), height = inputs.size(2), width = inputs.size(3);
  require_countable(op, "inputs", {images, channels, height, width});
  require(height * width <= INT32_MAX, op, "inputs", "of at most 2^31 - 1 pixels an image", shape_text(inputs));
  require(remove.dim() == 4, op, "remove", "of shape (S, N, H, W)", shape_text(remove));
  require_shape(op, "remove", remove, {remove.size(0), images, height, width});
  require_countable(op, "remove and inputs together", {remove.size(0), images, channels, height, width});
  require_dtype(op, "remove", remove, ScalarType::Bool, "bool");
  require_same_device(op, "remove", remove, inputs);
  require(stencil == 0 || stencil == 1, op, "stencil", "0 (road) or 1 (harmonic)", std::to_string(stencil));
  require(tolerance > 0, op, "tolerance", "> 0", std::to_string(tolerance));
  std::optional<Tensor> values;
  if (noise.has_value()) {
    require_shape(op, "noise", *noise, {images, channels, height, width});
    require_dtype(op, "noise", *noise, ScalarType::Float, "float32");
    require_same_device(op, "noise", *noise, inputs);
    values = packed(*noise);
  }
  const Tensor masks = packed(remove);
  const int64_t steps = remove.size(0);
  Tensor filled = empty_like_device({steps, images, channels, height, width}, inputs.scalar_type(), inputs);
  Tensor residual = empty_like_device({steps, images, channels}, ScalarType::Float, inputs);
  if (filled.numel() == 0) {
    torch::stable::fill_(residual, 0.0);
    return {filled, residual};
  }
  const LinearInfillProblem problem{steps,
                                    images,
                                    channels,
                                    height,
                                    width,
                                    dtype,
                                    view_of(inputs),
                                    static_cast<const uint8_t*>(masks.const_data_ptr()),
                                    values.has_value() ? values->const_data_ptr<float>() : nullptr,
                                    static_cast<InfillStencil>(stencil),
                                    tolerance,
                                    noise_std,
                                    filled.mutable_data_ptr(),
                                    residual.mutable_data_ptr<float>()};
  if (runs_cuda_kernel(inputs)) {
#if defined(SX_EMULATED_CUDA) || defined(SX_WITH_CUDA)
    const Tensor scratch = empty_like_device({linear_infill_scratch_bytes(problem)}, ScalarType::Byte, inputs);
    run_cuda(counter, inputs, [&](void* stream) { return linear_infill_cuda(problem, scratch.mutable_data_ptr(), stream); });
#endif
  } else {
    const auto kernel = [&](int64_t begin, int64_t end) { linear_infill_cpu(begin, end, problem); };
    run_cpu(counter, linear_infill_units(problem), 500 * channels * height * width, kernel);
  }
  return {filled, residual};
}

}  // namespace saliency_ext::ops
