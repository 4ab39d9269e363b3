// What a kernel may write: barriers, shuffles, votes, atomics, shared memory; and what happens where it is wrong.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "emulation/testing.h"

using namespace sn::testing;
using sn::cuda::bf16;

namespace {

__global__ void reverse(int *out, const int *in) {
  SN_SHARED(int, values, 256);
  unsigned i = threadIdx.x;
  values[i] = in[blockIdx.x * blockDim.x + i];
  __syncthreads();
  out[blockIdx.x * blockDim.x + i] = values[blockDim.x - 1 - i];
}

__global__ void sumOfEach(float *sums, const float *in) {
  SN_DYNAMIC_SHARED(memory);
  auto *partial = reinterpret_cast<float *>(memory);
  float sum = in[blockIdx.x * blockDim.x + threadIdx.x];
  for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    float all = 0;
    for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) all += partial[warp];
    sums[blockIdx.x] = all;
  }
}

__global__ void shuffles(int *out) {
  int lane = static_cast<int>(threadIdx.x);
  out[lane] = __shfl_sync(0xffffffffu, lane, 3, 8);
  out[32 + lane] = __shfl_up_sync(0xffffffffu, lane, 2, 16);
  out[64 + lane] = __shfl_down_sync(0xffffffffu, lane, 2, 16);
  out[96 + lane] = __shfl_xor_sync(0xffffffffu, lane, 5);
  if (lane < 16) {
    out[128 + lane] = __shfl_sync(0x0000ffffu, lane, 15);
  } else {
    out[128 + lane] = __shfl_sync(0xffff0000u, lane, 16);
  }
}

__global__ void votes(unsigned *out) {
  bool odd = threadIdx.x % 2 == 1;
  unsigned results[7];
  results[0] = __ballot_sync(0xffffffffu, odd);
  results[1] = static_cast<unsigned>(__any_sync(0xffffffffu, threadIdx.x == 7));
  results[2] = static_cast<unsigned>(__all_sync(0xffffffffu, threadIdx.x < 31));
  results[3] = __reduce_add_sync(0xffffffffu, threadIdx.x);
  results[4] = static_cast<unsigned>(__syncthreads_count(odd));
  results[5] = static_cast<unsigned>(__syncthreads_or(threadIdx.x == 9));
  results[6] = static_cast<unsigned>(__syncthreads_and(threadIdx.x != 9));
  for (int i = 0; i < 7; ++i) out[7 * threadIdx.x + i] = results[i];
}

// The last block to finish adds what all have written.
__global__ void lastBlockSums(unsigned *ticket, unsigned *partial, unsigned *total) {
  SN_SHARED(bool, last, 1);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = blockIdx.x + 1;
    __threadfence();
    last[0] = atomicAdd(ticket, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last[0] || threadIdx.x >= 32) return;
  unsigned sum = 0;
  for (unsigned block = threadIdx.x; block < gridDim.x; block += 32) sum += partial[block];
  sum = __reduce_add_sync(0xffffffffu, sum);
  if (threadIdx.x == 0) *total = sum;
}

__global__ void atomics(int *integers, unsigned long long *counter, float *number) {
  atomicAdd(&integers[0], 1);
  atomicMax(&integers[1], static_cast<int>(threadIdx.x));
  atomicMin(&integers[2], -static_cast<int>(threadIdx.x));
  atomicCAS(&integers[3], 0, 5);
  atomicAdd(counter, 1ull << 33);
  atomicAdd(number, 0.5f);
}

__global__ void fresh(float *out) {
  SN_SHARED(float, fixed, 32);
  SN_DYNAMIC_SHARED(memory);
  out[threadIdx.x] = fixed[threadIdx.x];
  out[32 + threadIdx.x] = reinterpret_cast<float *>(memory)[threadIdx.x];
}

template <int Count>
__device__ int *counters() {
  SN_SHARED(int, values, Count);
  return values;
}

__global__ void sharedOfTwoInstances(int *distinct) {
  if (threadIdx.x == 0) *distinct = counters<4>() != counters<8>() && counters<4>() == counters<4>();
}

