#include "dispatch.h"
#include "ops.h"

namespace saliency_ext::ops {
namespace {

OpCounter counter("mask_step");

const char* const kOp = "mask_step";

// The matrix and the bands of one axis.
Resizing resizing_of(const char* argument, const Tensor& matrix, const Tensor& bands, const Tensor& values) {
  require(matrix.dim() == 2, kOp, argument, "of shape (cells, pixels)", shape_text(matrix));
  require(matrix.scalar_type() == values.scalar_type(), kOp, argument, "of the values' dtype", "another dtype");
  require_shape(kOp, "bands", bands, {matrix.size(0) + matrix.size(1), 2});
  require_dtype(kOp, "bands", bands, ScalarType::Int, "int32");
  require_same_device(kOp, argument, matrix, values);
  require_same_device(kOp, "bands", bands, values);
  require(matrix.is_contiguous() && bands.is_contiguous(), kOp, argument, "and its bands contiguous", "other strides");
  return {matrix.const_data_ptr(), bands.const_data_ptr<int32_t>(), matrix.size(0), matrix.size(1)};
}

void check_shapes(const MaskStepProblem& q, const Tensor& inputs, const Tensor& infill, const std::vector<const Tensor*>& states,
                  const Tensor& mask, const Tensor& out) {
  require(infill.dim() == 4 && infill.size(1) == q.channels && infill.size(2) == q.image_height &&
              infill.size(3) == q.image_width,
          kOp, "infill", "of the inputs' shape but for the first size", shape_text(infill));
  for (const Tensor* state : states) require_shape(kOp, "state", *state, {q.rows, q.planes, q.down.cells, q.across.cells});
  require_shape(kOp, "mask", mask, {q.rows, q.planes, q.height, q.width});
  require_shape(kOp, "out", out, {q.rows, q.planes, q.infills, q.channels, q.height, q.width});
  require(q.image_height >= q.height && q.image_width >= q.width, kOp, "inputs", "at least as large as the mask",
          shape_text(inputs));
}

// What the kernel takes as an index.
void check_contents(const MaskStepProblem& q) {
  const int64_t last[4] = {q.image_count - 1, q.infill_count - 1, q.image_height - q.height, q.image_width - q.width};
  const char* const names[2][4] = {{"places[..., 0]", "places[..., 1]", "places[..., 2]", "places[..., 3]"},
                                   {"next_places[..., 0]", "next_places[..., 1]", "next_places[..., 2]", "next_places[..., 3]"}};
  for (int column = 0; column < 4; ++column) {
    require_range(kOp, names[0][column], q.places + column, q.rows * q.infills, 4, 0, last[column]);
    require_range(kOp, names[1][column], q.next_places + column, q.rows * q.infills, 4, 0, last[column]);
  }
  for (const auto& [name, axis] : {std::pair{"down_bands", &q.down}, std::pair{"across_bands", &q.across}}) {
    require_range(kOp, name, axis->bands, 2 * axis->cells, 1, 0, axis->pixels);
    require_range(kOp, name, axis->bands + 2 * axis->cells, 2 * axis->pixels, 1, 0, axis->cells);
  }
}

// Variation of the mask, or of its cells, and the weighted gradient, for the CUDA kernel: a pass of its own.
struct Roughness {
  Tensor gradient, sums;
};
Roughness roughness(const Tensor& maps, int64_t kind, double beta, double weight) {
  Tensor weights = empty_like_device({maps.size(0), maps.size(1)}, maps.scalar_type(), maps);
  torch::stable::fill_(weights, weight);
  auto [sums, gradient] = total_variation_with_grad(maps, weights, kind, beta, 0.0);
  return {gradient, sums};
}

}  // namespace

void mask_step(std::optional<Tensor> gradient, const Tensor& inputs, const Tensor& infill, const Tensor& places,
               const Tensor& next_places, const Tensor& down, const Tensor& down_bands, const Tensor& across,
               const Tensor& across_bands, Tensor values, Tensor exp_avg, Tensor exp_avg_sq, Tensor cells, Tensor mask, Tensor counts,
               Tensor active, Tensor terms, Tensor out, bool sigmoid, bool adam, bool on_cells, int64_t kind, double rate,
               double beta1, double beta2, double eps, double area, double variation, double beta) {
  require(inputs.dim() == 4, kOp, "inputs", "of shape (N, C, H, W)", shape_text(inputs));
  require(values.dim() == 4, kOp, "values", "of shape (R, P, h, w)", shape_text(values));
  require(places.dim() == 3 && places.size(2) == 4, kOp, "places", "of shape (R, U, 4)", shape_text(places));
  const int64_t rows = values.size(0), infills = places.size(1);
  for (const Tensor* floats : std::initializer_list<const Tensor*>{&inputs, &infill, &exp_avg, &exp_avg_sq, &cells, &mask, &out}) {
    require(floats->scalar_type() == values.scalar_type(), kOp, "every tensor", "of the values' dtype", "another dtype");
    require_same_device(kOp, "every tensor", *floats, values);
  }
  for (const Tensor* place : {&places, &next_places}) {
    require_shape(kOp, "places", *place, {rows, infills, 4});
    require_dtype(kOp, "places", *place, ScalarType::Long, "int64");
    require_same_device(kOp, "places", *place, values);
  }
  require_shape(kOp, "counts", counts, {rows});
  require_dtype(kOp, "counts", counts, ScalarType::Long, "int64");
  require_shape(kOp, "active", active, {rows});
  require_dtype(kOp, "active", active, ScalarType::Byte, "uint8");
  require_shape(kOp, "terms", terms, {rows, 3});
  require_dtype(kOp, "terms", terms, ScalarType::Double, "float64");
  for (const Tensor* own : {&counts, &active, &terms}) require_same_device(kOp, "state", *own, values);
  for (const Tensor* changed : {&values, &exp_avg, &exp_avg_sq, &cells, &mask, &counts, &active, &terms, &out}) {
    require(changed->is_contiguous(), kOp, "everything that is changed", "contiguous", "other strides");
  }
  const Tensor images = packed(inputs), others = packed(infill), here = packed(places), next = packed(next_places);
  require(down.dim() == 2 && across.dim() == 2, kOp, "down and across", "of shape (cells, pixels)", shape_text(down));
  require(infill.dim() == 4, kOp, "infill", "of shape (B, C, H, W)", shape_text(infill));
  require(kind >= 0 && kind <= 2, kOp, "kind", "0 (anisotropic), 1 (isotropic) or 2 (squared)", std::to_string(kind));
  const int64_t image_count = inputs.size(0), infill_count = infill.size(0);
  MaskStepProblem q{rows, values.size(1), infills, inputs.size(1), down.size(1), across.size(1), image_count, infill_count,
                    inputs.size(2), inputs.size(3),
                    compute_dtype_of(kOp, "values", values),
                    {sigmoid, adam, on_cells, rate, beta1, beta2, eps, area, variation},
                    nullptr, images.const_data_ptr(), others.const_data_ptr(), here.const_data_ptr<int64_t>(),
                    next.const_data_ptr<int64_t>(), resizing_of("down", down, down_bands, values),
                    resizing_of("across", across, across_bands, values), {static_cast<Variation>(kind), beta, 0.0}, nullptr, nullptr,
                    values.mutable_data_ptr(),
                    exp_avg.mutable_data_ptr(), exp_avg_sq.mutable_data_ptr(), cells.mutable_data_ptr(), mask.mutable_data_ptr(),
                    counts.mutable_data_ptr<int64_t>(), active.mutable_data_ptr<uint8_t>(), terms.mutable_data_ptr<double>(),
                    out.mutable_data_ptr()};
  check_shapes(q, inputs, infill, {&values, &exp_avg, &exp_avg_sq, &cells}, mask, out);
  require_countable(kOp, "out", {rows, q.planes, infills, q.channels, q.height, q.width});
  require(std::max({q.height, q.width, q.down.cells, q.across.cells}) <= INT32_MAX, kOp, "down and across",
          "of at most 2^31 - 1 cells and pixels", shape_text(down));
  require_countable(kOp, "values and mask together", {rows, q.planes, q.down.cells + q.height, q.across.cells + q.width});
  require(q.planes * q.height * q.width <= INT32_MAX && q.planes * q.down.cells * std::max(q.width, q.across.cells) <= INT32_MAX,
          kOp, "mask", "of at most 2^31 - 1 pixels a row", shape_text(mask));
  if (values.numel() == 0 || mask.numel() == 0) return;
  require(infills == 0 || (image_count > 0 && infill_count > 0), kOp, "inputs and infill", "to hold an image", shape_text(inputs));
  if (!runs_cuda_kernel(values)) check_contents(q);
  std::optional<Tensor> slope;
  std::optional<Roughness> rough;
  if (gradient.has_value()) {
    require_shape(kOp, "gradient", *gradient, {rows, q.planes, infills, q.channels, q.height, q.width});
    require(gradient->scalar_type() == values.scalar_type(), kOp, "gradient", "of the values' dtype", "another dtype");
    require_same_device(kOp, "gradient", *gradient, values);
    slope = packed(*gradient);
    q.gradient = slope->const_data_ptr();
    if (variation != 0 && runs_cuda_kernel(values)) {
      rough = roughness(on_cells ? cells : mask, kind, beta, variation);
      q.variation_gradient = rough->gradient.const_data_ptr();
      q.variation_sums = rough->sums.const_data_ptr();
    }
  }
  if (runs_cuda_kernel(values)) {
#if defined(SX_EMULATED_CUDA) || defined(SX_WITH_CUDA)
    const Tensor scratch = empty_like_device({mask_step_scratch(q)}, values.scalar_type(), values);
    run_cuda(counter, values, [&](void* stream) { return mask_step_cuda(q, scratch.mutable_data_ptr(), stream); });
#endif
  } else {
    run_cpu(counter, rows, mask.numel() / rows, [&](int64_t begin, int64_t end) { mask_step_cpu(begin, end, q); });
  }
}

}  // namespace saliency_ext::ops
