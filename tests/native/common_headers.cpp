// The element maths of csrc/common against independent definitions.
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <initializer_list>

#include "common/dtype.h"
#include "common/order.h"
#include "common/random.h"

using namespace saliency_ext;

namespace {

int failures = 0;

void expect(bool holds, const char* what, double got, double wanted) {
  if (holds) return;
  if (++failures < 20) std::printf("%s: got %.17g instead of %.17g\n", what, got, wanted);
}

float float_of(uint32_t bits) { return std::bit_cast<float>(bits); }

// ---- conversions

// The compiler's own half.
uint16_t half_by_compiler(float value) { return std::bit_cast<uint16_t>(static_cast<_Float16>(value)); }

// The nearer of the two neighbours, by distance in double; at a tie the even one.
uint16_t bfloat16_by_distance(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t down = bits >> 16, up = down + 1;
  if (std::isinf(value)) return static_cast<uint16_t>(down);
  const auto exact = [](uint32_t top) {
    const bool overflow = (top & 0x7FFF) == 0x7F80;  // what comes after the largest: 2^128 for the distance
    return overflow ? std::copysign(0x1p128, float_of(top << 16)) : static_cast<double>(float_of(top << 16));
  };
  const double below = std::abs(value - exact(down)), above = std::abs(exact(up) - value);
  return static_cast<uint16_t>(below < above || (below == above && down % 2 == 0) ? down : up);
}

void check_conversion(uint32_t bits) {
  const float value = float_of(bits);
  const uint16_t half = to_half(value).bits, brain = to_bfloat16(value).bits;
  if (std::isnan(value)) {
    expect((half & 0x7FFF) > 0x7C00 && (brain & 0x7FFF) > 0x7F80, "NaN becomes a number", half, bits);
    return;
  }
  expect(half == half_by_compiler(value), "to_half", half, half_by_compiler(value));
  expect(brain == bfloat16_by_distance(value), "to_bfloat16", brain, bfloat16_by_distance(value));
}

// A prime stride over all floats, and every upper half with the lower bits at which rounding turns.
void check_conversions() {
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += 1009) check_conversion(static_cast<uint32_t>(bits));
  for (uint32_t upper = 0; upper < 0x10000; ++upper) {
    for (const uint32_t lower : {0x0u, 0x1u, 0xFFFu, 0x1000u, 0x1001u, 0x1FFFu, 0x2000u, 0x3000u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu}) {
      check_conversion(upper << 16 | lower);
    }
  }
  for (uint32_t bits = 0x33000000u - 64; bits < 0x33000000u + 64; ++bits) check_conversion(bits);  // half of the smallest half
}

// ---- order

template <class T>
void check_order(T larger, T smaller) {
  expect(order_key(larger) < order_key(smaller), "order_key", static_cast<double>(larger), static_cast<double>(smaller));
}

void check_orders() {
  // Neighbouring floats, over the whole line.
  for (uint64_t step = 0; step < 0x7F800000u; step += 1013) {
    const auto bits = static_cast<uint32_t>(step);
    check_order(float_of(bits + 1), float_of(bits));
    check_order(float_of(bits | 0x80000000u), float_of((bits + 1) | 0x80000000u));
  }
  for (int exponent = -1074; exponent < 1023; ++exponent) {
    const double value = std::ldexp(1.0, exponent);
    check_order(std::nextafter(value, INFINITY), value);
    check_order(-value, std::nextafter(-value, -INFINITY));
  }
  check_order<double>(INFINITY, DBL_MAX);
  check_order<float>(-FLT_MAX, -INFINITY);
  expect(order_key(0.0f) == order_key(-0.0f) && order_key(0.0) == order_key(-0.0), "zeros", 0, 0);
  check_order(std::bit_cast<float>(1u), -0.0f);
  check_order(0.0f, std::bit_cast<float>(0x80000001u));
  for (const uint32_t nan : {0x7FC00000u, 0xFFC00000u, 0x7F800001u, 0xFFFFFFFFu}) {
    expect(order_key(float_of(nan)) == ~0u, "NaN of any sign", order_key(float_of(nan)), ~0u);
  }
  expect(order_key(-INFINITY) < ~uint64_t{0}, "NaN comes after -inf", 0, 0);
  const OrderKey<uint32_t> first{5, 9, 3}, by_tie{5, 10, 0}, by_index{5, 9, 4};
  expect(first.before(by_tie) && !by_tie.before(first) && first.before(by_index) && !first.before(first), "OrderKey", 0, 0);
}

