// testing.h: what all native tests share: tensors of exact size that start poisoned, numbers, and every machine that is
// there: this CPU with each of its instruction sets and 1, 2 and 3 threads; or, where SN_TEST_CUDA names the library of
// the CUDA backend, a GPU alone, everything twice, with the kernels that SN_TEST_ISA names (default: its own).
#pragma once

#include <doctest/doctest.h>
#include <sinter/sinter.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <random>
#include <string>
#include <vector>

namespace sn::testing {

inline size_t bytesOf(sn_dtype dtype) { return dtype == SN_F32 ? 4 : 2; }

// The GPU under test; null where the CPU is.
inline sn_device *cudaDevice() {
  static sn_device *device = [] {
    sn_device *opened = nullptr;
    if (const char *library = std::getenv("SN_TEST_CUDA")) {
      REQUIRE_MESSAGE(sn_load_cuda(library) == SN_OK, sn_last_error());
      const char *isa = std::getenv("SN_TEST_ISA");
      REQUIRE_MESSAGE(sn_device_create(SN_CUDA, 0, 0, isa, &opened) == SN_OK, sn_last_error());
    }
    return opened;
  }();
  return device;
}

// Memory that the CPU and the GPU under test both see. Without slack, so that a sanitizer sees an access past it.
template <typename T>
struct SharedAllocator {
  using value_type = T;

  SharedAllocator() = default;
  template <typename U>
  SharedAllocator(const SharedAllocator<U> &) {}

  T *allocate(size_t count) {
    if (cudaDevice() == nullptr) return static_cast<T *>(::operator new(count * sizeof(T), kAlignment));
    void *memory = nullptr;
    REQUIRE(sn_allocate_host(cudaDevice(), static_cast<int64_t>(count * sizeof(T)), &memory) == SN_OK);
    return static_cast<T *>(memory);
  }
  void deallocate(T *memory, size_t) {
    if (cudaDevice() == nullptr) {
      ::operator delete(memory, kAlignment);
    } else {
      sn_free_host(cudaDevice(), memory);
    }
  }
  bool operator==(const SharedAllocator &) const { return true; }

 private:
  static constexpr std::align_val_t kAlignment{alignof(T)};
};

using Bytes = std::vector<unsigned char, SharedAllocator<unsigned char>>;
using Ints = std::vector<int32_t, SharedAllocator<int32_t>>;

// A value that no enumerator has, by its bits.
template <typename E>
E unknown(int32_t number) {
  E value;
  static_assert(sizeof value == sizeof number);
  std::memcpy(&value, &number, sizeof value);
  return value;
}

// Dense values of a dtype, seen as doubles.
class Tensor {
 public:
  // Poisoned: whatever an operation leaves out stays NaN.
  Tensor(sn_dtype dtype, int64_t count) : Tensor(dtype, std::vector<double>(static_cast<size_t>(count), NAN)) {}

  Tensor(sn_dtype dtype, const std::vector<double> &values) : dtype_(dtype), bytes_(values.size() * bytesOf(dtype)) {
    for (size_t i = 0; i < values.size(); ++i) set(i, values[i]);
  }

  void set(size_t i, double value) {
    auto number = static_cast<float>(value);
    uint32_t bits;
    std::memcpy(&bits, &number, sizeof bits);
    if (dtype_ == SN_BF16) {
      // To nearest even, as the definition has it.
      uint16_t upper = static_cast<uint16_t>(bits >> 16);
      uint32_t lower = bits & 0xffffu;
      if (std::isnan(value)) {
        upper = 0x7fc0;
      } else if (lower > 0x8000u || (lower == 0x8000u && (upper & 1u) != 0)) {
        ++upper;
      }
      std::memcpy(&bytes_[i * 2], &upper, sizeof upper);
    } else {
      std::memcpy(&bytes_[i * 4], &bits, sizeof bits);
    }
  }

  double operator[](size_t i) const {
    uint32_t bits = 0;
    if (dtype_ == SN_BF16) {
      uint16_t upper;
      std::memcpy(&upper, &bytes_[i * 2], sizeof upper);
      bits = uint32_t{upper} << 16;
    } else {
      std::memcpy(&bits, &bytes_[i * 4], sizeof bits);
    }
    float number;
    std::memcpy(&number, &bits, sizeof number);
    return static_cast<double>(number);
  }

  std::vector<double> values() const {
    std::vector<double> all(size());
    for (size_t i = 0; i < all.size(); ++i) all[i] = (*this)[i];
    return all;
  }

  operator void *() { return bytes_.data(); }
  float *floats() { return reinterpret_cast<float *>(bytes_.data()); }
  sn_dtype dtype() const { return dtype_; }
  size_t size() const { return bytes_.size() / bytesOf(dtype_); }
  const Bytes &bytes() const { return bytes_; }

 private:
  sn_dtype dtype_;
  Bytes bytes_;
};

// The workspace of sn_sum and sn_global_norm, of exactly the size that is asked for.
inline Bytes reduceWorkspace(const sn_device *device, int64_t count) {
  int64_t bytes = -1;
  REQUIRE(sn_reduce_workspace(device, count, &bytes) == SN_OK);
  REQUIRE(bytes >= 0);
  return Bytes(static_cast<size_t>(bytes));
}

// Numbers that are the same in every run.
class Numbers {
 public:
  explicit Numbers(uint32_t seed) : engine_(seed) {}

