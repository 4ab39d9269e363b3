// gemm.h: how a finished row of sums leaves a matrix product.
#pragma once

#include <sinter/sinter.h>

#include "cpu/kernels/rows.h"

namespace sn::cpu::SN_ISA {

// Writes `count` sums to c through the epilogue.
template <typename T, typename C>
inline void finishRow(const sn_gemm_shape &s, const float *sums, int64_t count, C *c, const T *bias, T *aux) {
  forVectors(count, [&](int64_t j, int64_t n) {
    Vec v = loadUpTo(sums + j, n);
    switch (s.epilogue) {
      case SN_EPILOGUE_NONE:
        if (s.accumulate) v += loadUpTo(c + j, n);
        break;
      case SN_EPILOGUE_BIAS:
        v += loadUpTo(bias + j, n);
        break;
      case SN_EPILOGUE_BIAS_GELU:
        v += loadUpTo(bias + j, n);
        if (aux != nullptr) storeUpTo(aux + j, v, n);
        v = gelu(v);
        break;
      case SN_EPILOGUE_BIAS_RESIDUAL:
        if (bias != nullptr) v += loadUpTo(bias + j, n);
        v += loadUpTo(aux + j, n);
        break;
      case SN_EPILOGUE_GELU_BACKWARD:
        v *= geluDerivative(loadUpTo(aux + j, n));
        break;
    }
    storeUpTo(c + j, v, n);
  });
}

}  // namespace sn::cpu::SN_ISA
