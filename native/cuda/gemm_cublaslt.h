// gemm_cublaslt.h: matrix products by NVIDIA's cuBLASLt, for the shapes at which it is faster than our kernels. It is
// found when the program runs, never linked: a machine without it has a few plans less.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cuda/cuda.h"
#include "cuda/gemm_plan.h"

namespace sn::cuda {

// The arguments of sn_gemm that lie in device memory.
struct GemmOperands {
  const void *a, *b;
  void *c;
  const void *bias;
  void *aux;
};

// The library as one GPU uses it. Thread-safe.
class CublasLt {
 public:
  explicit CublasLt(int ordinal);
  ~CublasLt();
  CublasLt(const CublasLt &) = delete;
  CublasLt &operator=(const CublasLt &) = delete;

  // Looks for it unless it was found before: in `folder` where that is not null, then where the system does. Its
  // version; 0: there is none.
  int64_t load(const char *folder);
  int64_t version() const;

  // How many algorithms it offers for a shape, its favourite first. They depend on the shape alone.
  int count(const sn_gemm_shape &shape);

  int64_t workspaceBytes(const sn_gemm_shape &shape, int algorithm);

  sn_status multiply(const sn_gemm_shape &shape, int algorithm, const GemmOperands &operands, void *workspace,
                     cudaStream_t stream);

 private:
  struct Functions;
  struct Algorithm;
  class Description;
  using Key = std::array<int64_t, 15>;

  bool take(const std::string &file);
  const std::vector<Algorithm> &algorithmsOf(const sn_gemm_shape &shape, uint32_t epilogue);
  std::vector<Algorithm> ask(const sn_gemm_shape &shape, uint32_t epilogue) const;

  int ordinal_;
  mutable std::mutex mutex_;
  std::unique_ptr<Functions> functions_;  // null: not found
  void *handle_ = nullptr;
  int64_t version_ = 0;
  std::map<Key, std::vector<Algorithm>> known_;  // asking takes longer than a small product
};

inline GemmPlan planOfCublasLt(const sn_gemm_shape &shape, int algorithm) {
  return {GemmKernel::cublasLt, algorithm, 1, shape.k};
}

}  // namespace sn::cuda
