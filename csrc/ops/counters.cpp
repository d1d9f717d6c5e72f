#include "counters.h"

#include <bit>
#include <mutex>

namespace saliency_ext::ops {
namespace {

std::mutex guard;
std::map<std::string, OpCount>& counts() {
  static std::map<std::string, OpCount> instance;
  return instance;
}

}  // namespace

void count_launch(const char* op, uint64_t thread_bits) {
  const std::lock_guard<std::mutex> lock(guard);
  OpCount& count = counts()[op];
  ++count.launches;
  count.threads = std::popcount(thread_bits);
}

std::map<std::string, OpCount> read_counters() {
  const std::lock_guard<std::mutex> lock(guard);
  return counts();
}

void reset_counters() {
  const std::lock_guard<std::mutex> lock(guard);
  counts().clear();
}

}  // namespace saliency_ext::ops
