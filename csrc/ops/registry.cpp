// The native API on one screen. Autograd and fake kernels are registered in Python, in each op's own file.
#include "ops.h"

// The emulated CUDA kernels register themselves a second time, under another namespace.
#ifndef SX_NAMESPACE
#define SX_NAMESPACE saliency_ext
#endif
#define SX_LIBRARY(ns, m) STABLE_TORCH_LIBRARY(ns, m)
#define SX_LIBRARY_IMPL(ns, key, m) STABLE_TORCH_LIBRARY_IMPL(ns, key, m)

// `sample_ids` absent = ties by index. Parameters per step are (S, ...) or (N, S, ...). `out` is (S, N, C, H, W).
SX_LIBRARY(SX_NAMESPACE, m) {
  m.def("rank(Tensor saliency, Tensor? sample_ids, int seed) -> Tensor");
  m.def("topk_mask(Tensor saliency, Tensor counts, Tensor? sample_ids, int seed) -> Tensor");
  m.def("blend_rank(Tensor inputs, Tensor infill, Tensor ranks, Tensor counts, bool head, Tensor? mean, Tensor? std, Tensor(a!) out) -> ()");
  m.def("blend_boxes(Tensor inputs, Tensor infill, Tensor boxes, Tensor? mean, Tensor? std, Tensor(a!) out) -> ()");
  m.def("blend_grids(Tensor inputs, Tensor infill, Tensor grids, Tensor shifts, bool mirror, Tensor? mean, Tensor? std, Tensor(a!) out) -> ()");
  m.def("blend_segments(Tensor inputs, Tensor infill, Tensor segments, Tensor coalitions, Tensor? mean, Tensor? std, Tensor(a!) out) -> ()");
  m.def("blend_dense_out(Tensor inputs, Tensor infill, Tensor mask, Tensor? mean, Tensor? std, Tensor(a!) out) -> ()");
  m.def("blend_dense(Tensor inputs, Tensor infill, Tensor mask, Tensor? mean, Tensor? std, ScalarType dtype, bool channels_last) -> Tensor");
  m.def("blend_dense_backward(Tensor gradient, Tensor inputs, Tensor infill, Tensor mask, Tensor? std) -> (Tensor, Tensor, Tensor)");
  m.def("blend_rank_update(Tensor(a!) canvas, Tensor source, Tensor ranks, Tensor lo, Tensor hi) -> ()");
  m.def("total_variation(Tensor mask, int kind, float beta, float eps) -> Tensor");
  m.def("total_variation_backward(Tensor mask, Tensor weight, int kind, float beta, float eps) -> Tensor");
  m.def("total_variation_with_grad(Tensor mask, Tensor weight, int kind, float beta, float eps) -> (Tensor, Tensor)");
  m.def("mask_step(Tensor? gradient, Tensor inputs, Tensor infill, Tensor places, Tensor next_places, Tensor down, Tensor down_bands, Tensor across, Tensor across_bands, Tensor(a!) values, Tensor(b!) exp_avg, Tensor(c!) exp_avg_sq, Tensor(d!) cells, Tensor(e!) mask, Tensor(f!) counts, Tensor(g!) active, Tensor(h!) terms, Tensor(i!) out, bool sigmoid, bool adam, bool on_cells, int kind, float rate, float beta1, float beta2, float eps, float area, float variation, float beta) -> ()");
  m.def("smooth_maximum(Tensor values, Tensor weights, int height, int width, int step, int margin, float inverse_temperature) -> (Tensor, Tensor)");
  m.def("smooth_maximum_backward(Tensor gradient, Tensor values, Tensor weights, Tensor out, Tensor sums, int step, int margin, float inverse_temperature) -> Tensor");
  m.def("noise(Tensor sample_ids, int channels, int height, int width, bool normal, int seed, int stream) -> Tensor");
  m.def("linear_infill(Tensor inputs, Tensor remove, Tensor? noise, int stencil, float tolerance, float noise_std) -> (Tensor, Tensor)");
}

namespace {

void implement(torch::stable::detail::StableLibrary& m) {
  namespace ops = saliency_ext::ops;
  m.impl("rank", TORCH_BOX(&ops::rank));
  m.impl("topk_mask", TORCH_BOX(&ops::topk_mask));
  m.impl("blend_rank", TORCH_BOX(&ops::blend_rank));
  m.impl("blend_boxes", TORCH_BOX(&ops::blend_boxes));
  m.impl("blend_grids", TORCH_BOX(&ops::blend_grids));
  m.impl("blend_segments", TORCH_BOX(&ops::blend_segments));
  m.impl("blend_dense_out", TORCH_BOX(&ops::blend_dense_out));
  m.impl("blend_dense", TORCH_BOX(&ops::blend_dense));
  m.impl("blend_dense_backward", TORCH_BOX(&ops::blend_dense_backward));
  m.impl("blend_rank_update", TORCH_BOX(&ops::blend_rank_update));
  m.impl("total_variation", TORCH_BOX(&ops::total_variation));
  m.impl("total_variation_backward", TORCH_BOX(&ops::total_variation_backward));
  m.impl("total_variation_with_grad", TORCH_BOX(&ops::total_variation_with_grad));
  m.impl("mask_step", TORCH_BOX(&ops::mask_step));
  m.impl("smooth_maximum", TORCH_BOX(&ops::smooth_maximum));
  m.impl("smooth_maximum_backward", TORCH_BOX(&ops::smooth_maximum_backward));
  m.impl("noise", TORCH_BOX(&ops::noise));
  m.impl("linear_infill", TORCH_BOX(&ops::linear_infill));
}

}  // namespace

SX_LIBRARY_IMPL(SX_NAMESPACE, CPU, m) { implement(m); }
#if defined(SX_WITH_CUDA) && !defined(SX_EMULATED_CUDA)
SX_LIBRARY_IMPL(SX_NAMESPACE, CUDA, m) { implement(m); }
#endif
