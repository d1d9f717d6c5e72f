// The renderer on the device. A thread owns the elements of one 16-byte store of one image: it loads image, infill and the
// family's code for each, normalises and casts them once, then walks the steps of its block and writes one vector per
// step. Per step nothing is read but the step's parameters, so the bytes are those of the output.
// Layout only changes which (channel, pixel) an element is, so contiguous and channels_last share the code.
#include "../kernels.h"
#include "launch.h"

namespace saliency_ext {
namespace {

using cuda::BlendTuning;

template <class Out>
constexpr int kVector = BlendTuning::kStoreBytes / static_cast<int>(sizeof(Out));

template <class Out>
struct alignas(BlendTuning::kStoreBytes) Vector {
  Out element[kVector<Out>];
};

// What a thread keeps per element: finished output bits for the families that choose, operands for those that mix.
template <bool kBinary, class Out, class T>
struct Operand {
  using type = Out;
};
template <class Out, class T>
struct Operand<false, Out, T> {
  using type = T;
};

template <class Out, class T, class Keep>
__global__ void __launch_bounds__(BlendTuning::kThreads)
    blend_kernel(BlendProblem problem, Keep keep, int64_t vectors, int64_t step_blocks, bool aligned) {
  using Stored = typename Operand<Keep::kBinary, Out, T>::type;
  constexpr int kElements = kVector<Out>;

  // 1. Which vector of which image, and which steps.
  const int64_t unit = cuda::global_thread();
  const int64_t vector = unit % vectors, rest = unit / vectors;
  const int64_t n = rest % problem.images, step_block = rest / problem.images;
  if (step_block >= step_blocks) return;
  const int64_t first = vector * kElements;
  const int64_t elements = problem.image_elements();
  const int count = static_cast<int>(elements - first < kElements ? elements - first : kElements);

  // 2. Load, normalise and cast once.
  Stored shown[kElements], hidden[kElements];
  typename Keep::Code code[kElements];
  int32_t channel[kElements];
  SX_UNROLL
  for (int i = 0; i < kElements; ++i) {
    const ElementPlace place = place_of(problem, i < count ? first + i : first);
    const int64_t y = place.pixel / problem.width, x = place.pixel % problem.width;
    T image = problem.inputs.at<T>(n, place.channel, y, x);
    T infill = problem.infill.at<T>(n, place.channel, y, x);
    if constexpr (Keep::kBinary) {
      image = normalise(image, problem.mean, problem.std, place.channel);
      infill = normalise(infill, problem.mean, problem.std, place.channel);
    }
    shown[i] = cast_to<Stored>(image);
    hidden[i] = cast_to<Stored>(infill);
    code[i] = keep.code(n, place.pixel);
    channel[i] = static_cast<int32_t>(place.channel);
  }

  // 3. One vector per step.
  const int64_t last_step = step_block * BlendTuning::kSteps + BlendTuning::kSteps;
  const int64_t stop = last_step < problem.steps ? last_step : problem.steps;
  for (int64_t s = step_block * BlendTuning::kSteps; s < stop; ++s) {
    const typename Keep::Step step = keep.step(n, s);
    Vector<Out> result;
    SX_UNROLL
    for (int i = 0; i < kElements; ++i) {
      if constexpr (Keep::kBinary) {
        result.element[i] = Keep::keep(code[i], step) ? shown[i] : hidden[i];
      } else {
        const T value = mix(static_cast<T>(keep.weight(code[i], step)), shown[i], hidden[i]);
        result.element[i] = cast_to<Out>(normalise(value, problem.mean, problem.std, channel[i]));
      }
    }
    Out* target = static_cast<Out*>(problem.out) + (s * problem.images + n) * elements + first;
    if (aligned) {
      *reinterpret_cast<Vector<Out>*>(target) = result;
    } else {
      SX_UNROLL
      for (int i = 0; i < kElements; ++i) {
        if (i < count) target[i] = result.element[i];
      }
    }
  }
}

template <class Out, class T, class Keep>
int launch(const BlendProblem& problem, const Keep& keep, void* stream) {
  const int64_t elements = problem.image_elements();
  const int64_t vectors = (elements + kVector<Out> - 1) / kVector<Out>;
  const int64_t step_blocks = (problem.steps + BlendTuning::kSteps - 1) / BlendTuning::kSteps;
  const bool aligned =
      elements % kVector<Out> == 0 && reinterpret_cast<uintptr_t>(problem.out) % BlendTuning::kStoreBytes == 0;
  const unsigned grid = cuda::blocks_for(vectors * problem.images * step_blocks, BlendTuning::kThreads);
  return SX_LAUNCH((blend_kernel<Out, T, Keep>), grid, BlendTuning::kThreads, stream, problem, keep, vectors, step_blocks,
                   aligned);
}

// Computed in float32. A dense mask is of the type that is computed in, so these are all that a float mask can ask for.
template <class Keep>
int launch_float(const BlendProblem& problem, const Keep& keep, void* stream) {
  switch (problem.output) {
    case DType::kFloat32: return launch<float, float>(problem, keep, stream);
    case DType::kFloat16: return launch<Half, float>(problem, keep, stream);
    default: return launch<BFloat16, float>(problem, keep, stream);
  }
}

template <class Keep>
int launch_any(const BlendProblem& problem, const Keep& keep, void* stream) {
  return problem.output == DType::kFloat64 ? launch<double, double>(problem, keep, stream)
                                           : launch_float(problem, keep, stream);
}

}  // namespace

int blend_cuda(const BlendProblem& problem, const KeepRank& keep, void* stream) { return launch_any(problem, keep, stream); }
int blend_cuda(const BlendProblem& problem, const KeepBox& keep, void* stream) { return launch_any(problem, keep, stream); }
int blend_cuda(const BlendProblem& problem, const KeepSegment& keep, void* stream) {
  return launch_any(problem, keep, stream);
}
int blend_cuda(const BlendProblem& problem, const KeepGrid& keep, void* stream) { return launch_any(problem, keep, stream); }
int blend_cuda(const BlendProblem& problem, const KeepDense<float>& keep, void* stream) {
  return launch_float(problem, keep, stream);
}
int blend_cuda(const BlendProblem& problem, const KeepDense<double>& keep, void* stream) {
  return launch<double, double>(problem, keep, stream);
}

}  // namespace saliency_ext
