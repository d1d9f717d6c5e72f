#include "dispatch.h"
#include "ops.h"

namespace saliency_ext::ops {
namespace {

OpCounter counter("total_variation");

// Sums of parts of a map go to `partial`, which is not needed where only the gradient is asked.
void run(TotalVariationProblem problem, const Tensor& mask) {
  const int64_t chunks = total_variation_chunks(problem.height, problem.width);
  const int64_t parts = runs_cuda_kernel(mask) ? variation_tiles(problem.height, problem.width) : chunks;
  const Tensor partial = empty_like_device({problem.sums == nullptr ? 0 : problem.maps, parts}, ScalarType::Double, mask);
  problem.partial = partial.mutable_data_ptr<double>();
  if (problem.maps == 0 || chunks == 0) return;
  if (runs_cuda_kernel(mask)) {
    run_cuda(counter, mask, [&](void* stream) { return total_variation_cuda(problem, stream); });
  } else {
    const auto kernel = [&](int64_t begin, int64_t end) { total_variation_cpu(begin, end, problem); };
    run_cpu(counter, problem.maps * chunks, problem.height * problem.width / chunks, kernel);
    if (problem.sums != nullptr) total_variation_sum_cpu(0, problem.maps, problem);
  }
}

TotalVariationProblem problem_of(const char* op, const Tensor& mask, const Tensor& values, int64_t kind, double beta,
                                 double eps) {
  require(mask.dim() == 4, op, "mask", "of shape (N, C, H, W)", shape_text(mask));
  require_countable(op, "mask", {mask.size(0), mask.size(1), mask.size(2), mask.size(3)});
  require(kind >= 0 && kind <= 2, op, "kind", "0 (anisotropic), 1 (isotropic) or 2 (squared)", std::to_string(kind));
  return {mask.size(0) * mask.size(1), mask.size(2), mask.size(3), compute_dtype_of(op, "mask", mask),
          {static_cast<Variation>(kind), beta, eps}, values.const_data_ptr(), nullptr, nullptr, nullptr, nullptr};
}

// Maps without pixels have sum 0 and no kernel run.
Tensor empty_sums(const Tensor& mask) {
  Tensor sums = empty_like_device({mask.size(0), mask.size(1)}, mask.scalar_type(), mask);
  return mask.numel() == 0 ? torch::stable::zero_(sums) : sums;
}

}  // namespace

Tensor total_variation(const Tensor& mask, int64_t kind, double beta, double eps) {
  const Tensor values = packed(mask);
  TotalVariationProblem problem = problem_of("total_variation", mask, values, kind, beta, eps);
  Tensor sums = empty_sums(mask);
  problem.sums = sums.mutable_data_ptr();
  run(problem, mask);
  return sums;
}

namespace {

// The gradient, and the sums where `sums` is given.
Tensor run_with_gradient(const char* op, const Tensor& mask, const Tensor& weight, int64_t kind, double beta, double eps,
                         const Tensor* sums) {
  const Tensor values = packed(mask), weights = packed(weight);
  TotalVariationProblem problem = problem_of(op, mask, values, kind, beta, eps);
  require_shape(op, "weight", weight, {mask.size(0), mask.size(1)});
  require(weight.scalar_type() == mask.scalar_type(), op, "weight", "of the mask's dtype", "another dtype");
  require_same_device(op, "weight", weight, mask);
  Tensor gradient = empty_like_device({mask.size(0), mask.size(1), mask.size(2), mask.size(3)}, mask.scalar_type(), mask);
  problem.weights = weights.const_data_ptr();
  problem.sums = sums == nullptr ? nullptr : sums->mutable_data_ptr();
  problem.gradient = gradient.mutable_data_ptr();
  run(problem, mask);
  return gradient;
}

}  // namespace

std::tuple<Tensor, Tensor> total_variation_with_grad(const Tensor& mask, const Tensor& weight, int64_t kind, double beta,
                                                     double eps) {
  require(mask.dim() == 4, "total_variation_with_grad", "mask", "of shape (N, C, H, W)", shape_text(mask));
  const Tensor sums = empty_sums(mask);
  const Tensor gradient = run_with_gradient("total_variation_with_grad", mask, weight, kind, beta, eps, &sums);
  return {sums, gradient};
}

Tensor total_variation_backward(const Tensor& mask, const Tensor& weight, int64_t kind, double beta, double eps) {
  return run_with_gradient("total_variation_backward", mask, weight, kind, beta, eps, nullptr);
}

}  // namespace saliency_ext::ops
