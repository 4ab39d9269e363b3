// operations.h: the CPU's operations, declared once for each instruction set.
//
// Every kernel file of this folder is compiled several times with other compiler flags and another SN_ISA, which names
// the inner namespace. Kernel files keep to this namespace and to plain functions: a template of the standard library
// that two instruction sets instantiate would be merged by the linker, and the wrong one might stay.
#pragma once

#include <type_traits>

#include "common/operations.h"

#ifdef SN_ISA

namespace sn::cpu::SN_ISA {

#define SN_DECLARE(name) std::remove_pointer_t<decltype(&sn_##name)> name;
SN_OPERATIONS(SN_DECLARE)
#undef SN_DECLARE

}  // namespace sn::cpu::SN_ISA

#endif
