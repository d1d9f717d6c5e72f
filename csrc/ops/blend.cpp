// The renderer's bindings: one problem description, five mask families.
#include "dispatch.h"
#include "ops.h"

namespace saliency_ext::ops {
namespace {

OpCounter rank_counter("blend_rank"), box_counter("blend_boxes"), grid_counter("blend_grids"),
    segment_counter("blend_segments"), dense_counter("blend_dense");

// Each (C, H, W) image of `out` must be packed, contiguous or channels_last, and the images in (S, N) order.
bool is_packed(const Tensor& out, bool channels_last) {
  if (out.numel() == 0) return true;
  const int64_t c = out.size(2), h = out.size(3), w = out.size(4);
  const int64_t image[3] = {channels_last ? 1 : h * w, channels_last ? w * c : w, channels_last ? c : 1};
  const int64_t expected[5] = {out.size(1) * c * h * w, c * h * w, image[0], image[1], image[2]};
  for (int d = 0; d < 5; ++d) {
    if (out.size(d) > 1 && out.stride(d) != expected[d]) return false;
  }
  return true;
}

// Everything but the mask family. `mean` and `std` are kept alive by the caller.
BlendProblem problem_of(const char* op, const Tensor& inputs, const Tensor& infill, const std::optional<Tensor>& mean,
                        const std::optional<Tensor>& std, const Tensor& out) {
  require(inputs.dim() == 4, op, "inputs", "of shape (N, C, H, W)", shape_text(inputs));
  const int64_t n = inputs.size(0), c = inputs.size(1), h = inputs.size(2), w = inputs.size(3);
  require_shape(op, "infill", infill, {n, c, h, w});
  require(infill.scalar_type() == inputs.scalar_type(), op, "infill", "of the inputs' dtype", "another dtype");
  require_same_device(op, "infill", infill, inputs);
  require(out.dim() == 5, op, "out", "of shape (S, N, C, H, W)", shape_text(out));
  require_shape(op, "out", out, {out.size(0), n, c, h, w});
  require_same_device(op, "out", out, inputs);
  require_countable(op, "out", {out.size(0), n, c, h, w});
  require(h * w <= INT32_MAX, op, "inputs", "of at most 2^31 - 1 pixels an image", shape_text(inputs));
  require(mean.has_value() == std.has_value(), op, "mean, std", "both or neither", "one");
  for (const auto& [name, values] : {std::pair{"mean", &mean}, std::pair{"std", &std}}) {
    if (!values->has_value()) continue;
    require_shape(op, name, **values, {c});
    require((*values)->scalar_type() == inputs.scalar_type() && (*values)->is_contiguous(), op, name,
            "contiguous and of the inputs' dtype", "another tensor");
    require_same_device(op, name, **values, inputs);
  }
  const DType compute = compute_dtype_of(op, "inputs", inputs), output = dtype_of(op, "out", out);
  require((compute == DType::kFloat64) == (output == DType::kFloat64), op, "out",
          "of dtype float64 exactly when inputs are", "another dtype");
  const bool contiguous_out = is_packed(out, false);
  require(contiguous_out || is_packed(out, true), op, "out", "packed, contiguous or channels_last", "other strides");
  return {out.size(0),
          n,
          c,
          h,
          w,
          view_of(inputs),
          view_of(infill),
          mean.has_value() ? mean->const_data_ptr() : nullptr,
          std.has_value() ? std->const_data_ptr() : nullptr,
          compute,
          output,
          !contiguous_out,
          out.mutable_data_ptr()};
}

template <class Keep>
void run(OpCounter& counter, const BlendProblem& problem, const Keep& keep, const Tensor& inputs) {
  if (problem.steps == 0 || problem.images == 0 || problem.image_elements() == 0) return;
  if (runs_cuda_kernel(inputs)) {
    run_cuda(counter, inputs, [&](void* stream) { return blend_cuda(problem, keep, stream); });
  } else {
    const auto kernel = [&](int64_t begin, int64_t end) { blend_cpu(begin, end, problem, keep); };
    const int64_t units = blend_units(problem);
    run_cpu(counter, units, problem.steps * problem.images * problem.image_elements() / units, kernel);
  }
}

// A per-step parameter, made contiguous, with its dtype and device checked.
Tensor parameter(const char* op, const char* argument, const Tensor& tensor, ScalarType dtype, const char* dtype_name,
                 const Tensor& inputs) {
  require_dtype(op, argument, tensor, dtype, dtype_name);
  require_same_device(op, argument, tensor, inputs);
  return packed(tensor);
}

template <class T>
void run_dense(const BlendProblem& problem, const Tensor& mask, bool per_image, const Tensor& inputs) {
  const KeepDense<T> keep{mask.const_data_ptr<T>(), problem.pixels(), problem.steps, per_image};
  run(dense_counter, problem, keep, inputs);
}

}  // namespace

void blend_rank(const Tensor& inputs, const Tensor& infill, const Tensor& ranks, const Tensor& counts, bool head,
                std::optional<Tensor> mean, std::optional<Tensor> std, Tensor out) {
  const BlendProblem problem = problem_of("blend_rank", inputs, infill, mean, std, out);
  require_shape("blend_rank", "ranks", ranks, {problem.images, problem.height, problem.width});
  const Tensor rank_values = parameter("blend_rank", "ranks", ranks, ScalarType::Int, "int32", inputs);
  const Tensor count_values = parameter("blend_rank", "counts", counts, ScalarType::Long, "int64", inputs);
  const bool per_image = is_per_image("blend_rank", "counts", counts, problem.images, problem.steps, {});
  const KeepRank keep{rank_values.const_data_ptr<int32_t>(), count_values.const_data_ptr<int64_t>(), problem.pixels(),
                      problem.steps, per_image, head};
  run(rank_counter, problem, keep, inputs);
}

void blend_boxes(const Tensor& inputs, const Tensor& infill, const Tensor& boxes, std::optional<Tensor> mean,
                 std::optional<Tensor> std, Tensor out) {
  const BlendProblem problem = problem_of("blend_boxes", inputs, infill, mean, std, out);
  const Tensor box_values = parameter("blend_boxes", "boxes", boxes, ScalarType::Int, "int32", inputs);
  const bool per_image = is_per_image("blend_boxes", "boxes", boxes, problem.images, problem.steps, {4});
  const KeepBox keep{box_values.const_data_ptr<int32_t>(), problem.width, problem.steps, per_image};
  run(box_counter, problem, keep, inputs);
}

void blend_grids(const Tensor& inputs, const Tensor& infill, const Tensor& grids, const Tensor& shifts, bool mirror,
                 std::optional<Tensor> mean, std::optional<Tensor> std, Tensor out) {
  const BlendProblem problem = problem_of("blend_grids", inputs, infill, mean, std, out);
  require(grids.dim() == 3 || grids.dim() == 4, "blend_grids", "grids", "of shape (S, h, w) or (N, S, h, w)",
          shape_text(grids));
  const int64_t rows = grids.size(grids.dim() - 2), columns = grids.size(grids.dim() - 1);
  require(rows > 0 && columns > 0, "blend_grids", "grids", "of at least one cell", shape_text(grids));
  require_countable("blend_grids", "grids", {rows, columns});
  require(rows * columns <= INT32_MAX, "blend_grids", "grids", "of at most 2^31 - 1 cells", shape_text(grids));
  const Tensor bits = parameter("blend_grids", "grids", grids, ScalarType::Byte, "uint8", inputs);
  const Tensor offsets = parameter("blend_grids", "shifts", shifts, ScalarType::Int, "int32", inputs);
  const bool per_image = is_per_image("blend_grids", "grids", grids, problem.images, problem.steps, {rows, columns});
  require(is_per_image("blend_grids", "shifts", shifts, problem.images, problem.steps, {2}) == per_image, "blend_grids",
          "shifts", "per image exactly when grids are", shape_text(shifts));
  const int64_t cell_h = (problem.height + rows - 1) / rows, cell_w = (problem.width + columns - 1) / columns;
  const int64_t last_y = std::max<int64_t>(cell_h - 1, 0), last_x = std::max<int64_t>(cell_w - 1, 0);
  if (!runs_cuda_kernel(inputs)) {
    const int64_t pairs = offsets.numel() / 2;
    require_range("blend_grids", "shifts[..., 0]", offsets.const_data_ptr<int32_t>(), pairs, 2, 0, last_y);
    require_range("blend_grids", "shifts[..., 1]", offsets.const_data_ptr<int32_t>() + 1, pairs, 2, 0, last_x);
  }
  const KeepGrid keep{bits.const_data_ptr<uint8_t>(),
                      offsets.const_data_ptr<int32_t>(),
                      problem.width,
                      problem.steps,
                      static_cast<int32_t>(rows),
                      static_cast<int32_t>(columns),
                      static_cast<int32_t>(last_y),
                      static_cast<int32_t>(last_x),
                      static_cast<float>(rows) / static_cast<float>((rows + 1) * cell_h),
                      static_cast<float>(columns) / static_cast<float>((columns + 1) * cell_w),
                      per_image,
                      mirror};
  run(grid_counter, problem, keep, inputs);
}

void blend_segments(const Tensor& inputs, const Tensor& infill, const Tensor& segments, const Tensor& coalitions,
                    std::optional<Tensor> mean, std::optional<Tensor> std, Tensor out) {
  const BlendProblem problem = problem_of("blend_segments", inputs, infill, mean, std, out);
  require_shape("blend_segments", "segments", segments, {problem.images, problem.height, problem.width});
  require(coalitions.dim() == 2 || coalitions.dim() == 3, "blend_segments", "coalitions", "of shape (S, K) or (N, S, K)",
          shape_text(coalitions));
  const int64_t count = coalitions.size(coalitions.dim() - 1);
  require(count <= INT32_MAX, "blend_segments", "coalitions", "of at most 2^31 - 1 segments", shape_text(coalitions));
  const Tensor labels = parameter("blend_segments", "segments", segments, ScalarType::Int, "int32", inputs);
  const Tensor bits = parameter("blend_segments", "coalitions", coalitions, ScalarType::Byte, "uint8", inputs);
  const bool per_image = is_per_image("blend_segments", "coalitions", coalitions, problem.images, problem.steps, {count});
  const KeepSegment keep{labels.const_data_ptr<int32_t>(), bits.const_data_ptr<uint8_t>(), problem.pixels(), problem.steps,
                         static_cast<int32_t>(count), per_image};
  run(segment_counter, problem, keep, inputs);
}

void blend_dense_out(const Tensor& inputs, const Tensor& infill, const Tensor& mask, std::optional<Tensor> mean,
                     std::optional<Tensor> std, Tensor out) {
  const BlendProblem problem = problem_of("blend_dense", inputs, infill, mean, std, out);
  const Tensor values = parameter("blend_dense", "mask", mask, inputs.scalar_type(), "the inputs", inputs);
  const bool per_image =
      is_per_image("blend_dense", "mask", mask, problem.images, problem.steps, {problem.height, problem.width});
  if (problem.compute == DType::kFloat64) {
    run_dense<double>(problem, values, per_image, inputs);
  } else {
    run_dense<float>(problem, values, per_image, inputs);
  }
}

Tensor blend_dense(const Tensor& inputs, const Tensor& infill, const Tensor& mask, std::optional<Tensor> mean,
                   std::optional<Tensor> std, ScalarType dtype, bool channels_last) {
  require(inputs.dim() == 4, "blend_dense", "inputs", "of shape (N, C, H, W)", shape_text(inputs));
  require(mask.dim() == 3 || mask.dim() == 4, "blend_dense", "mask", "of shape (S, H, W) or (N, S, H, W)", shape_text(mask));
  const int64_t s = mask.size(mask.dim() - 3), n = inputs.size(0), c = inputs.size(1), h = inputs.size(2), w = inputs.size(3);
  Tensor out = channels_last ? empty_like_device({s, n, h, w, c}, dtype, inputs)
                             : empty_like_device({s, n, c, h, w}, dtype, inputs);
  if (channels_last) {
    const Tensor rows_first = torch::stable::transpose(out, 3, 4);
    out = torch::stable::transpose(rows_first, 2, 3);
  }
  blend_dense_out(inputs, infill, mask, mean, std, out);
  return out;
}

}  // namespace saliency_ext::ops
