// linear.cpp: products with packed weights.
#include <cmath>

#include "common/packed_layout.h"
#include "cpu/kernels/gemm.h"
#include "cpu/kernels/operations.h"

namespace sn::cpu::SN_ISA {

namespace {

// Rows of x as the weights want them: rounded to bf16, or in blocks of whole numbers with a scale behind each row.
template <typename T>
void prepare(sn_weight_format format, const T *x, int64_t in, int64_t padded, float *numbers, float *scales) {
  for (int64_t k = 0; k < padded; ++k) numbers[k] = k < in ? toFloat(x[k]) : 0.0f;
  if (format == SN_WEIGHT_BF16) {
    for (int64_t k = 0; k < in; ++k) numbers[k] = toFloat(fromFloat<bf16>(numbers[k]));
  }
  if (format != SN_WEIGHT_Q8 && format != SN_WEIGHT_Q4) return;
  for (int64_t b = 0; b < padded / kBlock; ++b) {
    float *block = numbers + b * kBlock, most = 0;
    for (int64_t i = 0; i < kBlock; ++i) most = std::fabs(block[i]) > most ? std::fabs(block[i]) : most;
    scales[b] = most / 127;
    float inverse = most < 1e-36f ? 0 : 127 / most;  // below, it would not be finite, and the product is nothing
    for (int64_t i = 0; i < kBlock; ++i) block[i] = std::nearbyint(block[i] * inverse);
  }
}

// sums[16] = the outputs of a panel.
void multiply(const PackedLayout &layout, const unsigned char *panel, const float *x, const float *scales,
              float *sums) {
  float total[kPanel] = {};
  for (int64_t u = 0; u < layout.units(); ++u) {
    const unsigned char *unit = panel + u * layout.unitBytes();
    const float *from = x + u * kUnit;
    auto *floats = reinterpret_cast<const float *>(unit);
    auto *halves = reinterpret_cast<const bf16 *>(unit);
    if (layout.format == SN_WEIGHT_F32) {
      for (int64_t k = 0; k < kUnit; ++k) {
        for (int64_t o = 0; o < kPanel; ++o) total[o] += from[k] * floats[k * kPanel + o];
      }
    } else if (layout.format == SN_WEIGHT_BF16) {
      for (int64_t k = 0; k < kUnit; ++k) {
        for (int64_t o = 0; o < kPanel; ++o) {
          total[o] += from[k] * toFloat(halves[k / 2 * 2 * kPanel + 2 * o + k % 2]);
        }
      }
    } else {
      const unsigned char *bytes = unit + PackedLayout::scaleBytes();
      for (int64_t b = 0; b < kUnit / kBlock; ++b) {
        float dots[kPanel] = {};
        for (int64_t i = 0; i < kBlock; ++i) {
          int64_t group = i / 4;
          for (int64_t o = 0; o < kPanel; ++o) {
            int w = layout.format == SN_WEIGHT_Q8
                        ? bytes[((b * 8 + group) * kPanel + o) * 4 + i % 4] - 128
                        : (bytes[((b * 4 + group / 2) * kPanel + o) * 4 + i % 4] >> (group % 2 * 4) & 15) - 8;
            dots[o] += from[b * kBlock + i] * static_cast<float>(w);  // whole numbers below 2^24: exact
          }
        }
        for (int64_t o = 0; o < kPanel; ++o) {
          total[o] += dots[o] * (toFloat(halves[b * kPanel + o]) * scales[u * 2 + b]);
        }
      }
    }
  }
  for (int64_t o = 0; o < kPanel; ++o) sums[o] = total[o];
}

int64_t rowFloats(const PackedLayout &layout) { return layout.units() * (kUnit + kUnit / kBlock); }

}  // namespace

sn_status linear_workspace(const sn_device *, const sn_linear_shape *shape, int64_t *bytes) {
  *bytes = shape->rows * rowFloats({shape->format, shape->in, shape->out}) * static_cast<int64_t>(sizeof(float));
  return SN_OK;
}

sn_status linear(sn_stream *stream, const sn_linear_shape *shape, const void *x, const void *packed, void *y,
                 const void *bias, const void *aux, void *workspace) {
  const auto &s = *shape;
  PackedLayout layout(s.format, s.in, s.out);
  auto *prepared = static_cast<float *>(workspace);
  int64_t padded = layout.units() * kUnit;
  sn_gemm_shape finished{};
  finished.c_stride = s.y_stride;
  finished.epilogue = s.epilogue;
  finished.activation = s.activation;
  withType(s.dtype, [&](auto t) {
    using T = decltype(t);
    parallelRange(poolOf(stream), s.rows, rowsPerPart(padded), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        float *numbers = prepared + i * rowFloats(layout);
        prepare(s.format, static_cast<const T *>(x) + i * s.x_stride, s.in, padded, numbers, numbers + padded);
      }
    });
    withType(s.y_dtype, [&](auto c) {
      using C = decltype(c);
      parallel(poolOf(stream), layout.panels(), [&](int64_t panel, int32_t) {
        int64_t first = panel * kPanel, count = s.out - first < kPanel ? s.out - first : kPanel;
        for (int64_t i = 0; i < s.rows; ++i) {
          float sums[kPanel];
          const float *numbers = prepared + i * rowFloats(layout);
          multiply(layout, static_cast<const unsigned char *>(packed) + panel * layout.panelBytes(), numbers,
                   numbers + padded, sums);
          int64_t at = i * s.y_stride + first;
          auto *residual = static_cast<const T *>(s.epilogue == SN_EPILOGUE_BIAS_RESIDUAL ? aux : nullptr);
          finishBlock(finished, sums, kPanel, 1, count, static_cast<C *>(y) + at,
                      bias == nullptr ? nullptr : static_cast<const T *>(bias) + first,
                      residual == nullptr ? nullptr : const_cast<T *>(residual) + at);
        }
      });
    });
  });
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
