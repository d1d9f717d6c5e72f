#pragma once
// Who looks on while kernels run. None in tests of correctness; the counting profiler is one. With an observer the blocks run
// on one OS thread.
#include <cstddef>
#include <cstdint>

#include "sim_runtime.h"

namespace sim {

struct Observer {
  virtual ~Observer() = default;
  virtual void begin_launch(const Launch& launch) = 0;
  virtual bool wants_block(std::uint64_t block) = 0;  // false: the block is left out
  virtual void begin_block() = 0;
  virtual void barrier() = 0;  // all threads of the block have come to one
  virtual void shared_array(const void* data, std::size_t bytes) = 0;
  virtual void end_block() = 0;
  virtual void end_launch() = 0;
};

extern Observer* observer;

}  // namespace sim
