// gemm.h: how finished sums leave a matrix product.
#pragma once

#include <sinter/sinter.h>

#include "cpu/kernels/activation.h"
#include "cpu/kernels/rows.h"

namespace sn::cpu::SN_ISA {

// Writes sums [rows][columns], whose rows have `stride`, to c through the epilogue; bias belongs to the columns, aux
// lies as c does.
template <typename T, typename C>
inline void finishBlock(const sn_gemm_shape &s, const float *sums, int64_t stride, int64_t rows, int64_t columns, C *c,
                        const T *bias, T *aux) {
  auto finish = [&](auto &&epilogue) {
    for (int64_t i = 0; i < rows; ++i) {
      forVectors(columns, [&](int64_t j, int64_t n) {
        int64_t at = i * s.c_stride + j;
        storeUpTo(c + at, epilogue(loadUpTo(sums + i * stride + j, n), at, j, n), n);
      });
    }
  };
  switch (s.epilogue) {
    case SN_EPILOGUE_NONE:
      if (s.accumulate) {
        finish([&](Vec v, int64_t at, int64_t, int64_t n) { return v + loadUpTo(c + at, n); });
      } else {
        finish([&](Vec v, int64_t, int64_t, int64_t) { return v; });
      }
      break;
    case SN_EPILOGUE_BIAS:
      finish([&](Vec v, int64_t, int64_t j, int64_t n) { return v + loadUpTo(bias + j, n); });
      break;
    case SN_EPILOGUE_BIAS_ACTIVATION:
      withActivation(s.activation, [&](auto activation) {
        finish([&](Vec v, int64_t at, int64_t j, int64_t n) {
          v += loadUpTo(bias + j, n);
          if (aux != nullptr) storeUpTo(aux + at, v, n);
          return activation.value(v);
        });
      });
      break;
    case SN_EPILOGUE_BIAS_RESIDUAL:
      finish([&](Vec v, int64_t at, int64_t j, int64_t n) {
        if (bias != nullptr) v += loadUpTo(bias + j, n);
        return v + loadUpTo(aux + at, n);
      });
      break;
    case SN_EPILOGUE_ACTIVATION_BACKWARD:
      withActivation(s.activation, [&](auto activation) {
        finish([&](Vec v, int64_t at, int64_t, int64_t n) { return v * activation.slope(loadUpTo(aux + at, n)); });
      });
      break;
  }
}

}  // namespace sn::cpu::SN_ISA
