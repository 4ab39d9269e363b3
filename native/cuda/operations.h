// operations.h: the CUDA backend's operations. Each has its kernels and its launcher in a file of its name.
#pragma once

#include <type_traits>

#include "common/operations.h"

namespace sn::cuda {

#define SN_DECLARE(name) std::remove_pointer_t<decltype(&sn_##name)> name;
SN_OPERATIONS(SN_DECLARE)
#undef SN_DECLARE

}  // namespace sn::cuda
