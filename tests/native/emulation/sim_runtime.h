#pragma once
// What a kernel needs from the emulator: its indices, the launch, and the three things that concern other threads
// (barrier, warp operation, shared array).

#include <cstddef>
#include <cstdint>
#include <source_location>

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

struct uint3 {
  unsigned x, y, z;
};

enum cudaError_t : int { cudaSuccess = 0, cudaErrorInvalidConfiguration = 9, cudaErrorLaunchFailure = 719 };
using cudaStream_t = void*;

// The indices of the CUDA thread that is running on this OS thread. Never written by kernels.
extern constinit thread_local uint3 threadIdx;
extern constinit thread_local uint3 blockIdx;
extern constinit thread_local dim3 blockDim;
extern constinit thread_local dim3 gridDim;

cudaError_t cudaGetLastError();
cudaError_t cudaGetDevice(int* device);
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount, cudaDevAttrL2CacheSize };
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);  // those of an H200
const char* cudaGetErrorString(int status);  // for a launch failure: the last fault's message

namespace sim {

using Site = std::source_location;

// Waits for all threads of the block, which must come to the same site.
void barrier(Site site);

enum class WarpOp { kSync, kShuffle, kBallot, kMatchAny };

// What an undefined result looks like.
constexpr std::uint64_t kPoison = 0xcdcdcdcdcdcdcdcdull;

// Waits for the lanes in `mask`, which must come to the same site with the same mask. Returns, for
//   kShuffle   the value of lane `source`, or kPoison where that lane is not in the mask;
//   kBallot    the lanes whose value is not 0;
//   kMatchAny  the lanes whose value equals this lane's.
// Only kSync orders memory accesses between the lanes, as on the device.
std::uint64_t warp_op(WarpOp op, unsigned mask, std::uint64_t value, int source, Site site);

// The running block's array for a place in the code: the same for all its threads, filled with 0xcd at first use.
void* shared_array(const void* key, std::size_t bytes, const char* name);

// Position of the running thread in its warp.
int lane();

void thread_fence();

// `run(arguments)` is one thread's execution of the kernel.
struct Launch {
  const char* kernel;
  dim3 grid, block;
  void (*run)(const void* arguments);
  const void* arguments;
};

// Runs every block; returns cudaSuccess, or what went wrong, described by sim_last_error().
int run_launch(const Launch& launch);

template <typename... Parameters, typename... Arguments>
int launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, cudaStream_t,
           Arguments... arguments) {
  const auto call = [&] { kernel(static_cast<Parameters>(arguments)...); };
  const auto run = [](const void* closure) { (*static_cast<decltype(call)*>(closure))(); };
  return run_launch({name, grid, block, run, &call});
}

}  // namespace sim

extern "C" {
void sim_set_device_kernels(int on);    // bindings over this emulator run the CUDA kernels; 0: the CPU kernels
void sim_set_seed(std::uint64_t seed);  // 0: blocks and threads in natural order; else shuffled, repeatably
void sim_set_workers(int workers);      // OS threads that blocks are spread over; 0: one per core
const char* sim_last_error();           // message of the latest fault, "" before the first
std::uint64_t sim_launch_count();
}
