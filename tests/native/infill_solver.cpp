// The linear infill's solver, stopped after few iterations: each must count, also the last one.
#include <cstdio>

#include "cpu/linear_infill.cpp"

using namespace saliency_ext;

namespace {

constexpr int64_t kHeight = 21, kWidth = 34;

// A solver after so many iterations, whatever the error.
template <InfillStencil kStencil>
Solver<kStencil, double> solved(int iterations) {
  std::vector<uint8_t> remove(kHeight * kWidth);
  for (size_t i = 0; i < remove.size(); ++i) remove[i] = i * 7919 % 100 < 80;
  Solver<kStencil, double> solver;
  solver.build(remove.data(), kHeight, kWidth);
  for (int64_t y = 0; y < kHeight; ++y) {
    for (int64_t x = 0; x < kWidth; ++x) {
      solver.values.row(y)[x] = remove[static_cast<size_t>(y * kWidth + x)] ? 0.0 : static_cast<double>((3 * y + 5 * x) % 17 - 8);
    }
  }
  solver.solve(0.0, iterations);
  return solver;
}

// e A e of the error e that this many iterations leave.
template <InfillStencil kStencil>
double energy_after(int iterations, const Solver<kStencil, double>& exact) {
  Solver<kStencil, double> solver = solved<kStencil>(iterations);
  Plane<double>& values = solver.values;
  for (int64_t y = 0; y < kHeight; ++y) {
    for (int64_t x = 0; x < kWidth; ++x) values.row(y)[x] -= exact.values.row(y)[x];
  }
  double energy = 0;
  for (int64_t y = 0; y < kHeight; ++y) {
    pull_row<kStencil, double>(solver.grids.finest(), y, values, solver.pulled.row(y));
    for (int64_t x = 0; x < kWidth; ++x) energy -= values.row(y)[x] * solver.pulled.row(y)[x];
  }
  return energy;
}

// Conjugate gradients bring the energy of the error down in every iteration.
template <InfillStencil kStencil>
int check(const char* name) {
  const Solver<kStencil, double> exact = solved<kStencil>(60);
  int failures = 0;
  double before = energy_after(0, exact);
  for (int iterations = 1; iterations <= 6; ++iterations) {
    const double energy = energy_after(iterations, exact);
    if (!(energy < 0.5 * before)) {
      std::printf("%s: energy %g after %d iterations, %g before the last one\n", name, energy, iterations, before);
      ++failures;
    }
    before = energy;
  }
  return failures;
}

}  // namespace

int main() {
  const int failures = check<InfillStencil::kRoad>("road") + check<InfillStencil::kHarmonic>("harmonic");
  std::printf("%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
