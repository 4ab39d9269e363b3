// warpgroup_products.cu: wgmma m64nNk16 in bf16: a from shared memory and from registers, operands in both layouts.
#include "conformance.h"
#include "cuda/ptx/mbarrier.h"
#include "cuda/ptx/warpgroup.h"

namespace sn::conformance {

namespace {

using cuda::Major;

constexpr int kRows = 64, kDepth = 64;
constexpr uint32_t kLineBytes = 128;
[[maybe_unused]] constexpr uint32_t kBlockBytes = 64 * kLineBytes;

enum class Left { inner, outer, registers };

// Shared memory holds the images of a and then of b. `a` is also given as each thread's registers.
template <int Columns, Left left, Major right>
__global__ void multiply([[maybe_unused]] float *out, [[maybe_unused]] const uint4 *images,
                         [[maybe_unused]] const uint32_t *registers) {
#if SN_HOPPER
  SN_DYNAMIC_SHARED(memory);
  constexpr unsigned kVectors = (kRows + Columns) * kLineBytes / sizeof(uint4);
  for (unsigned i = threadIdx.x; i < kVectors; i += 128) reinterpret_cast<uint4 *>(memory)[i] = images[i];
  cuda::fenceAsyncProxy();
  __syncthreads();
  constexpr Major kMajorA = left == Left::outer ? Major::outer : Major::inner;
  uint64_t a = left == Left::outer ? cuda::describeOuter(memory, kBlockBytes) : cuda::describeInner(memory);
  unsigned char *second = memory + kRows * kLineBytes;
  uint64_t b = right == Major::outer ? cuda::describeOuter(second, kBlockBytes) : cuda::describeInner(second);
  float d[Columns / 2];
  for (int i = 0; i < Columns / 2; ++i) d[i] = 1000;
  uint32_t fragments[kDepth / 16][4];
  for (int step = 0; step < kDepth / 16; ++step) {
    for (int i = 0; i < 4; ++i) fragments[step][i] = registers[(threadIdx.x * (kDepth / 16) + step) * 4 + i];
  }
  cuda::fenceWarpgroup();
#pragma unroll
  for (int step = 0; step < kDepth / 16; ++step) {
    bool accumulate = step > 0;
    uint64_t stepOfB = cuda::advance<right>(b, step);
    if constexpr (left == Left::registers) {
      cuda::multiplyWarpgroup<Columns, right>(d, fragments[step], stepOfB, accumulate);
    } else {
      cuda::multiplyWarpgroup<Columns, kMajorA, right>(d, cuda::advance<kMajorA>(a, step), stepOfB, accumulate);
    }
  }
  cuda::commitProducts();
  cuda::waitForProducts<0>();
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
    std::vector<uint16_t> bits(numbers.size());
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

template <int Columns, Left left, Major right>
void multiplies(const char *layout) {
  Operand a(kRows, left == Left::outer ? Major::outer : Major::inner), b(Columns, right);
  std::vector<uint16_t> bits = a.image(), second = b.image();
  bits.insert(bits.end(), second.begin(), second.end());
  std::vector<uint4> images(bits.size() / 8);
  for (size_t i = 0; i < images.size(); ++i) {
    auto word = [&](size_t k) { return bits[8 * i + 2 * k] | uint32_t{bits[8 * i + 2 * k + 1]} << 16; };
    images[i] = make_uint4(word(0), word(1), word(2), word(3));
  }
  Device<uint4> source(images);
  Device<uint32_t> registers(fragmentsOf(a));
  Device<float> target(size_t{128} * Columns / 2);
  size_t sharedBytes = images.size() * sizeof(uint4);
  require(cuda::launch(multiply<Columns, left, right>, 1, 128, sharedBytes, nullptr, target, source, registers));
  Report report("wgmma.m64n" + std::to_string(Columns) + "k16, " + layout);
  auto actual = target.values();
  for (int thread = 0; thread < 128; ++thread) {
    for (int i = 0; i < Columns / 2; ++i) {
      int row = thread / 32 * 16 + thread % 32 / 4 + (i & 2 ? 8 : 0), column = i / 4 * 8 + thread % 4 * 2 + (i & 1);
      int sum = 0;
      for (int k = 0; k < kDepth; ++k) sum += a.at(row, k) * b.at(column, k);
      auto element = static_cast<size_t>(thread * (Columns / 2) + i);
      report.check(actual[element] == static_cast<float>(sum), element, actual[element], static_cast<float>(sum));
    }
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

}  // namespace

void warpgroupProducts() {
  layouts<64>();
  layouts<128>();
  layouts<256>();
}

}  // namespace sn::conformance
