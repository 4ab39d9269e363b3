// gemm.h: how a finished row of sums leaves a matrix product.
#pragma once

#include <sinter/sinter.h>

#include "cpu/kernels/rows.h"

namespace sn::cpu::SN_ISA {

// Writes `count` sums to c through the epilogue.
template <typename T, typename C>
inline void finishRow(const sn_gemm_shape &s, const float *sums, int64_t count, C *c, const T *bias, T *aux) {
  auto finish = [&](auto &&epilogue) {
    forVectors(count, [&](int64_t j, int64_t n) { storeUpTo(c + j, epilogue(loadUpTo(sums + j, n), j, n), n); });
  };
  switch (s.epilogue) {
    case SN_EPILOGUE_NONE:
      if (s.accumulate) {
        finish([&](Vec v, int64_t j, int64_t n) { return v + loadUpTo(c + j, n); });
      } else {
        finish([&](Vec v, int64_t, int64_t) { return v; });
      }
      break;
    case SN_EPILOGUE_BIAS:
      finish([&](Vec v, int64_t j, int64_t n) { return v + loadUpTo(bias + j, n); });
      break;
    case SN_EPILOGUE_BIAS_GELU:
      finish([&](Vec v, int64_t j, int64_t n) {
        v += loadUpTo(bias + j, n);
        if (aux != nullptr) storeUpTo(aux + j, v, n);
        return gelu(v);
      });
      break;
    case SN_EPILOGUE_BIAS_RESIDUAL:
      finish([&](Vec v, int64_t j, int64_t n) {
        if (bias != nullptr) v += loadUpTo(bias + j, n);
        return v + loadUpTo(aux + j, n);
      });
      break;
    case SN_EPILOGUE_GELU_BACKWARD:
      finish([&](Vec v, int64_t j, int64_t n) { return v * geluDerivative(loadUpTo(aux + j, n)); });
      break;
  }
}

}  // namespace sn::cpu::SN_ISA
