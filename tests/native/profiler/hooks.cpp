// What -fsanitize=thread makes of loads, stores and atomics: calls, which this file answers instead of ThreadSanitizer.
#include "profiler.h"

using counting::Access;

namespace {

void note(const void* place, const void* address, std::uint32_t bytes, Access kind) {
  counting::profiler.access(place, reinterpret_cast<std::uintptr_t>(address), bytes, kind);
}

}  // namespace

#define PLACE __builtin_return_address(0)

#define HOOK_ACCESS(bytes)                                                                            \
  void __tsan_read##bytes(void* address) { note(PLACE, address, bytes, Access::kLoad); }              \
  void __tsan_write##bytes(void* address) { note(PLACE, address, bytes, Access::kStore); }            \
  void __tsan_unaligned_read##bytes(void* address) { note(PLACE, address, bytes, Access::kLoad); }    \
  void __tsan_unaligned_write##bytes(void* address) { note(PLACE, address, bytes, Access::kStore); }  \
  void __tsan_volatile_read##bytes(void* address) { note(PLACE, address, bytes, Access::kLoad); }     \
  void __tsan_volatile_write##bytes(void* address) { note(PLACE, address, bytes, Access::kStore); }

// Values are plain integers of the size; the emulated atomics are all relaxed.
#define HOOK_ATOMIC(bits, type)                                                                        \
  type __tsan_atomic##bits##_load(const type* address, int) {                                          \
    note(PLACE, address, bits / 8, Access::kLoad);                                                     \
    return *address;                                                                                   \
  }                                                                                                    \
  void __tsan_atomic##bits##_store(type* address, type value, int) {                                   \
    note(PLACE, address, bits / 8, Access::kStore);                                                    \
    *address = value;                                                                                  \
  }                                                                                                    \
  type __tsan_atomic##bits##_exchange(type* address, type value, int) {                                \
    note(PLACE, address, bits / 8, Access::kAtomic);                                                   \
    return __atomic_exchange_n(address, value, __ATOMIC_RELAXED);                                      \
  }                                                                                                    \
  type __tsan_atomic##bits##_fetch_add(type* address, type value, int) {                               \
    note(PLACE, address, bits / 8, Access::kAtomic);                                                   \
    return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);                                       \
  }                                                                                                    \
  type __tsan_atomic##bits##_fetch_or(type* address, type value, int) {                                \
    note(PLACE, address, bits / 8, Access::kAtomic);                                                   \
    return __atomic_fetch_or(address, value, __ATOMIC_RELAXED);                                        \
  }                                                                                                    \
  type __tsan_atomic##bits##_fetch_and(type* address, type value, int) {                               \
    note(PLACE, address, bits / 8, Access::kAtomic);                                                   \
    return __atomic_fetch_and(address, value, __ATOMIC_RELAXED);                                       \
  }                                                                                                    \
  int __tsan_atomic##bits##_compare_exchange_strong(type* address, type* expected, type value, int, int) { \
    note(PLACE, address, bits / 8, Access::kAtomic);                                                   \
    return __atomic_compare_exchange_n(address, expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED); \
  }                                                                                                    \
  int __tsan_atomic##bits##_compare_exchange_weak(type* address, type* expected, type value, int, int) { \
    note(PLACE, address, bits / 8, Access::kAtomic);                                                   \
    return __atomic_compare_exchange_n(address, expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED); \
  }

extern "C" {
HOOK_ACCESS(1)
HOOK_ACCESS(2)
HOOK_ACCESS(4)
HOOK_ACCESS(8)
HOOK_ACCESS(16)
HOOK_ATOMIC(8, std::uint8_t)
HOOK_ATOMIC(32, std::uint32_t)
HOOK_ATOMIC(64, std::uint64_t)

void __tsan_read_range(void* address, unsigned long bytes) {
  note(PLACE, address, static_cast<std::uint32_t>(bytes), Access::kLoad);
}
void __tsan_write_range(void* address, unsigned long bytes) {
  note(PLACE, address, static_cast<std::uint32_t>(bytes), Access::kStore);
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
}
