// Linear infill on the CPU. Unit: one (step, image), so that the channels share the grids of their mask. Each channel is one
// system: conjugate gradients on the difference to the mean of the known pixels, so that a constant offset costs no digits.
#include <limits>
#include <vector>

#include "../kernels.h"
#include "multigrid.h"

namespace saliency_ext {
namespace {

// What a plane's known pixels say about it.
struct Known {
  double mean, lowest, highest, spread;
  bool finite;
};

// One channel of one image, packed rows or any strides.
template <class In>
struct Channel {
  const ImageView& view;
  int64_t n, c;

  SX_HD In at(int64_t y, int64_t x) const { return view.at<In>(n, c, y, x); }
};

template <class In>
Known known_of(const Channel<In>& image, const uint8_t* remove, int64_t height, int64_t width) {
  Known known{0, std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(), 0, true};
  int64_t count = 0;
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      if (remove[y * width + x]) continue;
      const double value = static_cast<double>(image.at(y, x));
      known.finite = known.finite && value - value == 0;
      known.lowest = std::min(known.lowest, value);
      known.highest = std::max(known.highest, value);
      known.mean += value;
      ++count;
    }
  }
  known.mean /= static_cast<double>(count);
  known.spread = std::max(known.highest - known.mean, known.mean - known.lowest);
  return known;
}

template <InfillStencil kStencil, class T>
struct Solver {
  Multigrid<kStencil, T> grids;
  Plane<T> values, left, direction, image;  // the solution, b - A x, the search direction; A times it, or the known pixels
  bool built = false;

  void build(const uint8_t* remove, int64_t height, int64_t width) {
    if (built) return;
    grids.build(remove, height, width);
    for (Plane<T>* plane : {&values, &left, &direction, &image}) plane->resize(height, width);
    built = true;
  }

  // image = known pixels less their mean, 0 where removed.
  template <class In>
  void load(const Channel<In>& channel, const uint8_t* remove, int64_t height, int64_t width, double mean) {
    for (int64_t y = 0; y < height; ++y) {
      T* row = image.row(y);
      for (int64_t x = 0; x < width; ++x) {
        row[x] = remove[y * width + x] ? T(0) : static_cast<T>(static_cast<double>(channel.at(y, x)) - mean);
      }
    }
  }

  // Solves for what `image` says, into `values`.
  void solve(double goal) {
    run_best([&]() SX_INLINE_LAMBDA { iterate(goal); });
  }

  SX_HD void iterate(double goal) {
    Grid<T>& grid = grids.finest();
    const int64_t height = grid.height, width = grid.width;
    for (int64_t y = 0; y < height; ++y) {  // right side: what the known neighbours give; the first guess is their mean, 0
      const T *above = image.row(y - 1), *here = image.row(y), *below = image.row(y + 1), *diagonal = grid.diagonal.row(y);
      T *__restrict start = left.row(y), *__restrict guess = values.row(y);
      for (int64_t x = 0; x < width; ++x) {
        const T sum = infill_neighbours<kStencil>(above, here, below, x);
        start[x] = diagonal[x] > T(0) ? sum : T(0);
        guess[x] = T(0);
      }
    }
    double product = 0;
    for (int iteration = 0; iteration < kInfillIterations; ++iteration) {
      const Plane<T>& z = grids.cycle(left);
      T largest = 0;
      double now = 0;
      for (int64_t y = 0; y < height; ++y) {
        largest = row_largest(z.row(y), width, largest);
        now += row_dot(z.row(y), left.row(y), width);
      }
      const bool done = !(static_cast<double>(largest) > goal) || !(now > 0);
      if (done) {  // z is the error left, nearly: take it along
        add(values, z, T(1));
        return;
      }
      const T keep = iteration == 0 ? T(0) : static_cast<T>(now / product);
      product = now;
      for (int64_t y = 0; y < height; ++y) {
        const T* correction = z.row(y);
        T* __restrict along = direction.row(y);
        for (int64_t x = 0; x < width; ++x) along[x] = correction[x] + (iteration == 0 ? T(0) : keep * along[x]);
      }
      Plane<T>& applied = image;  // its known pixels are not needed any more
      double curvature = 0;
      for (int64_t y = 0; y < height; ++y) {
        const T *above = direction.row(y - 1), *here = direction.row(y), *below = direction.row(y + 1);
        const T* diagonal = grid.diagonal.row(y);
        T* __restrict result = applied.row(y);
        for (int64_t x = 0; x < width; ++x) {
          const T value = diagonal[x] * here[x] - infill_neighbours<kStencil>(above, here, below, x);
          result[x] = diagonal[x] > T(0) ? value : T(0);
        }
        curvature += row_dot(here, result, width);
      }
      if (!(curvature > 0)) return;
      const T step = static_cast<T>(now / curvature);
      add(values, direction, step);
      add(left, applied, -step);
    }
  }

  SX_HD void add(Plane<T>& to, const Plane<T>& from, T factor) {
    const Grid<T>& grid = grids.finest();
    for (int64_t y = 0; y < grid.height; ++y) {
      const T* source = from.row(y);
      T* __restrict result = to.row(y);
      for (int64_t x = 0; x < grid.width; ++x) result[x] += factor * source[x];
    }
  }

