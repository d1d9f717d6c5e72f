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
  double mean, lowest, highest, spread, unit;
  bool finite;
};

// One channel of one image, any strides.
template <class In>
struct Channel {
  const ImageView& view;
  int64_t n, c;

  SX_HD In at(int64_t y, int64_t x) const { return view.at<In>(n, c, y, x); }

  // Calls body(x, value) for row y; the usual stride in a loop of its own, which vectorises.
  template <class Body>
  SX_HD void for_row(int64_t y, int64_t width, const Body& body) const {
    const In* row = static_cast<const In*>(view.data) + n * view.stride[0] + c * view.stride[1] + y * view.stride[2];
    const int64_t step = view.stride[3];
    if (step == 1) {
      for (int64_t x = 0; x < width; ++x) body(x, row[x]);
    } else {
      for (int64_t x = 0; x < width; ++x) body(x, row[x * step]);
    }
  }
};

// `line`: room for a row. Removed pixels are passed over by putting some known one in their place.
template <class In>
SX_HD Known known_of(const Channel<In>& image, const uint8_t* remove, int64_t height, int64_t width, std::vector<In>& line) {
  const uint8_t* first = std::find(remove, remove + height * width, uint8_t{0});
  const In some = image.at((first - remove) / width, (first - remove) % width);
  line.assign(static_cast<size_t>((width + kLanes - 1) / kLanes * kLanes), some);
  Lanes<In> lowest = some - Lanes<In>{}, highest = lowest;
  Lanes<double> sums = {};
  int64_t known_pixels = 0;
  for (int64_t y = 0; y < height; ++y) {
    const uint8_t* marks = remove + y * width;
    int removed = 0;
    In* __restrict kept = line.data();
    image.for_row(y, width, [&](int64_t x, In value) SX_INLINE_LAMBDA { kept[x] = marks[x] ? some : value; });
    for (int64_t x = 0; x < width; ++x) removed += marks[x] != 0;
    known_pixels += width - removed;
    for (size_t x = 0; x < line.size(); x += kLanes) {
      const Lanes<In> value = load(line.data() + x);
      lowest = value < lowest ? value : lowest;
      highest = value > highest ? value : highest;
      sums += kInfillShrink * __builtin_convertvector(value, Lanes<double>);
    }
  }
  Known known{0, static_cast<double>(lowest[0]), static_cast<double>(highest[0]), 0, 1, true};
  double sum = 0;
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    known.lowest = std::min(known.lowest, static_cast<double>(lowest[lane]));
    known.highest = std::max(known.highest, static_cast<double>(highest[lane]));
    sum += sums[lane];
  }
  const double stand_ins = static_cast<double>(height) * static_cast<double>(line.size()) - static_cast<double>(known_pixels);
  sum -= stand_ins * (kInfillShrink * static_cast<double>(some));
  known.mean = sum / static_cast<double>(known_pixels) / kInfillShrink;
  known.finite = known.mean - known.mean == 0;
  known.spread = std::max(known.highest - known.mean, known.mean - known.lowest);
  known.unit = infill_unit(known.spread);
  return known;
}

template <InfillStencil kStencil, class T>
struct Solver {
  Multigrid<kStencil, T> grids;
  Plane<T> values, direction, pulled;  // all pixels less their mean, in units; the search direction; minus A times it
  bool built = false;
  int64_t height = 0, width = 0;

  void build(const uint8_t* remove, int64_t rows, int64_t columns) {
    if (built) return;
    grids.build(remove, rows, columns);
    if (height != rows || width != columns) {
      for (Plane<T>* plane : {&values, &direction, &pulled}) plane->resize(rows, columns);
      height = rows;
      width = columns;
    }
    direction.clear();
    built = true;
  }

  // Solves for the unknown pixels of `values`, which must be 0.
  void solve(double goal, int iterations = kInfillIterations) {
    run_best([&]() SX_INLINE_LAMBDA { iterate(goal, iterations); });
  }

