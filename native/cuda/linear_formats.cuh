// linear_formats.cuh: how a warp reads packed weights and rows of x, and multiplies them: a struct for each format.
//
// A step is so many numbers along `in`: 16 outputs of weights, eight rows of x. On the tensor cores the outputs are an
// instruction's rows, the rows of x its columns. Which number along `in` comes where in an instruction is free as long
// as both sides agree; so what a lane loads, a few numbers of two neighbouring outputs, are its registers as they are.
// In 8 and 4 bits an instruction's depth is a block: its sum is exact, and is scaled and added in fp32. fp32 has no
// such instructions: there lanes share `in`, four outputs and eight rows each.
#pragma once

#include "common/packed_layout.h"
#include "cuda/ptx/convert.h"
#include "cuda/ptx/matrix.h"
#include "cuda/vector.h"

namespace sn::cuda {

constexpr int kRows = 8;  // of x in a tile
constexpr int kOutputs = static_cast<int>(kPanel);

// A lane has the outputs 2 group and the one after it of a panel, and row `group` of a tile of x; of sums its columns
// are the rows 2 place and the one after it.
__device__ __forceinline__ int laneOf() { return static_cast<int>(threadIdx.x) % kWarp; }
__device__ __forceinline__ int groupOf() { return laneOf() / 4; }
__device__ __forceinline__ int placeOf() { return laneOf() % 4; }

using Four = Vector<float>;

// Stores a lane's sums of a tile, as the tensor cores leave them, to [kRows][stride]; adds them where `more`.
__device__ __forceinline__ void putTile(const float (&sums)[4], float *tile, int stride, bool more) {
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    auto *to = reinterpret_cast<float2 *>(tile + (2 * placeOf() + j) * stride + 2 * groupOf());
    float2 before = more ? *to : float2{0, 0};
    *to = more ? float2{before.x + sums[j], before.y + sums[2 + j]} : float2{sums[j], sums[2 + j]};
  }
}

// On CUDA cores: lane 4 s + q has four numbers along `in`, from 4 s on, of the outputs 4 q to 4 q + 3.
struct Floats {
  static constexpr sn_weight_format kFormat = SN_WEIGHT_F32;
  static constexpr int kDepth = 32;  // of a step
  static constexpr int kBytes = kDepth * kOutputs * 4;
  static constexpr int kAhead = 1;  // steps whose weights a warp loads at once
  static constexpr int kSums = kRows * 4;

  struct Weights {
    float4 four[4];
  };
  struct Numbers {
    Four four[kRows];
  };
  using Fragments = Numbers;

  static __device__ __forceinline__ Weights load(const unsigned char *step) {
    Weights w;
    auto *from = reinterpret_cast<const float4 *>(step) + 16 * groupOf() + placeOf();
#pragma unroll
    for (int i = 0; i < 4; ++i) w.four[i] = __ldcg(from + 4 * i);
    return w;
  }

  // four(row, place): four numbers of a row of the tile.
  template <typename F>
  static __device__ __forceinline__ Numbers numbers(F &&four) {
    Numbers x;
#pragma unroll
    for (int row = 0; row < kRows; ++row) x.four[row] = four(row, 4 * groupOf());
    return x;
  }

  static __device__ __forceinline__ Fragments fragments(const Numbers &x) { return x; }

  static __device__ __forceinline__ void multiply(const Weights &w, const Fragments &x, float (&sums)[kSums]) {
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float number = x.four[row].element[i];
        float *sum = sums + 4 * row;
        sum[0] = fmaf(number, w.four[i].x, sum[0]);
        sum[1] = fmaf(number, w.four[i].y, sum[1]);
        sum[2] = fmaf(number, w.four[i].z, sum[2]);
        sum[3] = fmaf(number, w.four[i].w, sum[3]);
      }
    }
  }

  static __device__ __forceinline__ void put(float (&sums)[kSums], float *tile, int stride, bool more) {
    int row = spreadSums<kWarp / 2, 4, kSums>(sums) / 4;
    auto *to = reinterpret_cast<float4 *>(tile + row * stride + 4 * placeOf());
    float4 before = more ? *to : float4{0, 0, 0, 0};
    *to = more ? float4{before.x + sums[0], before.y + sums[1], before.z + sums[2], before.w + sums[3]}
               : float4{sums[0], sums[1], sums[2], sums[3]};
  }
};

