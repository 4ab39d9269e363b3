// tensor_copies.cu: mbarrier and the copies of the tensor unit: boxes of tensors of 2 and 4 axes, over their edges,
// swizzled or not, loaded, stored and added; and plain bytes.
#include <cstring>

#include "conformance.h"
#include "cuda/ptx/tensor_copy.h"

namespace sn::conformance {

namespace {

using cuda::Element;

// Loads a box, keeps shared memory as it then is, and stores or adds the box elsewhere.
template <bool Four, bool Adds>
__global__ void move([[maybe_unused]] const __grid_constant__ cuda::TensorMap from,
                     [[maybe_unused]] const __grid_constant__ cuda::TensorMap to, [[maybe_unused]] unsigned char *image,
                     [[maybe_unused]] uint32_t bytes, [[maybe_unused]] int4 place) {
#if SN_HOPPER
  SN_DYNAMIC_SHARED(memory);
  SN_SHARED(cuda::Mbarrier, loaded, 1);
  if (threadIdx.x == 0) {
    cuda::initMbarrier(loaded, 1);
    cuda::fenceMbarrierInit();
    cuda::prefetchMap(&from);
    cuda::arriveExpecting(loaded, bytes);
    if constexpr (Four) cuda::loadTile(memory, &from, place.x, place.y, place.z, place.w, loaded);
    if constexpr (!Four) cuda::loadTile(memory, &from, place.x, place.y, loaded);
  }
  __syncthreads();
  cuda::waitForPhase(loaded, 0);
  for (unsigned i = threadIdx.x; i < bytes; i += blockDim.x) image[i] = memory[i];
  if (threadIdx.x == 0) {
    if constexpr (Four && Adds) cuda::addTile(&to, place.x, place.y, place.z, place.w, memory);
    if constexpr (Four && !Adds) cuda::storeTile(&to, place.x, place.y, place.z, place.w, memory);
    if constexpr (!Four && Adds) cuda::addTile(&to, place.x, place.y, memory);
    if constexpr (!Four && !Adds) cuda::storeTile(&to, place.x, place.y, memory);
    cuda::commitStores();
    cuda::waitForStoreReads<0>();
    cuda::waitForStores<0>();
  }
#endif
}

// Small integers as elements of a type: their sums are exact.
uint32_t bitsOf(Element element, int number) {
  auto value = static_cast<float>(number);
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if (element == Element::byte) return static_cast<uint32_t>(number) & 0xffu;
  return element == Element::bf16 ? bits >> 16 : bits;
}

std::vector<unsigned char> bytesOf(Element element, const std::vector<int> &numbers) {
  std::vector<unsigned char> bytes;
  for (int number : numbers) {
    for (uint32_t i = 0; i < cuda::bytesOf(element); ++i) {
      bytes.push_back(static_cast<unsigned char>(bitsOf(element, number) >> 8 * i));
    }
  }
  return bytes;
}

struct Case {
  const char *name;
  Element element;
  bool swizzled;
  int size[4], stride[4], box[4], place[4];
};

void equal(const std::string &name, const std::vector<unsigned char> &actual,
           const std::vector<unsigned char> &expected) {
  Report(name).equal({actual.begin(), actual.end()}, {expected.begin(), expected.end()});
}

template <bool Four, bool Adds>
void moves(const Case &test) {
  constexpr int kAxes = Four ? 4 : 2;
  std::uniform_int_distribution<int> integers(-100, 100);
  int elements = 1;
  for (int axis = 0; axis < kAxes; ++axis) elements += (test.size[axis] - 1) * test.stride[axis];
  std::vector<int> in(static_cast<size_t>(elements)), out(in.size());
  for (int &number : in) number = integers(random());
  for (int &number : out) number = integers(random());
  Device<unsigned char> source(bytesOf(test.element, in)), target(bytesOf(test.element, out));
  auto describe = [&](cuda::TensorMap *map, const void *data) {
    auto axis = [&](int i) {
      return cuda::Axis{static_cast<uint64_t>(test.size[i]), static_cast<uint64_t>(test.stride[i]),
                        static_cast<uint32_t>(test.box[i])};
    };
    if constexpr (Four)
      return describeTensor(map, test.element, data, {axis(0), axis(1), axis(2), axis(3)}, test.swizzled);
    if constexpr (!Four) return describeTensor(map, test.element, data, {axis(0), axis(1)}, test.swizzled);
  };
  size_t boxElements = 1;
  for (int axis = 0; axis < kAxes; ++axis) boxElements *= static_cast<size_t>(test.box[axis]);
  size_t boxBytes = boxElements * cuda::bytesOf(test.element);
  Device<unsigned char> image(boxBytes);
  cuda::TensorMap from, to;
  require(describe(&from, static_cast<unsigned char *>(source)));
  require(describe(&to, static_cast<unsigned char *>(target)));
  int4 place = {test.place[0], test.place[1], test.place[2], test.place[3]};
  require(cuda::launch(move<Four, Adds>, 1, 64, boxBytes, nullptr, from, to, image, static_cast<uint32_t>(boxBytes),
                       place));

  std::vector<int> expectedImage(boxElements);
  int lineElements = 128 / static_cast<int>(cuda::bytesOf(test.element)), pieceElements = lineElements / 8;
  for (size_t i = 0; i < boxElements; ++i) {
    bool inside = true;
    size_t element = 0;
    int rest = static_cast<int>(i);
    for (int axis = 0; axis < kAxes; ++axis) {
      int at = test.place[axis] + rest % test.box[axis];
      rest /= test.box[axis];
      inside = inside && at >= 0 && at < test.size[axis];
      if (inside) element += static_cast<size_t>(at * test.stride[axis]);
    }
    int line = static_cast<int>(i) / test.box[0], column = static_cast<int>(i) % test.box[0];
    // A line of a swizzled box is 128 bytes; the number of a piece of 16 bytes is xor-ed with the line's.
    if (test.swizzled) column = (column / pieceElements ^ line % 8) * pieceElements + column % pieceElements;
    expectedImage[static_cast<size_t>(line * test.box[0] + column)] = inside ? in[element] : 0;
    if (inside) out[element] = (Adds ? out[element] : 0) + in[element];
  }
  equal(std::string("tensor load, ") + test.name, image.values(), bytesOf(test.element, expectedImage));
  equal(std::string(Adds ? "tensor add, " : "tensor store, ") + test.name, target.values(), bytesOf(test.element, out));
}

// Brings bytes, waits, and stores them elsewhere and adds them to a third place.
__global__ void moveBytes([[maybe_unused]] float *copy, [[maybe_unused]] float *sum, [[maybe_unused]] const float *in,
                          [[maybe_unused]] uint32_t bytes) {
#if SN_HOPPER
  SN_DYNAMIC_SHARED(memory);
  SN_SHARED(cuda::Mbarrier, loaded, 1);
  auto *values = reinterpret_cast<float *>(memory) + 4;
  if (threadIdx.x != 0) return;
  cuda::initMbarrier(loaded, 1);
  cuda::fenceMbarrierInit();
  cuda::arriveExpecting(loaded, bytes);
  cuda::loadBulk(values, in, bytes, loaded);
  cuda::waitForPhase(loaded, 0);
  cuda::storeBulk(copy, values, bytes);
  cuda::commitStores();
  cuda::addBulk(sum, values, bytes);
  cuda::commitStores();
  cuda::waitForStores<1>();
  cuda::waitForStoreReads<0>();
#endif
}

void bulkCopies() {
  constexpr size_t kCount = 1028, kBlocks = 3;
  std::vector<float> in(kCount), sum(kCount + 4), copy(kCount + 4, -1.0f);
  for (size_t i = 0; i < kCount; ++i) in[i] = static_cast<float>(random()() % 1000);
  for (size_t i = 0; i < sum.size(); ++i) sum[i] = static_cast<float>(random()() % 1000);
  Device<float> source(in), copies(copy), sums(sum);
  size_t bytes = kCount * sizeof(float);
  require(
      cuda::launch(moveBytes, kBlocks, 32, bytes + 16, nullptr, copies, sums, source, static_cast<uint32_t>(bytes)));
  for (size_t i = 0; i < kCount; ++i) {
    copy[i] = in[i];
    sum[i] += kBlocks * in[i];
  }
  auto check = [](const char *name, const std::vector<float> &actual, const std::vector<float> &expected) {
    Report report(name);
    for (size_t i = 0; i < expected.size(); ++i) report.check(actual[i] == expected[i], i, actual[i], expected[i]);
  };
  check("bulk load and store", copies.values(), copy);
  check("bulk add", sums.values(), sum);
}

}  // namespace

void tensorCopies() {
  moves<false, false>({"swizzled, within", Element::bf16, true, {100, 40}, {1, 104}, {64, 16}, {16, 8}});
  moves<false, false>({"swizzled, over the end", Element::bf16, true, {100, 40}, {1, 104}, {64, 16}, {64, 32}});
  moves<false, false>({"swizzled, over the beginning", Element::bf16, true, {100, 40}, {1, 104}, {64, 16}, {-5, -3}});
  moves<false, false>({"swizzled, outside", Element::bf16, true, {100, 40}, {1, 104}, {64, 16}, {128, 8}});
  moves<false, false>({"plain, over the end", Element::bf16, false, {100, 40}, {1, 104}, {64, 16}, {64, 32}});
  moves<false, false>({"plain bytes, wide", Element::byte, false, {90, 40}, {1, 96}, {256, 3}, {3, 38}});
  moves<false, false>({"swizzled bytes", Element::byte, true, {500, 4}, {1, 512}, {128, 9}, {401, -2}});
  moves<false, true>({"swizzled f32", Element::f32, true, {37, 40}, {1, 40}, {32, 33}, {8, 11}});
  moves<false, true>({"plain bf16", Element::bf16, false, {37, 40}, {1, 40}, {24, 7}, {-3, 36}});
  // [batch, row, head, column] as attention has it: heads come before rows in memory, after them in a box.
  moves<true, false>(
      {"4 axes, swizzled", Element::bf16, true, {72, 9, 3, 2}, {1, 216, 72, 1944}, {64, 11, 1, 1}, {0, 4, 1, 1}});
  moves<true, false>(
      {"4 axes, over edges", Element::bf16, true, {72, 9, 3, 2}, {1, 216, 72, 1944}, {64, 5, 3, 2}, {32, -1, 1, 1}});
  moves<true, true>(
      {"4 axes, plain f32", Element::f32, false, {72, 9, 3, 2}, {1, 216, 72, 1944}, {20, 5, 2, 3}, {59, -2, -1, 1}});
  bulkCopies();
}

}  // namespace sn::conformance
