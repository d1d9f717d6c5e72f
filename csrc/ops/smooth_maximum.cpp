#include "dispatch.h"
#include "ops.h"

namespace saliency_ext::ops {
namespace {

OpCounter counter("smooth_maximum");

// (N, C, h, w) cells as a problem over pixels of (height, width), margins included.
SmoothMaximumProblem problem_of(const char* op, const Tensor& values, const Tensor& packed_values, const Tensor& weights,
                                int64_t height, int64_t width, int64_t step, int64_t margin, double inverse_temperature) {
  require(values.dim() == 4, op, "values", "of shape (N, C, h, w)", shape_text(values));
  constexpr int64_t kMost = INT32_MAX;  // of each, so that no sum or product of two of them overflows
  require(step >= 1 && step <= kMost, op, "step", "in [1, 2^31)", std::to_string(step));
  require(margin >= 0 && margin <= kMost, op, "margin", "in [0, 2^31)", std::to_string(margin));
  for (const int64_t size : {height, width}) {
    require(size >= 2 * margin && size <= 3 * kMost, op, "height and width", "in [2 margin, 3 2^31)", std::to_string(size));
  }
  require_countable(op, "values, height and width", {values.size(0), values.size(1), height, width});
  require(weights.dim() == 2 && weights.size(0) >= step && weights.size(0) % step == 0, op, "weights",
          "of shape (D, D), D a multiple of the step", shape_text(weights));
  require_shape(op, "weights", weights, {weights.size(0), weights.size(0)});
  require(weights.scalar_type() == values.scalar_type(), op, "weights", "of the values' dtype", "another dtype");
  require_same_device(op, "weights", weights, values);
  const int64_t rows = values.size(2), columns = values.size(3);
  require((height - 2 * margin + step - 1) / step == rows && (width - 2 * margin + step - 1) / step == columns, op, "values",
          "with one cell per step of the size", shape_text(values));
  return {values.size(0) * values.size(1), rows, columns, height, width, step, margin, weights.size(0) / step - 1,
          inverse_temperature,
          compute_dtype_of(op, "values", values), packed_values.const_data_ptr(), nullptr, nullptr, nullptr, nullptr, nullptr};
}

void run(const SmoothMaximumProblem& problem, const Tensor& values) {
  if (runs_cuda_kernel(values)) {
    run_cuda(counter, values, [&](void* stream) { return smooth_maximum_cuda(problem, stream); });
  } else {
    const auto kernel = [&](int64_t begin, int64_t end) { smooth_maximum_cpu(begin, end, problem); };
    run_cpu(counter, problem.maps, problem.height * problem.width * (2 * problem.reach + 1), kernel);
  }
}

}  // namespace

std::tuple<Tensor, Tensor> smooth_maximum(const Tensor& values, const Tensor& weights, int64_t height, int64_t width,
                                          int64_t step, int64_t margin, double inverse_temperature) {
  const Tensor cells = packed(values), table = packed(weights);
  SmoothMaximumProblem problem = problem_of("smooth_maximum", values, cells, table, height, width, step, margin,
                                            inverse_temperature);
  Tensor out = empty_like_device({values.size(0), values.size(1), height, width}, values.scalar_type(), values);
  Tensor sums = empty_like_device({values.size(0), values.size(1), height, width}, values.scalar_type(), values);
  problem.weights = table.const_data_ptr();
  problem.out = out.mutable_data_ptr();
  problem.sums = sums.mutable_data_ptr();
  if (out.numel() > 0) run(problem, values);
  return {out, sums};
}

Tensor smooth_maximum_backward(const Tensor& gradient, const Tensor& values, const Tensor& weights, const Tensor& out,
                               const Tensor& sums, int64_t step, int64_t margin, double inverse_temperature) {
  const char* op = "smooth_maximum_backward";
  require(out.dim() == 4, op, "out", "of shape (N, C, H, W)", shape_text(out));
  const Tensor cells = packed(values), table = packed(weights), slopes_of_out = packed(gradient);
  Tensor result = packed(out), denominators = packed(sums);
  SmoothMaximumProblem problem = problem_of(op, values, cells, table, out.size(2), out.size(3), step, margin,
                                            inverse_temperature);
  for (const Tensor* tensor : {&gradient, &out, &sums}) {
    require_shape(op, "gradient, out and sums", *tensor, {values.size(0), values.size(1), out.size(2), out.size(3)});
    require(tensor->scalar_type() == values.scalar_type(), op, "gradient, out and sums", "of the values' dtype", "another");
    require_same_device(op, "gradient, out and sums", *tensor, values);
  }
  Tensor slopes = empty_like_device({values.size(0), values.size(1), values.size(2), values.size(3)}, values.scalar_type(),
                                    values);
  problem.weights = table.const_data_ptr();
  problem.gradient = slopes_of_out.const_data_ptr();
  problem.out = result.mutable_data_ptr();
  problem.sums = denominators.mutable_data_ptr();
  problem.slopes = slopes.mutable_data_ptr();
  if (slopes.numel() > 0) run(problem, values);
  return slopes;
}

}  // namespace saliency_ext::ops
