// What goes wrong where a primitive of native/cuda/ptx is misused. That they do what they should is in conformance/.
#include "cuda/ptx/cluster.h"
#include "cuda/ptx/copy.h"
#include "cuda/ptx/matrix.h"
#include "cuda/ptx/tensor_copy.h"
#include "cuda/ptx/warpgroup.h"
#include "emulation/testing.h"

using namespace sn::testing;
using namespace sn::cuda;

namespace {

__global__ void copyToOddAddress(float *in) {
  SN_SHARED(float, values, 64);
  copyAsync<16>(values + 1, in);
}

__global__ void copyToGlobal(float *in) { copyAsync<16>(in, in + 4); }

__global__ void loadOddRow(float *) {
  SN_SHARED(float, values, 64);
  uint32_t registers[4];
  loadMatrix4(registers, values + threadIdx.x % 4);
}

__global__ void loadFromPartOfWarp(float *) {
  SN_SHARED(uint4, rows, 32);
  uint32_t registers[4];
  loadMatrix4(registers, rows + threadIdx.x);
}

__global__ void waitForNothing(float *) {
  SN_SHARED(Mbarrier, barrier, 1);
  waitForPhase(barrier, 0);
}

__global__ void overwriteBarrier(float *) {
  SN_SHARED(Mbarrier, barrier, 1);
  initMbarrier(barrier, 2);
  barrier[0] = 0;
  arrive(barrier);
}

__global__ void arriveTooOften(float *) {
  SN_SHARED(Mbarrier, barrier, 1);
  initMbarrier(barrier, 2);
  arriveExpecting(barrier, 16);
  arrive(barrier);
  arrive(barrier);
}

__global__ void leaveTileInFlight(float *, const __grid_constant__ TensorMap map) {
  SN_DYNAMIC_SHARED(memory);
  SN_SHARED(Mbarrier, barrier, 1);
  initMbarrier(barrier, 1);
  fenceMbarrierInit();
  loadTile(memory, &map, 0, 0, barrier);
}

__global__ void loadByUnknownBarrier(float *, const __grid_constant__ TensorMap map) {
  SN_DYNAMIC_SHARED(memory);
  SN_SHARED(Mbarrier, barrier, 1);
  initMbarrier(barrier, 1);
  arriveExpecting(barrier, 1024);
  loadTile(memory, &map, 0, 0, barrier);
  waitForPhase(barrier, 0);
}

__global__ void loadToOddAddress(float *, const __grid_constant__ TensorMap map) {
  SN_DYNAMIC_SHARED(memory);
  SN_SHARED(Mbarrier, barrier, 1);
  initMbarrier(barrier, 1);
  fenceMbarrierInit();
  loadTile(memory + 128, &map, 0, 0, barrier);
}

__global__ void leaveProductsInFlight(float *) {
  SN_DYNAMIC_SHARED(memory);
  float d[32] = {};
  fenceWarpgroup();
  multiplyWarpgroup<64>(d, describeInner(memory), describeInner(memory));
  commitProducts();
}

__global__ void multiplyOutsideOfMemory(float *) {
  SN_DYNAMIC_SHARED(memory);
  float d[32] = {};
  fenceWarpgroup();
  multiplyWarpgroup<64>(d, describeInner(memory), describeInner(memory + 8192));
  commitProducts();
  waitForProducts<0>();
}

__global__ void touchExited(float *) {
  SN_SHARED(float4, value, 1);
  value[0] = {};
  syncCluster();
  // The other block has only one thread, which is gone by the time of the barrier's second phase.
  if (clusterRank() == 1) return;
  syncCluster();
  storeRemote(remote(value, 1), value[0]);
}

__global__ void arriveAtExited(float *) {
  SN_SHARED(Mbarrier, barrier, 1);
  initMbarrier(barrier, 1);
  fenceMbarrierInit();
  syncCluster();
  if (clusterRank() == 1) return;
  syncCluster();
  arriveAt(barrier, 1);
}

__global__ void loadToExited(float *, const __grid_constant__ TensorMap map) {
  SN_DYNAMIC_SHARED(memory);
  SN_SHARED(Mbarrier, barrier, 1);
  initMbarrier(barrier, 1);
  fenceMbarrierInit();
  syncCluster();
  if (clusterRank() == 1) return;
  syncCluster();
  arriveExpecting(barrier, 1024);
  loadTileMulticast(memory, &map, 0, 0, barrier, 3);
  waitForPhase(barrier, 0);
}

__global__ void loadToPeerWithoutBarrier(float *, const __grid_constant__ TensorMap map) {
  SN_DYNAMIC_SHARED(memory);
  SN_SHARED(Mbarrier, barrier, 1);
  if (clusterRank() == 0) initMbarrier(barrier, 1);
  fenceMbarrierInit();
  syncCluster();
  if (clusterRank() == 0) loadTileMulticast(memory, &map, 0, 0, barrier, 2);
  syncCluster();
}

__global__ void arriveTwiceAtCluster(float *) {
  arriveCluster();
  arriveCluster();
}

__global__ void reachOutOfCluster(float *) {
  SN_SHARED(float4, value, 1);
  loadRemote(remote(value, 2));
}

// Adds two products up; between them it does what `between` says.
enum class Between { nothing, scaled, scaledAndFenced };

template <Between between>
__global__ void multiplyTwice(float *) {
  SN_DYNAMIC_SHARED(memory);
  for (unsigned i = threadIdx.x; i < 8192 / sizeof(float); i += 128) reinterpret_cast<float *>(memory)[i] = 1;
  fenceAsyncProxy();
  __syncthreads();
  float d[32];
  for (int round = 0; round < 2; ++round) {
    if (round == 0 || between == Between::scaledAndFenced) fenceWarpgroup();
    multiplyWarpgroup<64>(d, describeInner(memory), describeInner(memory), round > 0);
    commitProducts();
    waitForProducts<0>();
    if (between != Between::nothing) d[3] *= 2;
  }
}

__global__ void beginWithinSwizzle(float *) {
  SN_DYNAMIC_SHARED(memory);
  float d[32];
  fenceWarpgroup();
  multiplyWarpgroup<64>(d, describeInner(memory + 512), describeInner(memory), false);
  commitProducts();
  waitForProducts<0>();
}

__global__ void leaveStoreInFlight(float *out) {
  SN_SHARED(float, values, 4);
  storeBulk(out, values, 16);
  commitStores();
}

__global__ void storeOddBytes(float *out) {
  SN_SHARED(float, values, 8);
  storeBulk(out, values, 24);
}

__global__ void addBytes(float *, const __grid_constant__ TensorMap map) {
  SN_DYNAMIC_SHARED(memory);
  addTile(&map, 0, 0, memory);
}

__global__ void loadFourOfTwo(float *, const __grid_constant__ TensorMap map) {
  SN_DYNAMIC_SHARED(memory);
  SN_SHARED(Mbarrier, barrier, 1);
  initMbarrier(barrier, 1);
  fenceMbarrierInit();
  loadTile(memory, &map, 0, 0, 0, 0, barrier);
}

// Of a grid of two clusters of two blocks of one thread.
template <typename... Parameters>
std::string failureOfPairs(void (*kernel)(float *, Parameters...), const Parameters &...parameters) {
  cudaError_t launched = launchCluster(kernel, 4, 1, 2, 1024, nullptr, nullptr, parameters...);
  cudaError_t finished = cudaDeviceSynchronize();
  cudaGetLastError();
  return cudaGetErrorString(launched == cudaSuccess ? finished : launched);
}

void fails(const std::string &message, const std::string &part) {
  CAPTURE(message);
  CHECK(contains(message, part));
}

}  // namespace

