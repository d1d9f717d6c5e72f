#pragma once
// Eight numbers at once: a vector where the instruction set has one, several registers where it has not. Sums and maxima kept
// in lanes have one order whatever the instruction set.
#include <cstdint>
#include <cstring>

#include "../common/macros.h"

#pragma GCC diagnostic ignored "-Wpsabi"  // lanes are passed between inlined functions only, where no calling convention holds

namespace saliency_ext {

constexpr int64_t kLanes = 8;

template <class T>
struct LanesOf {
  typedef T type __attribute__((vector_size(kLanes * sizeof(T))));
};
template <class T>
using Lanes = typename LanesOf<T>::type;

template <class T>
SX_HD Lanes<T> load(const T* from) {
  Lanes<T> lanes;
  std::memcpy(&lanes, from, sizeof(lanes));
  return lanes;
}

// The same as numbers of another type.
template <class Wide, class T>
SX_HD Lanes<Wide> load_as(const T* from) {
  return __builtin_convertvector(load(from), Lanes<Wide>);
}

template <class T>
SX_HD void store(T* to, const Lanes<T>& lanes) {
  std::memcpy(to, &lanes, sizeof(lanes));
}

}  // namespace saliency_ext
