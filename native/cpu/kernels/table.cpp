// table.cpp: all operations of one instruction set, gathered for the dispatcher.

#include "cpu/kernels/operations.h"

namespace sn::cpu::SN_ISA {

const Operations &operations();

const Operations &operations() {
  static constexpr Operations table{
#define SN_ENTRY(name) .name = &name,
      SN_OPERATIONS(SN_ENTRY)
#undef SN_ENTRY
  };
  return table;
}

}  // namespace sn::cpu::SN_ISA
