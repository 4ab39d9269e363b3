// warpgroup_products.cu: wgmma m64nNk16 in bf16, a from shared memory and from registers, operands in both layouts; and
// m64nNk32 in numbers of 8 bits.
#include <cmath>

#include "conformance.h"
#include "cuda/ptx/mbarrier.h"
#include "cuda/ptx/warpgroup.h"

namespace sn::conformance {

namespace {

using cuda::Major;

constexpr int kRows = 64, kDepth = 64;
constexpr uint32_t kLineBytes = 128;
[[maybe_unused]] constexpr uint32_t kBlockBytes = 64 * kLineBytes;

// In the accumulators before the product.
constexpr int kBefore = 1000;

// Of 128 bytes, for an operand of so many rows or columns: whole blocks of 64 where they lie beside one another.
__host__ __device__ constexpr int linesOf(int lines, Major major) {
  return major == Major::outer ? (lines + 63) / 64 * 64 : lines;
}

enum class Left { inner, outer, registers };

// Shared memory holds the images of a and then of b. `a` is also given as each thread's registers. `onto`: the product
// is added to what d has before.
template <int Columns, Left left, Major right>
__global__ void multiply([[maybe_unused]] float *out, [[maybe_unused]] const uint4 *images,
                         [[maybe_unused]] const uint32_t *registers, [[maybe_unused]] bool onto) {
#if SN_HOPPER
  SN_DYNAMIC_SHARED(memory);
  constexpr unsigned kVectors = (kRows + linesOf(Columns, right)) * kLineBytes / sizeof(uint4);
  for (unsigned i = threadIdx.x; i < kVectors; i += 128) reinterpret_cast<uint4 *>(memory)[i] = images[i];
  cuda::fenceAsyncProxy();
  __syncthreads();
  constexpr Major kMajorA = left == Left::outer ? Major::outer : Major::inner;
  uint64_t a = left == Left::outer ? cuda::describeOuter(memory, kBlockBytes) : cuda::describeInner(memory);
  unsigned char *second = memory + kRows * kLineBytes;
  uint64_t b = right == Major::outer ? cuda::describeOuter(second, kBlockBytes) : cuda::describeInner(second);
  float d[Columns / 2];
  for (int i = 0; i < Columns / 2; ++i) d[i] = kBefore;
  uint32_t fragments[kDepth / 16][4];
  for (int step = 0; step < kDepth / 16; ++step) {
    for (int i = 0; i < 4; ++i) fragments[step][i] = registers[(threadIdx.x * (kDepth / 16) + step) * 4 + i];
  }
  cuda::pinRegisters(d);
  cuda::fenceWarpgroup();
#pragma unroll
  for (int step = 0; step < kDepth / 16; ++step) {
    bool accumulate = onto || step > 0;
    uint64_t stepOfB = cuda::advance<right>(b, step);
    if constexpr (left == Left::registers) {
      cuda::multiplyWarpgroup<Columns, right>(d, fragments[step], stepOfB, accumulate);
    } else {
      cuda::multiplyWarpgroup<Columns, kMajorA, right>(d, cuda::advance<kMajorA>(a, step), stepOfB, accumulate);
    }
  }
  cuda::commitProducts();
  cuda::waitForProducts<0>();
  cuda::pinRegisters(d);
  for (int i = 0; i < Columns / 2; ++i) out[threadIdx.x * (Columns / 2) + i] = d[i];
#endif
}

// `lines` of kDepth numbers, and where shared memory has them.
struct Operand {
  Operand(int lines_, Major major_) : lines(lines_), major(major_) {
    std::uniform_int_distribution<int> integers(-8, 8);
    for (int i = 0; i < lines * kDepth; ++i) numbers.push_back(integers(random()));
  }

  int at(int line, int k) const { return numbers[static_cast<size_t>(line * kDepth + k)]; }
  uint16_t bitsAt(int line, int k) const {
    return __bfloat16_as_ushort(__float2bfloat16(static_cast<float>(at(line, k))));
  }

