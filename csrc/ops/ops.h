#pragma once
// The bindings, one function per schema in registry.cpp.
#include <optional>
#include <tuple>

#include "checks.h"

namespace saliency_ext::ops {

Tensor rank(const Tensor& saliency, std::optional<Tensor> sample_ids, int64_t seed);
Tensor topk_mask(const Tensor& saliency, const Tensor& counts, std::optional<Tensor> sample_ids, int64_t seed);

void blend_rank(const Tensor& inputs, const Tensor& infill, const Tensor& ranks, const Tensor& counts, bool head,
                std::optional<Tensor> mean, std::optional<Tensor> std, Tensor out);
void blend_boxes(const Tensor& inputs, const Tensor& infill, const Tensor& boxes, std::optional<Tensor> mean,
                 std::optional<Tensor> std, Tensor out);
void blend_grids(const Tensor& inputs, const Tensor& infill, const Tensor& grids, const Tensor& shifts, bool mirror,
                 std::optional<Tensor> mean, std::optional<Tensor> std, Tensor out);
void blend_segments(const Tensor& inputs, const Tensor& infill, const Tensor& segments, const Tensor& coalitions,
                    std::optional<Tensor> mean, std::optional<Tensor> std, Tensor out);
void blend_dense_out(const Tensor& inputs, const Tensor& infill, const Tensor& mask, std::optional<Tensor> mean,
                     std::optional<Tensor> std, Tensor out);
Tensor blend_dense(const Tensor& inputs, const Tensor& infill, const Tensor& mask, std::optional<Tensor> mean,
                   std::optional<Tensor> std, ScalarType dtype, bool channels_last);
std::tuple<Tensor, Tensor, Tensor> blend_dense_backward(const Tensor& gradient, const Tensor& inputs, const Tensor& infill,
                                                        const Tensor& mask, std::optional<Tensor> std);
void blend_rank_update(Tensor canvas, const Tensor& source, const Tensor& ranks, const Tensor& lo, const Tensor& hi);

Tensor total_variation(const Tensor& mask, int64_t kind, double beta, double eps);
Tensor total_variation_backward(const Tensor& mask, const Tensor& weight, int64_t kind, double beta, double eps);
std::tuple<Tensor, Tensor> total_variation_with_grad(const Tensor& mask, const Tensor& weight, int64_t kind, double beta,
                                                     double eps);

void mask_step(std::optional<Tensor> gradient, const Tensor& inputs, const Tensor& infill, const Tensor& places,
               const Tensor& next_places, const Tensor& down, const Tensor& down_bands, const Tensor& across,
               const Tensor& across_bands, Tensor values, Tensor exp_avg, Tensor exp_avg_sq, Tensor cells, Tensor mask, Tensor counts,
               Tensor active, Tensor terms, Tensor out, bool sigmoid, bool adam, bool on_cells, int64_t kind, double rate,
               double beta1, double beta2, double eps, double area, double variation, double beta);

std::tuple<Tensor, Tensor> smooth_maximum(const Tensor& values, const Tensor& weights, int64_t height, int64_t width,
                                          int64_t step, int64_t margin, double inverse_temperature);
Tensor smooth_maximum_backward(const Tensor& gradient, const Tensor& values, const Tensor& weights, const Tensor& out,
                               const Tensor& sums, int64_t step, int64_t margin, double inverse_temperature);

Tensor noise(const Tensor& sample_ids, int64_t channels, int64_t height, int64_t width, bool normal, int64_t seed,
             int64_t stream);

std::tuple<Tensor, Tensor> linear_infill(const Tensor& inputs, const Tensor& remove, std::optional<Tensor> noise,
                                         int64_t stencil, double tolerance, double noise_std);

}  // namespace saliency_ext::ops
