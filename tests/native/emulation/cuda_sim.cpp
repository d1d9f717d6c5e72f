// Launches: blocks spread over OS threads, and what the host sees of it.

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>
#include <mutex>
#include <numeric>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "block_runner.h"
#include "observer.h"

constinit thread_local uint3 threadIdx{};
constinit thread_local uint3 blockIdx{};
constinit thread_local dim3 blockDim{};
constinit thread_local dim3 gridDim{};

namespace sim {

Observer* observer = nullptr;

namespace {

constexpr int kMaxWorkers = 16;

std::atomic<std::uint64_t> seed_setting{0};
std::atomic<int> workers_setting{0};
std::atomic<std::uint64_t> launches{0};
thread_local int last_status = cudaSuccess;

std::mutex mutex;  // of the two below
char last_error[1024] = "";
// Runners keep their stacks and arrays for the next launch. Never destroyed: a kernel may run during exit.
std::vector<std::unique_ptr<BlockRunner>>& spare_runners = *new std::vector<std::unique_ptr<BlockRunner>>;

int fail(int status, const std::string& message) {
  const std::lock_guard lock(mutex);
  std::snprintf(last_error, sizeof(last_error), "%s", message.c_str());
  return status;
}

// What the OS threads of one launch share.
struct Job {
  const Launch& launch;
  std::uint64_t seed;
  std::uint64_t total;
  std::uint64_t first = 0;   // the i-th block to start is (first + i * stride) mod total
  std::uint64_t stride = 1;
  std::atomic<std::uint64_t> next{0};
  std::atomic<int> status{cudaSuccess};

  Job(const Launch& of, std::uint64_t seed_)
      : launch(of), seed(seed_), total(std::uint64_t{of.grid.x} * of.grid.y * of.grid.z) {
    if (seed == 0) return;
    Random random{seed};
    first = random.next() % total;
    do {
      stride = random.next() % total + 1;
    } while (std::gcd(stride, total) != 1);  // so that every block has its turn
  }

  std::uint64_t block(std::uint64_t i) const {
    return static_cast<std::uint64_t>((first + static_cast<unsigned __int128>(i) * stride) % total);
  }
};

void work(Job& job) {
  std::unique_ptr<BlockRunner> runner;
  {
    const std::lock_guard lock(mutex);
    if (!spare_runners.empty()) {
      runner = std::move(spare_runners.back());
      spare_runners.pop_back();
    }
  }
  if (runner == nullptr) runner = std::make_unique<BlockRunner>();
  current_runner = runner.get();
  runner->begin_launch(job.launch);
  const dim3& grid = job.launch.grid;
  while (job.status.load(std::memory_order_relaxed) == cudaSuccess) {
    const std::uint64_t i = job.next.fetch_add(1, std::memory_order_relaxed);
    if (i >= job.total) break;
    const std::uint64_t block = job.block(i);
    if (observer != nullptr && !observer->wants_block(block)) continue;
    const auto rest = static_cast<unsigned>(block / grid.x);
    const uint3 index{static_cast<unsigned>(block % grid.x), rest % grid.y, rest / grid.y};
    // Keyed by the block, not by the worker: a fault is found again with the same seed.
    if (runner->run(index, job.seed != 0, Random{job.seed ^ (block + 1) * 0xd1342543de82ef95ull})) continue;
    int none = cudaSuccess;
    if (job.status.compare_exchange_strong(none, cudaErrorLaunchFailure)) {
      fail(cudaErrorLaunchFailure, runner->message());
    }
  }
  current_runner = nullptr;
  const std::lock_guard lock(mutex);
  spare_runners.push_back(std::move(runner));
}

int worker_count(std::uint64_t blocks) {
  if (observer != nullptr) return 1;
  int workers = workers_setting.load();
  if (workers <= 0) workers = static_cast<int>(std::thread::hardware_concurrency());
  workers = std::clamp(workers, 1, kMaxWorkers);
  return static_cast<int>(std::min<std::uint64_t>(static_cast<std::uint64_t>(workers), blocks));
}

// The device's limits; what it refuses is refused here too.
bool is_valid(const Launch& launch) {
  const dim3 &g = launch.grid, &b = launch.block;
  const std::uint64_t threads = std::uint64_t{b.x} * b.y * b.z;
  return threads >= 1 && threads <= kMaxThreads && b.z <= 64 && g.x >= 1 && g.x <= 0x7fffffffu && g.y >= 1 &&
         g.y <= 65535 && g.z >= 1 && g.z <= 65535;
}

}  // namespace

int run_launch(const Launch& launch) {
  launches.fetch_add(1);
  if (!is_valid(launch)) {
    const std::string name = launch.kernel;
    return last_status = fail(cudaErrorInvalidConfiguration, "kernel '" + name + "': invalid grid or block size");
  }
  Job job(launch, seed_setting.load());
  if (observer != nullptr) observer->begin_launch(launch);
  std::vector<std::thread> helpers;
  for (int i = 1; i < worker_count(job.total); ++i) {
    try {
      helpers.emplace_back(work, std::ref(job));
    } catch (const std::system_error&) {
      break;  // fewer threads do the same work
    }
  }
  work(job);
  for (auto& helper : helpers) helper.join();
  if (observer != nullptr) observer->end_launch();
  return last_status = job.status.load();
}

void barrier(Site site) { current_runner->barrier(site); }

std::uint64_t warp_op(WarpOp op, unsigned mask, std::uint64_t value, int source, Site site) {
  return current_runner->warp_op(op, mask, value, source, site);
}

void* shared_array(const void* key, std::size_t bytes, const char* name) {
  return current_runner->shared_array(key, bytes, name);
}

int lane() { return current_runner->lane(); }

void thread_fence() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  static char sync;  // TSan knows no fences: all of them are taken to be ordered
  acquire(&sync);
  release(&sync);
}

}  // namespace sim

cudaError_t cudaGetLastError() {
  const int status = sim::last_status;
  sim::last_status = cudaSuccess;
  return static_cast<cudaError_t>(status);
}

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrMultiProcessorCount ? 132 : 50 << 20;
  return cudaSuccess;
}

const char* cudaGetErrorString(int status) { return status == cudaSuccess ? "no error" : sim_last_error(); }

extern "C" {

int sim_device_kernels = 1;  // read by the bindings

void sim_set_device_kernels(int on) { sim_device_kernels = on; }
void sim_set_seed(std::uint64_t seed) { sim::seed_setting = seed; }
void sim_set_workers(int workers) { sim::workers_setting = workers; }
const char* sim_last_error() { return sim::last_error; }
std::uint64_t sim_launch_count() { return sim::launches; }

}  // extern "C"