  std::vector<double> normal(int64_t count, double deviation = 1, double mean = 0) {
    std::normal_distribution<double> distribution(mean, deviation);
    std::vector<double> values(static_cast<size_t>(count));
    for (auto &value : values) value = distribution(engine_);
    return values;
  }

  Ints below(int64_t count, int32_t limit) {
    std::uniform_int_distribution<int32_t> distribution(0, limit - 1);
    Ints values(static_cast<size_t>(count));
    for (auto &value : values) value = distribution(engine_);
    return values;
  }

 private:
  std::mt19937 engine_;
};

// A device: the CPU at one instruction set with so many threads, or the GPU under test.
class Machine {
 public:
  using Record = std::vector<Bytes>;

  Machine(const std::string &isa, int32_t threads, Record *record) : threads_(threads), record_(record) {
    REQUIRE(sn_device_create(SN_CPU, 0, threads, isa.c_str(), &device) == SN_OK);
    REQUIRE(sn_stream_create(device, &stream) == SN_OK);
  }
  Machine(int32_t turn, Record *record) : device(cudaDevice()), threads_(turn), record_(record) {
    REQUIRE(sn_stream_create(device, &stream) == SN_OK);
  }
  ~Machine() {
    sn_stream_destroy(stream);
    if (device != cudaDevice()) sn_device_destroy(device);
  }
  Machine(const Machine &) = delete;
  Machine &operator=(const Machine &) = delete;

  bool isCuda() const { return device == cudaDevice(); }

  // The status of a call that the device itself may have to refuse: a GPU says so when it is waited for.
  sn_status status(sn_status called) const { return called == SN_OK ? sn_synchronize(stream) : called; }

  // To be called in the same order on every machine: the bits must be those that one thread, or the first turn, gave.
  void same(const Tensor &result) { same(result.bytes()); }
  void same(const Ints &result) {
    auto *first = reinterpret_cast<const unsigned char *>(result.data());
    same(Bytes(first, first + result.size() * sizeof(int32_t)));
  }

  sn_device *device = nullptr;
  sn_stream *stream = nullptr;

 private:
  void same(const Bytes &bytes) {
    if (threads_ == 1) {
      record_->push_back(bytes);
    } else {
      REQUIRE(next_ < record_->size());
      bool alike = (*record_)[next_++] == bytes;
      CHECK_MESSAGE(alike, "other bits than with one thread");
    }
  }

  int32_t threads_;
  Record *record_;
  size_t next_ = 0;
};

inline std::vector<std::string> instructionSets() {
  std::vector<std::string> sets;
  for (const char *isa : {"baseline", "avx2", "avx512", "avx512bf16", "amx"}) {
    sn_device *device = nullptr;
    if (sn_device_create(SN_CPU, 0, 1, isa, &device) == SN_OK) sets.emplace_back(isa);
    sn_device_destroy(device);
  }
  return sets;
}

// How often a GPU does everything: the emulated one, which is slow, not twice in every order of its threads.
inline int32_t turns() {
  const char *wanted = std::getenv("SN_TEST_TURNS");
  return wanted == nullptr ? 2 : std::atoi(wanted);
}

// Calls f(machine) for every instruction set of this CPU, with 1, 2 and 3 threads; for a GPU twice.
template <typename F>
void everywhere(F &&f) {
  if (cudaDevice() != nullptr) {
    Machine::Record record;
    for (int32_t turn = 1; turn <= turns(); ++turn) {
      CAPTURE(turn);
      Machine machine(turn, &record);
      f(machine);
    }
    return;
  }
  for (const auto &isa : instructionSets()) {
    Machine::Record record;
    for (int32_t threads : {1, 2, 3}) {
      CAPTURE(isa);
      CAPTURE(threads);
      Machine machine(isa, threads, &record);
      f(machine);
    }
  }
}

// |actual - expected| <= relative * |expected| + absolute for each element. A bf16 tensor may also be off by its own
// rounding. What is not finite must be alike.
inline void checkClose(const Tensor &actual, const std::vector<double> &expected, double relative, double absolute) {
  REQUIRE(actual.size() == expected.size());
  if (actual.dtype() == SN_BF16) relative += 0x1p-8;
  size_t worst = 0;
  double excess = -1;
  for (size_t i = 0; i < expected.size(); ++i) {
    double allowed = relative * std::abs(expected[i]) + absolute;
    double over = std::abs(actual[i] - expected[i]) - allowed;
    bool alike = actual[i] == expected[i] || (std::isnan(actual[i]) && std::isnan(expected[i]));
    if (alike) continue;
    if (std::isnan(over)) over = std::numeric_limits<double>::infinity();
    if (over > excess) {
      excess = over;
      worst = i;
    }
  }
  CHECK_MESSAGE(excess <= 0, "element ", worst, " is ", actual[worst], ", expected ", expected[worst]);
}

}  // namespace sn::testing
