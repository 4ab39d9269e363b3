// packed.cu: weights that no longer change, packed for products with them (sn_weight_format), and rows of them again.
#include "common/packed_layout.h"
#include "cuda/device.h"
#include "cuda/operations.h"
#include "cuda/ptx/convert.h"
#include "cuda/ptx/grid.h"
#include "cuda/vector.h"

namespace sn::cuda {

namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
constexpr int kOutputs = static_cast<int>(kPanel), kDepth = static_cast<int>(kUnit);

__device__ __forceinline__ int laneOf() { return static_cast<int>(threadIdx.x) % kWarp; }
__device__ __forceinline__ int64_t warpOfGrid() {
  return static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
}

// ---- packing -------------------------------------------------------------------------------------------------------

// Numbers of a unit; one more an output than needed, so that neighbouring outputs lie in different banks.
using UnitNumbers = float[kOutputs][kDepth + 1];

// Of eight bits: what the largest magnitude needs, rounded to the next bf16 that is not smaller, so that no quotient
// passes the range.
__device__ __forceinline__ bf16 eightBitScale(const float *w) {
  float most = 0;
  for (int i = 0; i < kBlock; ++i) most = fmaxf(most, fabsf(w[i]));
  float scale = most / 127;
  auto near = fromFloat<bf16>(scale);
  return toFloat(near) < scale ? __ushort_as_bfloat16(static_cast<unsigned short>(__bfloat16_as_ushort(near) + 1))
                               : near;
}

__device__ __forceinline__ float wholeNumber(float w, float scale, float least, float most) {
  return scale == 0 ? 0 : fminf(fmaxf(rintf(w / scale), least), most);
}

// Of four bits: that of the least squared error, of some about those that use the whole range. It has either sign, as
// there is one number more below zero than above.
__device__ __forceinline__ bf16 fourBitScale(const float *w) {
  float most = 0;
  for (int i = 0; i < kBlock; ++i) most = fabsf(w[i]) > fabsf(most) ? w[i] : most;
  auto best = fromFloat<bf16>(0);
  float least = INFINITY;
  for (int step = -6; step <= 14; ++step) {
    auto held = fromFloat<bf16>(most / fmaf(0.15f, static_cast<float>(step), -8.0f));
    float scale = toFloat(held), error = 0;
    if (scale == 0) continue;
    for (int i = 0; i < kBlock; ++i) {
      float off = (w[i] - wholeNumber(w[i], scale, -8, 7) * scale) / most;  // its square is finite at any size
      error = fmaf(off, off, error);
    }
    if (error < least) {
      least = error;
      best = held;
    }
  }
  return best;
}

// Four numbers, `zero` above what they are, side by side.
__device__ __forceinline__ uint32_t fourBytes(const float *w, float scale, float least, float most, int zero) {
  uint32_t word = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    word |= static_cast<uint32_t>(__float2int_rn(wholeNumber(w[i], scale, least, most)) + zero) << 8 * i;
  }
  return word;
}

// One unit from its numbers, by a warp.
__device__ __forceinline__ void packUnit(sn_weight_format format, const UnitNumbers &w, unsigned char *unit) {
  if (format == SN_WEIGHT_F32) {
    auto *to = reinterpret_cast<float *>(unit);
    for (int i = laneOf(); i < kDepth * kOutputs; i += kWarp) to[i] = w[i % kOutputs][i / kOutputs];
    return;
  }
  if (format == SN_WEIGHT_BF16) {
    auto *to = reinterpret_cast<uint32_t *>(unit);
    for (int i = laneOf(); i < kDepth / 2 * kOutputs; i += kWarp) {
      const float *pair = w[i % kOutputs] + i / kOutputs * 2;
      to[i] = packBf16(pair[0], pair[1]);
    }
    return;
  }
  // A lane has a block of an output.
  int o = laneOf() % kOutputs, b = laneOf() / kOutputs;
  const float *from = w[o] + b * kBlock;
  bf16 held = format == SN_WEIGHT_Q8 ? eightBitScale(from) : fourBitScale(from);
  float scale = toFloat(held);
  reinterpret_cast<bf16 *>(unit)[b * kOutputs + o] = held;
  auto *words = reinterpret_cast<uint32_t *>(unit + PackedLayout::scaleBytes());
  if (format == SN_WEIGHT_Q8) {
    for (int g = 0; g < 8; ++g) words[(b * 8 + g) * kOutputs + o] = fourBytes(from + 4 * g, scale, -127, 127, 128);
  } else {
    for (int g = 0; g < 4; ++g) {
      uint32_t low = fourBytes(from + 8 * g, scale, -8, 7, 8), high = fourBytes(from + 8 * g + 4, scale, -8, 7, 8);
      words[(b * 4 + g) * kOutputs + o] = low | high << 4;
    }
  }
}

