// multiply_add.h: the widest multiply-adds of an instruction set, as fast as registers alone let them be.
#pragma once

namespace sn::bench {

// Each runs for some milliseconds and returns the operations that it did; null where the set has no such instruction.
struct MultiplyAdd {
  double (*f32)(), (*bf16)();
};

}  // namespace sn::bench
