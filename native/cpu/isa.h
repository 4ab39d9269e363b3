// isa.h: the instruction sets that the kernels were compiled for, and which of them this CPU has.
#pragma once

#include "common/operations.h"

namespace sn::cpu {

struct Isa {
  const char *name;
  const Operations *operations;
  bool (*supported)();
};

// The best one that this CPU has where `name` is null or empty, else the one named.
sn_status chooseIsa(const char *name, const Isa **isa);

}  // namespace sn::cpu