template <typename T>
struct Packing {
  PackedLayout layout;
  const T *weights;
  int64_t inStride, outStride;  // from one number along `in`, or output, to the next
  unsigned char *packed;
  Fault *fault;
};

// A warp a unit.
template <typename T>
__global__ void __launch_bounds__(kThreads) packUnits(Packing<T> a) {
  SN_SHARED(UnitNumbers, numbers, kWarps);
  int64_t unit = warpOfGrid(), panel = unit / a.layout.units();
  if (panel >= a.layout.panels()) return;
  auto &w = numbers[threadIdx.x / kWarp];
  int64_t firstRow = unit % a.layout.units() * kUnit, firstColumn = panel * kPanel;
  // Lanes follow what lies side by side.
  bool outputsInner = a.outStride == 1;
  for (int i = laneOf(); i < kDepth * kOutputs; i += kWarp) {
    int k = outputsInner ? i / kOutputs : i % kDepth, o = outputsInner ? i % kOutputs : i / kDepth;
    int64_t row = firstRow + k, column = firstColumn + o;
    float x = 0;
    if (row < a.layout.in && column < a.layout.out) x = toFloat(a.weights[row * a.inStride + column * a.outStride]);
    w[o][k] = x;
    float held = a.layout.format == SN_WEIGHT_BF16 ? toFloat(fromFloat<bf16>(x)) : x;
    if (!(fabsf(held) < INFINITY)) a.fault->note(Fault::kWeight, 0, row, 0, column);
  }
  __syncwarp();
  packUnit(a.layout.format, w, a.packed + unit * a.layout.unitBytes());
}

// ---- rows ----------------------------------------------------------------------------------------------------------

// Numbers k to k + 8 of an output of a panel; k is a multiple of 8.
__device__ __forceinline__ void unpackEight(const PackedLayout &layout, const unsigned char *panel, int o, int64_t k,
                                            float (&x)[8]) {
  const unsigned char *unit = panel + k / kUnit * layout.unitBytes();
  auto *words = reinterpret_cast<const uint32_t *>(unit) + o;
  int within = static_cast<int>(k % kUnit);
  if (layout.format == SN_WEIGHT_F32) {
#pragma unroll
    for (int i = 0; i < 8; ++i) x[i] = __uint_as_float(words[(within + i) * kOutputs]);
    return;
  }
  if (layout.format == SN_WEIGHT_BF16) {
#pragma unroll
    for (int i = 0; i < 8; i += 2) {
      uint32_t pair = words[(within + i) / 2 * kOutputs];
      x[i] = __uint_as_float(pair << 16);
      x[i + 1] = __uint_as_float(pair & 0xffff0000u);
    }
    return;
  }
  float scale = toFloat(reinterpret_cast<const bf16 *>(unit)[within / kBlock * kOutputs + o]);
  words += PackedLayout::scaleBytes() / 4;
  if (layout.format == SN_WEIGHT_Q8) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      uint32_t four = words[(within / 4 + i / 4) * kOutputs];
      x[i] = scale * static_cast<float>(static_cast<int>(four >> 8 * (i % 4) & 255) - 128);
    }
  } else {
    uint32_t eight = words[within / 8 * kOutputs];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      x[i] = scale * static_cast<float>(static_cast<int>(eight >> (8 * (i % 4) + i / 4 * 4) & 15) - 8);
    }
  }
}

// A warp a row, eight numbers a lane.
template <typename T>
__global__ void __launch_bounds__(kThreads) unpackRows(PackedLayout layout, int64_t count, const int32_t *indices,
                                                       const unsigned char *packed, T *rows, Fault *fault) {
  int64_t i = warpOfGrid();
  if (i >= count) return;
  int64_t index = indices[i];
  bool known = index >= 0 && index < layout.out;
  if (!known && index != -1 && laneOf() == 0) fault->note(Fault::kPackedRow, indices[i], i, layout.out);
  const unsigned char *panel = packed + (known ? index / kPanel * layout.panelBytes() : 0);
  for (int64_t k = 8 * laneOf(); k < layout.in; k += 8 * kWarp) {
    float x[8] = {};
    if (known) unpackEight(layout, panel, static_cast<int>(index % kPanel), k, x);
    storeElements(rows + i * layout.in + k, layout.in - k, x);
  }
}

