#pragma once
// Launch interface: every signature, CPU and CUDA. Raw pointers, 64-bit sizes, no torch: a C++ host can call these directly.
//
// CPU kernels are functions over a range [begin, end) of independent units; the caller splits 0 .. *_units(...) over its
// threads as it likes, the result does not depend on the split. CUDA launches run on `stream` of the current device,
// allocate nothing, never synchronise, and return a cudaError_t as int (0 = launched). Arrays are contiguous unless a view
// says otherwise. Outputs never alias inputs, except where a name ends in `update`.
#include <cstdint>

#include "common/blend.h"
#include "common/mask_families.h"
#include "common/linear_infill.h"
#include "common/mask_step.h"
#include "common/order.h"
#include "common/random.h"
#include "common/smooth_maximum.h"
#include "common/total_variation.h"

namespace saliency_ext {

// ---- rank: saliency (rows, pixels) of float or double -> ranks (rows, pixels), 0 = most relevant ----
struct RankProblem {
  const void* saliency;
  DType dtype;  // kFloat32 or kFloat64
  int64_t rows, pixels;
  TieRule ties;
  int32_t* ranks;
};
void rank_cpu(int64_t begin, int64_t end, const RankProblem&);  // unit: row
// scratch: rank_scratch_bytes(problem) bytes of device memory.
int64_t rank_scratch_bytes(const RankProblem&);
int rank_cuda(const RankProblem&, void* scratch, void* stream);

// ---- topk_mask: saliency (rows, pixels), counts (K,) -> masks (K, rows, pixels), 1 where rank < count ----
struct TopkProblem {
  const void* saliency;
  DType dtype;
  int64_t rows, pixels, masks;
  TieRule ties;
  const int64_t* counts;
  uint8_t* out;
};
void topk_mask_cpu(int64_t begin, int64_t end, const TopkProblem&);  // unit: row
// scratch: topk_mask_scratch_bytes(problem) bytes of device memory.
int64_t topk_mask_scratch_bytes(const TopkProblem&);
int topk_mask_cuda(const TopkProblem&, void* scratch, void* stream);

// ---- the renderer: one perturbed input per (step, image) ----
int64_t blend_units(const BlendProblem&);
void blend_cpu(int64_t begin, int64_t end, const BlendProblem&, const KeepRank&);
void blend_cpu(int64_t begin, int64_t end, const BlendProblem&, const KeepBox&);
void blend_cpu(int64_t begin, int64_t end, const BlendProblem&, const KeepSegment&);
void blend_cpu(int64_t begin, int64_t end, const BlendProblem&, const KeepGrid&);
void blend_cpu(int64_t begin, int64_t end, const BlendProblem&, const KeepDense<float>&);
void blend_cpu(int64_t begin, int64_t end, const BlendProblem&, const KeepDense<double>&);
int blend_cuda(const BlendProblem&, const KeepRank&, void* stream);
int blend_cuda(const BlendProblem&, const KeepBox&, void* stream);
int blend_cuda(const BlendProblem&, const KeepSegment&, void* stream);
int blend_cuda(const BlendProblem&, const KeepGrid&, void* stream);
int blend_cuda(const BlendProblem&, const KeepDense<float>&, void* stream);
int blend_cuda(const BlendProblem&, const KeepDense<double>&, void* stream);

// ---- gradient of the dense blend; any of the three outputs may be null ----
struct BlendDenseGradProblem {
  int64_t steps, images, channels, height, width;
  DType dtype;           // of everything below
  const void* gradient;  // (S, N, C, H, W)
  ImageView inputs, infill;
  const void* masks;  // (S, H, W) or (N, S, H, W)
  bool per_image;
  const void* std;  // (C,) or null
  void* grad_masks;
  void* grad_inputs;  // (N, C, H, W)
  void* grad_infill;
};
int64_t blend_dense_backward_units(const BlendDenseGradProblem&);
void blend_dense_backward_cpu(int64_t begin, int64_t end, const BlendDenseGradProblem&);
int blend_dense_backward_cuda(const BlendDenseGradProblem&, void* stream);

// ---- blend_rank_update: canvas pixels with lo <= rank < hi become the source's, in place ----
struct BlendUpdateProblem {
  int64_t images, channels, height, width;
  int element_bytes;  // 2, 4 or 8
  void* canvas;       // strided like an ImageView
  int64_t canvas_stride[4];
  ImageView source;
  const int32_t* ranks;  // (N, H, W)
  const int64_t* lo;     // (N,) or (1,)
  const int64_t* hi;
  bool per_image;
};
int64_t blend_rank_update_units(const BlendUpdateProblem&);
void blend_rank_update_cpu(int64_t begin, int64_t end, const BlendUpdateProblem&);
int blend_rank_update_cuda(const BlendUpdateProblem&, void* stream);

// ---- total_variation: maps (M, H, W) -> sums (M,), and d sums[m] / d map times weights[m]; either may be null ----
struct TotalVariationProblem {
  int64_t maps, height, width;
  DType dtype;
  VariationRule rule;
  const void* values;
  const void* weights;  // (M,), read where gradient is asked
  void* gradient;       // (M, H, W) or null
  double* partial;      // (M, chunks), on CUDA (M, variation_tiles): sums of parts of a map, written where sums are asked
  void* sums;           // (M,) or null
};
int64_t total_variation_chunks(int64_t height, int64_t width);
void total_variation_cpu(int64_t begin, int64_t end, const TotalVariationProblem&);      // unit: (map, chunk)
void total_variation_sum_cpu(int64_t begin, int64_t end, const TotalVariationProblem&);  // unit: map, after the above
int total_variation_cuda(const TotalVariationProblem&, void* stream);                    // both

// ---- noise: out (N, C, pixels) from the keyed counter ----
struct NoiseProblem {
  Distribution distribution;
  uint64_t seed;
  uint32_t stream;
  const int64_t* sample_ids;  // (N,)
  int64_t samples, channels, pixels;
  float* out;
};
int64_t noise_units(const NoiseProblem&);
void noise_cpu(int64_t begin, int64_t end, const NoiseProblem&);
int noise_cuda(const NoiseProblem&, void* stream);

// ---- linear_infill: removed pixels become weighted means of their neighbours, see common/linear_infill.h ----
struct LinearInfillProblem {
  int64_t steps, images, channels, height, width;
  DType dtype;            // of inputs and filled: kFloat32 or kFloat64
  ImageView inputs;       // (N, C, H, W)
  const uint8_t* remove;  // (S, N, H, W), not 0 = removed
  const float* noise;     // (N, C, H, W), added times noise_std where removed; or null
  InfillStencil stencil;
  double tolerance, noise_std;
  void* filled;     // (S, N, C, H, W)
  float* residual;  // (S, N, C): largest |mean of the neighbours - value| before noise
};
int64_t linear_infill_units(const LinearInfillProblem&);
void linear_infill_cpu(int64_t begin, int64_t end, const LinearInfillProblem&);  // unit: (step, image)
// scratch: linear_infill_scratch_bytes(problem) bytes of device memory.
int64_t linear_infill_scratch_bytes(const LinearInfillProblem&);
int linear_infill_cuda(const LinearInfillProblem&, void* scratch, void* stream);

// ---- mask_step: gradient of the masked inputs -> next parameters, mask and masked inputs, one row per mask optimised ----
struct MaskStepProblem {
  int64_t rows, planes, infills, channels, height, width;
  int64_t image_count, infill_count;  // N and B
  int64_t image_height, image_width;  // of inputs and infill: windows of (height, width) are read
  DType dtype;
  MaskStepRule rule;
  const void* gradient;  // (R, P, U, C, H, W), or null: only render
  const void* inputs;    // (N, C, ., .)
  const void* infill;    // (B, C, ., .)
  const int64_t* places;  // (R, U, 4): image, infill image, top, left
  const int64_t* next_places;
  Resizing down, across;
  VariationRule roughness;
  const void* variation_gradient;  // (R, P) maps of pixels or cells, and (R, P): what total_variation gives of the masks before
  const void* variation_sums;      // the step. Read by the CUDA kernel alone; null: no variation
  void* values;                    // (R, P, h, w), like the next three
  void* exp_avg;     // moments of Adam, in the terms of torch.optim; momentum uses the first
  void* exp_avg_sq;
  void* cells;
  void* mask;       // (R, P, H, W)
  int64_t* counts;  // (R,)
  uint8_t* active;  // (R,) cleared where the gradient is not finite: such a row stays as it is
  double* terms;    // (R, 3): sum |d loss / d mask|, area, variation, before the step
  void* out;        // (R, P, U, C, H, W)
};
void mask_step_cpu(int64_t begin, int64_t end, const MaskStepProblem&);  // unit: row
// scratch: mask_step_scratch(problem) values of the dtype.
int64_t mask_step_scratch(const MaskStepProblem&);
int mask_step_cuda(const MaskStepProblem&, void* scratch, void* stream);

// ---- smooth_maximum: cells (M, h, w) -> pixels (M, H + 2 margin, W + 2 margin), and its gradient ----
struct SmoothMaximumProblem {
  int64_t maps, rows, columns;  // cells
  int64_t height, width;        // pixels, margins included
  int64_t step, margin, reach;
  double inverse_temperature;
  DType dtype;
  const void* values;
  const void* weights;   // (step (reach + 1))^2: of a cell so many pixels away along each axis
  const void* gradient;  // of out, where slopes are asked
  void* out;
  void* sums;    // like out: the softmax' denominators; written with out, read with slopes
  void* slopes;  // (M, h, w) or null: forward
};
void smooth_maximum_cpu(int64_t begin, int64_t end, const SmoothMaximumProblem&);  // unit: map
int smooth_maximum_cuda(const SmoothMaximumProblem&, void* stream);

// Text of a status returned by a *_cuda launch.
const char* cuda_status_text(int status);

}  // namespace saliency_ext