TEST_CASE("asynchronous copies go to aligned shared memory") {
  DeviceArray<float> in(8);
  float *pointer = in;
  fails(failureOf(copyToOddAddress, 1, 1, 0, pointer), "not a multiple of 16");
  fails(failureOf(copyToGlobal, 1, 1, 0, pointer), "not in shared memory");
}

TEST_CASE("matrices are loaded from aligned rows by whole warps") {
  float *nothing = nullptr;
  fails(failureOf(loadOddRow, 1, 32, 0, nothing), "ldmatrix");
  fails(failureOf(loadFromPartOfWarp, 1, 20, 0, nothing), "the block is not whole warps");
}

TEST_CASE("an mbarrier must be made, kept, and not be overrun") {
  float *nothing = nullptr;
  fails(failureOf(waitForNothing, 1, 1, 0, nothing), "no mbarrier was made");
  fails(failureOf(overwriteBarrier, 1, 1, 0, nothing), "was overwritten");
  fails(failureOf(arriveTooOften, 1, 1, 0, nothing), "more arrivals than the 2 of a phase");
}

TEST_CASE("tensor copies are waited for and go to aligned memory") {
  DeviceArray<bf16> matrix(64 * 64);
  TensorMap map;
  REQUIRE(describeMatrix(&map, matrix, 64, 64, 64, 8, 64) == cudaSuccess);
  float *nothing = nullptr;
  fails(failureOf(leaveTileInFlight, 1, 1, 1024, nothing, map), "tensor copies in flight");
  fails(failureOf(loadByUnknownBarrier, 1, 1, 1024, nothing, map), "no fence has come since the mbarrier was made");
  fails(failureOf(loadToOddAddress, 1, 1, 2048, nothing, map), "not a multiple of 1024");
}

TEST_CASE("tensor stores are waited for and are what their map says") {
  DeviceArray<float> out(8);
  DeviceArray<unsigned char> bytes(8 * 64);
  float *pointer = out;
  TensorMap map;
  REQUIRE(describeTensor(&map, Element::byte, static_cast<unsigned char *>(bytes), {{64, 1, 64}, {8, 64, 8}}, false) ==
          cudaSuccess);
  fails(failureOf(leaveStoreInFlight, 1, 1, 0, pointer), "tensor stores in flight");
  fails(failureOf(storeOddBytes, 1, 1, 0, pointer), "no multiple of 16");
  fails(failureOf(addBytes, 1, 1, 512, pointer, map), "bytes are no numbers");
  fails(failureOf(loadFourOfTwo, 1, 1, 512, pointer, map), "4 coordinates of a map of 2 axes");
}

