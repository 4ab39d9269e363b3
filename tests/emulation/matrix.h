// matrix.h: the warp's matrix instructions, by the fragment tables of the PTX ISA (sections "Warp-level matrix
// instructions": ldmatrix, stmatrix, mma.m16n8k16, mma.m16n8k8, mma.m16n8k32).
#pragma once

#include <cstdint>
#include <cstring>

#include "emulation/arithmetic.h"
#include "emulation/warp.h"

namespace sn::emulation {

// In every fragment a lane's group is its row (or column of B), and its place in the group the pair of columns.
inline unsigned groupOf(unsigned lane) { return lane / 4; }
inline unsigned placeOf(unsigned lane) { return lane % 4; }

inline uint32_t pack(uint16_t low, uint16_t high) { return low | uint32_t{high} << 16; }

// Lane 8 i + r gives the address of row r of matrix i. Lane l receives of each 8 x 8 matrix the elements (l / 4,
// 2 (l % 4)) and the one after it; transposed, (2 (l % 4), l / 4) and the one below it.
template <int Matrices, bool Transposed>
void loadMatrix(uint32_t *registers, const void *row) {
  constexpr const char *kName = Transposed ? "ldmatrix.trans" : "ldmatrix";
  struct Slot {
    uint16_t row[8];
    uint32_t registers[Matrices];
  } slot{};
  if (here().lane < 8 * Matrices) {
    requireAligned(kName, row, sizeof slot.row);
    requireShared(kName, row, sizeof slot.row);
    std::memcpy(slot.row, row, sizeof slot.row);
  }
  meetWholeWarp(kName, slot, [](Slot **lanes) {
    for (unsigned lane = 0; lane < kWarp; ++lane) {
      unsigned group = groupOf(lane), pair = 2 * placeOf(lane);
      for (unsigned matrix = 0; matrix < Matrices; ++matrix) {
        Slot **rows = lanes + 8 * matrix;
        uint16_t low = Transposed ? rows[pair]->row[group] : rows[group]->row[pair];
        uint16_t high = Transposed ? rows[pair + 1]->row[group] : rows[group]->row[pair + 1];
        lanes[lane]->registers[matrix] = pack(low, high);
      }
    }
  });
  std::memcpy(registers, slot.registers, sizeof slot.registers);
}

// The reverse of loadMatrix.
template <int Matrices, bool Transposed>
void storeMatrix(void *row, const uint32_t *registers) {
  requireHopper("stmatrix");
  struct Slot {
    uint16_t row[8];
    uint32_t registers[Matrices];
  } slot{};
  std::memcpy(slot.registers, registers, sizeof slot.registers);
  meetWholeWarp("stmatrix", slot, [](Slot **lanes) {
    for (unsigned lane = 0; lane < kWarp; ++lane) {
      unsigned group = groupOf(lane), pair = 2 * placeOf(lane);
      for (unsigned matrix = 0; matrix < Matrices; ++matrix) {
        Slot **rows = lanes + 8 * matrix;
        uint32_t both = lanes[lane]->registers[matrix];
        (Transposed ? rows[pair]->row[group] : rows[group]->row[pair]) = static_cast<uint16_t>(both);
        (Transposed ? rows[pair + 1]->row[group] : rows[group]->row[pair + 1]) = static_cast<uint16_t>(both >> 16);
      }
    }
  });
  if (here().lane < 8 * Matrices) {
    requireAligned("stmatrix", row, sizeof slot.row);
    requireShared("stmatrix", row, sizeof slot.row);
    std::memcpy(row, slot.row, sizeof slot.row);
  }
}

inline float lowHalf(uint32_t pair) { return __uint_as_float(pair << 16); }
inline float highHalf(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }
inline float tf32(uint32_t bits) { return __uint_as_float(bits & 0xffffe000u); }

template <typename Number>
struct ProductSlot {
  Number *d;
  const uint32_t *a;
  uint32_t b[2];
};

// d += a b for a tile of 16 x 8, the inner dimension in order. `spread` writes a lane's registers of a and b to where
// they belong.
template <int Depth, typename Number, typename Spread>
void multiplyAdd(const char *what, Number *d, const uint32_t *a, uint32_t b0, uint32_t b1, Spread &&spread) {
  ProductSlot<Number> slot{d, a, {b0, b1}};
  meetWholeWarp(what, slot, [&](ProductSlot<Number> **lanes) {
    Number left[16][Depth], right[Depth][8], sum[16][8];
    for (unsigned lane = 0; lane < kWarp; ++lane) {
      unsigned row = groupOf(lane), column = 2 * placeOf(lane);
      spread(*lanes[lane], row, placeOf(lane), left, right);
      for (unsigned i = 0; i < 4; ++i) sum[row + 8 * (i / 2)][column + i % 2] = lanes[lane]->d[i];
    }
    for (int i = 0; i < 16; ++i) {
      for (int k = 0; k < Depth; ++k) {
        for (int j = 0; j < 8; ++j) sum[i][j] += left[i][k] * right[k][j];
      }
    }
    for (unsigned lane = 0; lane < kWarp; ++lane) {
      unsigned row = groupOf(lane), column = 2 * placeOf(lane);
      for (unsigned i = 0; i < 4; ++i) lanes[lane]->d[i] = sum[row + 8 * (i / 2)][column + i % 2];
    }
  });
}

inline void multiplyAddBf16(float *d, const uint32_t *a, uint32_t b0, uint32_t b1) {
  auto spread = [](const ProductSlot<float> &lane, unsigned group, unsigned place, float(&left)[16][16],
                   float(&right)[16][8]) {
    for (unsigned i = 0; i < 4; ++i) {
      unsigned row = group + 8 * (i % 2), column = 2 * place + 8 * (i / 2);
      left[row][column] = lowHalf(lane.a[i]);
      left[row][column + 1] = highHalf(lane.a[i]);
    }
    for (unsigned i = 0; i < 2; ++i) {
      unsigned row = 2 * place + 8 * i;
      right[row][group] = lowHalf(lane.b[i]);
      right[row + 1][group] = highHalf(lane.b[i]);
    }
  };
  multiplyAdd<16>("mma.m16n8k16", d, a, b0, b1, spread);
}

inline void multiplyAddTf32(float *d, const uint32_t *a, uint32_t b0, uint32_t b1) {
  auto spread = [](const ProductSlot<float> &lane, unsigned group, unsigned place, float(&left)[16][8],
                   float(&right)[8][8]) {
    for (unsigned i = 0; i < 4; ++i) left[group + 8 * (i % 2)][place + 4 * (i / 2)] = tf32(lane.a[i]);
    for (unsigned i = 0; i < 2; ++i) right[place + 4 * i][group] = tf32(lane.b[i]);
  };
  multiplyAdd<8>("mma.m16n8k8", d, a, b0, b1, spread);
}

inline void multiplyAddBytes(int32_t *d, const uint32_t *a, uint32_t b0, uint32_t b1) {
  auto spread = [](const ProductSlot<int32_t> &lane, unsigned group, unsigned place, int32_t(&left)[16][32],
                   int32_t(&right)[32][8]) {
    auto byte = [](uint32_t four, unsigned i) { return int32_t{static_cast<int8_t>(four >> 8 * i)}; };
    for (unsigned j = 0; j < 4; ++j) {
      unsigned depth = 4 * place + j;
      for (unsigned i = 0; i < 4; ++i) left[group + 8 * (i % 2)][depth + 16 * (i / 2)] = byte(lane.a[i], j);
      for (unsigned i = 0; i < 2; ++i) right[depth + 16 * i][group] = byte(lane.b[i], j);
    }
  };
  multiplyAdd<32>("mma.m16n8k32", d, a, b0, b1, spread);
}

}  // namespace sn::emulation
