#pragma once
// The tie rule as ops receive it: no sample ids = by index, else at random by (seed, sample id, pixel).
#include "checks.h"

namespace saliency_ext::ops {

inline std::optional<Tensor> checked_sample_ids(const char* op, const std::optional<Tensor>& sample_ids,
                                                const Tensor& reference) {
  if (!sample_ids.has_value()) return std::nullopt;
  require_shape(op, "sample_ids", *sample_ids, {reference.size(0)});
  require_dtype(op, "sample_ids", *sample_ids, ScalarType::Long, "int64");
  require_same_device(op, "sample_ids", *sample_ids, reference);
  return packed(*sample_ids);
}

inline TieRule tie_rule(const std::optional<Tensor>& sample_ids, int64_t seed) {
  return sample_ids.has_value()
             ? TieRule{Ties::kRandom, static_cast<uint64_t>(seed), sample_ids->const_data_ptr<int64_t>()}
             : TieRule{Ties::kIndex, 0, nullptr};
}

}  // namespace saliency_ext::ops
