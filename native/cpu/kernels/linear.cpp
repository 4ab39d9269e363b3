// linear.cpp: products with packed weights.
//
// All threads first hold x, normalised where that is asked for, as the format wants it (linear_formats.h), in the
// workspace. Then each takes panels of its
// own, in the order of memory: a block of some panels and as much of `in` as the first cache holds meets all rows, a
// tile of them at a time, before the next block; while it does, the next one is asked for. So weights are read from
// memory once and without a pause for up to kMostRows rows, be it one or many. Sums of a tile stay in registers for a
// whole block, and wait in the thread's scratch for the next.
#include <type_traits>

#include "cpu/kernels/gemm.h"
#include "cpu/kernels/layer_norm.h"
#include "cpu/kernels/linear_formats.h"
#include "cpu/kernels/operations.h"

namespace sn::cpu::SN_ISA {

namespace {

constexpr int64_t kMostRows = 1024;     // that meet a block before the next one
constexpr int64_t kBlockBytes = 32768;  // of weights

// f(integral constant n), 1 <= n <= Most.
template <int Most, typename F>
inline void withCount(int64_t n, F &&f) {
  if constexpr (Most > 1) {
    if (n < Most) return withCount<Most - 1>(n, f);
  }
  f(std::integral_constant<int, Most>{});
}

template <typename F>
inline void withFormat(sn_weight_format format, F &&f) {
  switch (format) {
    case SN_WEIGHT_F32:
      return f(HeldWords<SingleWord>{});
    case SN_WEIGHT_BF16:
      return f(HeldWords<PairWord>{});
    case SN_WEIGHT_Q8:
      return f(HeldBlocks<SN_WEIGHT_Q8>{});
    case SN_WEIGHT_Q4:
      return f(HeldBlocks<SN_WEIGHT_Q4>{});
  }
}

// Rows of x in the workspace: not of a power of two, where lines of all rows would share a place in the cache.
template <typename Held>
int64_t heldStride(int64_t units) {
  return (Held::rowBytes(units) + 63) / 64 * 64 + 64;
}

// sums [Rows][Panels * 16], whose rows have `stride`, = x w over some units, or += where they are not the first.
template <typename Held, int Rows, int Panels>
void multiplyTile(Operands o, int64_t units, bool first, float *sums, int64_t stride) {
  Sums<Rows, Panels> total;
  auto each = [&](auto &&f) {
    for (int i = 0; i < Rows; ++i) {
      for (int p = 0; p < Panels; ++p) {
        for (int v = 0; v < kAcross; ++v) f(total.of[i][p][v], sums + i * stride + p * kPanel + v * kLanes);
      }
    }
  };
  each([&](Vec &sum, const float *from) { sum = first ? Vec{} : load(from); });
  for (int64_t u = 0; u < units; ++u) {
    Held::addUnit(o, total);
    o.x += Held::rowBytes(1);
    o.weights += Held::kUnitBytes;
    o.ahead += Held::kUnitBytes;
  }
  each([&](const Vec &sum, float *to) { store(to, sum); });
}

template <typename Held, typename T, typename C>
struct Product {
  const sn_linear_shape &s;
  const PackedLayout layout;
  const unsigned char *x, *packed;
  C *y;
  const T *bias, *aux;

  static constexpr int64_t kPanels = Held::kPanels, kColumns = kPanels * kPanel;

  int64_t groups() const { return (layout.panels() + kPanels - 1) / kPanels; }

  // The groups of panels from `begin` to `end`.
  void run(int64_t begin, int64_t end, float *sums) const {
    for (int64_t row = 0; row < s.rows; row += kMostRows) {
      int64_t rows = s.rows - row < kMostRows ? s.rows - row : kMostRows;
      for (int64_t group = begin; group < end; ++group) {
        int64_t panel = group * kPanels;
        if (layout.panels() - panel >= kPanels) {
          multiplyPanels<kPanels>(panel, row, rows, sums);
        } else {
          for (; panel < layout.panels(); ++panel) multiplyPanels<1>(panel, row, rows, sums);
        }
      }
    }
  }

