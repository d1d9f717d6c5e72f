#pragma once
// Counts what kernels ask of a device's memory, by running them: the emulated sources are compiled with -fsanitize=thread, so
// that each load and store calls one of the __tsan_ functions, which are the profiler's own (hooks.cpp).
//
// The k-th execution of one place in the code by the 32 lanes of a warp is one request. Of a request:
//   sectors    32-byte pieces of global memory it touches        ideal     as many as hold the bytes that its lanes ask for
//   passes     turns that shared memory needs for it: the most words asked of one bank (lanes that update one word count each)
// Of a block: traffic, the sectors that its cache does not hold, read and written. The cache keeps the last kCacheBytes, first
// in, first out; requests come in the order in which lanes run in step.
// Of a case: memory, the bytes that the cache of the device does not hold. It keeps the last kDeviceCacheBytes, first in, first
// out, from launch to launch, and a written sector goes to memory once while it is held.
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "observer.h"

namespace counting {

constexpr std::int64_t kSector = 32;
constexpr std::int64_t kCacheBytes = 32 << 10;  // of a block: 256 KiB of L1 for eight blocks
constexpr std::int64_t kDeviceCacheBytes = 25 << 20;  // half of the 50 MiB of an H200, each half of which may hold a copy
constexpr int kWarp = 32;

enum class Access : std::uint8_t { kLoad = 0, kStore = 1, kAtomic = 2 };

// A piece of device memory. Only accesses to buffers count; parameters and local variables are registers on a device.
struct Buffer {
  std::string name;
  std::uintptr_t begin, end;
};

struct GlobalCounts {
  std::int64_t requests = 0, lanes = 0, sectors = 0, ideal = 0, traffic = 0, memory = 0;
};

struct SharedCounts {
  std::int64_t requests = 0, passes = 0, ideal = 0;
  double worst = 1;  // passes over ideal of one place in the code, the largest
};

struct LaunchCounts {
  std::string kernel;
  std::int64_t blocks = 0, threads = 0, counted_blocks = 0;
  std::vector<GlobalCounts> loads, stores;  // per buffer; atomics count as both
  SharedCounts shared;
  std::unordered_map<std::uint32_t, std::pair<std::int64_t, std::int64_t>> shared_places;  // passes and ideal by place
};

class Profiler : public sim::Observer {
 public:
  void add_buffer(const std::string& name, const void* begin, std::int64_t bytes);
  void clear();  // of buffers and counts
  // Counts about so many blocks of each launch, evenly spread; 0: all. The others run too where later ones need what they write.
  void limit_blocks(std::uint64_t blocks, bool run_others) {
    most_blocks_ = blocks;
    run_others_ = run_others;
  }
  const std::vector<Buffer>& buffers() const { return buffers_; }
  const std::vector<LaunchCounts>& launches() const { return launches_; }

  void begin_launch(const sim::Launch& launch) override;
  bool wants_block(std::uint64_t block) override;
  void begin_block() override;
  void barrier() override { ++epoch_; }
  void shared_array(const void* data, std::size_t bytes) override;
  void end_block() override;
  void end_launch() override;

  // From the hooks.
  void access(const void* place, std::uintptr_t address, std::uint32_t bytes, Access kind);

 private:
  struct Event {
    std::uint64_t order;  // of the request: place in the code, then how often this thread has been there
    std::uintptr_t address;
    std::uint32_t bytes, epoch, turn;  // turn: accesses of this thread before
    Access kind;
    std::int8_t buffer;  // -1: shared memory
    std::uint8_t lane;
  };
  struct Request {
    std::uint32_t epoch, turn, warp;
    std::size_t first, last;  // events
  };
  int find_buffer(std::uintptr_t address) const;
  std::uint32_t place_number(const void* place);
  void count_global(const std::vector<Event>& events, const Request& request);
  void count_shared(const std::vector<Event>& events, const Request& request);
  bool cached(std::uintptr_t sector);
  bool device_cached(std::uintptr_t sector, bool written);

  std::vector<Buffer> buffers_;
  std::vector<LaunchCounts> launches_;
  std::uint64_t most_blocks_ = 0, block_stride_ = 1;
  bool run_others_ = true, counts_this_ = false, running_ = false;
  std::uint32_t epoch_ = 0;
  std::vector<std::vector<Event>> threads_;
  std::vector<std::vector<std::uint32_t>> visits_;  // per thread and place
  std::vector<std::pair<std::uintptr_t, std::uintptr_t>> shared_;
  std::vector<std::uintptr_t> queue_;  // the cache: a ring of sectors
  std::size_t oldest_ = 0;
};

extern Profiler profiler;

}  // namespace counting
