// tensor_copies.cu: mbarrier and cp.async.bulk.tensor in both directions, swizzled or not, over the matrix's edges.
#include "conformance.h"
#include "cuda/ptx/tensor_copy.h"

namespace sn::conformance {

namespace {

constexpr int kMatrixRows = 40, kMatrixColumns = 100, kStride = 104;
constexpr int kBoxRows = 16, kBoxColumns = 64;
constexpr int kBoxElements = kBoxRows * kBoxColumns;
constexpr uint32_t kBoxBytes = kBoxElements * 2;

// Loads a box, keeps shared memory as it then is, and stores the box elsewhere.
__global__ void move([[maybe_unused]] const __grid_constant__ cuda::TensorMap from,
                     [[maybe_unused]] const __grid_constant__ cuda::TensorMap to, [[maybe_unused]] uint16_t *image,
                     [[maybe_unused]] int column, [[maybe_unused]] int row) {
#if SN_HOPPER
  SN_DYNAMIC_SHARED(memory);
  SN_SHARED(cuda::Mbarrier, loaded, 1);
  if (threadIdx.x == 0) {
    cuda::initMbarrier(loaded, 1);
    cuda::fenceMbarrierInit();
    cuda::prefetchMap(&from);
    cuda::arriveExpecting(loaded, kBoxBytes);
    cuda::loadTile(memory, &from, column, row, loaded);
  }
  __syncthreads();
  cuda::waitForPhase(loaded, 0);
  auto *box = reinterpret_cast<const uint16_t *>(memory);
  for (unsigned i = threadIdx.x; i < kBoxElements; i += blockDim.x) image[i] = box[i];
  if (threadIdx.x == 0) {
    cuda::storeTile(&to, column, row, memory);
    cuda::commitStores();
    cuda::waitForStoreReads<0>();
    cuda::waitForStores<0>();
  }
#endif
}

void moves(const char *name, bool swizzled, int column, int row) {
  auto bits = randomBits(kMatrixRows * kStride);
  std::vector<cuda::bf16> elements(bits.size());
  for (size_t i = 0; i < bits.size(); ++i) {
    elements[i] = __ushort_as_bfloat16(static_cast<unsigned short>(bits[i] >> 16));
  }
  auto element = [&](int y, int x) {
    bool inside = y >= 0 && x >= 0 && y < kMatrixRows && x < kMatrixColumns;
    return inside ? bits[static_cast<size_t>(y * kStride + x)] >> 16 : 0u;
  };
  Device<cuda::bf16> source(elements), target(elements.size());
  require(cudaMemset(target, 0, elements.size() * sizeof(cuda::bf16)));
  Device<uint16_t> image(kBoxElements);
  cuda::TensorMap from, to;
  require(cuda::describeMatrix(&from, source, kMatrixRows, kMatrixColumns, kStride, kBoxRows, kBoxColumns, swizzled));
  require(cuda::describeMatrix(&to, target, kMatrixRows, kMatrixColumns, kStride, kBoxRows, kBoxColumns, swizzled));
  require(cuda::launch(move, 1, 64, kBoxBytes, nullptr, from, to, image, column, row));

  std::vector<uint32_t> expectedImage(kBoxElements), expectedTarget(elements.size(), 0);
  for (int i = 0; i < kBoxRows; ++i) {
    for (int j = 0; j < kBoxColumns; ++j) {
      // Row i of a box is 128 bytes; the piece of 16 bytes, 8 elements, is xor-ed with the row.
      int place = swizzled ? (j / 8 ^ i % 8) * 8 + j % 8 : j;
      expectedImage[static_cast<size_t>(i * kBoxColumns + place)] = element(row + i, column + j);
      bool inside = row + i >= 0 && column + j >= 0 && row + i < kMatrixRows && column + j < kMatrixColumns;
      if (inside) expectedTarget[static_cast<size_t>((row + i) * kStride + column + j)] = element(row + i, column + j);
    }
  }
  std::vector<uint32_t> actualImage, actualTarget;
  for (uint16_t word : image.values()) actualImage.push_back(word);
  for (cuda::bf16 value : target.values()) actualTarget.push_back(__bfloat16_as_ushort(value));
  Report(std::string("tensor load, ") + name).equal(actualImage, expectedImage);
  Report(std::string("tensor store, ") + name).equal(actualTarget, expectedTarget);
}

}  // namespace

void tensorCopies() {
  moves("swizzled, within", true, 16, 8);
  moves("swizzled, over the end", true, 64, 32);
  moves("swizzled, over the beginning", true, -8, -3);
  moves("plain, over the end", false, 64, 32);
}

}  // namespace sn::conformance
