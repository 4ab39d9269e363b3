#include "cpu/isa.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <string_view>

#include "common/status.h"

namespace sn::cpu {

namespace baseline {
const Operations &operations();
}
#ifdef SN_X86
namespace avx2 {
const Operations &operations();
}
namespace avx512 {
const Operations &operations();
}
namespace avx512bf16 {
const Operations &operations();
}
namespace amx {
const Operations &operations();
}
#endif

namespace {

#ifdef SN_X86
bool hasAvx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
}

bool hasAvx512() {
  return hasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

bool hasAvx512Bf16() {
  return hasAvx512() && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
}

// cpuid leaf 7: bits 22 (AMX-BF16) and 24 (AMX-TILE) of edx.
bool hasAmx() {
  if (!hasAvx512Bf16()) return false;
  uint32_t eax = 7, ebx = 0, ecx = 0, edx = 0;
  __asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  if ((edx & (1u << 22)) == 0 || (edx & (1u << 24)) == 0) return false;
  // Linux hands out the tile registers on request (arch_prctl ARCH_REQ_XCOMP_PERM, feature 18), for the whole process.
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#endif

const Isa *all(size_t *count) {
  // The best first.
  static const Isa sets[] = {
#ifdef SN_X86
      {"amx", &amx::operations(), hasAmx},
      {"avx512bf16", &avx512bf16::operations(), hasAvx512Bf16},
      {"avx512", &avx512::operations(), hasAvx512},
      {"avx2", &avx2::operations(), hasAvx2},
#endif
      {"baseline", &baseline::operations(), [] { return true; }},
  };
  *count = sizeof sets / sizeof sets[0];
  return sets;
}

}  // namespace

sn_status chooseIsa(const char *name, const Isa **isa) {
  std::string_view wanted = name == nullptr ? "" : name;
  size_t count = 0;
  const Isa *sets = all(&count);
  for (size_t i = 0; i < count; ++i) {
    if (!wanted.empty() && wanted != sets[i].name) continue;
    if (sets[i].supported()) {
      *isa = &sets[i];
      return SN_OK;
    }
    if (!wanted.empty()) return fail(SN_UNSUPPORTED, "isa %s: this CPU does not have it", name);
  }
  return fail(SN_BAD_ARGUMENT, "isa %s: unknown; one of baseline, avx2, avx512, avx512bf16, amx", name);
}

}  // namespace sn::cpu
