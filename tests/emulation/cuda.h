// cuda.h: CUDA on the host, for native/cuda/cuda.h where the compiler is not nvcc. See README.md.
#pragma once

#include "emulation/api.h"
#include "emulation/arithmetic.h"
#include "emulation/async_copy.h"
#include "emulation/atomics.h"
#include "emulation/barrier.h"
#include "emulation/bfloat16.h"
#include "emulation/convert.h"
#include "emulation/matrix.h"
#include "emulation/mbarrier.h"
#include "emulation/tensor_copy.h"
#include "emulation/warp.h"
#include "emulation/warpgroup.h"

#define threadIdx (::sn::emulation::here().index)
#define blockIdx (::sn::emulation::here().block->index)
#define blockDim (::sn::emulation::here().block->grid.threads)
#define gridDim (::sn::emulation::here().block->grid.blocks)
#define warpSize 32

inline void __trap() { sn::emulation::fail("__trap"); }
inline void __nanosleep(unsigned) {}

namespace sn::emulation {

template <typename Array>
Array &sharedVariable(const void *identity) {
  Bookkeeping hidden;
  return *static_cast<Array *>(here().block->shared.variable(identity, sizeof(Array)));
}

}  // namespace sn::emulation

// The variable's identity is that of a static of the function that it is declared in: one for each instance of a
// template.
#define SN_SHARED(type, name, count)                                \
  type(&name)[count] = []() -> type(&)[count] {                     \
    static const char identity = 0;                                 \
    return ::sn::emulation::sharedVariable<type[count]>(&identity); \
  }()
#define SN_DYNAMIC_SHARED(name) unsigned char *const name = ::sn::emulation::here().block->shared.dynamic()
