// block_product.h: small products of fp32 blocks that lie in the first caches: what attention is made of.
#pragma once

#include "cpu/kernels/rows.h"

namespace sn::cpu::SN_ISA {

// out[Rows][Vectors] (+)= a b. Element (i, k) of a is a[i * aRow + k * aDepth]: it is broadcast, so any order will do.
template <int Rows, int Vectors>
inline void blockProduct(const float *a, int64_t aRow, int64_t aDepth, const float *b, int64_t bStride, int64_t depth,
                         bool first, float *out, int64_t outStride) {
  Vec sums[Rows][Vectors];
  for (int i = 0; i < Rows; ++i) {
    for (int j = 0; j < Vectors; ++j) sums[i][j] = first ? Vec{} : load(out + i * outStride + j * kLanes);
  }
  for (int64_t k = 0; k < depth; ++k) {
    Vec right[Vectors];
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) right[j] = load(b + k * bStride + j * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      Vec left = broadcast(a[i * aRow + k * aDepth]);
#pragma GCC unroll 4
      for (int j = 0; j < Vectors; ++j) sums[i][j] = fma(left, right[j], sums[i][j]);
    }
  }
  for (int i = 0; i < Rows; ++i) {
    for (int j = 0; j < Vectors; ++j) store(out + i * outStride + j * kLanes, sums[i][j]);
  }
}

template <int Vectors>
inline void productRows(const float *a, int64_t aRow, int64_t aDepth, int64_t rows, const float *b, int64_t bStride,
                        int64_t depth, bool first, float *out, int64_t outStride) {
  constexpr int kTogether = Vectors >= 4 ? 4 : kLanes == 16 ? 8 : 4;
  int64_t i = 0;
  for (; i + kTogether <= rows; i += kTogether) {
    blockProduct<kTogether, Vectors>(a + i * aRow, aRow, aDepth, b, bStride, depth, first, out + i * outStride,
                                     outStride);
  }
  for (; i < rows; ++i) {
    blockProduct<1, Vectors>(a + i * aRow, aRow, aDepth, b, bStride, depth, first, out + i * outStride, outStride);
  }
}

// out[rows][columns] (+)= a b, where `columns` is a multiple of kLanes and b has rows of bStride.
inline void product(const float *a, int64_t aRow, int64_t aDepth, int64_t rows, const float *b, int64_t bStride,
                    int64_t columns, int64_t depth, bool first, float *out, int64_t outStride) {
  constexpr int kMost = kLanes == 16 ? 4 : kLanes == 8 ? 3 : 2;
  int64_t vectors = columns / kLanes;
  while (vectors > 0) {
    int64_t now = vectors < kMost ? vectors : kMost;
    switch (now) {
      case 1:
        productRows<1>(a, aRow, aDepth, rows, b, bStride, depth, first, out, outStride);
        break;
      case 2:
        productRows<2>(a, aRow, aDepth, rows, b, bStride, depth, first, out, outStride);
        break;
      case 3:
        productRows<3>(a, aRow, aDepth, rows, b, bStride, depth, first, out, outStride);
        break;
      default:
        productRows<kMost>(a, aRow, aDepth, rows, b, bStride, depth, first, out, outStride);
    }
    vectors -= now;
    b += now * kLanes;
    out += now * kLanes;
  }
}

// Copies rows of `width` elements, widened to fp32 and multiplied by `factor`, into rows of `padded`, zeros behind.
template <typename T>
inline void copyRows(const T *source, int64_t stride, int64_t rows, int64_t width, int64_t padded, float factor,
                     float *out) {
  for (int64_t i = 0; i < rows; ++i) {
    const T *row = source + i * stride;
    float *target = out + i * padded;
    forVectors(width, [&](int64_t j, int64_t n) { store(target + j, loadUpTo(row + j, n) * factor); });
  }
}

// Turns [rows][width] (both padded to kLanes) into [width][rows].
inline void transposeRows(const float *source, int64_t rows, int64_t width, float *out) {
  for (int64_t i = 0; i < rows; i += kLanes) {
    for (int64_t j = 0; j < width; j += kLanes) {
      Vec block[kLanes];
      for (int r = 0; r < kLanes; ++r) block[r] = load(source + (i + r) * width + j);
      transpose(block);
      for (int r = 0; r < kLanes; ++r) store(out + (j + r) * rows + i, block[r]);
    }
  }
}

}  // namespace sn::cpu::SN_ISA
