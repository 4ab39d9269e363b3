// copies.cu: cp.async, with and without zero-fill, of a part, in groups.
#include <algorithm>
#include <cstring>

#include "conformance.h"
#include "cuda/ptx/copy.h"

namespace sn::conformance {

namespace {

constexpr int kThreads = 64;

// Each thread copies three pieces in two groups: one or none; the first bytes of one and, in the second group, a whole
// one. It keeps what is there of the first two when only the second group may be missing.
template <int Bytes>
__global__ void copyPieces(uint32_t *out, const uint32_t *in, const uint32_t *valid) {
  constexpr int kWords = Bytes / 4;
  SN_SHARED(uint32_t, first, kThreads * kWords);
  SN_SHARED(uint32_t, part, kThreads * kWords);
  SN_SHARED(uint32_t, second, kThreads * kWords);
  unsigned i = threadIdx.x;
  for (int word = 0; word < kWords; ++word) {
    first[i * kWords + word] = 0x11111111u;
    part[i * kWords + word] = 0x33333333u;
    second[i * kWords + word] = 0x22222222u;
  }
  bool wanted = valid[i] % 2 != 0;
  cuda::copyAsync<Bytes>(first + i * kWords, in + i * kWords, wanted);
  cuda::copyAsyncFirst<Bytes>(part + i * kWords, in + (2 * kThreads + i) * kWords,
                              static_cast<int>(valid[i] % (Bytes + 1)));
  cuda::commitCopies();
  cuda::copyAsync<Bytes>(second + i * kWords, in + (kThreads + i) * kWords);
  cuda::commitCopies();
  cuda::waitForCopies<1>();
  for (int word = 0; word < kWords; ++word) {
    out[i * kWords + word] = first[i * kWords + word];
    out[(2 * kThreads + i) * kWords + word] = part[i * kWords + word];
  }
  cuda::waitForCopies<0>();
  for (int word = 0; word < kWords; ++word) out[(kThreads + i) * kWords + word] = second[i * kWords + word];
}

template <int Bytes>
void copiesOf() {
  constexpr size_t kPieceWords = Bytes / 4, kWords = 3 * kThreads * kPieceWords;
  auto in = randomBits(kWords), valid = randomBits(kThreads);
  Device<uint32_t> source(in), choice(valid), target(kWords);
  require(cuda::launch(copyPieces<Bytes>, 1, kThreads, 0, nullptr, target, source, choice));
  auto expected = in;
  for (size_t i = 0; i < kThreads; ++i) {
    uint32_t *first = &expected[i * kPieceWords], *part = &expected[(2 * kThreads + i) * kPieceWords];
    if (valid[i] % 2 == 0) std::fill_n(first, kPieceWords, 0u);
    size_t present = valid[i] % (Bytes + 1);
    std::memset(reinterpret_cast<unsigned char *>(part) + present, 0, Bytes - present);
  }
  Report("cp.async of " + std::to_string(Bytes) + " bytes").equal(target.values(), expected);
}

}  // namespace

void copies() {
  copiesOf<4>();
  copiesOf<8>();
  copiesOf<16>();
}

}  // namespace sn::conformance
