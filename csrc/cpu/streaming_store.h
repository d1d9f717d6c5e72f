#pragma once
// Copies a finished row past the caches. An output larger than the last-level cache is not read back before it leaves it,
// so an ordinary store would fetch every line from memory only to overwrite it: streaming halves the traffic.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace saliency_ext {

inline bool exceeds_last_level_cache(int64_t bytes) {
#if defined(__SSE2__) && defined(_SC_LEVEL3_CACHE_SIZE)
  static const int64_t cache = [] {
    const long reported = sysconf(_SC_LEVEL3_CACHE_SIZE);
    return static_cast<int64_t>(reported > 0 ? reported : 32 << 20);
  }();
  return bytes > cache;
#else
  (void)bytes;
  return false;
#endif
}

// source: a row in cache. Head and tail that do not fill 16 aligned bytes are copied normally.
inline void stream_copy(void* destination, const void* source, size_t bytes) {
#if defined(__SSE2__)
  auto* to = static_cast<char*>(destination);
  const auto* from = static_cast<const char*>(source);
  size_t head = (16 - reinterpret_cast<uintptr_t>(to) % 16) % 16;
  if (head > bytes) head = bytes;
  memcpy(to, from, head);
  size_t at = head;
  for (; at + 64 <= bytes; at += 64) {  // a whole line at once, so that the write-combining buffer leaves full
    const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + at));
    const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + at + 16));
    const __m128i c = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + at + 32));
    const __m128i d = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + at + 48));
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + at), a);
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + at + 16), b);
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + at + 32), c);
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + at + 48), d);
  }
  for (; at + 16 <= bytes; at += 16) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + at), _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + at)));
  }
  memcpy(to + at, from + at, bytes - at);
#else
  memcpy(destination, source, bytes);
#endif
}

// Before another thread may read what was streamed.
inline void stream_fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

}  // namespace saliency_ext
