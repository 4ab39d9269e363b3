#include "peers.h"

#include <dlfcn.h>

#include <cstdlib>
#include <memory>
#include <stdexcept>

namespace sn::bench {

namespace {

void *open(const std::string &path) {
  void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) throw std::runtime_error(path + ": " + dlerror());
  return library;
}

template <typename F>
F *find(void *library, const char *name) {
  void *symbol = dlsym(library, name);
  if (symbol == nullptr) throw std::runtime_error(std::string("no ") + name + " in the peer's library");
  return reinterpret_cast<F *>(symbol);
}

// What is used of oneDNN 3's C interface (its documentation's names and values); all its objects are opaque.
using Object = void *;

struct Argument {
  int index;
  Object memory;
};

enum { kOk = 0, kCpu = 1, kInOrder = 1, kBf16 = 2, kF32 = 3, kSource = 1, kDestination = 17, kWeights = 33 };

class OneDnn {
 public:
  explicit OneDnn(const std::string &path) : library_(open(path)) {
    check(find<int(Object *, int, size_t)>(library_, "dnnl_engine_create")(&engine_, kCpu, 0));
    check(find<int(Object *, Object, unsigned)>(library_, "dnnl_stream_create")(&stream_, engine_, kInOrder));
  }

  Run product(const sn_gemm_shape &s, const void *a, const void *b, void *c) {
    int type = s.dtype == SN_F32 ? kF32 : kBf16;
    Object source = describe(s.m, s.k, s.a_stride, s.transpose_a, type);
    Object weights = describe(s.k, s.n, s.b_stride, s.transpose_b, type);
    Object result = describe(s.m, s.n, s.c_stride, false, s.c_dtype == SN_F32 ? kF32 : kBf16);
    Object description = nullptr, primitive = nullptr;
    check(find<int(Object *, Object, Object, Object, Object, Object, Object)>(
        library_, "dnnl_matmul_primitive_desc_create")(&description, engine_, source, weights, nullptr, result,
                                                       nullptr));
    check(find<int(Object *, Object)>(library_, "dnnl_primitive_create")(&primitive, description));
    Argument arguments[] = {
        {kSource, memory(source, a)}, {kWeights, memory(weights, b)}, {kDestination, memory(result, c)}};
    auto *execute = find<int(Object, Object, int, const Argument *)>(library_, "dnnl_primitive_execute");
    auto *wait = find<int(Object)>(library_, "dnnl_stream_wait");
    return [=, this, x = arguments[0], y = arguments[1], z = arguments[2]] {
      Argument all[] = {x, y, z};
      check(execute(primitive, stream_, 3, all));
      check(wait(stream_));
    };
  }

 private:
  static void check(int status) {
    if (status != kOk) throw std::runtime_error("oneDNN: status " + std::to_string(status));
  }

  Object describe(int64_t rows, int64_t columns, int64_t stride, bool transposed, int type) {
    int64_t sizes[] = {rows, columns}, strides[] = {transposed ? 1 : stride, transposed ? stride : 1};
    Object description = nullptr;
    check(find<int(Object *, int, const int64_t *, int, const int64_t *)>(
        library_, "dnnl_memory_desc_create_with_strides")(&description, 2, sizes, type, strides));
    return description;
  }

  Object memory(Object description, const void *at) {
    Object memory = nullptr;
    check(find<int(Object *, Object, Object, void *)>(library_, "dnnl_memory_create")(&memory, description, engine_,
                                                                                      const_cast<void *>(at)));
    return memory;
  }

  void *library_;
  Object engine_ = nullptr, stream_ = nullptr;
};

}  // namespace

Run blasProduct(const Peers &peers, const sn_gemm_shape &s, const void *a, const void *b, void *c) {
  if (peers.blas.empty() || s.dtype != SN_F32) return {};
  // The enumerations of the reference BLAS's C interface.
  enum { kRowMajor = 101, kPlain = 111, kTransposed = 112 };
  using Sgemm = void(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int);
  static void *library = open(peers.blas);
  static auto *sgemm = find<Sgemm>(library, "cblas_sgemm");
  return [=] {
    sgemm(kRowMajor, s.transpose_a ? kTransposed : kPlain, s.transpose_b ? kTransposed : kPlain, static_cast<int>(s.m),
          static_cast<int>(s.n), static_cast<int>(s.k), 1, static_cast<const float *>(a), static_cast<int>(s.a_stride),
          static_cast<const float *>(b), static_cast<int>(s.b_stride), 0, static_cast<float *>(c),
          static_cast<int>(s.c_stride));
  };
}

Run onednnProduct(const Peers &peers, const sn_gemm_shape &s, const void *a, const void *b, void *c) {
  if (peers.onednn.empty()) return {};
  static OneDnn library(peers.onednn);
  return library.product(s, a, b, c);
}

}  // namespace sn::bench
