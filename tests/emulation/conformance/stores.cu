// stores.cu: stmatrix, to rows that lie anywhere in shared memory.
#include "conformance.h"
#include "cuda/ptx/matrix.h"

namespace sn::conformance {

namespace {

constexpr int kRows = 32;

__global__ void store([[maybe_unused]] uint4 *out, [[maybe_unused]] const uint32_t *in,
                      [[maybe_unused]] const uint32_t *place) {
#if SN_HOPPER
  SN_SHARED(uint4, rows, 2 * kRows);
  unsigned lane = threadIdx.x;
  uint32_t registers[4];
  for (int i = 0; i < 4; ++i) registers[i] = in[4 * lane + i];
  cuda::storeMatrix4(rows + place[lane], registers);
  __syncthreads();
  out[lane] = rows[place[lane]];
#endif
}

}  // namespace

void matrixStores() {
  auto in = randomBits(4 * kRows);
  std::vector<uint32_t> place(kRows);
  for (uint32_t i = 0; i < kRows; ++i) place[i] = (2 * i + 21) % (2 * kRows);
  // Row r of matrix m holds the pairs of lanes 4 r to 4 r + 3, each from its register m.
  std::vector<uint32_t> expected;
  for (size_t matrix = 0; matrix < 4; ++matrix) {
    for (size_t row = 0; row < 8; ++row) {
      for (size_t pair = 0; pair < 4; ++pair) expected.push_back(in[4 * (4 * row + pair) + matrix]);
    }
  }
  Device<uint32_t> source(in), places(place);
  Device<uint4> target(kRows);
  require(cuda::launch(store, 1, 32, 0, nullptr, target, source, places));
  std::vector<uint32_t> actual;
  for (const uint4 &row : target.values()) actual.insert(actual.end(), {row.x, row.y, row.z, row.w});
  Report("stmatrix.x4").equal(actual, expected);
}

}  // namespace sn::conformance
