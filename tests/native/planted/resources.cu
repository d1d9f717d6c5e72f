// Kernels that take of the device what no kernel of ours may take. The gate on resources must see each, and not their twins.
#include "launch.h"

// An array whose index the compiler does not know lives in memory: a stack frame.
__global__ void local_array(const int* values, int* results) {
  int copy[64];
  for (int i = 0; i < 64; ++i) copy[(values[i] + i) & 63] = values[i * blockDim.x + threadIdx.x];
  results[threadIdx.x] = copy[results[threadIdx.x] & 63];
}

__global__ void no_local_array(const int* values, int* results) {
  int sum = 0;
  for (int i = 0; i < 64; ++i) sum += values[i * blockDim.x + threadIdx.x];
  results[threadIdx.x] = sum;
}

// 64 live doubles do not fit into the 32 registers that two blocks of 1024 threads leave to a thread.
__global__ void __launch_bounds__(1024, 2) spills(const double* values, double* results) {
  double live[64];
#pragma unroll
  for (int i = 0; i < 64; ++i) live[i] = values[i * 1024 + threadIdx.x];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 64; ++i) results[(63 - i) * 1024 + threadIdx.x] = live[i] * live[(i * 7 + 5) & 63];
}
