// The runtime API: memory, streams, events, captures and graphs; and what each refuses.
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

#include "emulation/testing.h"

using namespace sn::testing;

namespace {

__global__ void fill(float *out, float value) { out[threadIdx.x] = value; }
__global__ void scale(float *values, float factor) { values[threadIdx.x] *= factor; }
__global__ void trap(float *) { __trap(); }
__global__ void greedy(float *out) {
  SN_DYNAMIC_SHARED(memory);
  memory[100000] = 1;
  out[0] = memory[100000];
}

class TestStream {
 public:
  explicit TestStream(unsigned flags = cudaStreamNonBlocking) {
    REQUIRE(cudaStreamCreateWithFlags(&stream_, flags) == cudaSuccess);
  }
  ~TestStream() { cudaStreamDestroy(stream_); }
  TestStream(const TestStream &) = delete;
  TestStream &operator=(const TestStream &) = delete;
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

// Everything waits as long as it may.
sn::emulation::Options lazy(uint64_t seed = 0) {
  sn::emulation::Options options;
  options.seed = seed;
  options.defer = true;
  return options;
}

cudaGraphExec_t instantiate(cudaGraph_t graph) {
  cudaGraphExec_t executable = nullptr;
  REQUIRE(cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess);
  return executable;
}

}  // namespace

TEST_CASE("the device is what the options say") {
  sn::emulation::Options options;
  options.major = 8;
  options.minor = 0;
  WithOptions with(options);
  cudaDeviceProp properties;
  REQUIRE(cudaGetDeviceProperties(&properties, 0) == cudaSuccess);
  CHECK(std::string(properties.name) == "Emulated GPU");
  CHECK(properties.major == 8);
  CHECK(properties.sharedMemPerBlockOptin == size_t{163} << 10);
  int value = 0;
  CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0) == cudaSuccess);
  CHECK(value == 4);
  CHECK(cudaSetDevice(1) == cudaErrorInvalidDevice);
  CHECK(cudaGetLastError() == cudaErrorInvalidDevice);
  CHECK(cudaGetLastError() == cudaSuccess);
}

TEST_CASE("memory runs out at its limit and comes back") {
  sn::emulation::Options options;
  options.memory = 1 << 20;
  WithOptions with(options);
  void *first = nullptr, *second = nullptr;
  size_t available = 0, total = 0;
  REQUIRE(cudaMalloc(&first, 600 << 10) == cudaSuccess);
  CHECK(cudaMalloc(&second, 600 << 10) == cudaErrorMemoryAllocation);
  CHECK(second == nullptr);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
  REQUIRE(cudaMemGetInfo(&available, &total) == cudaSuccess);
  CHECK(total == 1 << 20);
  CHECK(available == (1 << 20) - (600 << 10));
  CHECK(cudaFree(first) == cudaSuccess);
  CHECK(cudaMalloc(&second, 600 << 10) == cudaSuccess);
  CHECK(cudaFree(second) == cudaSuccess);
  CHECK(cudaFree(second) == cudaErrorInvalidValue);
  cudaGetLastError();
}

