// products.cu: mma.sync m16n8k16 in bf16, m16n8k8 in tf32 and m16n8k32 in bytes.
#include <cmath>
#include <cstring>

#include "conformance.h"
#include "cuda/ptx/matrix.h"

namespace sn::conformance {

namespace {

template <bool Tf32>
__global__ void multiply(float *out, const uint32_t *a, const uint32_t *b, const float *c) {
  unsigned lane = threadIdx.x;
  uint32_t left[4];
  float sum[4];
  for (int i = 0; i < 4; ++i) left[i] = a[4 * lane + i];
  for (int i = 0; i < 4; ++i) sum[i] = c[4 * lane + i];
  if constexpr (Tf32) {
    cuda::multiplyAddTf32(sum, left, b[2 * lane], b[2 * lane + 1]);
  } else {
    cuda::multiplyAdd(sum, left, b[2 * lane], b[2 * lane + 1]);
  }
  for (int i = 0; i < 4; ++i) out[4 * lane + i] = sum[i];
}

uint32_t upperBits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// A product of matrices of 16 x depth and depth x 8 whose elements both formats hold exactly.
struct Problem {
  explicit Problem(int depth_, bool exact) : depth(depth_) {
    std::uniform_int_distribution<int> integers(-8, 8);
    std::normal_distribution<float> normals;
    auto value = [&] {
      if (exact) return static_cast<float>(integers(random()));
      uint32_t bits = upperBits(normals(random())) & 0xffff0000u;
      float rounded;
      std::memcpy(&rounded, &bits, sizeof rounded);
      return rounded;
    };
    for (int i = 0; i < 16 * depth; ++i) left.push_back(value());
    for (int i = 0; i < depth * 8; ++i) right.push_back(value());
    for (int i = 0; i < 16 * 8; ++i) before.push_back(value());
  }

  float a(int row, int column) const { return left[static_cast<size_t>(row * depth + column)]; }
  float b(int row, int column) const { return right[static_cast<size_t>(row * 8 + column)]; }
  float c(int row, int column) const { return before[static_cast<size_t>(row * 8 + column)]; }
  double product(int row, int column) const {
    double sum = static_cast<double>(c(row, column));
    for (int k = 0; k < depth; ++k) sum += static_cast<double>(a(row, k)) * static_cast<double>(b(k, column));
    return sum;
  }

  int depth;
  std::vector<float> left, right, before;
};

uint32_t pair(float low, float high) { return upperBits(low) >> 16 | (upperBits(high) & 0xffff0000u); }

// The registers of each lane, from the ISA's formulas: group = lane >> 2, threadInGroup = lane % 4.
//   a_i of bf16: row = group for i in 0, 1, 4, 5, else group + 8; column = 2 threadInGroup + (i & 1), and 8 more for i
//   >= 4 b_i of bf16: row = 2 threadInGroup + (i & 1), and 8 more for i >= 2; column = group
std::vector<uint32_t> leftOfBf16(const Problem &problem) {
  std::vector<uint32_t> registers;
  for (int lane = 0; lane < 32; ++lane) {
    auto element = [&](int i) {
      bool upper = i == 0 || i == 1 || i == 4 || i == 5;
      return problem.a((lane >> 2) + (upper ? 0 : 8), 2 * (lane % 4) + (i & 1) + (i >= 4 ? 8 : 0));
    };
    for (int i = 0; i < 8; i += 2) registers.push_back(pair(element(i), element(i + 1)));
  }
  return registers;
}

std::vector<uint32_t> rightOfBf16(const Problem &problem) {
  std::vector<uint32_t> registers;
  for (int lane = 0; lane < 32; ++lane) {
    auto element = [&](int i) { return problem.b(2 * (lane % 4) + (i & 1) + (i >= 2 ? 8 : 0), lane >> 2); };
    for (int i = 0; i < 4; i += 2) registers.push_back(pair(element(i), element(i + 1)));
  }
  return registers;
}

//   a_i of tf32: row = group for i in 0, 2, else group + 8; column = threadInGroup for i < 2, else threadInGroup + 4
//   b_i of tf32: row = threadInGroup for i = 0, else threadInGroup + 4; column = group
std::vector<uint32_t> leftOfTf32(const Problem &problem) {
  std::vector<uint32_t> registers;
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      int row = (lane >> 2) + (i == 0 || i == 2 ? 0 : 8), column = lane % 4 + (i < 2 ? 0 : 4);
      registers.push_back(upperBits(problem.a(row, column)));
    }
  }
  return registers;
}

std::vector<uint32_t> rightOfTf32(const Problem &problem) {
  std::vector<uint32_t> registers;
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 2; ++i) registers.push_back(upperBits(problem.b(lane % 4 + 4 * i, lane >> 2)));
  }
  return registers;
}