template <typename T>
struct Embedding {
  int64_t places, length, positions;
  float scale;
  const int32_t *tokens, *offsets;
  const unsigned char *packed;
  const T *positionTable;
  T *out;
  Fault *fault;
};

// As embedding_forward, of a packed table: a warp a place.
template <typename T>
__global__ void __launch_bounds__(kThreads) embedPacked(PackedLayout layout, Embedding<T> a) {
  releaseNextGrid();
  waitForPriorGrid();
  int64_t place = warpOfGrid();
  if (place >= a.places) return;
  int32_t token = a.tokens[place];
  int64_t position = place % a.length + (a.offsets == nullptr ? 0 : a.offsets[place / a.length]);
  bool tokenKnown = token >= 0 && token < layout.out;
  bool positionKnown = a.positionTable == nullptr || (position >= 0 && position < a.positions);
  if (laneOf() == 0 && !tokenKnown) a.fault->note(Fault::kToken, token, place, layout.out);
  if (laneOf() == 0 && !positionKnown) {
    a.fault->note(Fault::kPosition, static_cast<int32_t>(position), place, a.positions);
  }
  bool known = tokenKnown && positionKnown;
  const unsigned char *panel = a.packed + (known ? token / kPanel * layout.panelBytes() : 0);
  for (int64_t k = 8 * laneOf(); k < layout.in; k += 8 * kWarp) {
    Packed<T, 8> shift{};
    float x[8] = {}, y[8];
    if (known && a.positionTable != nullptr) {
      shift = loadPacked<8>(a.positionTable + position * layout.in + k, layout.in - k);
    }
    if (known) unpackEight(layout, panel, static_cast<int>(token % kPanel), k, x);
    shift.unpack(y);
#pragma unroll
    for (int j = 0; j < 8; ++j) x[j] = fmaf(x[j], a.scale, y[j]);
    storeElements(a.out + place * layout.in + k, layout.in - k, x);
  }
}

dim3 blocksOf(int64_t warps) { return dim3(static_cast<unsigned>((warps + kWarps - 1) / kWarps)); }

}  // namespace

sn_status pack(sn_stream *stream, sn_weight_format format, sn_dtype dtype, int64_t in, int64_t out, int32_t out_by_in,
               const void *weights, void *packed) {
  PackedLayout layout(format, in, out);
  return withType(dtype, [&](auto t) {
    using T = decltype(t);
    Packing<T> work{layout,
                    static_cast<const T *>(weights),
                    out_by_in ? 1 : out,
                    out_by_in ? in : 1,
                    static_cast<unsigned char *>(packed),
                    faultOf(stream)};
    return check(
        launch(packUnits<T>, blocksOf(layout.panels() * layout.units()), dim3(kThreads), 0, handleOf(stream), work),
        "pack");
  });
}

sn_status packed_rows(sn_stream *stream, sn_weight_format format, sn_dtype dtype, int64_t in, int64_t out,
                      int64_t count, const int32_t *indices, const void *packed, void *rows) {
  return withType(dtype, [&](auto t) {
    using T = decltype(t);
    return check(
        launch(unpackRows<T>, blocksOf(count), dim3(kThreads), 0, handleOf(stream), PackedLayout(format, in, out),
               count, indices, static_cast<const unsigned char *>(packed), static_cast<T *>(rows), faultOf(stream)),
        "packed_rows");
  });
}

sn_status packed_embedding(sn_stream *stream, sn_weight_format format, sn_dtype dtype, int64_t batch, int64_t length,
                           int64_t width, int64_t vocabulary, int64_t positions, float scale, const int32_t *tokens,
                           const int32_t *offsets, const void *packed, const void *position_table, void *out) {
  return withType(dtype, [&](auto t) {
    using T = decltype(t);
    Embedding<T> work{batch * length,
                      length,
                      positions,
                      scale,
                      tokens,
                      offsets,
                      static_cast<const unsigned char *>(packed),
                      static_cast<const T *>(position_table),
                      static_cast<T *>(out),
                      faultOf(stream)};
    return check(launchInStep(stream, embedPacked<T>, blocksOf(work.places), dim3(kThreads), 0,
                              PackedLayout(format, width, vocabulary), work),
                 "packed_embedding");
  });
}

}  // namespace sn::cuda
