// cublaslt.cpp: cuBLASLt as far as native/cuda calls it, in double precision, from its documentation: what descriptors
// mean, what it refuses. It is strict where the documentation is: sizes of attributes, alignment, an algorithm that was
// chosen for another product. Built as libcublasLt.so.13 into a folder that only tests name.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "emulation/queue.h"

#define SN_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

enum Status { kSuccess = 0, kInvalidValue = 7, kFailed = 13, kNotSupported = 15 };

constexpr int32_t kFloat32 = 0, kBfloat16 = 14, kComputeFloat32 = 68;
constexpr uint32_t kNone = 1, kBias = 4, kGelu = 32, kGeluBackward = 64, kAux = 128;

struct Product {
  int32_t compute, scale;
  int32_t transposeA = 0, transposeB = 0;
  uint32_t epilogue = kNone;
  const void *bias = nullptr;
  void *aux = nullptr;
  int64_t auxStride = 0, auxBatch = 0;
};

struct Matrix {
  int32_t type;
  uint64_t rows, columns;
  int64_t stride;
  int32_t count = 1;
  int64_t batch = 0;

  int64_t placeOf(int64_t product, int64_t row, int64_t column) const {
    return product * batch + column * stride + row;
  }
};

struct Preference {
  uint64_t workspace = 0;
  uint32_t reductions = 7;
  uint32_t alignments[4] = {256, 256, 256, 256};
};

// What the caller keeps of an algorithm: its number, and what it was chosen for.
struct Algorithm {
  uint64_t number, epilogue, rows, columns, depth, unused[3];
};

struct Result {
  Algorithm algorithm;
  size_t workspace;
  int status;
  float waves;
  int reserved[4];
};

template <typename T>
Status take(T *attribute, const void *value, size_t bytes) {
  if (bytes != sizeof *attribute) return kInvalidValue;
  std::memcpy(attribute, value, bytes);
  return kSuccess;
}

bool isAligned(const void *address) { return reinterpret_cast<uintptr_t>(address) % 16 == 0; }

double load(int32_t type, const void *from, int64_t at) {
  float number;
  uint32_t bits = 0;
  if (type == kFloat32) {
    std::memcpy(&number, static_cast<const float *>(from) + at, sizeof number);
    return static_cast<double>(number);
  }
  std::memcpy(reinterpret_cast<char *>(&bits) + 2, static_cast<const uint16_t *>(from) + at, 2);
  std::memcpy(&number, &bits, sizeof number);
  return static_cast<double>(number);
}

void store(int32_t type, void *to, int64_t at, double value) {
  auto number = static_cast<float>(value);
  if (type == kFloat32) {
    std::memcpy(static_cast<float *>(to) + at, &number, sizeof number);
    return;
  }
  uint32_t bits;
  std::memcpy(&bits, &number, sizeof bits);
  if (std::isnan(number)) {
    bits = 0x7fc00000u;
  } else {
    bits += 0x7fffu + (bits >> 16 & 1u);  // to nearest even
  }
  std::memcpy(static_cast<uint16_t *>(to) + at, reinterpret_cast<char *>(&bits) + 2, 2);
}

double inner(double x) { return std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x); }

double gelu(double x) { return 0.5 * x * (1 + std::tanh(inner(x))); }

