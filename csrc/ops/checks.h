#pragma once
// Argument checks and small views of torch tensors, for direct callers of torch.ops, who have not passed the Python layer's
// checks. Messages: function, argument, expected, got. No argument may lead a kernel out of its memory: sizes are checked here
// on every device; integers in a tensor that become an index are checked here on the CPU, and clamped by the CUDA kernels,
// since reading them back would stall the device.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "../kernels.h"
#include "huge_pages.h"

namespace saliency_ext::ops {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline std::string shape_text(const Tensor& tensor) {
  std::string text = "(";
  for (int64_t d = 0; d < tensor.dim(); ++d) text += (d > 0 ? ", " : "") + std::to_string(tensor.size(d));
  return text + ")";
}

inline bool has_shape(const Tensor& tensor, const std::vector<int64_t>& shape) {
  if (tensor.dim() != static_cast<int64_t>(shape.size())) return false;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (tensor.size(static_cast<int64_t>(d)) != shape[d]) return false;
  }
  return true;
}

inline void require(bool holds, const char* op, const char* argument, const std::string& expected, const std::string& got) {
  STD_TORCH_CHECK(holds, op, ": expected ", argument, " ", expected, ", got ", got);
}

// Sizes whose product, zeros apart, is a number of elements that memory could hold: products of some of them do not overflow.
inline void require_countable(const char* op, const char* argument, const std::vector<int64_t>& sizes) {
  int64_t elements = 1;
  bool fits = true;
  for (const int64_t size : sizes) {
    fits = fits && size >= 0 && !__builtin_mul_overflow(elements, std::max<int64_t>(size, 1), &elements);
  }
  require(fits && elements <= (int64_t{1} << 48), op, argument, "of at most 2^48 elements", "more");
}

// Every `stride`-th of `count` integers on the host, each in [low, high].
template <class T>
void require_range(const char* op, const char* argument, const T* values, int64_t count, int64_t stride, int64_t low,
                   int64_t high) {
  for (int64_t i = 0; i < count; ++i) {
    const int64_t value = values[i * stride];
    if (value >= low && value <= high) continue;
    require(false, op, argument, "in [" + std::to_string(low) + ", " + std::to_string(high) + "]", std::to_string(value));
  }
}

inline void require_shape(const char* op, const char* argument, const Tensor& tensor, const std::vector<int64_t>& shape) {
  std::string expected = "of shape (";
  for (size_t d = 0; d < shape.size(); ++d) expected += (d > 0 ? ", " : "") + std::to_string(shape[d]);
  require(has_shape(tensor, shape), op, argument, expected + ")", shape_text(tensor));
}

inline void require_dtype(const char* op, const char* argument, const Tensor& tensor, ScalarType expected, const char* name) {
  require(tensor.scalar_type() == expected, op, argument, std::string("of dtype ") + name, "another dtype");
}

inline void require_same_device(const char* op, const char* argument, const Tensor& tensor, const Tensor& reference) {
  require(tensor.device() == reference.device(), op, argument, "on the device of the first tensor", "another device");
}

inline DType dtype_of(const char* op, const char* argument, const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return DType::kFloat32;
    case ScalarType::Double: return DType::kFloat64;
    case ScalarType::Half: return DType::kFloat16;
    case ScalarType::BFloat16: return DType::kBFloat16;
    default: require(false, op, argument, "of a floating dtype", "another dtype"); return DType::kFloat32;
  }
}

// float32 or float64: the types that are computed in.
inline DType compute_dtype_of(const char* op, const char* argument, const Tensor& tensor) {
  const DType dtype = dtype_of(op, argument, tensor);
  require(dtype == DType::kFloat32 || dtype == DType::kFloat64, op, argument, "of dtype float32 or float64", "another dtype");
  return dtype;
}

inline Tensor empty_like_device(const std::vector<int64_t>& shape, ScalarType dtype, const Tensor& reference) {
  Tensor tensor = torch::stable::empty(shape, dtype, std::nullopt, reference.device());
  if (tensor.is_cpu()) {
    prefer_huge_pages(tensor.mutable_data_ptr(), tensor.numel() * static_cast<int64_t>(tensor.element_size()));
  }
  return tensor;
}

inline Tensor packed(const Tensor& tensor) { return torch::stable::contiguous(tensor); }

// Strided view of an (N, C, H, W) tensor.
inline ImageView view_of(const Tensor& tensor) {
  ImageView view{tensor.const_data_ptr(), {}};
  for (int d = 0; d < 4; ++d) view.stride[d] = tensor.stride(d);
  return view;
}

// A parameter of shape (S, rest...) is shared by all images, one of shape (N, S, rest...) is per image.
inline bool is_per_image(const char* op, const char* argument, const Tensor& tensor, int64_t images, int64_t steps,
                         const std::vector<int64_t>& rest) {
  std::vector<int64_t> shape{steps};
  shape.insert(shape.end(), rest.begin(), rest.end());
  if (has_shape(tensor, shape)) return false;
  shape.insert(shape.begin(), images);
  require_shape(op, argument, tensor, shape);
  return true;
}

}  // namespace saliency_ext::ops
