// Linear infill on the device: the method of the CPU kernel with the mean as first guess, one plane (step, image, channel) per
// block. At most kBlocks blocks run; each takes plane after plane, with planes of its own in scratch memory, which the L2 cache
// holds in part. No size of plane is too large.
#include "multigrid.cuh"

namespace saliency_ext {
namespace {

using cuda::InfillLevel;
using cuda::LinearInfillTuning;

constexpr int kThreads = LinearInfillTuning::kThreads;
constexpr int kPyramids = 5, kPlanes = 4;  // of all grids, and of the finest

int64_t block_elements(const LinearInfillProblem& problem) {
  const InfillLevel finest{problem.height, problem.width, 0};
  return kPyramids * cuda::infill_pyramid(problem.height, problem.width) + kPlanes * finest.elements();
}

// Where one channel of one image under one mask lies.
template <class In>
struct PlaneOf {
  const LinearInfillProblem& problem;
  const uint8_t* remove;
  const float* noise;
  In* out;
  int64_t n, c;

  __device__ PlaneOf(const LinearInfillProblem& given, int64_t plane) : problem(given) {
    const int64_t unit = plane / given.channels, pixels = given.height * given.width;
    n = unit % given.images;
    c = plane % given.channels;
    remove = given.remove + unit * pixels;
    noise = given.noise == nullptr ? nullptr : given.noise + (n * given.channels + c) * pixels;
    out = static_cast<In*>(given.filled) + plane * pixels;
  }
  __device__ In at(int64_t y, int64_t x) const { return problem.inputs.at<In>(n, c, y, x); }
  __device__ void write(int64_t y, int64_t x, In solved) {
    const int64_t pixel = y * problem.width + x;
    const In noisy = noise == nullptr ? solved : solved + static_cast<In>(problem.noise_std) * static_cast<In>(noise[pixel]);
    out[pixel] = remove[pixel] ? noisy : at(y, x);
  }
};

struct Known {
  double mean, lowest, highest, spread, unit;
};

// Conjugate gradients for one plane; returns the residual, valid in every thread.
template <InfillStencil kStencil, class T, class In>
__device__ __forceinline__ double solve(PlaneOf<In>& plane, const Known& known, T* memory) {
  const LinearInfillProblem& problem = plane.problem;
  const InfillLevel finest{problem.height, problem.width, 0};
  const int64_t pyramid = cuda::infill_pyramid(finest.height, finest.width), stride = finest.stride();
  const double unit = known.unit, per_unit = 1 / unit;
  const double goal = infill_goal(per_unit * problem.tolerance, per_unit * known.spread, sizeof(T) == sizeof(double));
  cuda::DeviceMultigrid<kStencil, T> grids{memory,
                                           memory + pyramid,
                                           memory + 2 * pyramid,
                                           memory + 3 * pyramid,
                                           memory + 4 * pyramid,
                                           finest.height,
                                           finest.width,
                                           cuda::infill_level_count(finest.height, finest.width)};
  T* values = memory + kPyramids * pyramid;
  T *residual = values + finest.elements(), *direction = residual + finest.elements(), *image = direction + finest.elements();
  grids.build(plane.remove);

  // 1. Right-hand side: what the known neighbours give; the first guess is their mean, 0.
  cuda::for_cells(finest, [&](int64_t y, int64_t x, int64_t at) {
    const bool removed = plane.remove[y * finest.width + x];
    image[at] = removed ? T(0) : static_cast<T>(per_unit * (static_cast<double>(plane.at(y, x)) - known.mean));
    values[at] = T(0);
  });
  __syncthreads();
  cuda::for_cells(finest, [&](int64_t, int64_t, int64_t at) {
    residual[at] = grids.diagonal[at] > T(0) ? grids.neighbours(image, at, stride) : T(0);
  });
  __syncthreads();

  // 2. Iterations.
  double rz = 0;
  for (int iteration = 0; iteration < kInfillIterations; ++iteration) {
    grids.cycle(residual);
    const T* z = grids.to;
    double sum = 0, largest = 0;
    cuda::for_cells(finest, [&](int64_t, int64_t, int64_t at) {
      const double size = static_cast<double>(z[at] < T(0) ? -z[at] : z[at]);
      largest = size > largest ? size : largest;
      sum += static_cast<double>(z[at]) * static_cast<double>(residual[at]);
    });
    const double next_rz = cuda::block_total<kThreads>(sum);
    largest = cuda::block_largest<kThreads>(largest);
    const bool done = !(largest > goal) || !(next_rz > 0);
    const T beta = iteration == 0 ? T(0) : static_cast<T>(next_rz / rz);
    rz = next_rz;
    if (done) {  // z is the error left, nearly: take it along
      cuda::for_cells(finest, [&](int64_t, int64_t, int64_t at) { values[at] += z[at]; });
      break;
    }
    cuda::for_cells(finest, [&](int64_t, int64_t, int64_t at) {
      direction[at] = z[at] + (iteration == 0 ? T(0) : beta * direction[at]);
    });
    __syncthreads();
    double pAp = 0;
    cuda::for_cells(finest, [&](int64_t, int64_t, int64_t at) {
      const T applied = grids.diagonal[at] * direction[at] - grids.neighbours(direction, at, stride);
      image[at] = grids.diagonal[at] > T(0) ? applied : T(0);  // its known pixels are not needed any more
      pAp += static_cast<double>(direction[at]) * static_cast<double>(image[at]);
    });
    pAp = cuda::block_total<kThreads>(pAp);
    if (!(pAp > 0)) break;
    const T alpha = static_cast<T>(rz / pAp);
    cuda::for_cells(finest, [&](int64_t, int64_t, int64_t at) {
      values[at] += alpha * direction[at];
      residual[at] -= alpha * image[at];
    });
    __syncthreads();
  }

  // 3. Out, and the residual of what is written. A mean of means lies between the extremes of the known pixels.
  cuda::for_cells(finest, [&](int64_t y, int64_t x, int64_t at) {
    const In lowest = static_cast<In>(known.lowest), highest = static_cast<In>(known.highest);
    In value = static_cast<In>(unit * static_cast<double>(values[at]) + known.mean);
    value = value < lowest ? lowest : (value > highest ? highest : value);
    value = plane.remove[y * finest.width + x] ? value : plane.at(y, x);
    image[at] = static_cast<T>(per_unit * (static_cast<double>(value) - known.mean));
    plane.write(y, x, value);
  });
  __syncthreads();
  double gap = 0;
  cuda::for_cells(finest, [&](int64_t, int64_t, int64_t at) {
    if (!(grids.diagonal[at] > T(0))) return;
    const double mean = static_cast<double>(grids.inverse[at] * grids.neighbours(image, at, stride));
    const double size = fabs(mean - static_cast<double>(image[at]));
    gap = size > gap ? size : gap;
  });
  return unit * cuda::block_largest<kThreads>(gap);
}

// Number of known pixels, and what they say; `bad` counts those that are no numbers.
template <class In>
__device__ __forceinline__ Known known_of(const PlaneOf<In>& plane, const InfillLevel& finest, int* count, int* bad) {
  int known = 0, wrong = 0;
  double sum = 0, highest = -HUGE_VAL, negated = -HUGE_VAL;
  cuda::for_cells(finest, [&](int64_t y, int64_t x, int64_t) {
    if (plane.remove[y * finest.width + x]) return;
    const double value = static_cast<double>(plane.at(y, x));
    ++known;
    wrong += !(value - value == 0);
    sum += kInfillShrink * value;
    highest = value > highest ? value : highest;
    negated = -value > negated ? -value : negated;
  });
  *count = cuda::block_total<kThreads>(known);
  *bad = cuda::block_total<kThreads>(wrong);
  const double mean = cuda::block_total<kThreads>(sum) / static_cast<double>(*count) / kInfillShrink;
  highest = cuda::block_largest<kThreads>(highest);
  const double lowest = -cuda::block_largest<kThreads>(negated);
  const double spread = highest - mean > mean - lowest ? highest - mean : mean - lowest;
  return {mean, lowest, highest, spread, infill_unit(spread)};
}

template <InfillStencil kStencil, class In>
__global__ void __launch_bounds__(kThreads) infill_kernel(LinearInfillProblem problem, double* scratch, int64_t elements) {
  const InfillLevel finest{problem.height, problem.width, 0};
  const int64_t planes = problem.steps * problem.images * problem.channels;
  double* memory = scratch + static_cast<int64_t>(blockIdx.x) * elements;
  int cleared = 0;  // the width of the numbers whose borders are zero
  for (int64_t number = blockIdx.x; number < planes; number += gridDim.x) {
    PlaneOf<In> plane(problem, number);
    int count, bad;
    const Known known = known_of(plane, finest, &count, &bad);
    const bool all = count == problem.height * problem.width;
    double residual = bad > 0 && !all ? static_cast<double>(NAN) : 0.0;
    if (count == 0 || all || bad > 0) {
      const In value = count == 0 ? In(0) : static_cast<In>(NAN);
      cuda::for_cells(finest, [&](int64_t y, int64_t x, int64_t) { plane.write(y, x, value); });
    } else {
      const bool in_double = sizeof(In) == sizeof(double) ||
                             infill_needs_double(problem.tolerance, known.spread, problem.height, problem.width);
      const int bytes = in_double ? 8 : 4;
      if (cleared != bytes) {
        for (int64_t i = threadIdx.x; i < elements; i += kThreads) memory[i] = 0;
        __syncthreads();
        cleared = bytes;
      }
      if (in_double) {
        residual = solve<kStencil, double>(plane, known, memory);
      } else if constexpr (sizeof(In) == sizeof(float)) {
        residual = solve<kStencil, float>(plane, known, reinterpret_cast<float*>(memory));
      }
    }
    if (threadIdx.x == 0) problem.residual[number] = static_cast<float>(residual);
    __syncthreads();
  }
}

int64_t blocks_of(const LinearInfillProblem& problem) {
  const int64_t planes = problem.steps * problem.images * problem.channels;
  return planes < LinearInfillTuning::kBlocks ? planes : LinearInfillTuning::kBlocks;
}

template <InfillStencil kStencil>
int launch(const LinearInfillProblem& problem, double* scratch, void* stream) {
  const unsigned grid = static_cast<unsigned>(blocks_of(problem));
  const int64_t elements = block_elements(problem);
  return problem.dtype == DType::kFloat64
             ? SX_LAUNCH((infill_kernel<kStencil, double>), grid, kThreads, stream, problem, scratch, elements)
             : SX_LAUNCH((infill_kernel<kStencil, float>), grid, kThreads, stream, problem, scratch, elements);
}

}  // namespace

int64_t linear_infill_scratch_bytes(const LinearInfillProblem& problem) {
  return blocks_of(problem) * block_elements(problem) * static_cast<int64_t>(sizeof(double));
}

int linear_infill_cuda(const LinearInfillProblem& problem, void* scratch, void* stream) {
  double* memory = static_cast<double*>(scratch);
  return problem.stencil == InfillStencil::kRoad ? launch<InfillStencil::kRoad>(problem, memory, stream)
                                                 : launch<InfillStencil::kHarmonic>(problem, memory, stream);
}

}  // namespace saliency_ext
