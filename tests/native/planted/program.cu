// A host program without Python: launches kernels of barriers.cu and warps.cu, right and wrong ones in turn.

#include <cstdio>
#include <vector>

extern "C" {
int run_divergent_barrier(int fixed, const int* values, int* results);
int run_exit_before_barrier(int fixed, const int* values, int* results);
int run_mask_without_own_lane(int fixed, const int* values, int* results);
}

int main() {
  const std::vector<int> values(4 * 256, 1);
  for (const auto run : {run_divergent_barrier, run_exit_before_barrier, run_mask_without_own_lane}) {
    for (int round = 0; round < 6; ++round) {
      const bool fixed = round % 2 != 0;
      std::vector<int> results(values.size(), 0);
      const int status = run(fixed, values.data(), results.data());
      if ((status == 0) != fixed || (fixed && results != values)) {
        std::printf("round %d: status %d\n", round, status);
        return 1;
      }
    }
  }
  return 0;
}
