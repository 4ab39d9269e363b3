// copies.cu: cp.async, with and without zero-fill, in groups.
#include "conformance.h"
#include "cuda/ptx/copy.h"

namespace sn::conformance {

namespace {

constexpr int kThreads = 64;

// Each thread copies two pieces in two groups; of the first it keeps what is there when only one may be missing.
template <int Bytes>
__global__ void copyPieces(uint32_t *out, const uint32_t *in, const uint32_t *valid) {
  constexpr int kWords = Bytes / 4;
  SN_SHARED(uint32_t, first, kThreads * kWords);
  SN_SHARED(uint32_t, second, kThreads * kWords);
  unsigned i = threadIdx.x;
  for (int word = 0; word < kWords; ++word) {
    first[i * kWords + word] = 0x11111111u;
    second[i * kWords + word] = 0x22222222u;
  }
  bool wanted = valid[i] % 2 != 0;
  cuda::copyAsync<Bytes>(first + i * kWords, in + i * kWords, wanted);
  cuda::commitCopies();
  cuda::copyAsync<Bytes>(second + i * kWords, in + (kThreads + i) * kWords);
  cuda::commitCopies();
  cuda::waitForCopies<1>();
  for (int word = 0; word < kWords; ++word) out[i * kWords + word] = first[i * kWords + word];
  cuda::waitForCopies<0>();
  for (int word = 0; word < kWords; ++word) out[(kThreads + i) * kWords + word] = second[i * kWords + word];
}

template <int Bytes>
void copiesOf() {
  constexpr size_t kWords = 2 * kThreads * Bytes / 4;
  auto in = randomBits(kWords), valid = randomBits(kThreads);
  Device<uint32_t> source(in), choice(valid), target(kWords);
  require(cuda::launch(copyPieces<Bytes>, 1, kThreads, 0, nullptr, target, source, choice));
  auto expected = in;
  for (size_t word = 0; word < kWords / 2; ++word) {
    if (valid[word / (Bytes / 4)] % 2 == 0) expected[word] = 0;
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
