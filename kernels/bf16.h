// bfloat16: the upper half of an fp32, 8 bits of exponent and 8 of significand. A type to store and to multiply, not to add up in.
#ifndef POLYMOE_KERNELS_BF16_H_
#define POLYMOE_KERNELS_BF16_H_

#include <bit>
#include <cstdint>

namespace polymoe {

struct BF16 {
  uint16_t bits = 0;

  BF16() = default;
  // To the nearest, ties to even; a NaN stays one. Of any number type, by way of fp32.
  template <class T>
  explicit BF16(T value) : bits(Round(static_cast<float>(value))) {}

  operator float() const { return std::bit_cast<float>(uint32_t{bits} << 16); }  // NOLINT: exact, so it may be silent

 private:
  static uint16_t Round(float value) {
    const auto word = std::bit_cast<uint32_t>(value);
    if ((word & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(word >> 16 | 0x40);
    return static_cast<uint16_t>((word + 0x7fff + (word >> 16 & 1)) >> 16);
  }
};

static_assert(sizeof(BF16) == 2);

}  // namespace polymoe

#endif  // POLYMOE_KERNELS_BF16_H_