__global__ void divergent(int *out) {
  if (threadIdx.x < 40) __syncthreads();
  out[threadIdx.x] = 1;
}

__global__ void half(int *out) {
  if (threadIdx.x >= 32) return;
  while (out == nullptr) {
  }
  __syncthreads();
}

__global__ void stranger(int *out) { out[threadIdx.x] = __shfl_sync(0x0000ffffu, 1, 0); }

__global__ void diverged(int *out) {
  out[threadIdx.x] = threadIdx.x < 16 ? __shfl_sync(0xffffffffu, 1, 0) : __any_sync(0xffffffffu, 1);
}

__global__ void misaligned(const float *in, float *out) {
  auto *vector = reinterpret_cast<const float4 *>(in + 1);
  out[0] = __ldg(vector).x;
}

std::vector<int> counted(int count) {
  std::vector<int> values(static_cast<size_t>(count));
  std::iota(values.begin(), values.end(), 0);
  return values;
}

}  // namespace

TEST_CASE("a barrier lets every thread read what the others wrote before it") {
  inManyOrders([] {
    DeviceArray<int> in(counted(1024)), out(1024);
    CHECK(failureOf(reverse, 4, 256, 0, out, in) == "");
    auto values = out.values();
    for (int i = 0; i < 1024; ++i) CHECK(values[i] == i / 256 * 256 + 255 - i % 256);
  });
}

TEST_CASE("blocks on several threads give what one gives") {
  sn::emulation::Options options;
  options.threads = 3;
  WithOptions with(options);
  DeviceArray<int> in(counted(4096)), out(4096);
  CHECK(failureOf(reverse, 16, 256, 0, out, in) == "");
  auto values = out.values();
  for (int i = 0; i < 4096; ++i) REQUIRE(values[i] == i / 256 * 256 + 255 - i % 256);
}

TEST_CASE("shuffles and dynamic shared memory sum a block") {
  inManyOrders([] {
    DeviceArray<float> in(std::vector<float>(512, 0.25f)), sums(4);
    CHECK(failureOf(sumOfEach, 4, 128, 4 * sizeof(float), sums, in) == "");
    CHECK(sums.values() == std::vector<float>(4, 32.0f));
  });
}

TEST_CASE("shuffles take from the lane that CUDA says") {
  inManyOrders([] {
    DeviceArray<int> out(160);
    CHECK(failureOf(shuffles, 1, 32, 0, out) == "");
    auto values = out.values();
    for (int lane = 0; lane < 32; ++lane) {
      CAPTURE(lane);
      CHECK(values[lane] == lane / 8 * 8 + 3);
      CHECK(values[32 + lane] == (lane % 16 >= 2 ? lane - 2 : lane));
      CHECK(values[64 + lane] == (lane % 16 < 14 ? lane + 2 : lane));
      CHECK(values[96 + lane] == (lane ^ 5));
      CHECK(values[128 + lane] == (lane < 16 ? 15 : 16));
    }
  });
}

TEST_CASE("votes and counting barriers see every thread") {
  inManyOrders([] {
    DeviceArray<unsigned> out(7 * 32);
    CHECK(failureOf(votes, 1, 32, 0, out) == "");
    const unsigned expected[7] = {0xaaaaaaaau, 1, 0, 496, 16, 1, 0};
    auto values = out.values();
    for (size_t i = 0; i < values.size(); ++i) CHECK(values[i] == expected[i % 7]);
  });
}

TEST_CASE("the last block sees what the others wrote") {
  for (int threads : {1, 3}) {
    inManyOrders([&] {
      sn::emulation::options().threads = threads;
      DeviceArray<unsigned> ticket(std::vector<unsigned>{0}), partial(40), total(1);
      CHECK(failureOf(lastBlockSums, 40, 64, 0, ticket, partial, total) == "");
      CHECK(total.values()[0] == 820);
    });
  }
}