TEST_CASE("copies stay within allocations and go the way they say") {
  DeviceArray<float> device(8);
  float host[8] = {};
  CHECK(cudaMemcpyAsync(device, host, 36, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpyAsync(host, device, 32, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpyAsync(host, device, 32, cudaMemcpyDeviceToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpyAsync(host, device, 32, cudaMemcpyDefault) == cudaSuccess);
  CHECK(cudaMemsetAsync(host, 0, 32) == cudaErrorInvalidValue);
  cudaGetLastError();
}

TEST_CASE("deferred work waits for a synchronisation, so that a missing one shows") {
  WithOptions with(lazy());
  TestStream stream;
  float *pinned = nullptr;
  REQUIRE(cudaMallocHost(&pinned, 4 * sizeof(float)) == cudaSuccess);
  pinned[0] = -1;
  DeviceArray<float> device(4);
  REQUIRE(sn::cuda::launch(fill, 1, 4, 0, stream, device, 2.0f) == cudaSuccess);
  REQUIRE(cudaMemcpyAsync(pinned, device, 4 * sizeof(float), cudaMemcpyDeviceToHost, stream) == cudaSuccess);
  CHECK(cudaStreamQuery(stream) == cudaErrorNotReady);
  CHECK(pinned[0] == -1);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(pinned[0] == 2);
  CHECK(cudaStreamQuery(stream) == cudaSuccess);
  cudaFreeHost(pinned);
}

TEST_CASE("pageable memory is copied before the call returns") {
  WithOptions with(lazy());
  TestStream stream;
  DeviceArray<float> device(1);
  float source = 5, target = 0;
  REQUIRE(cudaMemcpyAsync(device, &source, sizeof source, cudaMemcpyHostToDevice, stream) == cudaSuccess);
  source = 6;
  REQUIRE(cudaMemcpyAsync(&target, device, sizeof target, cudaMemcpyDeviceToHost, stream) == cudaSuccess);
  CHECK(target == 5);
}

TEST_CASE("an event orders one stream after another") {
  for (uint64_t seed = 0; seed < 8; ++seed) {
    WithOptions with(lazy(seed));
    TestStream first, second;
    cudaEvent_t event = nullptr;
    REQUIRE(cudaEventCreate(&event) == cudaSuccess);
    DeviceArray<float> device(4);
    REQUIRE(sn::cuda::launch(fill, 1, 4, 0, first, device, 2.0f) == cudaSuccess);
    REQUIRE(cudaEventRecord(event, first) == cudaSuccess);
    REQUIRE(cudaStreamWaitEvent(second, event, 0) == cudaSuccess);
    REQUIRE(sn::cuda::launch(scale, 1, 4, 0, second, device, 3.0f) == cudaSuccess);
    REQUIRE(cudaStreamSynchronize(second) == cudaSuccess);
    CHECK(device.values() == std::vector<float>(4, 6.0f));
    CHECK(cudaEventQuery(event) == cudaSuccess);
    cudaEventDestroy(event);
  }
}

TEST_CASE("events measure time once they have happened") {
  WithOptions with(lazy());
  TestStream stream;
  cudaEvent_t begin = nullptr, end = nullptr;
  float milliseconds = -1;
  REQUIRE(cudaEventCreate(&begin) == cudaSuccess);
  REQUIRE(cudaEventCreate(&end) == cudaSuccess);
  CHECK(cudaEventElapsedTime(&milliseconds, begin, end) == cudaErrorInvalidResourceHandle);
  REQUIRE(cudaEventRecord(begin, stream) == cudaSuccess);
  REQUIRE(cudaEventRecord(end, stream) == cudaSuccess);
  REQUIRE(cudaEventSynchronize(end) == cudaSuccess);
  CHECK(cudaEventElapsedTime(&milliseconds, begin, end) == cudaSuccess);
  CHECK(milliseconds >= 0);
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaGetLastError();
}

TEST_CASE("the legacy stream waits for blocking streams, and they for it") {
  WithOptions with(lazy());
  TestStream blocking(cudaStreamDefault);
  DeviceArray<float> device(4);
  REQUIRE(sn::cuda::launch(fill, 1, 4, 0, nullptr, device, 2.0f) == cudaSuccess);
  REQUIRE(sn::cuda::launch(scale, 1, 4, 0, blocking, device, 5.0f) == cudaSuccess);
  REQUIRE(sn::cuda::launch(scale, 1, 4, 0, nullptr, device, 0.5f) == cudaSuccess);
  CHECK(device.values() == std::vector<float>(4, 5.0f));
}

TEST_CASE("a kernel's failure comes back with its message, once") {
  DeviceArray<float> device(4);
  float *pointer = device;
  SUBCASE("at once") {
    WithOptions with(sn::emulation::Options{});
    cudaError_t error = sn::cuda::launch(trap, 1, 4, 0, nullptr, pointer);
    CHECK(error == cudaErrorLaunchFailure);
    CHECK(contains(cudaGetErrorString(error), "trap(float*), block 0,0,0 thread 0,0,0: __trap"));
  }
  SUBCASE("at the synchronisation where work is deferred") {
    WithOptions with(lazy());
    CHECK(sn::cuda::launch(trap, 1, 4, 0, nullptr, pointer) == cudaSuccess);
    CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
  }
  CHECK(cudaGetLastError() == cudaErrorLaunchFailure);
  CHECK(cudaGetLastError() == cudaSuccess);
  CHECK(sn::cuda::launch(fill, 1, 4, 0, nullptr, pointer, 1.0f) == cudaSuccess);
}

TEST_CASE("launch asks for more than 48 KB of shared memory") {
  DeviceArray<float> device(1);
  CHECK(failureOf(greedy, 1, 1, 128 << 10, device) == "");
  CHECK(device.values()[0] == 1);
}

TEST_CASE("a stream that was destroyed is no stream") {
  cudaStream_t stream = nullptr;
  REQUIRE(cudaStreamCreate(&stream) == cudaSuccess);
  REQUIRE(cudaStreamDestroy(stream) == cudaSuccess);
  CHECK(cudaStreamSynchronize(stream) == cudaErrorInvalidResourceHandle);
  cudaGetLastError();
}

TEST_CASE("a captured stream records, and a graph replays with the arguments of then") {
  inManyOrders([] {
    TestStream stream;
    DeviceArray<float> device(4), copy(4);
    cudaGraph_t graph = nullptr;
    REQUIRE(cudaMemset(device, 0, 4 * sizeof(float)) == cudaSuccess);
    REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    float value = 3;
    REQUIRE(sn::cuda::launch(fill, 1, 4, 0, stream, device, value) == cudaSuccess);
    value = 7;
    REQUIRE(sn::cuda::launch(scale, 1, 4, 0, stream, device, 2.0f) == cudaSuccess);
    REQUIRE(cudaMemcpyAsync(copy, device, 4 * sizeof(float), cudaMemcpyDeviceToDevice, stream) == cudaSuccess);
    cudaStreamCaptureStatus status;
    REQUIRE(cudaStreamIsCapturing(stream, &status) == cudaSuccess);
    CHECK(status == cudaStreamCaptureStatusActive);
    REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
    CHECK(device.values() == std::vector<float>(4, 0.0f));
    cudaGraphExec_t executable = instantiate(graph);
    cudaGraphDestroy(graph);
    for (int run = 0; run < 2; ++run) {
      REQUIRE(cudaMemset(copy, 0, 4 * sizeof(float)) == cudaSuccess);
      REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
      REQUIRE(cudaGraphLaunch(executable, stream) == cudaSuccess);
      REQUIRE(cudaStreamSynchronize(stream) == cudaSuccess);
      CHECK(copy.values() == std::vector<float>(4, 6.0f));
    }
    cudaGraphExecDestroy(executable);
  });
}

TEST_CASE("a captured fork must join again; what is not ordered in a graph runs in any order") {
  TestStream main, side;
  DeviceArray<float> device(4);
  cudaEvent_t fork = nullptr, joined = nullptr;
  REQUIRE(cudaEventCreate(&fork) == cudaSuccess);
  REQUIRE(cudaEventCreate(&joined) == cudaSuccess);
  auto capture = [&](bool join, bool order) {
    cudaGraph_t graph = nullptr;
    REQUIRE(cudaStreamBeginCapture(main, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    REQUIRE(cudaEventRecord(fork, main) == cudaSuccess);
    if (order) REQUIRE(sn::cuda::launch(fill, 1, 4, 0, main, device, 1.0f) == cudaSuccess);
    if (order) REQUIRE(cudaEventRecord(fork, main) == cudaSuccess);
    REQUIRE(cudaStreamWaitEvent(side, fork, 0) == cudaSuccess);
    REQUIRE(sn::cuda::launch(fill, 1, 4, 0, side, device, 2.0f) == cudaSuccess);
    if (!order) REQUIRE(sn::cuda::launch(fill, 1, 4, 0, main, device, 1.0f) == cudaSuccess);
    REQUIRE(cudaEventRecord(joined, side) == cudaSuccess);
    if (join) REQUIRE(cudaStreamWaitEvent(main, joined, 0) == cudaSuccess);
    cudaError_t error = cudaStreamEndCapture(main, &graph);
    CHECK(error == (join ? cudaSuccess : cudaErrorStreamCaptureUnjoined));
    return graph;
  };
  capture(false, true);
  cudaGetLastError();
  for (bool order : {true, false}) {
    cudaGraph_t graph = capture(true, order);
    cudaGraphExec_t executable = instantiate(graph);
    bool one = false, two = false;
    for (uint64_t seed = 1; seed < 10; ++seed) {
      sn::emulation::Options options;
      options.seed = seed;
      WithOptions with(options);
      REQUIRE(cudaGraphLaunch(executable, main) == cudaSuccess);
      REQUIRE(cudaStreamSynchronize(main) == cudaSuccess);
      one = one || device.values()[0] == 1;
      two = two || device.values()[0] == 2;
    }
    CHECK(two);
    CHECK(one == !order);
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
  }
  cudaEventDestroy(fork);
  cudaEventDestroy(joined);
}

TEST_CASE("what may not be captured is refused and spoils the capture") {
  TestStream stream;
  DeviceArray<float> device(4);
  float host[4] = {};
  void *memory = nullptr;
  cudaGraph_t graph = nullptr;
  auto refused = [&](auto &&call) {
    REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
    CHECK(call() == cudaErrorStreamCaptureUnsupported);
    cudaStreamCaptureStatus status;
    REQUIRE(cudaStreamIsCapturing(stream, &status) == cudaSuccess);
    CHECK(status == cudaStreamCaptureStatusInvalidated);
    CHECK(sn::cuda::launch(fill, 1, 4, 0, stream, device, 1.0f) == cudaErrorStreamCaptureInvalidated);
    CHECK(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated);
    CHECK(graph == nullptr);
    cudaGetLastError();
  };
  refused([&] { return cudaMalloc(&memory, 16); });
  refused([&] { return cudaMallocAsync(&memory, 16, stream); });
  refused([&] { return cudaMemcpy(host, device, 16, cudaMemcpyDeviceToHost); });
  refused([&] { return cudaStreamSynchronize(stream); });
  refused([&] { return cudaDeviceSynchronize(); });
  refused([&] { return cudaStreamQuery(stream); });
}

TEST_CASE("a relaxed capture lets memory be allocated") {
  TestStream stream;
  void *memory = nullptr;
  cudaGraph_t graph = nullptr;
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  CHECK(cudaMalloc(&memory, 16) == cudaSuccess);
  CHECK(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  cudaGraphDestroy(graph);
  cudaFree(memory);
}

TEST_CASE("a graph takes new arguments for the same kernels only") {
  TestStream stream;
  DeviceArray<float> device(4);
  auto capture = [&](float value, bool twice) {
    cudaGraph_t graph = nullptr;
    REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    REQUIRE(sn::cuda::launch(fill, 1, 4, 0, stream, device, value) == cudaSuccess);
    if (twice) REQUIRE(sn::cuda::launch(scale, 1, 4, 0, stream, device, value) == cudaSuccess);
    REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
    return graph;
  };
  cudaGraph_t first = capture(1, false), second = capture(2, false), third = capture(3, true);
  cudaGraphExec_t executable = instantiate(first);
  cudaGraphExecUpdateResultInfo info;
  CHECK(cudaGraphExecUpdate(executable, third, &info) == cudaErrorGraphExecUpdateFailure);
  CHECK(info.result == cudaGraphExecUpdateErrorTopologyChanged);
  CHECK(cudaGraphExecUpdate(executable, second, &info) == cudaSuccess);
  REQUIRE(cudaGraphLaunch(executable, stream) == cudaSuccess);
  REQUIRE(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(device.values() == std::vector<float>(4, 2.0f));
  for (cudaGraph_t graph : {first, second, third}) cudaGraphDestroy(graph);
  cudaGraphExecDestroy(executable);
  cudaGetLastError();
}

TEST_CASE("the log has what the host asked for, in order, and what a recording holds") {
  sn::emulation::Options options;
  options.log = "emulation_log.txt";
  std::remove(options.log.c_str());
  {
    WithOptions with(options);
    DeviceArray<float> values(32);
    TestStream stream;
    REQUIRE(sn::cuda::launch(fill, dim3(1), dim3(32), 0, stream, values, 1.0f) == cudaSuccess);
    REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    REQUIRE(sn::cuda::launch(scale, dim3(2), dim3(16), 64, stream, values, 2.0f) == cudaSuccess);
    REQUIRE(cudaMemsetAsync(values, 0, 4, stream) == cudaSuccess);
    cudaGraph_t graph = nullptr;
    REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
    cudaGraphExec_t executable = instantiate(graph);
    cudaGraphDestroy(graph);
    REQUIRE(cudaGraphLaunch(executable, stream) == cudaSuccess);
    REQUIRE(cudaStreamSynchronize(stream) == cudaSuccess);
    cudaGraphExecDestroy(executable);
  }
  std::ifstream file(options.log);
  std::stringstream text;
  text << file.rdbuf();
  std::remove(options.log.c_str());
  CHECK(text.str() ==
        "allocate\n"
        "kernel fill <<<1x1x1, 32x1x1, 0>>>\n"
        "recorded kernel scale <<<2x1x1, 16x1x1, 64>>>\n"
        "recorded set\n"
        "instantiate\n"
        "graph\n"
        "synchronize\n"
        "free\n");
}