  // The place of an element in units of 2 bytes. Inner: a line of 64 numbers is 128 bytes. Outer: 64 lines lie beside
  // one another, 128 bytes for each k. In both the piece of 16 bytes is xor-ed with the number of the 128 bytes it is
  // of.
  size_t place(int line, int k) const {
    int row = major == Major::inner ? line : line / 64 * kDepth + k;
    int column = major == Major::inner ? k : line % 64;
    return static_cast<size_t>(row * 64 + (column / 8 ^ row % 8) * 8 + column % 8);
  }

  std::vector<uint16_t> image() const {
    std::vector<uint16_t> bits(static_cast<size_t>(linesOf(lines, major)) * kLineBytes / 2);
    for (int line = 0; line < lines; ++line) {
      for (int k = 0; k < kDepth; ++k) bits[place(line, k)] = bitsAt(line, k);
    }
    return bits;
  }

  int lines;
  Major major;
  std::vector<int> numbers;
};

// As the figure of fragments for a has it: warp w holds rows 16 w to 16 w + 15, each lane as in mma.m16n8k16.
std::vector<uint32_t> fragmentsOf(const Operand &a) {
  std::vector<uint32_t> registers;
  for (int thread = 0; thread < 128; ++thread) {
    for (int step = 0; step < kDepth / 16; ++step) {
      for (int i = 0; i < 8; i += 2) {
        bool upper = i == 0 || i == 4;
        int row = thread / 32 * 16 + thread % 32 / 4 + (upper ? 0 : 8);
        int column = 16 * step + thread % 4 * 2 + (i >= 4 ? 8 : 0);
        registers.push_back(a.bitsAt(row, column) | uint32_t{a.bitsAt(row, column + 1)} << 16);
      }
    }
  }
  return registers;
}

std::vector<uint4> vectors(const std::vector<uint16_t> &bits) {
  std::vector<uint4> all(bits.size() / 8);
  for (size_t i = 0; i < all.size(); ++i) {
    auto word = [&](size_t k) { return bits[8 * i + 2 * k] | uint32_t{bits[8 * i + 2 * k + 1]} << 16; };
    all[i] = make_uint4(word(0), word(1), word(2), word(3));
  }
  return all;
}

// `expected(row, column)` against the accumulators of 128 threads.
template <int Columns, typename Expected>
void check(const std::string &name, const std::vector<float> &actual, Expected &&expected) {
  Report report(name);
  for (int thread = 0; thread < 128; ++thread) {
    for (int i = 0; i < Columns / 2; ++i) {
      int row = thread / 32 * 16 + thread % 32 / 4 + (i & 2 ? 8 : 0), column = i / 4 * 8 + thread % 4 * 2 + (i & 1);
      auto element = static_cast<size_t>(thread * (Columns / 2) + i);
      float sum = expected(row, column);
      report.check(actual[element] == sum, element, actual[element], sum);
    }
  }
}

template <int Columns, Left left, Major right>
void multiplies(const char *layout) {
  Operand a(kRows, left == Left::outer ? Major::outer : Major::inner), b(Columns, right);
  std::vector<uint16_t> bits = a.image(), second = b.image();
  bits.insert(bits.end(), second.begin(), second.end());
  Device<uint4> source(vectors(bits));
  Device<uint32_t> registers(fragmentsOf(a));
  Device<float> target(size_t{128} * Columns / 2);
  size_t sharedBytes = bits.size() * sizeof(uint16_t);
  for (bool onto : {false, true}) {
    require(
        cuda::launch(multiply<Columns, left, right>, 1, 128, sharedBytes, nullptr, target, source, registers, onto));
    std::string name = "wgmma.m64n" + std::to_string(Columns) + "k16, " + layout;
    check<Columns>(name + (onto ? ", onto" : ""), target.values(), [&](int row, int column) {
      int sum = onto ? kBefore : 0;
      for (int k = 0; k < kDepth; ++k) sum += a.at(row, k) * b.at(column, k);
      return static_cast<float>(sum);
    });
  }
}

using cuda::Byte;

// As above, for 128 of the inner dimension in bytes, both operands with those of a line beside one another.
template <int Columns, Byte formatA, Byte formatB>
__global__ void multiplyBytes([[maybe_unused]] float *out, [[maybe_unused]] const uint4 *images) {
#if SN_HOPPER
  SN_DYNAMIC_SHARED(memory);
  constexpr unsigned kVectors = (kRows + Columns) * kLineBytes / sizeof(uint4);
  for (unsigned i = threadIdx.x; i < kVectors; i += 128) reinterpret_cast<uint4 *>(memory)[i] = images[i];
  cuda::fenceAsyncProxy();
  __syncthreads();
  uint64_t a = cuda::describeInner(memory), b = cuda::describeInner(memory + kRows * kLineBytes);
  float d[Columns / 2];
  for (int i = 0; i < Columns / 2; ++i) d[i] = kBefore;
  cuda::pinRegisters(d);
  cuda::fenceWarpgroup();
#pragma unroll
  for (int step = 0; step < static_cast<int>(kLineBytes) / 32; ++step) {
    cuda::multiplyWarpgroupBytes<Columns, formatA, formatB>(d, cuda::advance<Major::inner>(a, step),
                                                            cuda::advance<Major::inner>(b, step), step > 0);
  }
  cuda::commitProducts();
  cuda::waitForProducts<0>();
  cuda::pinRegisters(d);
  for (int i = 0; i < Columns / 2; ++i) out[threadIdx.x * (Columns / 2) + i] = d[i];
#endif
}

// By the formats' definition: in e4m3 the mantissa has three bits and the exponent four (bias 7), in e5m2 two and five
// (bias 15).
float valueOf(Byte format, unsigned bits) {
  unsigned mantissaBits = format == Byte::e4m3 ? 3 : 2, bias = format == Byte::e4m3 ? 7 : 15;
  auto exponent = static_cast<int>(bits >> mantissaBits & (format == Byte::e4m3 ? 15u : 31u));
  float fraction = static_cast<float>(bits & ((1u << mantissaBits) - 1)) / static_cast<float>(1u << mantissaBits);
  float magnitude = exponent == 0 ? std::ldexp(fraction, 1 - static_cast<int>(bias))
                                  : std::ldexp(1 + fraction, exponent - static_cast<int>(bias));
  return bits >> 7 != 0 ? -magnitude : magnitude;
}

// An integer from -4 to 4. Sums of their products need fewer bits than the tensor cores keep of them.
unsigned randomByte(Byte format) {
  constexpr unsigned kE4m3[] = {0, 7 << 3, 8 << 3, 8 << 3 | 4, 9 << 3};
  constexpr unsigned kE5m2[] = {0, 15 << 2, 16 << 2, 16 << 2 | 2, 17 << 2};
  auto draw = static_cast<unsigned>(random()());
  return (format == Byte::e4m3 ? kE4m3 : kE5m2)[draw / 2 % 5] | (draw & 1u) << 7;
}

template <int Columns, Byte formatA, Byte formatB>
void multipliesBytes(const char *formats) {
  constexpr size_t kLine = kLineBytes;
  std::vector<unsigned char> bytes((kRows + Columns) * kLine);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<unsigned char>(randomByte(i < kRows * kLine ? formatA : formatB));
  }
  std::vector<uint16_t> bits(bytes.size() / 2);
  for (size_t line = 0; line < bytes.size() / kLine; ++line) {
    for (size_t k = 0; k < kLine; k += 2) {
      size_t place = line * kLine + ((k / 16 ^ line % 8) * 16) + k % 16;
      bits[place / 2] = static_cast<uint16_t>(bytes[line * kLine + k] | bytes[line * kLine + k + 1] << 8);
    }
  }
  Device<uint4> source(vectors(bits));
  Device<float> target(size_t{128} * Columns / 2);
  require(cuda::launch(multiplyBytes<Columns, formatA, formatB>, 1, 128, bytes.size(), nullptr, target, source));
  std::string name = "wgmma.m64n" + std::to_string(Columns) + "k32, " + formats;
  check<Columns>(name, target.values(), [&](int row, int column) {
    float sum = 0;
    for (size_t k = 0; k < kLine; ++k) {
      sum += valueOf(formatA, bytes[static_cast<size_t>(row) * kLine + k]) *
             valueOf(formatB, bytes[static_cast<size_t>(kRows + column) * kLine + k]);
    }
    return sum;
  });
}

// Every byte of a format, one in each line, times one: zeros, subnormals, the largest; and what is no number.
template <Byte format>
void decodes(const char *name) {
  constexpr size_t kLine = kLineBytes, kLines = kRows + 256;
  unsigned one = format == Byte::e4m3 ? 7u << 3 : 15u << 2;
  std::vector<uint16_t> bits(kLines * kLine / 2, 0);
  // At k = 0 the first piece of 16 bytes of line l is at place l % 8.
  for (size_t line = 0; line < kLines; ++line) {
    unsigned byte = line < kRows ? one : static_cast<unsigned>(line - kRows);
    bits[(line * kLine + line % 8 * 16) / 2] = static_cast<uint16_t>(byte);
  }
  Device<uint4> source(vectors(bits));
  Device<float> target(size_t{128} * 128);
  require(cuda::launch(multiplyBytes<256, format, format>, 1, 128, kLines * kLine, nullptr, target, source));
  auto actual = target.values();
  Report report(name);
  // Thread 0 has the row 0: columns 0, 1, 8, 9 and so on; its neighbours those between.
  for (unsigned byte = 0; byte < 256; ++byte) {
    float is = actual[byte % 8 / 2 * 128 + byte / 8 * 4 + byte % 2];
    unsigned magnitude = byte & 0x7fu;
    bool nan = format == Byte::e4m3 ? magnitude == 0x7f : magnitude > 0x7c;
    float expected = valueOf(format, byte);
    if (format == Byte::e5m2 && magnitude == 0x7c) expected = byte < 0x80 ? INFINITY : -INFINITY;
    report.check(nan ? std::isnan(is) : is == expected, byte, is, expected);
  }
}

template <int Columns>
void layouts() {
  multiplies<Columns, Left::inner, Major::inner>("a inner, b inner");
  multiplies<Columns, Left::inner, Major::outer>("a inner, b outer");
  multiplies<Columns, Left::outer, Major::inner>("a outer, b inner");
  multiplies<Columns, Left::outer, Major::outer>("a outer, b outer");
  multiplies<Columns, Left::registers, Major::inner>("a in registers, b inner");
  multiplies<Columns, Left::registers, Major::outer>("a in registers, b outer");
}

template <int Columns>
void formats() {
  multipliesBytes<Columns, Byte::e4m3, Byte::e4m3>("e4m3 e4m3");
  multipliesBytes<Columns, Byte::e4m3, Byte::e5m2>("e4m3 e5m2");
  multipliesBytes<Columns, Byte::e5m2, Byte::e4m3>("e5m2 e4m3");
  multipliesBytes<Columns, Byte::e5m2, Byte::e5m2>("e5m2 e5m2");
}

template <int... Columns>
void widths() {
  (layouts<Columns>(), ...);
  (formats<Columns>(), ...);
}

}  // namespace

void warpgroupProducts() {
  widths<64, 96, 128, 160, 176, 192, 256>();
  decodes<Byte::e4m3>("wgmma, every e4m3");
  decodes<Byte::e5m2>("wgmma, every e5m2");
}

}  // namespace sn::conformance