TEST_CASE("atomic functions lose nothing") {
  sn::emulation::Options options;
  options.threads = 2;
  WithOptions with(options);
  DeviceArray<int> integers(std::vector<int>(4, 0));
  DeviceArray<unsigned long long> counter(std::vector<unsigned long long>{0});
  DeviceArray<float> number(std::vector<float>{0});
  CHECK(failureOf(atomics, 8, 64, 0, integers, counter, number) == "");
  CHECK(integers.values() == std::vector<int>{512, 63, -63, 5});
  CHECK(counter.values()[0] == 512ull << 33);
  CHECK(number.values()[0] == 256.0f);
}

TEST_CASE("fresh shared and device memory is NaN") {
  DeviceArray<float> out(64), untouched(3);
  CHECK(failureOf(fresh, 1, 32, 128, out) == "");
  for (float value : out.values()) CHECK(std::isnan(value));
  for (float value : untouched.values()) CHECK(std::isnan(value));
}

TEST_CASE("each instance of a template has its own shared variable") {
  DeviceArray<int> distinct(1);
  CHECK(failureOf(sharedOfTwoInstances, 1, 32, 0, distinct) == "");
  CHECK(distinct.values()[0] == 1);
}

TEST_CASE("a divergent barrier is an error that names kernel, block and who waits") {
  DeviceArray<int> out(64);
  std::string message = failureOf(divergent, dim3(1, 2), 64, 0, out);
  CAPTURE(message);
  CHECK(contains(message, "divergent"));
  CHECK(contains(message, "block 0,"));
  inManyOrders([&] { CHECK(failureOf(divergent, 1, 64, 0, out) != ""); });
}

TEST_CASE("a barrier after other threads have exited is an error") {
  DeviceArray<int> out(64);
  inManyOrders([&] { CHECK(failureOf(half, 1, 64, 0, out) != ""); });
}

TEST_CASE("a lane must be in its own mask, and a warp must not mix collectives") {
  DeviceArray<int> out(32);
  std::string message = failureOf(stranger, 1, 32, 0, out);
  CAPTURE(message);
  CHECK(contains(message, "__shfl_sync: lane"));
  CHECK(contains(message, "is not in its own mask 0000ffff"));
  CHECK(contains(failureOf(diverged, 1, 32, 0, out), "the warp has diverged"));
}

TEST_CASE("a misaligned vector is an error") {
  DeviceArray<float> in(8), out(1);
  std::string message = failureOf(misaligned, 1, 1, 0, static_cast<float *>(in), out);
  CAPTURE(message);
  CHECK(contains(message, "__ldg"));
  CHECK(contains(message, "not a multiple of 16"));
}

TEST_CASE("launches that no GPU takes are refused") {
  DeviceArray<int> out(64);
  int *pointer = out;
  CHECK(sn::cuda::launch(divergent, 1, 1025, 0, nullptr, pointer) == cudaErrorInvalidConfiguration);
  CHECK(sn::cuda::launch(divergent, 0, 32, 0, nullptr, pointer) == cudaErrorInvalidConfiguration);
  CHECK(sn::cuda::launch(divergent, dim3(1, 65536), 32, 0, nullptr, pointer) == cudaErrorInvalidConfiguration);
  CHECK(sn::cuda::launch(divergent, 1, 32, 300 << 10, nullptr, pointer) == cudaErrorInvalidValue);
  cudaGetLastError();
}

TEST_CASE("bf16 rounds to nearest even and has one NaN") {
  CHECK(__bfloat16_as_ushort(bf16(1.00390625f)) == 0x3f80);
  CHECK(__bfloat16_as_ushort(bf16(1.01171875f)) == 0x3f82);
  CHECK(__bfloat16_as_ushort(bf16(NAN)) == 0x7fff);
  CHECK(static_cast<float>(bf16(3.0f) * bf16(0.5f)) == 1.5f);
}

TEST_CASE("the high half of a product of 64 bits") {
  CHECK(__umul64hi(0xffffffffffffffffull, 0xffffffffffffffffull) == 0xfffffffffffffffeull);
  CHECK(__umul64hi(0x123456789abcdef0ull, 0xfedcba9876543210ull) == 0x121fa00ad77d7422ull);
  CHECK(__umulhi(0xffffffffu, 0xffffffffu) == 0xfffffffeu);
}