//   c_i of both: row = group for i < 2, else group + 8; column = 2 threadInGroup + (i & 1)
template <typename F>
void forSums(F &&f) {
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) f((lane >> 2) + (i < 2 ? 0 : 8), 2 * (lane % 4) + (i & 1));
  }
}

template <bool Tf32>
void multiplies(const char *name, bool exact) {
  Problem problem(Tf32 ? 8 : 16, exact);
  Device<uint32_t> left(Tf32 ? leftOfTf32(problem) : leftOfBf16(problem));
  Device<uint32_t> right(Tf32 ? rightOfTf32(problem) : rightOfBf16(problem));
  std::vector<float> before;
  std::vector<double> expected;
  forSums([&](int row, int column) {
    before.push_back(problem.c(row, column));
    expected.push_back(problem.product(row, column));
  });
  Device<float> sums(before), out(before.size());
  require(cuda::launch(multiply<Tf32>, 1, 32, 0, nullptr, out, left, right, sums));
  Report report(name);
  auto actual = out.values();
  // Sums of integers are exact in every order; others may be off by a few roundings of terms that are below 10.
  double allowed = exact ? 0 : 16 * 10 * 0x1p-23;
  for (size_t i = 0; i < actual.size(); ++i) {
    auto value = static_cast<double>(actual[i]);
    report.check(std::abs(value - expected[i]) <= allowed, i, value, expected[i]);
  }
}

__global__ void multiplyBytes(int32_t *out, const uint32_t *a, const uint32_t *b, const int32_t *c) {
  unsigned lane = threadIdx.x;
  uint32_t left[4];
  int32_t sum[4];
  for (int i = 0; i < 4; ++i) left[i] = a[4 * lane + i];
  for (int i = 0; i < 4; ++i) sum[i] = c[4 * lane + i];
  cuda::multiplyAddBytes(sum, left, b[2 * lane], b[2 * lane + 1]);
  for (int i = 0; i < 4; ++i) out[4 * lane + i] = sum[i];
}

// Bytes of any bits. The registers of each lane, again from the ISA's formulas:
//   a_i: row = group for i < 4 and 8 <= i < 12, else group + 8; column = 4 threadInGroup + (i & 3), and 16 more for i
//   >= 8
//   b_i: row = 4 threadInGroup + (i & 3), and 16 more for i >= 4; column = group
void multipliesBytes() {
  std::uniform_int_distribution<int> bytes(-128, 127);
  std::uniform_int_distribution<int> integers(-1000000, 1000000);
  int left[16][32], right[32][8], before[16][8];
  for (auto &row : left) {
    for (int &value : row) value = bytes(random());
  }
  for (auto &row : right) {
    for (int &value : row) value = bytes(random());
  }
  for (auto &row : before) {
    for (int &value : row) value = integers(random());
  }
  std::vector<uint32_t> lefts, rights, expected;
  std::vector<int32_t> sums;
  auto pack = [](auto &&element) {
    uint32_t word = 0;
    for (int i = 0; i < 4; ++i) word |= static_cast<uint32_t>(element(i) & 0xff) << 8 * i;
    return word;
  };
  for (int lane = 0; lane < 32; ++lane) {
    int group = lane >> 2, thread = lane % 4;
    for (int first = 0; first < 16; first += 4) {
      lefts.push_back(pack([&](int j) {
        int i = first + j;
        bool upper = i < 4 || (8 <= i && i < 12);
        return left[group + (upper ? 0 : 8)][4 * thread + (i & 3) + (i >= 8 ? 16 : 0)];
      }));
    }
    for (int first = 0; first < 8; first += 4) {
      rights.push_back(pack([&](int j) {
        int i = first + j;
        return right[4 * thread + (i & 3) + (i >= 4 ? 16 : 0)][group];
      }));
    }
  }
  forSums([&](int row, int column) {
    int sum = before[row][column];
    sums.push_back(sum);
    for (int k = 0; k < 32; ++k) sum += left[row][k] * right[k][column];
    expected.push_back(static_cast<uint32_t>(sum));
  });
  Device<uint32_t> a(lefts), b(rights);
  Device<int32_t> c(sums), out(sums.size());
  require(cuda::launch(multiplyBytes, 1, 32, 0, nullptr, out, a, b, c));
  std::vector<uint32_t> actual;
  for (int32_t value : out.values()) actual.push_back(static_cast<uint32_t>(value));
  Report("mma.m16n8k32 of bytes").equal(actual, expected);
}

}  // namespace

void products() {
  multiplies<false>("mma.m16n8k16 of integers in bf16", true);
  multiplies<false>("mma.m16n8k16 of numbers in bf16", false);
  multiplies<true>("mma.m16n8k8 of integers in tf32", true);
  multiplies<true>("mma.m16n8k8 of numbers in tf32", false);
  multipliesBytes();
}

}  // namespace sn::conformance