struct Halves {
  static constexpr sn_weight_format kFormat = SN_WEIGHT_BF16;
  static constexpr int kDepth = 64;
  static constexpr int kBytes = kDepth * kOutputs * 2;
  static constexpr int kAhead = 2;
  static constexpr int kSums = 4;
  static constexpr int kProducts = kDepth / 16;  // instructions
  static constexpr int kPreparedBytes = kDepth * kRows * 2;

  // Of each instruction two pairs along `in`, of two outputs.
  struct Weights {
    uint2 pairs[kProducts][2];
  };
  struct Numbers {
    Four four[kProducts];
  };
  struct Fragments {
    uint32_t pair[kProducts][2];
  };

  static __device__ __forceinline__ Weights load(const unsigned char *step) {
    Weights w;
    auto *from = reinterpret_cast<const uint2 *>(step) + 16 * placeOf() + groupOf();
#pragma unroll
    for (int i = 0; i < kProducts; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) w.pairs[i][half] = __ldcg(from + 64 * i + 8 * half);
    }
    return w;
  }

  template <typename F>
  static __device__ __forceinline__ Numbers numbers(F &&four) {
    Numbers x;
#pragma unroll
    for (int i = 0; i < kProducts; ++i) x.four[i] = four(groupOf(), 16 * i + 4 * placeOf());
    return x;
  }

  static __device__ __forceinline__ Fragments fragments(const Numbers &x) {
    Fragments fragments;
#pragma unroll
    for (int i = 0; i < kProducts; ++i) {
      const auto &four = x.four[i].element;
      fragments.pair[i][0] = packBf16(four[0], four[1]);
      fragments.pair[i][1] = packBf16(four[2], four[3]);
    }
    return fragments;
  }

  static __device__ __forceinline__ void write(const Fragments &x, unsigned char *step) {
#pragma unroll
    for (int i = 0; i < kProducts; i += 2) {
      reinterpret_cast<uint4 *>(step)[16 * i + laneOf()] =
          make_uint4(x.pair[i][0], x.pair[i][1], x.pair[i + 1][0], x.pair[i + 1][1]);
    }
  }

  static __device__ __forceinline__ Fragments read(const unsigned char *step) {
    Fragments x;
#pragma unroll
    for (int i = 0; i < kProducts; i += 2) {
      auto four = reinterpret_cast<const uint4 *>(step)[16 * i + laneOf()];
      x.pair[i][0] = four.x;
      x.pair[i][1] = four.y;
      x.pair[i + 1][0] = four.z;
      x.pair[i + 1][1] = four.w;
    }
    return x;
  }

  static __device__ __forceinline__ void multiply(const Weights &w, const Fragments &x, float (&sums)[kSums]) {
#pragma unroll
    for (int i = 0; i < kProducts; ++i) {
      uint32_t outputs[4] = {w.pairs[i][0].x, w.pairs[i][0].y, w.pairs[i][1].x, w.pairs[i][1].y};
      multiplyAdd(sums, outputs, x.pair[i][0], x.pair[i][1]);
    }
  }

  static __device__ __forceinline__ void put(float (&sums)[kSums], float *tile, int stride, bool more) {
    putTile(sums, tile, stride, more);
  }
};

// Added to a number below 2^22 it leaves it, rounded to a whole one, in the low bits: and in whole numbers, added to
// its bits, the same. So neither x nor the sums need conversions, of which a GPU makes few at a time.
constexpr float kWhole = 12582912;  // 1.5 * 2^23
constexpr int32_t kWholeBits = 0x4b400000;

