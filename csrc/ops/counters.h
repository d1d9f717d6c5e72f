#pragma once
// Counters without noise: how often an op's kernel ran, and how many threads took part in its last CPU
// run. Read and reset through _C.
#include <cstdint>
#include <map>
#include <string>

namespace saliency_ext::ops {

struct OpCount {
  int64_t launches = 0;
  int64_t threads = 0;  // of the last CPU run; 0 after a CUDA launch
};

void count_launch(const char* op, uint64_t thread_bits);
std::map<std::string, OpCount> read_counters();
void reset_counters();

}  // namespace saliency_ext::ops
