// conversions.cu: cvt.rn.bf16x2, cvt.rna.tf32 and ex2.approx.ftz.
#include <cmath>
#include <cstring>
#include <limits>

#include "conformance.h"
#include "cuda/ptx/convert.h"

namespace sn::conformance {

namespace {

constexpr int kThreads = 128;
constexpr int kBlocks = 256;
constexpr size_t kCount = size_t{kThreads} * kBlocks;

__global__ void convert(uint32_t *packed, uint32_t *rounded, float *powers, const float *in) {
  unsigned i = blockIdx.x * kThreads + threadIdx.x;
  packed[i] = cuda::packBf16(in[i], in[kCount - 1 - i]);
  rounded[i] = cuda::roundToTf32(in[i]);
  powers[i] = cuda::fastExp2(in[i]);
}

uint32_t bitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

float floatOf(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// A float whose low `dropped` bits are zero and that is nearest to `value`: of the two neighbours the one less far,
// with infinity where the next power of two after the largest would be.
uint32_t nearest(float value, int dropped, bool tiesToEven) {
  uint32_t step = 1u << dropped;
  uint32_t below = bitsOf(value) & ~(step - 1), above = below + step;
  auto number = [](uint32_t bits) {
    bool infinite = (bits & 0x7fffffffu) == 0x7f800000u;
    return infinite ? std::ldexp(1.0, 128) : std::abs(static_cast<double>(floatOf(bits)));
  };
  double magnitude = std::abs(static_cast<double>(value));
  double low = magnitude - number(below), high = number(above) - magnitude;
  if (low != high) return low < high ? below : above;
  return tiesToEven && (below & step) == 0 ? below : above;
}

uint32_t expectedBf16(float value) {
  if (std::isnan(value)) return 0x7fffu;
  if (std::isinf(value)) return bitsOf(value) >> 16;
  return nearest(value, 16, true) >> 16;
}

// Anything from denormals to infinity and NaN, exact ties, and what exponentials are taken of.
std::vector<float> inputs() {
  auto bits = randomBits(kCount);
  std::uniform_real_distribution<float> exponents(-150, 150);
  std::vector<float> values(kCount);
  for (size_t i = 0; i < kCount; ++i) {
    values[i] = floatOf(bits[i]);
    if (i % 8 == 1) values[i] = floatOf((bits[i] & 0xffff0000u) | 0x8000u);
    if (i % 8 == 2) values[i] = floatOf((bits[i] & 0xffffe000u) | 0x1000u);
    if (i % 2 == 1 && i % 8 > 2) values[i] = exponents(random());
  }
  return values;
}

}  // namespace

void conversions() {
  auto in = inputs();
  Device<float> source(in), powers(kCount);
  Device<uint32_t> packed(kCount), rounded(kCount);
  require(cuda::launch(convert, kBlocks, kThreads, 0, nullptr, packed, rounded, powers, source));

  std::vector<uint32_t> expected(kCount);
  for (size_t i = 0; i < kCount; ++i) expected[i] = expectedBf16(in[i]) | expectedBf16(in[kCount - 1 - i]) << 16;
  Report("cvt.rn.bf16x2.f32").equal(packed.values(), expected);

  {
    Report report("cvt.rna.tf32.f32");
    auto actual = rounded.values();
    for (size_t i = 0; i < kCount; ++i) {
      if (std::isnan(in[i])) {
        report.check(std::isnan(floatOf(actual[i])), i, actual[i], 0x7fffffffu);
      } else {
        // The 13 bits that a tensor core does not read may be anything.
        uint32_t wanted = std::isinf(in[i]) ? bitsOf(in[i]) : nearest(in[i], 13, false);
        report.check(actual[i] >> 13 == wanted >> 13, i, actual[i], wanted);
      }
    }
  }

  Report report("ex2.approx.ftz.f32");
  auto actual = powers.values();
  for (size_t i = 0; i < kCount; ++i) {
    double power = std::exp2(static_cast<double>(in[i]));
    bool small = power < static_cast<double>(std::numeric_limits<float>::min());
    double wanted = small ? 0 : static_cast<double>(static_cast<float>(power));
    auto value = static_cast<double>(actual[i]);
    bool right = value == wanted || (std::isnan(value) && std::isnan(wanted)) ||
                 std::abs(value - power) <= std::ldexp(power, -21);
    report.check(right, i, value, wanted);
  }
}

}  // namespace sn::conformance