// ---- random numbers

void check_philox() {
  // kat_vectors of Random123: counter, key, expected words.
  struct Vector {
    uint32_t counter[4], key[2], words[4];
  };
  const Vector vectors[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (const Vector& v : vectors) {
    const uint64_t key = v.key[0] | static_cast<uint64_t>(v.key[1]) << 32;
    const Philox4 block = philox(key, v.counter[0], v.counter[1], v.counter[2], v.counter[3]);
    for (int i = 0; i < 4; ++i) expect(block.word[i] == v.words[i], "philox", block.word[i], v.words[i]);
  }
  // Where a sample's value lives: pixel block, stream, sample id in 48 bits, channel in the upper 16.
  const Philox4 at = philox_at(7, 0x1234'56789abcll, 3, 0xBEEF, 11), same = philox(7, 11, 3, 0x56789abc, 0xBEEF1234);
  expect(std::memcmp(&at, &same, sizeof(at)) == 0, "philox_at", at.word[0], same.word[0]);
  for (int64_t pixel = 40; pixel < 44; ++pixel) {
    const uint32_t wanted = philox_at(7, 5, kTieBreakStream, 0, 10).word[pixel - 40];
    expect(tie_break(7, 5, pixel) == wanted, "tie_break", tie_break(7, 5, pixel), wanted);
  }
}

void check_series() {
  double worst_log = 0, worst_angle = 0, worst_unit = 0;
  for (uint64_t step = 0; step < (uint64_t{1} << 32); step += 4099) {
    const auto word = static_cast<uint32_t>(step);
    const float u = (static_cast<float>(word) + 1.0f) * 0x1p-32f;
    const double exact = std::log(static_cast<double>(u));
    const double error = std::abs(natural_log(u) - exact);
    worst_log = std::fmax(worst_log, exact == 0 ? error : error / std::fmax(std::abs(exact), 1e-2));
    const float v = uniform_of(word);
    expect(v >= 0 && v < 1, "uniform_of", v, 0);
    float cosine, sine;
    cos_sin_turns(v, &cosine, &sine);
    const double angle = 2 * M_PI * static_cast<double>(v);
    worst_angle = std::fmax(worst_angle, std::fmax(std::abs(cosine - std::cos(angle)), std::abs(sine - std::sin(angle))));
    worst_unit = std::fmax(worst_unit, std::abs(static_cast<double>(cosine) * cosine + static_cast<double>(sine) * sine - 1));
    float z0, z1;
    normal_of(word, word * 2654435761u, &z0, &z1);
    expect(std::isfinite(z0) && std::isfinite(z1) && std::fmax(std::abs(z0), std::abs(z1)) <= 6.67f, "normal_of", z0, z1);
  }
  expect(worst_log < 3e-7, "natural_log, relative", worst_log, 3e-7);
  expect(worst_angle < 3e-7, "cos_sin_turns", worst_angle, 3e-7);
  expect(worst_unit < 5e-7, "cos^2 + sin^2", worst_unit, 5e-7);
  float z0, z1;
  normal_of(~0u, 0, &z0, &z1);  // u = 1: the radius is 0, not the root of a negative rounding error
  expect(std::abs(z0) < 1e-3 && z1 == 0, "normal_of(u = 1)", z0, 0);
  normal_of(0, 0, &z0, &z1);
  expect(std::abs(z0 - std::sqrt(64 * std::log(2.0))) < 1e-5, "normal_of(smallest u)", z0, std::sqrt(64 * std::log(2.0)));
  std::printf("natural_log %.3g, cos_sin_turns %.3g\n", worst_log, worst_angle);
}

}  // namespace

int main() {
  check_conversions();
  check_orders();
  check_philox();
  check_series();
  std::printf("%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
