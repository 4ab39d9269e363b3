// matrices.cu: ldmatrix, of rows that lie anywhere in shared memory.
#include "conformance.h"
#include "cuda/ptx/matrix.h"

namespace sn::conformance {

namespace {

constexpr int kRows = 32;

// `place` says where each row of 8 elements lies.
template <int Matrices, bool Transposed>
__global__ void load(uint32_t *out, const uint4 *in, const uint32_t *place) {
  SN_SHARED(uint4, rows, 2 * kRows);
  unsigned lane = threadIdx.x;
  rows[place[lane]] = in[lane];
  __syncthreads();
  const uint4 *row = rows + place[lane];
  uint32_t registers[Matrices];
  if constexpr (Matrices == 4 && Transposed) cuda::loadMatrix4Transposed(registers, row);
  if constexpr (Matrices == 4 && !Transposed) cuda::loadMatrix4(registers, row);
  if constexpr (Matrices == 2 && Transposed) cuda::loadMatrix2Transposed(registers, row);
  if constexpr (Matrices == 2 && !Transposed) cuda::loadMatrix2(registers, row);
  for (int i = 0; i < Matrices; ++i) out[lane * Matrices + i] = registers[i];
}

template <int Matrices, bool Transposed>
void loads(const char *name) {
  auto bits = randomBits(4 * kRows);
  auto element = [&](size_t matrix, size_t row, size_t column) {
    uint32_t pair = bits[(8 * matrix + row) * 4 + column / 2];
    return column % 2 == 0 ? pair & 0xffffu : pair >> 16;
  };
  std::vector<uint4> in(kRows);
  std::vector<uint32_t> place(kRows);
  for (uint32_t i = 0; i < kRows; ++i) {
    in[i] = make_uint4(bits[4 * i], bits[4 * i + 1], bits[4 * i + 2], bits[4 * i + 3]);
    place[i] = (2 * i + 21) % (2 * kRows);
  }
  // "Thread 0 to 3 hold row 0, 4 to 7 row 1 …", each two elements that follow one another in the row.
  std::vector<uint32_t> expected;
  for (size_t lane = 0; lane < 32; ++lane) {
    for (size_t matrix = 0; matrix < Matrices; ++matrix) {
      size_t row = lane / 4, column = lane % 4 * 2;
      uint32_t low = Transposed ? element(matrix, column, row) : element(matrix, row, column);
      uint32_t high = Transposed ? element(matrix, column + 1, row) : element(matrix, row, column + 1);
      expected.push_back(low | high << 16);
    }
  }
  Device<uint4> source(in);
  Device<uint32_t> places(place), target(expected.size());
  require(cuda::launch(load<Matrices, Transposed>, 1, 32, 0, nullptr, target, source, places));
  Report(name).equal(target.values(), expected);
}

}  // namespace

void matrices() {
  loads<2, false>("ldmatrix.x2");
  loads<2, true>("ldmatrix.x2.trans");
  loads<4, false>("ldmatrix.x4");
  loads<4, true>("ldmatrix.x4.trans");
}

}  // namespace sn::conformance
