#pragma once
// Counters without noise: how often an op's kernel ran, and how many threads took part in its last CPU run. Each op's file
// defines one; they are read and reset through _C. Counting is two relaxed stores: no lock, no search.
#include <atomic>
#include <bit>
#include <cstdint>

namespace saliency_ext::ops {

class OpCounter {
 public:
  // name: the op's own; must outlive the process, like the counter.
  explicit OpCounter(const char* name) : name_(name), next_(last_) { last_ = this; }
  OpCounter(const OpCounter&) = delete;
  OpCounter& operator=(const OpCounter&) = delete;

  void count(uint64_t thread_bits) {
    launches_.fetch_add(1, std::memory_order_relaxed);
    threads_.store(std::popcount(thread_bits), std::memory_order_relaxed);
  }
  void reset() {
    launches_.store(0, std::memory_order_relaxed);
    threads_.store(0, std::memory_order_relaxed);
  }

  const char* name() const { return name_; }
  int64_t launches() const { return launches_.load(std::memory_order_relaxed); }
  int64_t threads() const { return threads_.load(std::memory_order_relaxed); }  // of the last CPU run; 0 after a CUDA launch

  // All counters of the library, linked while it loads.
  static OpCounter* last() { return last_; }
  OpCounter* next() const { return next_; }

 private:
  static inline constinit OpCounter* last_ = nullptr;
  const char* name_;
  OpCounter* next_;
  std::atomic<int64_t> launches_{0}, threads_{0};
};

}  // namespace saliency_ext::ops
