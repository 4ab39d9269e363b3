// plugin.h: what the CUDA backend's library has of the library that loaded it.
#pragma once

#include "common/operations.h"

namespace sn::cuda {

extern SetMessage setMessage;

}  // namespace sn::cuda
