#pragma once
// Fresh memory is mapped page by page at its first write. For an output of many megabytes that costs more than the kernel
// that writes it; large pages make it one fault for 2 MiB instead of 512.
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace saliency_ext {

// A hint for memory just allocated and not yet written; below 4 MiB, and where the system has no large pages, nothing happens.
inline void prefer_huge_pages(void* address, int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t kPage = uintptr_t{2} << 20;
  if (bytes < (int64_t{4} << 20)) return;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(address) + kPage - 1) / kPage * kPage;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(address) + static_cast<uintptr_t>(bytes)) / kPage * kPage;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)address;
  (void)bytes;
#endif
}

}  // namespace saliency_ext