// What 8 and 4 bits share.
template <typename Format>
struct Blocks {
  static constexpr int kDepth = 64;
  static constexpr int kBlocks = kDepth / static_cast<int>(kBlock);
  static constexpr int kSums = 4;
  static constexpr int kPreparedBytes = kDepth * kRows + kBlocks * kRows * 4;

  struct Numbers {
    Four four[kBlocks][2];
  };
  struct Fragments {
    uint32_t bytes[kBlocks][2];
    float2 scale[kBlocks];  // of the two rows whose sums the lane has
  };

  template <typename F>
  static __device__ __forceinline__ Numbers numbers(F &&four) {
    Numbers x;
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        x.four[b][half] = four(groupOf(), static_cast<int>(kBlock) * b + Format::placeOfFour(half));
      }
    }
    return x;
  }

  // Four lanes have a row's blocks.
  static __device__ __forceinline__ Fragments fragments(const Numbers &x) {
    Fragments fragments;
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      // The largest magnitude by its bits: a NaN then stays.
      uint32_t bits = 0;
#pragma unroll
      for (const Four &four : x.four[b]) {
#pragma unroll
        for (float number : four.element) bits = max(bits, __float_as_uint(number) & 0x7fffffffu);
      }
#pragma unroll
      for (int distance = 1; distance < 4; distance *= 2) {
        bits = max(bits, __shfl_xor_sync(kAllLanes, bits, distance));
      }
      float most = __uint_as_float(bits), inverse = most > 0 ? 127 / most : 0.0f, scale = most / 127;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        uint32_t word = 0;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          float whole = fmaf(x.four[b][half].element[i], inverse, kWhole);
          word |= (__float_as_uint(whole) & 0xffu) << 8 * i;
        }
        fragments.bytes[b][half] = word;
      }
      fragments.scale[b] = {__shfl_sync(kAllLanes, scale, 8 * placeOf()),
                            __shfl_sync(kAllLanes, scale, 8 * placeOf() + 4)};
    }
    return fragments;
  }

  // Bytes of all lanes, then scales.
  static __device__ __forceinline__ void write(const Fragments &x, unsigned char *step) {
    reinterpret_cast<uint4 *>(step)[laneOf()] = make_uint4(x.bytes[0][0], x.bytes[0][1], x.bytes[1][0], x.bytes[1][1]);
    if (groupOf() > 0) return;
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) scalesOf(step)[b * kRows / 2 + placeOf()] = x.scale[b];
  }

  static __device__ __forceinline__ Fragments read(const unsigned char *step) {
    auto four = reinterpret_cast<const uint4 *>(step)[laneOf()];
    Fragments x{{{four.x, four.y}, {four.z, four.w}}, {}};
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) x.scale[b] = scalesOf(step)[b * kRows / 2 + placeOf()];
    return x;
  }

  // The scales of two outputs, a bf16 each.
  template <typename Weights>
  static __device__ __forceinline__ void loadScales(const unsigned char *step, Weights *w) {
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      w->scales[b] = __ldcg(reinterpret_cast<const uint32_t *>(step) + b * kOutputs / 2 + groupOf());
    }
  }

  template <typename Weights>
  static __device__ __forceinline__ void multiply(const Weights &w, const Fragments &x, float (&sums)[kSums]) {
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      uint32_t outputs[4];
      Format::bytes(w, b, outputs);
      int32_t whole[4] = {kWholeBits, kWholeBits, kWholeBits, kWholeBits};
      multiplyAddBytes(whole, outputs, x.bytes[b][0], x.bytes[b][1]);
      float first = __uint_as_float(w.scales[b] << 16) * Format::kShare;
      float second = __uint_as_float(w.scales[b] & 0xffff0000u) * Format::kShare;
      sums[0] = fmaf(__int_as_float(whole[0]) - kWhole, first * x.scale[b].x, sums[0]);
      sums[1] = fmaf(__int_as_float(whole[1]) - kWhole, first * x.scale[b].y, sums[1]);
      sums[2] = fmaf(__int_as_float(whole[2]) - kWhole, second * x.scale[b].x, sums[2]);
      sums[3] = fmaf(__int_as_float(whole[3]) - kWhole, second * x.scale[b].y, sums[3]);
    }
  }

  static __device__ __forceinline__ void put(float (&sums)[kSums], float *tile, int stride, bool more) {
    putTile(sums, tile, stride, more);
  }

 private:
  static __device__ __forceinline__ float2 *scalesOf(unsigned char *step) {
    return reinterpret_cast<float2 *>(step + kDepth * kRows);
  }
  static __device__ __forceinline__ const float2 *scalesOf(const unsigned char *step) {
    return reinterpret_cast<const float2 *>(step + kDepth * kRows);
  }
};

