// epilogue.h: sn_epilogue as its formulas have it, in double.
#pragma once

#include "activation.h"

namespace sn::testing {

// The operands of a product's epilogue. `spare`: without that which may be null.
struct EpilogueOperands {
  bool bias, aux;

  EpilogueOperands(const sn_gemm_shape &s, bool spare) {
    bool residual = s.epilogue == SN_EPILOGUE_BIAS_RESIDUAL;
    bias = s.epilogue == SN_EPILOGUE_BIAS || s.epilogue == SN_EPILOGUE_BIAS_ACTIVATION || residual;
    aux = s.epilogue != SN_EPILOGUE_NONE && s.epilogue != SN_EPILOGUE_BIAS;
    if (spare) (residual ? bias : aux) = false;
  }
};

// c of the product's sum, its bias and what c was before included; aux is read or becomes what is kept.
inline double epilogueOf(const sn_gemm_shape &s, double sum, double *aux) {
  switch (s.epilogue) {
    case SN_EPILOGUE_BIAS_ACTIVATION:
      *aux = sum;
      return activationValue(s.activation, sum);
    case SN_EPILOGUE_BIAS_RESIDUAL:
      return sum + *aux;
    case SN_EPILOGUE_ACTIVATION_BACKWARD:
      return sum * activationSlope(s.activation, *aux);
    default:
      return sum;
  }
}

}  // namespace sn::testing