TEST_CASE("blocks of a cluster reach one another while they are there") {
  DeviceArray<bf16> matrix(8 * 64);
  TensorMap map;
  REQUIRE(describeMatrix(&map, matrix, 8, 64, 64, 8, 64) == cudaSuccess);
  inManyOrders([&] {
    fails(failureOfPairs(touchExited), "block 1 of the cluster has exited");
    fails(failureOfPairs(arriveAtExited), "block 1 of the cluster has exited");
    fails(failureOfPairs(loadToExited, map), "block 1 of the cluster has exited");
    fails(failureOfPairs(loadToPeerWithoutBarrier, map), "no mbarrier was made");
    fails(failureOfPairs(arriveTwiceAtCluster), "has not waited");
    fails(failureOfPairs(reachOutOfCluster), "has none of rank 2");
  });
}

TEST_CASE("a cluster that no device runs is refused") {
  float *nothing = nullptr;
  CHECK(launchCluster(arriveTwiceAtCluster, 3, 1, 2, 0, nullptr, nothing) == cudaErrorInvalidConfiguration);
  CHECK(launchCluster(arriveTwiceAtCluster, 16, 1, 16, 0, nullptr, nothing) == cudaErrorInvalidConfiguration);
  CHECK(launchCluster(arriveTwiceAtCluster, 1, 1, 0, 0, nullptr, nothing) == cudaErrorInvalidConfiguration);
  sn::emulation::Options options;
  options.major = 8;
  WithOptions with(options);
  CHECK(launchCluster(arriveTwiceAtCluster, 2, 1, 2, 0, nullptr, nothing) == cudaErrorInvalidConfiguration);
  cudaGetLastError();
}

TEST_CASE("a matrix that no tensor map takes is refused") {
  DeviceArray<bf16> matrix(64 * 64);
  bf16 *data = matrix;
  TensorMap map;
  CHECK(describeMatrix(&map, data + 1, 8, 64, 64, 8, 64) == cudaErrorInvalidValue);
  CHECK(describeMatrix(&map, data, 8, 60, 60, 8, 64) == cudaErrorInvalidValue);
  CHECK(describeMatrix(&map, data, 8, 64, 64, 8, 128) == cudaErrorInvalidValue);
  CHECK(describeMatrix(&map, data, 65, 64, 64, 8, 64) == cudaErrorInvalidValue);
  CHECK(describeMatrix(&map, data, 8, 64, 64, 8, 32) == cudaErrorInvalidValue);
  CHECK(describeMatrix(&map, data, 8, 64, 64, 257, 64) == cudaErrorInvalidValue);
  CHECK(describeTensor(&map, Element::f32, data, {{12, 1, 6}}, false) == cudaErrorInvalidValue);
  CHECK(describeTensor(&map, Element::f32, data, {{12, 2, 4}}, false) == cudaErrorInvalidValue);
  CHECK(describeTensor(&map, Element::byte, data, {{64, 1, 16}, {2, uint64_t{1} << 40, 1}}, false) ==
        cudaErrorInvalidValue);
  CHECK(describeTensor(&map, Element::byte, data, {}, false) == cudaErrorInvalidValue);
  CHECK(describeTensor(&map, Element::byte, data, {{64, 1, 16}}, false) == cudaSuccess);
  cudaGetLastError();
}

TEST_CASE("warpgroup products are waited for and read shared memory alone") {
  float *nothing = nullptr;
  fails(failureOf(leaveProductsInFlight, 1, 128, 8192, nothing), "products in flight");
  fails(failureOf(multiplyOutsideOfMemory, 1, 128, 8192, nothing), "outside of dynamic shared memory");
  fails(failureOf(leaveProductsInFlight, 1, 64, 8192, nothing), "whole warpgroups");
  fails(failureOf(beginWithinSwizzle, 1, 128, 16384, nothing), "begins within the swizzle's 1024 bytes");
}

TEST_CASE("accumulators that were written to are fenced before the next product") {
  float *nothing = nullptr;
  CHECK(failureOf(multiplyTwice<Between::nothing>, 1, 128, 8192, nothing) == "");
  CHECK(failureOf(multiplyTwice<Between::scaledAndFenced>, 1, 128, 8192, nothing) == "");
  fails(failureOf(multiplyTwice<Between::scaled>, 1, 128, 8192, nothing), "no fenceWarpgroup came after");
}

TEST_CASE("what only sm_90a has fails on another device") {
  sn::emulation::Options options;
  options.major = 8;
  WithOptions with(options);
  float *nothing = nullptr;
  fails(failureOf(leaveProductsInFlight, 1, 128, 8192, nothing), "needs compute capability 9");
}
