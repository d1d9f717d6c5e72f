#pragma once
// The shared arrays of the block that one OS thread is running. Memory is kept from block to block.

#include <cstddef>
#include <vector>

namespace sim {

class SharedArrays {
 public:
  // Forgets what the last block used.
  void begin_block() { used_ = 0; }

  // The array if the running block has used it already, else nullptr.
  void* find(const void* key) const {
    for (std::size_t i = 0; i < used_; ++i) {
      if (arrays_[i].key == key) return arrays_[i].data;
    }
    return nullptr;
  }

  // First use in the running block: the array, filled with 0xcd.
  void* add(const void* key, std::size_t bytes, const char* name);

  // Name of an array with a byte beside it overwritten, or nullptr. Such an array is replaced.
  const char* find_damaged();

 private:
  struct Array {
    const void* key;
    const char* name;
    std::size_t bytes;
    unsigned char* data;
  };

  static unsigned char* allocate(std::size_t bytes);

  std::vector<Array> arrays_;  // those used by the running block come first
  std::size_t used_ = 0;
};

}  // namespace sim
