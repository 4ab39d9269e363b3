// packed.cpp: weights that no longer change, packed for products with them (sn_weight_format), and rows of them again.
#include <atomic>
#include <cmath>

#include "common/packed_layout.h"
#include "common/status.h"
#include "cpu/kernels/operations.h"
#include "cpu/kernels/rows.h"

namespace sn::cpu::SN_ISA {

namespace {

// To the next bf16 that is not smaller in magnitude, so that no quotient passes the range.
bf16 roundedUp(float x) {
  bf16 near = fromFloat<bf16>(x);
  if (toFloat(near) < x) ++near.bits;
  return near;
}

struct Block {
  bf16 scale;
  int32_t numbers[kBlock];  // from -127 to 127, or from -8 to 7
};

Block toEightBits(const float *w) {
  Block block{};
  float most = 0;
  for (int64_t i = 0; i < kBlock; ++i) most = std::fabs(w[i]) > most ? std::fabs(w[i]) : most;
  block.scale = roundedUp(most / 127);
  float scale = toFloat(block.scale);
  for (int64_t i = 0; i < kBlock; ++i) {
    block.numbers[i] = scale == 0 ? 0 : static_cast<int32_t>(std::nearbyint(w[i] / scale));
  }
  return block;
}

// The scale whose block has the least squared error, of some about those that use the whole range: of either sign, as
// there is one number more below zero than above.
Block toFourBits(const float *w) {
  float most = 0;
  for (int64_t i = 0; i < kBlock; ++i) most = std::fabs(w[i]) > std::fabs(most) ? w[i] : most;
  Block best{};
  if (most == 0) return best;
  float least = INFINITY;
  for (int step = -6; step <= 14; ++step) {
    Block block{};
    block.scale = fromFloat<bf16>(most / (-8.0f + 0.15f * static_cast<float>(step)));
    float scale = toFloat(block.scale), error = 0;
    if (scale == 0) continue;
    for (int64_t i = 0; i < kBlock; ++i) {
      float number = std::nearbyint(w[i] / scale);
      number = number < -8 ? -8 : number > 7 ? 7 : number;
      block.numbers[i] = static_cast<int32_t>(number);
      float off = (w[i] - number * scale) / most;  // of weights of any size the square is finite
      error += off * off;
    }
    if (error < least) {
      least = error;
      best = block;
    }
  }
  return best;
}

// One unit of a panel from numbers [16 outputs][64].
void packUnit(sn_weight_format format, const float (*w)[kUnit], unsigned char *unit) {
  if (format == SN_WEIGHT_F32) {
    auto *to = reinterpret_cast<float *>(unit);
    for (int64_t k = 0; k < kUnit; ++k) {
      for (int64_t o = 0; o < kPanel; ++o) to[k * kPanel + o] = w[o][k];
    }
    return;
  }
  if (format == SN_WEIGHT_BF16) {
    auto *to = reinterpret_cast<bf16 *>(unit);
    for (int64_t k = 0; k < kUnit; ++k) {
      for (int64_t o = 0; o < kPanel; ++o) to[k / 2 * 2 * kPanel + 2 * o + k % 2] = fromFloat<bf16>(w[o][k]);
    }
    return;
  }
  auto *scales = reinterpret_cast<bf16 *>(unit);
  unsigned char *bytes = unit + PackedLayout::scaleBytes();
  for (int64_t b = 0; b < kUnit / kBlock; ++b) {
    for (int64_t o = 0; o < kPanel; ++o) {
      const float *from = w[o] + b * kBlock;
      Block block = format == SN_WEIGHT_Q8 ? toEightBits(from) : toFourBits(from);
      scales[b * kPanel + o] = block.scale;
      for (int64_t i = 0; i < kBlock; ++i) {
        int64_t group = i / 4;
        if (format == SN_WEIGHT_Q8) {
          bytes[((b * 8 + group) * kPanel + o) * 4 + i % 4] = static_cast<unsigned char>(block.numbers[i] + 128);
        } else {
          unsigned char &byte = bytes[((b * 4 + group / 2) * kPanel + o) * 4 + i % 4];
          auto half = static_cast<unsigned>(block.numbers[i] + 8);
          byte = static_cast<unsigned char>(group % 2 == 0 ? half : byte | half << 4);
        }
      }
    }
  }
}

// Number k of an output of a panel.
float weightAt(const PackedLayout &layout, const unsigned char *panel, int64_t o, int64_t k) {
  const unsigned char *unit = panel + k / kUnit * layout.unitBytes();
  k %= kUnit;
  if (layout.format == SN_WEIGHT_F32) return reinterpret_cast<const float *>(unit)[k * kPanel + o];
  auto *halves = reinterpret_cast<const bf16 *>(unit);
  if (layout.format == SN_WEIGHT_BF16) return toFloat(halves[k / 2 * 2 * kPanel + 2 * o + k % 2]);
  int64_t b = k / kBlock, group = k % kBlock / 4;
  float scale = toFloat(halves[b * kPanel + o]);
  const unsigned char *bytes = unit + PackedLayout::scaleBytes();
  if (layout.format == SN_WEIGHT_Q8) {
    return scale * static_cast<float>(bytes[((b * 8 + group) * kPanel + o) * 4 + k % 4] - 128);
  }
  int byte = bytes[((b * 4 + group / 2) * kPanel + o) * 4 + k % 4];
  return scale * static_cast<float>((group % 2 == 0 ? byte & 15 : byte >> 4) - 8);
}

}  // namespace

sn_status pack(sn_stream *stream, sn_weight_format format, sn_dtype dtype, int64_t in, int64_t out, int32_t out_by_in,
               const void *weights, void *packed) {
  PackedLayout layout(format, in, out);
  std::atomic<bool> finite{true};
  withType(dtype, [&](auto t) {
    auto *from = static_cast<const decltype(t) *>(weights);
    parallel(poolOf(stream), layout.panels(), [&](int64_t panel, int32_t) {
      float numbers[kPanel][kUnit];
      for (int64_t u = 0; u < layout.units(); ++u) {
        bool sound = true;
        for (int64_t o = 0; o < kPanel; ++o) {
          for (int64_t k = 0; k < kUnit; ++k) {
            int64_t row = u * kUnit + k, column = panel * kPanel + o;
            bool there = row < in && column < out;
            numbers[o][k] = there ? toFloat(from[out_by_in ? column * in + row : row * out + column]) : 0.0f;
            sound &= std::isfinite(format == SN_WEIGHT_BF16 ? toFloat(fromFloat<bf16>(numbers[o][k])) : numbers[o][k]);
          }
        }
        if (!sound) finite.store(false, std::memory_order_relaxed);
        packUnit(format, numbers,
                 static_cast<unsigned char *>(packed) + panel * layout.panelBytes() + u * layout.unitBytes());
      }
    });
  });
  return finite.load()
             ? SN_OK
             : fail(SN_BAD_ARGUMENT, "pack: a weight is not finite%s", format == SN_WEIGHT_BF16 ? " in bf16" : "");
}

sn_status packed_rows(sn_stream *stream, sn_weight_format format, sn_dtype dtype, int64_t in, int64_t out,
                      int64_t count, const int32_t *indices, const void *packed, void *rows) {
  PackedLayout layout(format, in, out);
  std::atomic<int64_t> bad{-1};
  withType(dtype, [&](auto t) {
    using T = decltype(t);
    parallelRange(poolOf(stream), count, rowsPerPart(in), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        int64_t index = indices[i];
        bool known = index >= 0 && index < out;
        if (!known && index != -1) bad.store(i, std::memory_order_relaxed);
        auto *panel = static_cast<const unsigned char *>(packed) + index / kPanel * layout.panelBytes();
        auto *row = static_cast<T *>(rows) + i * in;
        for (int64_t k = 0; k < in; ++k) row[k] = fromFloat<T>(known ? weightAt(layout, panel, index % kPanel, k) : 0);
      }
    });
  });
  int64_t at = bad.load();
  if (at < 0) return SN_OK;
  return fail(SN_BAD_ARGUMENT, "packed_rows: index %d at place %lld; there are %lld rows", indices[at],
              static_cast<long long>(at), static_cast<long long>(out));
}

}  // namespace sn::cpu::SN_ISA
