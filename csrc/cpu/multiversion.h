#pragma once
// Runs a body compiled for the best instruction set this processor has. The body is an always-inline lambda, so the
// compiler vectorises one source twice; dispatch is a plain branch, which sanitizers understand (ifunc is not).
// FMA is left out on purpose: without contraction both versions, and the CUDA kernels, round alike.

#define SX_INLINE_LAMBDA __attribute__((always_inline))

// Before a short loop whose iterations are independent: inlined code loses what __restrict said, and checking for overlap before
// each loop costs as much as some ten iterations.
#define SX_INDEPENDENT _Pragma("GCC ivdep")

namespace saliency_ext {

// One version is enough for a sanitizer: both are the same source, and its builds take minutes.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
template <class Body>
__attribute__((target("avx2"))) void run_avx2(const Body& body) {
  body();
}
inline bool cpu_has_avx2() { return __builtin_cpu_supports("avx2"); }
template <class Body>
void run_best(const Body& body) {
  if (cpu_has_avx2()) {
    run_avx2(body);
  } else {
    body();
  }
}
#else
inline bool cpu_has_avx2() { return false; }
template <class Body>
void run_best(const Body& body) {
  body();
}
#endif

}  // namespace saliency_ext