struct EightBits : Blocks<EightBits> {
  static constexpr sn_weight_format kFormat = SN_WEIGHT_Q8;
  static constexpr int kBytes = static_cast<int>(PackedLayout::scaleBytes()) + kDepth * kOutputs;
  static constexpr int kAhead = 3;
  static constexpr float kShare = 1;

  struct Weights {
    uint2 four[kBlocks][2];
    uint32_t scales[kBlocks];
  };

  // Where along a block a lane's fours begin.
  static __device__ __forceinline__ int placeOfFour(int half) { return 16 * half + 4 * placeOf(); }

  static __device__ __forceinline__ Weights load(const unsigned char *step) {
    Weights w;
    auto *from = reinterpret_cast<const uint2 *>(step + PackedLayout::scaleBytes()) + 8 * placeOf() + groupOf();
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
      for (int half = 0; half < 2; ++half) w.four[b][half] = __ldcg(from + 64 * b + 32 * half);
    }
    loadScales(step, &w);
    return w;
  }

  // byte - 128, as a signed byte.
  static __device__ __forceinline__ void bytes(const Weights &w, int b, uint32_t (&outputs)[4]) {
    constexpr uint32_t kSigns = 0x80808080u;
    outputs[0] = w.four[b][0].x ^ kSigns;
    outputs[1] = w.four[b][0].y ^ kSigns;
    outputs[2] = w.four[b][1].x ^ kSigns;
    outputs[3] = w.four[b][1].y ^ kSigns;
  }
};

struct FourBits : Blocks<FourBits> {
  static constexpr sn_weight_format kFormat = SN_WEIGHT_Q4;
  static constexpr int kBytes = static_cast<int>(PackedLayout::scaleBytes()) + kDepth * kOutputs / 2;
  static constexpr int kAhead = 4;
  static constexpr float kShare = 1.0f / 16;

  struct Weights {
    uint2 eight[kBlocks];
    uint32_t scales[kBlocks];
  };

  static __device__ __forceinline__ int placeOfFour(int half) { return 8 * placeOf() + 4 * half; }

  static __device__ __forceinline__ Weights load(const unsigned char *step) {
    Weights w;
    auto *from = reinterpret_cast<const uint2 *>(step + PackedLayout::scaleBytes()) + 8 * placeOf() + groupOf();
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) w.eight[b] = __ldcg(from + 32 * b);
    loadScales(step, &w);
    return w;
  }

  // 16 (half - 8), as a signed byte: halves become upper halves, whose highest bit is then the sign's.
  static __device__ __forceinline__ void bytes(const Weights &w, int b, uint32_t (&outputs)[4]) {
    constexpr uint32_t kUpper = 0xf0f0f0f0u, kSigns = 0x80808080u;
    outputs[0] = (w.eight[b].x << 4 & kUpper) ^ kSigns;
    outputs[1] = (w.eight[b].y << 4 & kUpper) ^ kSigns;
    outputs[2] = (w.eight[b].x & kUpper) ^ kSigns;
    outputs[3] = (w.eight[b].y & kUpper) ^ kSigns;
  }
};

}  // namespace sn::cuda