  // Largest |mean of the neighbours - value| over removed pixels; `image` holds the whole filled plane, less its mean.
  SX_HD double largest_residual() {
    const Grid<T>& grid = grids.finest();
    T largest = 0;
    for (int64_t y = 0; y < grid.height; ++y) {
      const T *above = image.row(y - 1), *here = image.row(y), *below = image.row(y + 1), *inverse = grid.inverse.row(y);
      T* __restrict gap = left.row(y);
      for (int64_t x = 0; x < grid.width; ++x) {
        const T mean = inverse[x] * infill_neighbours<kStencil>(above, here, below, x);
        gap[x] = inverse[x] > T(0) ? mean - here[x] : T(0);
      }
      largest = row_largest(gap, grid.width, largest);
    }
    return static_cast<double>(largest);
  }
};

// Solves one channel and writes it. Returns the residual.
template <InfillStencil kStencil, class T, class In>
double fill_channel(Solver<kStencil, T>& solver, const LinearInfillProblem& problem, const Channel<In>& channel,
                    const uint8_t* remove, const Known& known, const float* noise, In* out) {
  const int64_t height = problem.height, width = problem.width;
  solver.build(remove, height, width);
  solver.load(channel, remove, height, width, known.mean);
  solver.solve(infill_goal(problem.tolerance, known.spread, sizeof(T) == sizeof(double)));
  const In lowest = static_cast<In>(known.lowest), highest = static_cast<In>(known.highest);
  const In deviation = static_cast<In>(problem.noise_std);
  for (int64_t y = 0; y < height; ++y) {
    T *filled = solver.image.row(y), *values = solver.values.row(y);
    for (int64_t x = 0; x < width; ++x) {
      const int64_t pixel = y * width + x;
      const In there = channel.at(y, x);
      // A mean of means lies between the extremes of the known pixels; rounding must not leave them.
      const In solved = std::clamp(static_cast<In>(static_cast<double>(values[x]) + known.mean), lowest, highest);
      filled[x] = static_cast<T>(static_cast<double>(remove[pixel] ? solved : there) - known.mean);
      const In noisy = noise == nullptr ? solved : solved + deviation * static_cast<In>(noise[pixel]);
      out[pixel] = remove[pixel] ? noisy : there;
    }
  }
  double left = 0;
  run_best([&]() SX_INLINE_LAMBDA { left = solver.largest_residual(); });
  return left;
}

// A plane of which nothing is left, or whose known pixels are no numbers, or of which nothing is removed.
template <class In>
void fill_without_system(const Channel<In>& channel, const LinearInfillProblem& problem, const uint8_t* remove, In value,
                         const float* noise, In* out) {
  const In deviation = static_cast<In>(problem.noise_std);
  for (int64_t y = 0; y < problem.height; ++y) {
    for (int64_t x = 0; x < problem.width; ++x) {
      const int64_t pixel = y * problem.width + x;
      const In noisy = noise == nullptr ? value : value + deviation * static_cast<In>(noise[pixel]);
      out[pixel] = remove[pixel] ? noisy : channel.at(y, x);
    }
  }
}

template <InfillStencil kStencil, class In>
void fill(int64_t begin, int64_t end, const LinearInfillProblem& problem) {
  const int64_t pixels = problem.height * problem.width;
  Solver<kStencil, float> in_float;
  Solver<kStencil, double> in_double;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t n = unit % problem.images;
    const uint8_t* remove = problem.remove + unit * pixels;
    int64_t removed = 0;
    for (int64_t pixel = 0; pixel < pixels; ++pixel) removed += remove[pixel];
    in_float.built = in_double.built = false;
    for (int64_t c = 0; c < problem.channels; ++c) {
      const Channel<In> channel{problem.inputs, n, c};
      const float* noise = problem.noise == nullptr ? nullptr : problem.noise + (n * problem.channels + c) * pixels;
      In* out = static_cast<In*>(problem.filled) + (unit * problem.channels + c) * pixels;
      float* left = problem.residual + unit * problem.channels + c;
      *left = 0;
      if (removed == 0 || removed == pixels) {
        fill_without_system(channel, problem, remove, In(0), noise, out);
        continue;
      }
      const Known known = known_of(channel, remove, problem.height, problem.width);
      if (!known.finite) {
        *left = std::numeric_limits<float>::quiet_NaN();
        fill_without_system(channel, problem, remove, std::numeric_limits<In>::quiet_NaN(), noise, out);
      } else if (sizeof(In) == sizeof(double) || infill_needs_double(problem.tolerance, known.spread)) {
        *left = static_cast<float>(fill_channel(in_double, problem, channel, remove, known, noise, out));
      } else {
        *left = static_cast<float>(fill_channel(in_float, problem, channel, remove, known, noise, out));
      }
    }
  }
}

template <class In>
void fill_with(int64_t begin, int64_t end, const LinearInfillProblem& problem) {
  if (problem.stencil == InfillStencil::kRoad) {
    fill<InfillStencil::kRoad, In>(begin, end, problem);
  } else {
    fill<InfillStencil::kHarmonic, In>(begin, end, problem);
  }
}

}  // namespace

int64_t linear_infill_units(const LinearInfillProblem& problem) { return problem.steps * problem.images; }

void linear_infill_cpu(int64_t begin, int64_t end, const LinearInfillProblem& problem) {
  if (problem.dtype == DType::kFloat64) {
    fill_with<double>(begin, end, problem);
  } else {
    fill_with<float>(begin, end, problem);
  }
}

}  // namespace saliency_ext
