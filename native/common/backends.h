// backends.h: the backends that this process has: the CPU's always, CUDA's once its library was loaded.
#pragma once

#include "common/operations.h"

namespace sn {

// Loads the library once; later calls with any name find it loaded.
sn_status loadCuda(const char *library);

// Null before that.
const Backend *cudaBackend();

}  // namespace sn
