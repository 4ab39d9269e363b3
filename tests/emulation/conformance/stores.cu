// stores.cu: stmatrix, to rows that lie anywhere in shared memory.
#include "conformance.h"
#include "cuda/ptx/matrix.h"

namespace sn::conformance {

namespace {

constexpr int kRows = 32;

template <int Matrices, bool Transposed>
__global__ void store([[maybe_unused]] uint4 *out, [[maybe_unused]] const uint32_t *in,
                      [[maybe_unused]] const uint32_t *place) {
#if SN_HOPPER
  SN_SHARED(uint4, rows, 2 * kRows);
  unsigned lane = threadIdx.x;
  uint32_t registers[Matrices];
  for (int i = 0; i < Matrices; ++i) registers[i] = in[Matrices * lane + i];
  if constexpr (Matrices == 4 && Transposed) cuda::storeMatrix4Transposed(rows + place[lane], registers);
  if constexpr (Matrices == 4 && !Transposed) cuda::storeMatrix4(rows + place[lane], registers);
  if constexpr (Matrices == 2) cuda::storeMatrix2(rows + place[lane], registers);
  __syncthreads();
  if (lane < 8 * Matrices) out[lane] = rows[place[lane]];
#endif
}

template <int Matrices, bool Transposed>
void stores(const char *name) {
  auto in = randomBits(Matrices * kRows);
  std::vector<uint32_t> place(kRows);
  for (uint32_t i = 0; i < kRows; ++i) place[i] = (2 * i + 21) % (2 * kRows);
  // Lane l's register m holds two elements of row l / 4 of matrix m, of columns 2 (l % 4) and the next; transposed, of
  // that column and those rows.
  auto element = [&](size_t matrix, size_t row, size_t column) {
    if (Transposed) std::swap(row, column);
    return in[Matrices * (4 * row + column / 2) + matrix] >> 16 * (column % 2) & 0xffffu;
  };
  std::vector<uint32_t> expected;
  for (size_t matrix = 0; matrix < Matrices; ++matrix) {
    for (size_t row = 0; row < 8; ++row) {
      for (size_t column = 0; column < 8; column += 2) {
        expected.push_back(element(matrix, row, column) | element(matrix, row, column + 1) << 16);
      }
    }
  }
  Device<uint32_t> source(in), places(place);
  Device<uint4> target(size_t{8} * Matrices);
  require(cuda::launch(store<Matrices, Transposed>, 1, 32, 0, nullptr, target, source, places));
  std::vector<uint32_t> actual;
  for (const uint4 &row : target.values()) actual.insert(actual.end(), {row.x, row.y, row.z, row.w});
  Report(name).equal(actual, expected);
}

}  // namespace

void matrixStores() {
  stores<2, false>("stmatrix.x2");
  stores<4, false>("stmatrix.x4");
  stores<4, true>("stmatrix.x4.trans");
}

}  // namespace sn::conformance
