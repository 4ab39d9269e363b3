// matrix.h: matrix fragments of a warp: loading, and multiplying on the tensor cores (PTX ISA, "Warp-level matrix
// instructions"). sm_80.
//
// A fragment of 8 x 8 16-bit elements is one register a lane: lane l holds row l / 4, columns 2 (l % 4) and the next.
#pragma once

#include "cuda/cuda.h"

namespace sn::cuda {

// Two matrices of 8 x 8: lane i (i < 16) gives the shared address of row i % 8 of matrix i / 8, a multiple of 16 bytes.
__device__ __forceinline__ void loadMatrix2(uint32_t (&registers)[2], const void *row) {
#if defined(__CUDACC__)
  auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(registers[0]), "=r"(registers[1])
               : "r"(address)
               : "memory");
#else
  emulation::loadMatrix<2, false>(registers, row);
#endif
}

// The same, each matrix transposed.
__device__ __forceinline__ void loadMatrix2Transposed(uint32_t (&registers)[2], const void *row) {
#if defined(__CUDACC__)
  auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(registers[0]), "=r"(registers[1])
               : "r"(address)
               : "memory");
#else
  emulation::loadMatrix<2, true>(registers, row);
#endif
}

// Four matrices: lane i gives the address of row i % 8 of matrix i / 8.
__device__ __forceinline__ void loadMatrix4(uint32_t (&registers)[4], const void *row) {
#if defined(__CUDACC__)
  auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(address)
               : "memory");
#else
  emulation::loadMatrix<4, false>(registers, row);
#endif
}

// The same, each matrix transposed.
__device__ __forceinline__ void loadMatrix4Transposed(uint32_t (&registers)[4], const void *row) {
#if defined(__CUDACC__)
  auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(address)
               : "memory");
#else
  emulation::loadMatrix<4, true>(registers, row);
#endif
}

// d += a b for bf16 a [16, 16] and b [16, 8], fp32 d [16, 8].
//
//   a   four 8 x 8 fragments: upper left, lower left, upper right, lower right
//   b   two: b0 of rows 0-7, b1 of rows 8-15, each transposed (lane l holds rows 2 (l % 4) and the next of column l /
//   4) d   lane l holds row l / 4, columns 2 (l % 4) and the next; then the same of row l / 4 + 8
__device__ __forceinline__ void multiplyAdd(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if defined(__CUDACC__)
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  emulation::multiplyAddBf16(d, a, b0, b1);
#endif
}

// d += a b for tf32 a [16, 8] and b [8, 8], fp32 d [16, 8]: d as above, the others one element a register.
//
//   a   rows l / 4 and l / 4 + 8 of column l % 4, then of column l % 4 + 4
//   b   rows l % 4 and l % 4 + 4 of column l / 4
__device__ __forceinline__ void multiplyAddTf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if defined(__CUDACC__)
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  emulation::multiplyAddTf32(d, a, b0, b1);
#endif
}

// d += a b for signed bytes a [16, 32] and b [32, 8], int32 d [16, 8]: d as above, the others four bytes a register.
//
//   a   rows l / 4 and l / 4 + 8 of columns 4 (l % 4) and the three after it, then of 16 columns further
//   b   rows 4 (l % 4) and the three after it of column l / 4, then 16 rows further
__device__ __forceinline__ void multiplyAddBytes(int32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if defined(__CUDACC__)
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  emulation::multiplyAddBytes(d, a, b0, b1);
#endif
}

#if SN_HOPPER

// The reverse of loadMatrix4. sm_90.
__device__ __forceinline__ void storeMatrix4(void *row, const uint32_t (&registers)[4]) {
#if defined(__CUDACC__)
  auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(registers[0]),
               "r"(registers[1]), "r"(registers[2]), "r"(registers[3])
               : "memory");
#else
  emulation::storeMatrix<4, false>(row, registers);
#endif
}

// The reverse of loadMatrix4Transposed. sm_90.
__device__ __forceinline__ void storeMatrix4Transposed(void *row, const uint32_t (&registers)[4]) {
#if defined(__CUDACC__)
  auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
               "r"(registers[0]), "r"(registers[1]), "r"(registers[2]), "r"(registers[3])
               : "memory");
#else
  emulation::storeMatrix<4, true>(row, registers);
#endif
}

// The reverse of loadMatrix2. sm_90.
__device__ __forceinline__ void storeMatrix2(void *row, const uint32_t (&registers)[2]) {
#if defined(__CUDACC__)
  auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("stmatrix.sync.aligned.m8n8.x2.shared.b16 [%0], {%1, %2};" ::"r"(address), "r"(registers[0]),
               "r"(registers[1])
               : "memory");
#else
  emulation::storeMatrix<2, false>(row, registers);
#endif
}

#endif

}  // namespace sn::cuda
