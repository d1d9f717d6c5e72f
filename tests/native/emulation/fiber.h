#pragma once
// Stacks that can be switched between on one OS thread, with what ASan and TSan must be told about it.

#include <cstddef>

// The portable switch makes two system calls; define SIM_UCONTEXT to have it on x86-64 as well.
#if !defined(__x86_64__) && !defined(SIM_UCONTEXT)
#define SIM_UCONTEXT
#endif

#ifdef SIM_UCONTEXT
#include <ucontext.h>
#endif

// The emulator itself is compiled without -fsanitize=thread (its bookkeeping is shared by all CUDA threads on purpose)
// and is told by SIM_THREAD_SANITIZER that the kernels are.
#ifdef SIM_THREAD_SANITIZER
#include <sanitizer/tsan_interface.h>
#endif

namespace sim {

#ifdef SIM_THREAD_SANITIZER
constexpr bool kThreadSanitizer = true;
#else
constexpr bool kThreadSanitizer = false;
#endif

// A stack of its own, or (without `create`) the OS thread's stack.
struct Fiber {
  void* stack = nullptr;  // lowest usable address
  std::size_t stack_size = 0;
  void* fake_stack = nullptr;  // ASan's
  Fiber* left = nullptr;       // the fiber that switched to this one
#ifdef SIM_UCONTEXT
  ucontext_t context{};
#else
  void* stack_pointer = nullptr;
#endif

  // Prepares the fiber to run `entry`, which never returns, from the start. May be called again to start afresh.
  void create(void (*entry)());
};

// Continues `to`; returns when somebody switches back to `from`.
void switch_fiber(Fiber& from, Fiber& to);

// The arriving half of switch_fiber; every `entry` calls it first.
void fiber_entered(Fiber& self);

// TSan's view of one CUDA thread. Happens-before exists only where release and acquire are called.
struct Identity {
  void* handle = nullptr;
};

#ifdef SIM_THREAD_SANITIZER
inline void create_identity(Identity& id) {
  if (id.handle == nullptr) id.handle = __tsan_create_fiber(0);
}
inline void destroy_identity(Identity& id) {
  if (id.handle != nullptr) __tsan_destroy_fiber(id.handle);
  id.handle = nullptr;
}
inline Identity current_identity() { return {__tsan_get_current_fiber()}; }
inline void become(const Identity& id) {
  if (id.handle != __tsan_get_current_fiber()) __tsan_switch_to_fiber(id.handle, __tsan_switch_to_fiber_no_sync);
}
inline void release(void* object) { __tsan_release(object); }
inline void acquire(void* object) { __tsan_acquire(object); }
#else
inline void create_identity(Identity&) {}
inline void destroy_identity(Identity&) {}
inline Identity current_identity() { return {}; }
inline void become(const Identity&) {}
inline void release(void*) {}
inline void acquire(void*) {}
#endif

}  // namespace sim
