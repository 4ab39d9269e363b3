// testing.h: what the emulation's own tests share.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "cuda/cuda.h"

namespace sn::testing {

// Device memory for a test.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count) : count_(count) { REQUIRE(cudaMalloc(&data_, count * sizeof(T)) == cudaSuccess); }
  explicit DeviceArray(const std::vector<T> &values) : DeviceArray(values.size()) {
    REQUIRE(cudaMemcpy(data_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice) == cudaSuccess);
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray &) = delete;
  DeviceArray &operator=(const DeviceArray &) = delete;

  operator T *() { return data_; }

  std::vector<T> values() const {
    std::vector<T> all(count_);
    REQUIRE(cudaMemcpy(all.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost) == cudaSuccess);
    return all;
  }

 private:
  size_t count_;
  T *data_ = nullptr;
};

// The options of a test, until it ends.
class WithOptions {
 public:
  explicit WithOptions(const emulation::Options &options) : before_(emulation::options()) {
    emulation::options() = options;
  }
  ~WithOptions() { emulation::options() = before_; }
  WithOptions(const WithOptions &) = delete;
  WithOptions &operator=(const WithOptions &) = delete;

 private:
  emulation::Options before_;
};

// Calls f() in order, and in several random orders.
template <typename F>
void inManyOrders(F &&f) {
  for (uint64_t seed = 0; seed < 6; ++seed) {
    CAPTURE(seed);
    emulation::Options options = emulation::options();
    options.seed = seed;
    options.defer = seed != 0;
    WithOptions with(options);
    f();
  }
}

// Runs a kernel in one stream and waits; what went wrong, or nothing.
template <typename... Parameters, typename... Arguments>
std::string failureOf(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t sharedBytes,
                      Arguments &&...arguments) {
  cudaError_t launched = cuda::launch(kernel, grid, block, sharedBytes, nullptr, arguments...);
  cudaError_t finished = cudaDeviceSynchronize();
  cudaGetLastError();
  if (launched == cudaSuccess && finished == cudaSuccess) return {};
  return cudaGetErrorString(launched == cudaSuccess ? finished : launched);
}

inline bool contains(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

}  // namespace sn::testing
