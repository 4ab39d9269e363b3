// ceilings.h: what this machine can do at most, measured: the bars that operations are held against.
#pragma once

#include <cstdint>
#include <string>

namespace sn::bench {

struct Ceilings {
  double gflopsF32 = 0, gflopsBf16 = 0;  // of the widest multiply-add of the instruction set; 0: it has none
  double readGb = 0;                     // bytes read from memory, 1e9 a second
  double copyGb = 0;                     // read and written, 1e9 a second
};

// Measures with `threads` threads what `isa` (a name that sn_device_isa gave) can do.
Ceilings measureCeilings(const std::string &isa, int32_t threads);

}  // namespace sn::bench