  SX_HD void iterate(double goal, int iterations) {
    Grid<T>& grid = grids.finest();
    grids.guess(values);
    // In double: what float leaves out of the first residual would be an error of the solution, and a large one where known
    // pixels are few. Afterwards only changes are added.
    for (int64_t y = 0; y < height; ++y) pull_row<kStencil, double>(grid, y, values, grid.rhs.row(y));
    double rz = 0;
    T alpha = T(0);
    for (int iteration = 0; iteration < iterations; ++iteration) {
      T largest = T(0);
      double next_rz = 0;
      grids.cycle(
          [&](int64_t y) SX_INLINE_LAMBDA {
            if (iteration > 0) {
              add_row(y, values, direction, alpha);
              add_row(y, grid.rhs, pulled, alpha);
            }
          },
          [&](int64_t y) SX_INLINE_LAMBDA {
            const RowSummary<T> row = summary_of_row(grid, y, grid.to.row(y), grid.rhs.row(y));
            largest = std::max(largest, row.largest);
            next_rz += row.product;
          });
      const bool done = !(static_cast<double>(largest) > goal) || !(next_rz > 0);
      if (done) {  // the preconditioned residual is the error left, nearly: take it along
        for (int64_t y = 0; y < height; ++y) add_row(y, values, grid.to, T(1));
        return;
      }
      const T beta = iteration == 0 ? T(0) : static_cast<T>(next_rz / rz);
      rz = next_rz;
      double pAp = 0;
      for (int64_t y = 0; y <= height; ++y) {
        if (y < height) {
          const T* correction = grid.to.row(y);
          T* along = direction.row(y);
          grid.for_blocks(y, [&](int64_t x) SX_INLINE_LAMBDA {
            store(along + x, load(correction + x) + beta * load(along + x));
          });
        }
        if (y == 0) continue;
        pull_row<kStencil, T>(grid, y - 1, direction, pulled.row(y - 1));
        pAp -= summary_of_row(grid, y - 1, direction.row(y - 1), pulled.row(y - 1)).product;
      }
      if (!(pAp > 0)) return;
      alpha = static_cast<T>(rz / pAp);
    }
    for (int64_t y = 0; y < height; ++y) add_row(y, values, direction, alpha);  // that of the last iteration
  }

  SX_HD void add_row(int64_t y, Plane<T>& to, const Plane<T>& from, T factor) {
    const T* source = from.row(y);
    T* result = to.row(y);
    grids.finest().for_blocks(y, [&](int64_t x) SX_INLINE_LAMBDA {
      store(result + x, load(result + x) + factor * load(source + x));
    });
  }

  // Largest |mean of the neighbours - value| over removed pixels.
  SX_HD double largest_residual() {
    const Grid<T>& grid = grids.finest();
    T largest = 0;
    for (int64_t y = 0; y < height; ++y) {
      const T* inverse = grid.inverse.row(y);
      T* gap = pulled.row(y);
      pull_row<kStencil, T>(grid, y, values, gap);
      grid.for_blocks(y, [&](int64_t x) SX_INLINE_LAMBDA { store(gap + x, load(gap + x) * load(inverse + x)); });
      largest = std::max(largest, summary_of_row(grid, y, gap, inverse).largest);
    }
    return static_cast<double>(largest);
  }
};

