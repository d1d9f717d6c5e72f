#include "shared_arrays.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace sim {
namespace {

constexpr int kUninitialised = 0xcd;
constexpr unsigned char kGuard = 0xfd;

// Under ASan the red zones of the heap are the guard, so nothing may lie between them and the array.
#ifdef __SANITIZE_ADDRESS__
constexpr std::size_t kGuardBytes = 0;
#else
constexpr std::size_t kGuardBytes = 256;
#endif

bool is_guard(const unsigned char* begin) {
  return std::all_of(begin, begin + kGuardBytes, [](unsigned char byte) { return byte == kGuard; });
}

}  // namespace

unsigned char* SharedArrays::allocate(std::size_t bytes) {
  auto* block = static_cast<unsigned char*>(std::malloc(bytes + 2 * kGuardBytes));
  if (block == nullptr) throw std::bad_alloc();
  std::memset(block, kGuard, kGuardBytes);
  std::memset(block + kGuardBytes + bytes, kGuard, kGuardBytes);
  return block + kGuardBytes;
}

void* SharedArrays::add(const void* key, std::size_t bytes, const char* name) {
  const auto unused = arrays_.begin() + static_cast<std::ptrdiff_t>(used_);
  auto array = std::find_if(unused, arrays_.end(), [key](const Array& a) { return a.key == key; });
  if (array == arrays_.end()) {
    arrays_.push_back({key, name, bytes, allocate(bytes)});
    array = arrays_.end() - 1;
  }
  std::swap(*array, arrays_[used_]);
  std::memset(arrays_[used_].data, kUninitialised, bytes);
  return arrays_[used_++].data;
}

const char* SharedArrays::find_damaged() {
  const char* damaged = nullptr;
  for (std::size_t i = 0; i < used_; ++i) {
    Array& array = arrays_[i];
    if (is_guard(array.data - kGuardBytes) && is_guard(array.data + array.bytes)) continue;
    damaged = array.name;
    std::free(array.data - kGuardBytes);
    array.data = allocate(array.bytes);
  }
  return damaged;
}

}  // namespace sim
