// peers.h: matrix products of libraries that the user has, opened at run time: nothing of them is built in.
#pragma once

#include <sinter/sinter.h>

#include <functional>
#include <string>

namespace sn::bench {

struct Peers {
  std::string blas, onednn;  // paths of libraries; empty: none
  int32_t threads;
};

using Run = std::function<void()>;

// A product c = op(a) op(b) of the shape (its epilogue left out) by cblas_sgemm or by oneDNN's matmul; empty where the
// peer is not there or does not do it.
Run blasProduct(const Peers &peers, const sn_gemm_shape &shape, const void *a, const void *b, void *c);
Run onednnProduct(const Peers &peers, const sn_gemm_shape &shape, const void *a, const void *b, void *c);

}  // namespace sn::bench
