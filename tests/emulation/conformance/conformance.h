// conformance.h: each primitive of native/cuda/ptx on random bits, against the PTX ISA's own words for it.
//
// The same files run in the emulation, where they test the twins, and, built by nvcc, on a GPU, where they test that
// the instructions do what the twins do. They need nothing but CUDA:
//
//   nvcc -std=c++20 -arch=sm_90a -Inative tests/emulation/conformance/*.cu -o conformance
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "cuda/cuda.h"

namespace sn::conformance {

// The tests.
void copies();
void conversions();
void matrices();
void products();
void namedBarriers();

// Those of compute capability 9.0.
void matrixStores();
void tensorCopies();
void warpgroupProducts();
void overlappingKernels();
void clusters();

// Ends the program if CUDA itself fails: nothing after that would mean anything.
inline void require(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::printf("%s\n", cudaGetErrorString(error));
  std::exit(2);
}

// Values in device memory.
template <typename T>
class Device {
 public:
  explicit Device(size_t count) : count_(count) { require(cudaMalloc(&data_, count * sizeof(T))); }
  explicit Device(const std::vector<T> &values) : Device(values.size()) {
    require(cudaMemcpy(data_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  ~Device() { cudaFree(data_); }
  Device(const Device &) = delete;
  Device &operator=(const Device &) = delete;

  operator T *() { return data_; }

  std::vector<T> values() const {
    std::vector<T> all(count_);
    require(cudaDeviceSynchronize());
    require(cudaMemcpy(all.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost));
    return all;
  }

 private:
  size_t count_;
  T *data_ = nullptr;
};

inline std::mt19937 &random() {
  static std::mt19937 engine(20250917);
  return engine;
}

inline std::vector<uint32_t> randomBits(size_t count) {
  std::vector<uint32_t> bits(count);
  for (uint32_t &word : bits) word = static_cast<uint32_t>(random()());
  return bits;
}

inline int &failures() {
  static int count = 0;
  return count;
}

// Says how many of the elements are as they should be, and which one first is not.
class Report {
 public:
  explicit Report(std::string name) : name_(std::move(name)) {}
  ~Report() {
    std::printf("%-44s %s%s\n", name_.c_str(), wrong_ == 0 ? "ok" : "WRONG", first_.c_str());
    if (wrong_ > 0) ++failures();
  }
  Report(const Report &) = delete;
  Report &operator=(const Report &) = delete;

  template <typename Text>
  void check(bool right, size_t element, Text actual, Text expected) {
    if (right || wrong_++ > 0) return;
    first_ = ": element " + std::to_string(element) + " is " + std::to_string(actual) + ", expected ";
    first_ += std::to_string(expected);
  }

  void equal(const std::vector<uint32_t> &actual, const std::vector<uint32_t> &expected) {
    for (size_t i = 0; i < expected.size(); ++i) check(actual[i] == expected[i], i, actual[i], expected[i]);
  }

 private:
  std::string name_;
  std::string first_;
  int wrong_ = 0;
};

// The compute capability of the device, as 10 times major plus minor.
inline int capability() {
  cudaDeviceProp properties;
  require(cudaGetDeviceProperties(&properties, 0));
  return 10 * properties.major + properties.minor;
}

}  // namespace sn::conformance
