// What goes wrong where a primitive of native/cuda/ptx is misused. That they do what they should is in conformance/.
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
  loadTile(memory, &map, 0, 0, barrier);
}

__global__ void loadToOddAddress(float *, const __grid_constant__ TensorMap map) {
  SN_DYNAMIC_SHARED(memory);
  SN_SHARED(Mbarrier, barrier, 1);
  initMbarrier(barrier, 1);
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
  fails(failureOf(loadToOddAddress, 1, 1, 2048, nothing, map), "not a multiple of 1024");
}

TEST_CASE("a matrix that no tensor map takes is refused") {
  DeviceArray<bf16> matrix(64 * 64);
  bf16 *data = matrix;
  TensorMap map;
  CHECK(describeMatrix(&map, data + 1, 8, 64, 64, 8, 64) == cudaErrorInvalidValue);
  CHECK(describeMatrix(&map, data, 8, 60, 60, 8, 64) == cudaErrorInvalidValue);
  CHECK(describeMatrix(&map, data, 8, 64, 64, 8, 128) == cudaErrorInvalidValue);
  CHECK(describeMatrix(&map, data, 65, 64, 64, 8, 64) == cudaErrorInvalidValue);
  cudaGetLastError();
}

TEST_CASE("warpgroup products are waited for and read shared memory alone") {
  float *nothing = nullptr;
  fails(failureOf(leaveProductsInFlight, 1, 128, 8192, nothing), "products in flight");
  fails(failureOf(multiplyOutsideOfMemory, 1, 128, 8192, nothing), "outside of dynamic shared memory");
  fails(failureOf(leaveProductsInFlight, 1, 64, 8192, nothing), "whole warpgroups");
}

TEST_CASE("what only sm_90a has fails on another device") {
  sn::emulation::Options options;
  options.major = 8;
  WithOptions with(options);
  float *nothing = nullptr;
  fails(failureOf(leaveProductsInFlight, 1, 128, 8192, nothing), "needs compute capability 9");
}
