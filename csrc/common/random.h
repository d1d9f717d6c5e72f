#pragma once
// Counter-based random numbers: Philox 4x32-10 [Salmon 2011, Fig. 2], one block of four words per four neighbouring pixels.
// A value depends on (seed, sample id, stream, channel, pixel) alone, so batching, order and device cannot change it.
#include <cmath>
#include <cstdint>

#include "dtype.h"
#include "macros.h"

namespace saliency_ext {

struct Philox4 {
  uint32_t word[4];
};

// Stream numbers below 2^31 are the caller's; these are the library's own.
constexpr uint32_t kTieBreakStream = 0x80000001u;

// The ten rounds on a 128-bit counter with a 64-bit key.
SX_HD Philox4 philox(uint64_t key, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  SX_UNROLL
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(0xD2511F53u) * c0;
    const uint64_t p1 = static_cast<uint64_t>(0xCD9E8D57u) * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// Where a value of one sample lives in the counter: pixel / 4 | stream | sample id (48 bits) and channel (16 bits).
SX_HD Philox4 philox_at(uint64_t seed, int64_t sample_id, uint32_t stream, int64_t channel, int64_t pixel_block) {
  const uint64_t sample = static_cast<uint64_t>(sample_id);
  return philox(seed, static_cast<uint32_t>(pixel_block), stream, static_cast<uint32_t>(sample),
                static_cast<uint32_t>((sample >> 32) & 0xFFFFu) | static_cast<uint32_t>(channel) << 16);
}

// Tie-break word of one pixel.
SX_HD uint32_t tie_break(uint64_t seed, int64_t sample_id, int64_t pixel) {
  const Philox4 block = philox_at(seed, sample_id, kTieBreakStream, 0, pixel >> 2);
  const int lane = static_cast<int>(pixel & 3);
  return lane < 2 ? (lane == 0 ? block.word[0] : block.word[1]) : (lane == 2 ? block.word[2] : block.word[3]);
}

// [0, 1): the upper 24 bits, so that every value is exact in float32 and 1 is never reached.
SX_HD float uniform_of(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

// Natural logarithm of a positive normal float, to 1e-7 relative. Own series instead of a library's, because libraries
// round differently: with these, normals have the same bits on every device, and the loop vectorises.
// u = 2^e m with m in [sqrt(1/2), sqrt(2)), ln m = 2 atanh(s) with s = (m - 1) / (m + 1), |s| <= 0.172.
SX_HD float natural_log(float u) {
  const uint32_t bits = bit_cast<uint32_t>(u) - 0x3F3504F3u;  // the bits of sqrt(1/2)
  const float exponent = static_cast<float>(static_cast<int32_t>(bits) >> 23);
  const float m = bit_cast<float>((bits & 0x7FFFFFu) + 0x3F3504F3u);
  const float s = (m - 1.0f) / (m + 1.0f);
  const float z = s * s;
  const float series = ((((1.0f / 9.0f) * z + 1.0f / 7.0f) * z + 1.0f / 5.0f) * z + 1.0f / 3.0f) * z;
  return exponent * 0.693147180559945f + 2.0f * (s + s * series);
}

// cos and sin of v turns, v in [0, 1): quadrant and remainder are exact, the Taylor series run over [-pi/4, pi/4].
SX_HD void cos_sin_turns(float v, float* cosine, float* sine) {
  const int quadrant = static_cast<int>(4.0f * v + 0.5f);
  const float x = (v - 0.25f * static_cast<float>(quadrant)) * 6.2831853071795865f;
  const float z = x * x;
  const float s = x + x * z * (-1.0f / 6 + z * (1.0f / 120 + z * (-1.0f / 5040 + z * (1.0f / 362880))));
  const float c = 1.0f + z * (-0.5f + z * (1.0f / 24 + z * (-1.0f / 720 + z * (1.0f / 40320))));
  const bool swap = quadrant & 1;
  const float along = swap ? s : c, across = swap ? c : s;
  *cosine = ((quadrant + 1) & 2) ? -along : along;
  *sine = (quadrant & 2) ? -across : across;
}

// Box-Muller on two words: r cos(2 pi v), r sin(2 pi v) with r = sqrt(-2 ln u), u in (0, 1]. |z| <= 6.66.
SX_HD void normal_of(uint32_t first, uint32_t second, float* z0, float* z1) {
  const float u = (static_cast<float>(first) + 1.0f) * 0x1p-32f;
  const float squared = -2.0f * natural_log(u);
  const float radius = sqrtf(squared > 0.0f ? squared : 0.0f);
  float cosine, sine;
  cos_sin_turns(uniform_of(second), &cosine, &sine);
  *z0 = radius * cosine;
  *z1 = radius * sine;
}

enum class Distribution : int { kUniform = 0, kNormal = 1 };

// The four values of one counter block.
template <Distribution kKind>
SX_HD void noise_block(const Philox4& block, float out[4]) {
  if constexpr (kKind == Distribution::kUniform) {
    SX_UNROLL
    for (int lane = 0; lane < 4; ++lane) out[lane] = uniform_of(block.word[lane]);
  } else {
    normal_of(block.word[0], block.word[1], out, out + 1);
    normal_of(block.word[2], block.word[3], out + 2, out + 3);
  }
}

}  // namespace saliency_ext