// Writes row y of the solution, and leaves in `values` what is written, less the noise.
template <InfillStencil kStencil, class T, class In>
SX_HD void write_row(Solver<kStencil, T>& solver, const LinearInfillProblem& problem, const Channel<In>& channel,
                     const uint8_t* remove, const Known& known, const float* noise, In* out, int64_t y) {
  const int64_t width = problem.width;
  const double mean = known.mean, unit = known.unit, per_unit = 1 / unit;
  const In lowest = static_cast<In>(known.lowest), highest = static_cast<In>(known.highest);
  const uint8_t* marks = remove + y * width;
  T* __restrict values = solver.values.row(y);
  In* __restrict result = out + y * width;
  for (int64_t x = 0; x < width; ++x) {
    // A mean of means lies between the extremes of the known pixels; rounding must not leave them.
    const In solved = static_cast<In>(unit * static_cast<double>(values[x]) + mean);
    result[x] = solved < lowest ? lowest : (solved > highest ? highest : solved);
  }
  for (int64_t x = 0; x < width; ++x) values[x] = static_cast<T>(per_unit * (static_cast<double>(result[x]) - mean));
  if (noise != nullptr) {
    const In deviation = static_cast<In>(problem.noise_std);
    for (int64_t x = 0; x < width; ++x) result[x] += deviation * static_cast<In>(noise[y * width + x]);
  }
  channel.for_row(y, width, [&](int64_t x, In there) SX_INLINE_LAMBDA { result[x] = marks[x] ? result[x] : there; });
}

// Solves one channel and writes it. Returns the residual.
template <InfillStencil kStencil, class T, class In>
double fill_channel(Solver<kStencil, T>& solver, const LinearInfillProblem& problem, const Channel<In>& channel,
                    const uint8_t* remove, const Known& known, const float* noise, In* out) {
  const int64_t height = problem.height, width = problem.width;
  const double mean = known.mean, per_unit = 1 / known.unit;
  solver.build(remove, height, width);
  run_best([&]() SX_INLINE_LAMBDA {
    for (int64_t y = 0; y < height; ++y) {
      T* __restrict values = solver.values.row(y);
      const T* inverse = solver.grids.finest().inverse.row(y);
      channel.for_row(y, width, [&](int64_t x, In value) SX_INLINE_LAMBDA {
        values[x] = inverse[x] > T(0) ? T(0) : static_cast<T>(per_unit * (static_cast<double>(value) - mean));
      });
    }
  });
  solver.solve(infill_goal(per_unit * problem.tolerance, per_unit * known.spread, sizeof(T) == sizeof(double)));
  double residual = 0;
  run_best([&]() SX_INLINE_LAMBDA {
    for (int64_t y = 0; y < height; ++y) write_row(solver, problem, channel, remove, known, noise, out, y);
    residual = known.unit * solver.largest_residual();
  });
  return residual;
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
  std::vector<In> line;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t n = unit % problem.images;
    const uint8_t* remove = problem.remove + unit * pixels;
    int64_t removed = 0;
    for (int64_t pixel = 0; pixel < pixels; ++pixel) removed += remove[pixel] != 0;
    in_float.built = in_double.built = false;
    for (int64_t c = 0; c < problem.channels; ++c) {
      const Channel<In> channel{problem.inputs, n, c};
      const float* noise = problem.noise == nullptr ? nullptr : problem.noise + (n * problem.channels + c) * pixels;
      In* out = static_cast<In*>(problem.filled) + (unit * problem.channels + c) * pixels;
      float* residual = problem.residual + unit * problem.channels + c;
      *residual = 0;
      if (removed == 0 || removed == pixels) {
        fill_without_system(channel, problem, remove, In(0), noise, out);
        continue;
      }
      Known known;
      run_best([&]() SX_INLINE_LAMBDA { known = known_of(channel, remove, problem.height, problem.width, line); });
      if (!known.finite) {
        *residual = std::numeric_limits<float>::quiet_NaN();
        fill_without_system(channel, problem, remove, std::numeric_limits<In>::quiet_NaN(), noise, out);
      } else if (sizeof(In) == sizeof(double) ||
                 infill_needs_double(problem.tolerance, known.spread, problem.height, problem.width)) {
        *residual = static_cast<float>(fill_channel(in_double, problem, channel, remove, known, noise, out));
      } else {
        *residual = static_cast<float>(fill_channel(in_float, problem, channel, remove, known, noise, out));
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
