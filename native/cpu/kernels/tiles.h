// tiles.h: how AMX's eight tile registers are laid out wherever they are used.
#pragma once

#if defined(__AMX_TILE__)

#include <immintrin.h>

#include <cstdint>

namespace sn::cpu::SN_ISA {

// All eight of 16 rows of 64 bytes, until _tile_release.
inline void configureTiles() {
  // Static, as the compiler takes the instruction to read no more than its first bytes.
  static constexpr struct alignas(64) {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t bytesPerRow[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } configuration;
  _tile_loadconfig(&configuration);
}

}  // namespace sn::cpu::SN_ISA

#endif