double geluDerivative(double x) {
  double t = std::tanh(inner(x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
}

// A product with all that it is made of.
struct Call {
  Product product;
  Matrix a, b, c, d;
  float alpha = 1, beta = 0;
  const void *from[3] = {};  // a, b, c
  void *to = nullptr;

  int64_t rows() const { return static_cast<int64_t>(d.rows); }
  int64_t columns() const { return static_cast<int64_t>(d.columns); }
  int64_t depth() const { return static_cast<int64_t>(product.transposeA != 0 ? a.rows : a.columns); }
  bool hasAux() const { return (product.epilogue & kAux) != 0; }
  bool hasBias() const { return (product.epilogue & kBias) != 0; }

  bool isValid() const {
    const Matrix *all[] = {&a, &b, &c, &d};
    for (const Matrix *matrix : all) {
      if (matrix->stride < static_cast<int64_t>(matrix->rows) || matrix->count != d.count) return false;
    }
    return (product.transposeA != 0 ? a.columns : a.rows) == d.rows &&
           (product.transposeB != 0 ? b.rows : b.columns) == d.columns &&
           static_cast<int64_t>(product.transposeB != 0 ? b.columns : b.rows) == depth() && c.rows == d.rows &&
           c.columns == d.columns && product.compute == kComputeFloat32 && product.scale == kFloat32;
  }

  bool isSupported() const {
    bool types = a.type == b.type && c.type == d.type &&
                 (a.type == kFloat32 ? d.type == kFloat32 : d.type == kFloat32 || d.type == kBfloat16);
    if (hasBias()) types = types && a.type == d.type && product.bias != nullptr && isAligned(product.bias);
    if (!hasAux()) return types;
    return types && a.type == d.type && product.aux != nullptr && isAligned(product.aux) &&
           product.auxStride % 8 == 0 && product.auxStride >= rows() && product.auxBatch % 8 == 0;
  }

  Algorithm algorithm(uint64_t number) const {
    return {number, product.epilogue, d.rows, d.columns, static_cast<uint64_t>(depth()), {}};
  }

  // The sums of two parts of k, as algorithm 1 keeps them.
  size_t workspace(uint64_t number) const {
    return number == 0 ? 0 : 2 * sizeof(float) * d.rows * d.columns * static_cast<size_t>(d.count);
  }

  double sum(int64_t batch, int64_t row, int64_t column, int64_t begin, int64_t end) const {
    double all = 0;
    for (int64_t k = begin; k < end; ++k) {
      int64_t atA = product.transposeA != 0 ? a.placeOf(batch, k, row) : a.placeOf(batch, row, k);
      int64_t atB = product.transposeB != 0 ? b.placeOf(batch, column, k) : b.placeOf(batch, k, column);
      all += load(a.type, from[0], atA) * load(b.type, from[1], atB);
    }
    return all;
  }

  void finish(int64_t batch, int64_t row, int64_t column, double x) const {
    x *= static_cast<double>(alpha);
    if (beta != 0) x += static_cast<double>(beta) * load(c.type, from[2], c.placeOf(batch, row, column));
    if (hasBias()) x += load(d.type, product.bias, row);
    int64_t atAux = batch * product.auxBatch + column * product.auxStride + row;
    if ((product.epilogue & kGelu) != 0) {
      if (hasAux()) store(d.type, product.aux, atAux, x);
      x = gelu(x);
    } else if ((product.epilogue & kGeluBackward) != 0) {
      x *= geluDerivative(load(d.type, product.aux, atAux));
    }
    store(d.type, to, d.placeOf(batch, row, column), x);
  }

  void run(float *parts) const {
    int64_t at = 0, half = (depth() + 1) / 2;
    for (int64_t batch = 0; batch < d.count; ++batch) {
      for (int64_t column = 0; column < columns(); ++column) {
        for (int64_t row = 0; row < rows(); ++row, at += 2) {
          if (parts == nullptr) {
            finish(batch, row, column, sum(batch, row, column, 0, depth()));
            continue;
          }
          parts[at] = static_cast<float>(sum(batch, row, column, 0, half));
          parts[at + 1] = static_cast<float>(sum(batch, row, column, half, depth()));
          finish(batch, row, column, static_cast<double>(parts[at]) + static_cast<double>(parts[at + 1]));
        }
      }
    }
  }
};

}  // namespace

SN_EXPORT size_t cublasLtGetVersion() { return 130100; }

SN_EXPORT int cublasLtCreate(void **handle) {
  *handle = new int;
  return kSuccess;
}

SN_EXPORT int cublasLtDestroy(void *handle) {
  delete static_cast<int *>(handle);
  return kSuccess;
}

SN_EXPORT int cublasLtMatmulDescCreate(void **product, int32_t compute, int32_t scale) {
  auto *created = new Product{};
  created->compute = compute;
  created->scale = scale;
  *product = created;
  return kSuccess;
}

SN_EXPORT int cublasLtMatmulDescDestroy(void *product) {
  delete static_cast<Product *>(product);
  return kSuccess;
}

SN_EXPORT int cublasLtMatmulDescSetAttribute(void *described, int attribute, const void *value, size_t bytes) {
  auto *product = static_cast<Product *>(described);
  switch (attribute) {
    case 3:
      return take(&product->transposeA, value, bytes);
    case 4:
      return take(&product->transposeB, value, bytes);
    case 7:
      return take(&product->epilogue, value, bytes);
    case 8:
      return take(&product->bias, value, bytes);
    case 11:
      return take(&product->aux, value, bytes);
    case 12:
      return take(&product->auxStride, value, bytes);
    case 13:
      return take(&product->auxBatch, value, bytes);
    default:
      return kInvalidValue;
  }
}

SN_EXPORT int cublasLtMatrixLayoutCreate(void **matrix, int32_t type, uint64_t rows, uint64_t columns, int64_t stride) {
  *matrix = new Matrix{type, rows, columns, stride};
  return kSuccess;
}

SN_EXPORT int cublasLtMatrixLayoutDestroy(void *matrix) {
  delete static_cast<Matrix *>(matrix);
  return kSuccess;
}

SN_EXPORT int cublasLtMatrixLayoutSetAttribute(void *described, int attribute, const void *value, size_t bytes) {
  auto *matrix = static_cast<Matrix *>(described);
  if (attribute == 5) return take(&matrix->count, value, bytes);
  return attribute == 6 ? take(&matrix->batch, value, bytes) : kInvalidValue;
}

SN_EXPORT int cublasLtMatmulPreferenceCreate(void **preference) {
  *preference = new Preference;
  return kSuccess;
}

SN_EXPORT int cublasLtMatmulPreferenceDestroy(void *preference) {
  delete static_cast<Preference *>(preference);
  return kSuccess;
}

SN_EXPORT int cublasLtMatmulPreferenceSetAttribute(void *described, int attribute, const void *value, size_t bytes) {
  auto *preference = static_cast<Preference *>(described);
  if (attribute == 1) return take(&preference->workspace, value, bytes);
  if (attribute == 3) return take(&preference->reductions, value, bytes);
  return attribute >= 5 && attribute <= 8 ? take(&preference->alignments[attribute - 5], value, bytes) : kInvalidValue;
}

// Up to two: all of k at once, and k in two parts. With an output beside c only the former.
SN_EXPORT int cublasLtMatmulAlgoGetHeuristic(void *, void *product, void *a, void *b, void *c, void *d,
                                             void *preference, int most, Result *results, int *count) {
  Call call{*static_cast<Product *>(product), *static_cast<Matrix *>(a), *static_cast<Matrix *>(b),
            *static_cast<Matrix *>(c), *static_cast<Matrix *>(d)};
  const auto &wanted = *static_cast<Preference *>(preference);
  *count = 0;
  if (!call.isValid()) return kInvalidValue;
  if (!call.isSupported()) return kNotSupported;
  bool aligned = std::all_of(wanted.alignments, wanted.alignments + 4, [](uint32_t bytes) { return bytes >= 16; });
  for (uint64_t number = 0; number < 2 && *count < most; ++number) {
    bool inParts = number == 1;
    if (inParts && (call.hasAux() || call.depth() < 2 || (wanted.reductions & 2u) == 0)) continue;
    if (!aligned || call.workspace(number) > wanted.workspace) continue;
    results[(*count)++] = {call.algorithm(number), call.workspace(number), kSuccess, 1, {}};
  }
  return *count == 0 ? kNotSupported : kSuccess;
}

SN_EXPORT int cublasLtMatmul(void *, void *product, const void *alpha, const void *a, void *layoutA, const void *b,
                             void *layoutB, const void *beta, const void *c, void *layoutC, void *d, void *layoutD,
                             const Algorithm *algorithm, void *workspace, size_t bytes, cudaStream_t stream) {
  Call call{*static_cast<Product *>(product), *static_cast<Matrix *>(layoutA), *static_cast<Matrix *>(layoutB),
            *static_cast<Matrix *>(layoutC), *static_cast<Matrix *>(layoutD)};
  if (!call.isValid()) return kInvalidValue;
  if (!call.isSupported()) return kNotSupported;
  Algorithm own = call.algorithm(algorithm->number);
  if (std::memcmp(&own, algorithm, sizeof own) != 0 || bytes < call.workspace(own.number)) return kInvalidValue;
  if (!isAligned(a) || !isAligned(b) || !isAligned(c) || !isAligned(d)) return kNotSupported;
  call.alpha = *static_cast<const float *>(alpha);
  call.beta = *static_cast<const float *>(beta);
  call.from[0] = a;
  call.from[1] = b;
  call.from[2] = c;
  call.to = d;
  auto *parts = own.number == 0 ? nullptr : static_cast<float *>(workspace);
  bool queued = sn::emulation::queue(stream, "cublasLtMatmul", [call, parts] {
    call.run(parts);
    return std::string();
  });
  return queued ? kSuccess : kFailed;
}
