#include "fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace sim {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(SIM_THREAD_SANITIZER)
constexpr std::size_t kStackSize = 256 * 1024;  // instrumented frames are several times larger
#else
constexpr std::size_t kStackSize = 64 * 1024;
#endif

// An inaccessible page below each stack turns an overflow into a crash instead of silent damage.
void* map_stack() {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* base = mmap(nullptr, kStackSize + page, PROT_READ | PROT_WRITE, kFlags, -1, 0);
  if (base == MAP_FAILED) throw std::bad_alloc();
  mprotect(base, page, PROT_NONE);
  return static_cast<char*>(base) + page;
}

}  // namespace

#ifndef SIM_UCONTEXT

// Saves the callee-saved registers on the current stack, and takes them back from the other one.
extern "C" __attribute__((visibility("hidden"))) void sim_switch_stack(void** save, void* load);
asm(R"(
.text
.hidden sim_switch_stack
.globl sim_switch_stack
.type sim_switch_stack, @function
sim_switch_stack:
  endbr64
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size sim_switch_stack, .-sim_switch_stack
)");

#endif

void Fiber::create(void (*entry)()) {
  if (stack == nullptr) {
    stack = map_stack();
    stack_size = kStackSize;
  }
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(stack, stack_size);  // frames abandoned by a fault
#endif
  fake_stack = nullptr;
#ifndef SIM_UCONTEXT
  constexpr int kSavedRegisters = 6;
  auto* top = reinterpret_cast<std::uintptr_t*>(static_cast<char*>(stack) + stack_size);
  *--top = 0;  // the return address of `entry`, and the 16-byte alignment a function expects
  *--top = reinterpret_cast<std::uintptr_t>(entry);
  for (int i = 0; i < kSavedRegisters; ++i) *--top = 0;
  stack_pointer = top;
#else
  getcontext(&context);
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = stack_size;
  context.uc_link = nullptr;
  makecontext(&context, entry, 0);
#endif
}

void fiber_entered([[maybe_unused]] Fiber& self) {
#ifdef __SANITIZE_ADDRESS__
  // The bounds reported are those of the fiber left behind: the only way to learn them for an OS thread's own stack.
  const void* bottom = nullptr;
  std::size_t size = 0;
  __sanitizer_finish_switch_fiber(self.fake_stack, &bottom, &size);
  self.left->stack = const_cast<void*>(bottom);
  self.left->stack_size = size;
#endif
}

void switch_fiber(Fiber& from, Fiber& to) {
  to.left = &from;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&from.fake_stack, to.stack, to.stack_size);
#endif
#ifndef SIM_UCONTEXT
  sim_switch_stack(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&from.context, &to.context);
#endif
  fiber_entered(from);
}

}  // namespace sim
