#pragma once
// Runs the CUDA threads of one block on one OS thread, each until it waits for others.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fiber.h"
#include "shared_arrays.h"
#include "sim_runtime.h"

namespace sim {

constexpr int kWarp = 32;
constexpr int kMaxThreads = 1024;  // per block; a power of 2

// A small random sequence (splitmix64), the same on every machine.
struct Random {
  std::uint64_t state = 0;
  std::uint64_t next();
};

class BlockRunner {
 public:
  BlockRunner();

  // Call on the OS thread that will run blocks of this launch.
  void begin_launch(const Launch& launch);

  // Runs one block. `shuffled`: the next thread to run is drawn from `random`, instead of first come, first served.
  // False: a fault, described by message(); the block was abandoned.
  bool run(uint3 block, bool shuffled, Random random);
  const std::string& message() const { return message_; }

  // For the running CUDA thread; see sim_runtime.h.
  void barrier(Site site);
  std::uint64_t warp_op(WarpOp op, unsigned mask, std::uint64_t value, int source, Site site);
  void* shared_array(const void* key, std::size_t bytes, const char* name);
  int lane() const { return static_cast<int>(running_ - threads_.get()) % kWarp; }

 private:
  enum class State { kReady, kAtBarrier, kAtWarpOp, kExited };

  struct Thread {
    uint3 index{};
    State state = State::kReady;
    Fiber* fiber = nullptr;  // while started and not exited
    Identity identity;
    Site site;  // of the barrier or warp operation it waits at, with what it brings and takes
    WarpOp op = WarpOp::kSync;
    unsigned mask = 0;
    int source = 0;
    std::uint64_t value = 0;
    std::uint64_t result = 0;
    // Addresses for TSan, of the groups of lanes that this thread is the lowest of. They alternate, since a lane may
    // reach the next barrier before another has left this one; so do those of the block.
    char warp_sync[2] = {};
    int warp_phase = 0;
  };

  static void fiber_main();
  void run_thread();
  Fiber* take_fiber(const Thread& thread);
  void make_ready(Thread& thread);
  Thread& take_ready();
  void run_next(Fiber& self);
  void abandon_block();
  void yield_if_shuffled(Thread& thread);
  void reset();

  Thread* warp_of(const Thread& thread) const { return &threads_[(&thread - threads_.get()) / kWarp * kWarp]; }
  bool meets(const Thread& waiting, const Thread* other) const;
  bool complete_warp_op(Thread& last);

  // Each records a fault (block_faults.cpp).
  void fault(const Thread* thread, const std::string& what);
  void explain_divergence(const Thread& thread);
  void explain_warp_op(const Thread& thread);
  void explain_standstill();
  void explain_damage(const char* array);

  const Launch* launch_ = nullptr;
  uint3 block_{};
  bool shuffled_ = false;
  bool faulted_ = false;
  std::string message_;
  Random random_;

  std::unique_ptr<Thread[]> threads_;
  Thread* running_ = nullptr;
  int total_ = 0;
  int exited_ = 0;
  int at_barrier_ = 0;
  const Thread* first_at_barrier_ = nullptr;

  std::unique_ptr<Thread*[]> ready_;  // ring
  unsigned ready_begin_ = 0;
  int ready_count_ = 0;

  Fiber main_;
  Identity main_identity_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;  // the last one used is on top: its stack is warm

  SharedArrays arrays_;

  char start_sync_ = 0;  // addresses for TSan
  char end_sync_ = 0;
  char barrier_sync_[2] = {};
  int barrier_phase_ = 0;
};

bool same_site(const Site& a, const Site& b);

// The runner of this OS thread, while it runs blocks.
extern constinit thread_local BlockRunner* current_runner;

}  // namespace sim