 private:
  template <int Panels>
  void multiplyPanels(int64_t panel, int64_t row, int64_t rows, float *sums) const {
    constexpr int64_t kDepth = kBlockBytes / (kPanels * Held::kUnitBytes);  // units of a block, at most
    const int64_t units = layout.units(), blocks = (units + kDepth - 1) / kDepth, stride = heldStride<Held>(units);
    const int64_t tiles = (rows + Held::kRows - 1) / Held::kRows;
    const unsigned char *weights = packed + panel * layout.panelBytes();
    for (int64_t block = 0; block < blocks; ++block) {
      int64_t u = units * block / blocks, end = units * (block + 1) / blocks;
      bool first = block == 0, last = end == units;
      const unsigned char *ahead = weights + (last ? Panels * layout.panelBytes() : end * Held::kUnitBytes);
      for (int64_t tile = 0; tile < tiles; ++tile) {
        int64_t from = rows * tile / tiles, count = rows * (tile + 1) / tiles - from;
        float *own = sums + (blocks > 1 ? from * kColumns : 0);
        int64_t asked = Panels * tile / tiles;  // each tile asks for some of the panels
        Operands operands{x + (row + from) * stride + u * Held::rowBytes(1),
                          stride,
                          weights + u * Held::kUnitBytes,
                          layout.panelBytes(),
                          ahead + asked * layout.panelBytes(),
                          Panels * (tile + 1) / tiles - asked};
        withCount<Held::kRows>(count, [&](auto n) {
          multiplyTile<Held, decltype(n)::value, Panels>(operands, end - u, first, own, kColumns);
        });
        if (last) finish(row + from, count, panel * kPanel, Panels * kPanel, own);
      }
    }
  }

  void finish(int64_t row, int64_t rows, int64_t column, int64_t columns, const float *sums) const {
    sn_gemm_shape finished{};
    finished.c_stride = s.y_stride;
    finished.epilogue = s.epilogue;
    finished.activation = s.activation;
    int64_t at = row * s.y_stride + column, count = s.out - column < columns ? s.out - column : columns;
    bool residual = s.epilogue == SN_EPILOGUE_BIAS_RESIDUAL;  // no other reads aux, and none writes it
    finishBlock(finished, sums, kColumns, rows, count, y + at, bias == nullptr ? nullptr : bias + column,
                residual ? const_cast<T *>(aux) + at : nullptr);
  }
};

// Row `i` of x as the norm leaves it.
template <typename T>
const T *normalized(const sn_row_norm &norm, const T *row, int64_t i, int64_t width) {
  T *out = static_cast<T *>(norm.out) + i * width;
  normalize(
      width, norm.epsilon, static_cast<const T *>(norm.gain), static_cast<const T *>(norm.bias),
      [&](int64_t j, int64_t n) { return loadUpTo(row + j, n); }, out);
  return out;
}

}  // namespace

sn_status linear_workspace(const sn_device *, const sn_linear_shape *shape, int64_t *bytes) {
  withFormat(shape->format, [&](auto held) {
    *bytes = shape->rows * heldStride<decltype(held)>(PackedLayout(shape->format, shape->in, shape->out).units());
  });
  return SN_OK;
}

sn_status linear(sn_stream *stream, const sn_linear_shape *shape, const sn_row_norm *norm, const void *x,
                 const void *packed, void *y, const void *bias, const void *aux, void *workspace) {
  const auto &s = *shape;
  PackedLayout layout(s.format, s.in, s.out);
  ThreadPool &pool = poolOf(stream);
  auto *rows = static_cast<unsigned char *>(workspace);
  withFormat(s.format, [&](auto held) {
    using Held = decltype(held);
    withType(s.dtype, [&](auto t) {
      using T = decltype(t);
      parallelRange(pool, s.rows, rowsPerPart(s.in), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const T *row = static_cast<const T *>(x) + i * s.x_stride;
          if (norm != nullptr) row = normalized(*norm, row, i, s.in);
          Held::prepare(row, s.in, rows + i * heldStride<Held>(layout.units()));
        }
      });
      withType(s.y_dtype, [&](auto c) {
        using C = decltype(c);
        Product<Held, T, C> product{s,
                                    layout,
                                    rows,
                                    static_cast<const unsigned char *>(packed),
                                    static_cast<C *>(y),
                                    static_cast<const T *>(bias),
                                    static_cast<const T *>(aux)};
        // Some parts for each thread, as none of them may be kept from its core for long.
        int64_t groups = product.groups(), parts = 4 * pool.threads() < groups ? 4 * pool.threads() : groups;
        parallel(pool, parts, [&](int64_t part, int32_t worker) {
          product.run(groups * part / parts, groups * (part + 1) / parts,
                      static_cast<float *>(deviceOf(stream).scratch(worker)));
        });
      });
    });
  });
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
