// linear_formats.h: how each format of packed weights (sn_weight_format) meets x: how a row of x is held for it, and
// what a unit of its panels, 64 numbers along `in`, adds to sums.
//
// A lane is an output, and its sum takes what is added in the order of `in`, whatever the number of rows and panels
// that a kernel takes at once: a row has the same bits in any company. A class of this file has
//   kRows, kPanels      the most rows and panels whose sums the registers hold
//   rowBytes(units)     of a row of x
//   prepare(x, in, row) holds a row of x, zeros behind it up to a whole unit
//   addUnit(..)         sums += a unit of some rows of x times that of some panels
#pragma once

#include <cstddef>

#include "common/packed_layout.h"
#include "cpu/kernels/rows.h"

namespace sn::cpu::SN_ISA {

constexpr int kAcross = kPanel / kLanes;  // vectors of a panel

template <int Rows, int Panels>
struct Sums {
  Vec of[Rows][Panels][kAcross];
};

// The operands of a kernel, at their place along `in`. Of the weights that come later, `ahead`, in the same distances,
// memory is asked for those of as many panels as `asked`, line by line, as those here are read.
struct Operands {
  const unsigned char *x;
  int64_t xStride;
  const unsigned char *weights;
  int64_t panelBytes;
  const unsigned char *ahead;
  int64_t asked;
};

template <int Panels>
inline void askFor(const Operands &o, int64_t line) {
  const unsigned char *at = o.ahead + line;
  if (o.asked == Panels) {
#pragma GCC unroll 4
    for (int p = 0; p < Panels; ++p) __builtin_prefetch(at + p * o.panelBytes);
  } else {
#pragma GCC unroll 1
    for (int64_t i = 0; i < o.asked; ++i, at += o.panelBytes) __builtin_prefetch(at);
  }
}

inline IntVec loadInts(const void *p) {
  IntVec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <typename T>
inline T read(const unsigned char *p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

// ---- words: fp32 numbers, or pairs of bf16 --------------------------------------------------------------------------

// A step is 16 words of a panel, one an output.

struct SingleWord {
  static constexpr int kSteps = kUnit, kHeldBytes = 4;  // of a unit; of x for one step

  template <typename T>
  static void hold(const T *x, int64_t count, unsigned char *to) {
    store(reinterpret_cast<float *>(to), loadUpTo(x, count));
  }

  static Vec multiply(const unsigned char *x, Vec words, Vec sum) { return fma(broadcast(read<float>(x)), words, sum); }
};

#if defined(__AVX512BF16__)
struct PairWord {
  static constexpr int kSteps = kUnit / 2, kHeldBytes = 4;

  template <typename T>
  static void hold(const T *x, int64_t count, unsigned char *to) {
    store(reinterpret_cast<bf16 *>(to), loadUpTo(x, count));
  }

  static Vec multiply(const unsigned char *x, Vec words, Vec sum) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(broadcast(read<float>(x))),
                            reinterpret_cast<__m512bh>(words));
  }
};
#else
// Without an instruction for pairs their numbers are widened, one after the other.
struct PairWord {
  static constexpr int kSteps = kUnit / 2, kHeldBytes = 8;

  template <typename T>
  static void hold(const T *x, int64_t count, unsigned char *to) {
    bf16 rounded[kLanes];
    store(rounded, loadUpTo(x, count));
    store(reinterpret_cast<float *>(to), load(rounded));
  }

  static Vec multiply(const unsigned char *x, Vec words, Vec sum) {
    auto bits = reinterpret_cast<WordVec>(words);
    sum = fma(broadcast(read<float>(x)), reinterpret_cast<Vec>(bits << 16), sum);
    return fma(broadcast(read<float>(x + 4)), reinterpret_cast<Vec>(bits & 0xffff0000u), sum);
  }
};
#endif

template <typename Word>
struct HeldWords {
#if defined(__AVX512F__)
  static constexpr int kRows = 6, kPanels = 4;
#elif defined(__AVX2__)
  static constexpr int kRows = 6, kPanels = 1;
#else
  static constexpr int kRows = 2, kPanels = 1;
#endif
  static constexpr int64_t kUnitBytes = Word::kSteps * kPanel * 4, kHeldUnit = Word::kSteps * Word::kHeldBytes;

  static int64_t rowBytes(int64_t units) { return units * kHeldUnit; }

  template <typename T>
  static void prepare(const T *x, int64_t in, unsigned char *row) {
    constexpr int64_t kVector = kLanes * kHeldUnit / kUnit;
    int64_t k = 0;
    for (; k < in; k += kLanes, row += kVector) Word::hold(x + k, in - k, row);
    std::memset(row, 0, static_cast<size_t>(((in + kUnit - 1) / kUnit * kUnit - k) * kHeldUnit / kUnit));
  }

  template <int Rows, int Panels>
  static void addUnit(const Operands &o, Sums<Rows, Panels> &sums) {
#pragma GCC unroll 2
    for (int64_t step = 0; step < Word::kSteps; ++step) {
      Vec words[Panels][kAcross];
      const int64_t line = step * kPanel * 4;
      askFor<Panels>(o, line);
#pragma GCC unroll 4
      for (int p = 0; p < Panels; ++p) {
#pragma GCC unroll 4
        for (int v = 0; v < kAcross; ++v) {
          words[p][v] = load(reinterpret_cast<const float *>(o.weights + p * o.panelBytes + line) + v * kLanes);
        }
      }
#pragma GCC unroll 8
      for (int i = 0; i < Rows; ++i) {
        const unsigned char *x = o.x + i * o.xStride + step * Word::kHeldBytes;
#pragma GCC unroll 4
        for (int p = 0; p < Panels; ++p) {
#pragma GCC unroll 4
          for (int v = 0; v < kAcross; ++v) sums.of[i][p][v] = Word::multiply(x, words[p][v], sums.of[i][p][v]);
        }
      }
    }
  }
};

// ---- blocks: whole numbers of 8 or 4 bits, with a scale a block -----------------------------------------------------

inline Vec toFloats(IntVec v) { return __builtin_convertvector(v, Vec); }

// In every lane f of all lanes: the largest, or the sum.
template <int Half = kLanes / 2, typename F>
inline IntVec acrossLanes(IntVec v, F &&f) {
  IntVec other;
  for (int i = 0; i < kLanes; ++i) other[i] = i ^ Half;
  v = f(v, __builtin_shuffle(v, other));
  if constexpr (Half > 1) return acrossLanes<Half / 2>(v, f);
  return v;
}

typedef int8_t ByteVec __attribute__((vector_size(kLanes)));
typedef int16_t ShortVec __attribute__((vector_size(2 * kLanes)));

template <typename Narrow>
inline void storeAs(void *to, IntVec v) {
  auto narrow = __builtin_convertvector(v, Narrow);
  std::memcpy(to, &narrow, sizeof narrow);
}

// How 4 bytes of weights meet 4 numbers of x. Bytes are not negative: what that adds, an offset for each number of x,
// is in the sum from the start.
//   Number       of x, as it is held by hold(numbers, to)
//   Dots         sums of products, one an output
//   add(bytes of 16 outputs, 4 numbers of x, dots), between begin(start) and end(dots, start)

#if defined(__AVX512VNNI__)

template <int Most>
struct Dot {
  using Number = int8_t;
  using Dots = IntVec;

  static void hold(IntVec numbers, Number *to) { storeAs<ByteVec>(to, numbers); }
  static Dots begin(int32_t start) { return Dots{} + start; }
  static Dots add(IntVec bytes, const unsigned char *x, Dots dots) {
    return reinterpret_cast<IntVec>(_mm512_dpbusd_epi32(
        reinterpret_cast<__m512i>(dots), reinterpret_cast<__m512i>(bytes), _mm512_set1_epi32(read<int32_t>(x))));
  }
  static Vec end(Dots dots, int32_t) { return toFloats(dots); }
};

#elif defined(__AVX2__)

#if defined(__AVX512F__)
inline IntVec multiplyShorts(IntVec a, IntVec b) {
  return reinterpret_cast<IntVec>(_mm512_madd_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}
inline IntVec multiplyBytes(IntVec a, IntVec b) {
  return reinterpret_cast<IntVec>(_mm512_maddubs_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}
inline IntVec addShorts(IntVec a, IntVec b) {
  return reinterpret_cast<IntVec>(_mm512_add_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}
#else
inline IntVec multiplyShorts(IntVec a, IntVec b) {
  return reinterpret_cast<IntVec>(_mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
}
inline IntVec multiplyBytes(IntVec a, IntVec b) {
  return reinterpret_cast<IntVec>(_mm256_maddubs_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
}
inline IntVec addShorts(IntVec a, IntVec b) {
  return reinterpret_cast<IntVec>(_mm256_add_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
}
#endif

// Two products of bytes do not fit 16 bits: even and odd numbers apart, as numbers of 16 bits.
template <int Most>
struct Dot {
  using Number = int16_t;
  using Dots = IntVec;

  static void hold(IntVec numbers, Number *to) {
    IntVec order;
    for (int i = 0; i < kLanes; ++i) order[i] = i / 4 * 4 + i % 2 * 2 + i % 4 / 2;
    storeAs<ShortVec>(to, __builtin_shuffle(numbers, order));
  }
  static Dots begin(int32_t start) { return Dots{} + start; }
  static Dots add(IntVec bytes, const unsigned char *x, Dots dots) {
    dots += multiplyShorts(bytes & 0x00ff00ff, IntVec{} + read<int32_t>(x));
    return dots + multiplyShorts(bytes >> 8 & 0x00ff00ff, IntVec{} + read<int32_t>(x + 4));
  }
  static Vec end(Dots dots, int32_t) { return toFloats(dots); }
};

// Of bytes up to 15 they do, and so do all sixteen of a block that meet in the same 16 bits: 16 * 15 * 127 < 2^15.
template <>
struct Dot<15> {
  using Number = int8_t;
  using Dots = IntVec;

  static void hold(IntVec numbers, Number *to) { storeAs<ByteVec>(to, numbers); }
  static Dots begin(int32_t) { return Dots{}; }
  static Dots add(IntVec bytes, const unsigned char *x, Dots dots) {
    return addShorts(dots, multiplyBytes(bytes, IntVec{} + read<int32_t>(x)));
  }
  static Vec end(Dots dots, int32_t start) { return toFloats(multiplyShorts(dots, IntVec{} + 0x00010001) + start); }
};

#else

// On plain vectors; whole numbers below 2^24 are exact in fp32.
template <int Most>
struct Dot {
  using Number = float;
  using Dots = Vec;

  static void hold(IntVec numbers, Number *to) { storeAs<Vec>(to, numbers); }
  static Dots begin(int32_t start) { return broadcast(static_cast<float>(start)); }
  static Dots add(IntVec bytes, const unsigned char *x, Dots dots) {
    for (int i = 0; i < 4; ++i) dots += toFloats(bytes >> (8 * i) & 255) * read<float>(x + 4 * i);
    return dots;
  }
  static Vec end(Dots dots, int32_t) { return dots; }
};

#endif

template <sn_weight_format format>
struct HeldBlocks {
#if defined(__AVX512F__)
  static constexpr int kRows = 6, kPanels = 2;
#elif defined(__AVX2__)
  static constexpr int kRows = 2, kPanels = 1;
#else
  static constexpr int kRows = 1, kPanels = 1;
#endif
  static constexpr bool kHalves = format == SN_WEIGHT_Q4;
  static constexpr int kBytes = kHalves ? 16 : 32;  // of an output's block
  static constexpr int32_t kOffset = kHalves ? 8 : 128;
  static constexpr int64_t kUnitBytes = PackedLayout::scaleBytes() + 2 * kBytes * kPanel;

  using Multiply = Dot<kHalves ? 15 : 255>;
  using Number = typename Multiply::Number;

  // A block of x.
  struct Block {
    Number numbers[kBlock];
    float scale;
    int32_t start;
  };

  static int64_t rowBytes(int64_t units) { return units * 2 * static_cast<int64_t>(sizeof(Block)); }

  template <typename T>
  static void prepare(const T *x, int64_t in, unsigned char *row) {
    int64_t blocks = (in + kUnit - 1) / kUnit * 2;
    for (int64_t b = 0; b < blocks; ++b, row += sizeof(Block)) {
      auto *block = reinterpret_cast<Block *>(row);
      if (b * kBlock < in) {
        hold(x + b * kBlock, in - b * kBlock, block);
      } else {
        *block = {};
      }
    }
  }

  template <int Rows, int Panels>
  static void addUnit(const Operands &o, Sums<Rows, Panels> &sums) {
#pragma GCC unroll 2
    for (int b = 0; b < 2; ++b) {
      const unsigned char *x = o.x + b * sizeof(Block);
      if (b == 0) askFor<Panels>(o, 0);
      typename Multiply::Dots dots[Rows][Panels][kAcross];
#pragma GCC unroll 8
      for (int i = 0; i < Rows; ++i) {
        auto start = Multiply::begin(startOf(x + i * o.xStride));
#pragma GCC unroll 4
        for (int p = 0; p < Panels; ++p) {
#pragma GCC unroll 4
          for (int v = 0; v < kAcross; ++v) dots[i][p][v] = start;
        }
      }
#pragma GCC unroll 8
      for (int step = 0; step < kBytes / 4; ++step) addStep(o, b, step, dots);
#pragma GCC unroll 4
      for (int p = 0; p < Panels; ++p) {
#pragma GCC unroll 4
        for (int v = 0; v < kAcross; ++v) {
          auto *scales = reinterpret_cast<const bf16 *>(o.weights + p * o.panelBytes);
          Vec scale = load(scales + b * kPanel + v * kLanes);
#pragma GCC unroll 8
          for (int i = 0; i < Rows; ++i) {
            const unsigned char *row = x + i * o.xStride;
            Vec dot = Multiply::end(dots[i][p][v], startOf(row));
            sums.of[i][p][v] = fma(dot, scale * broadcast(scaleOf(row)), sums.of[i][p][v]);
          }
        }
      }
    }
  }

 private:
  static float scaleOf(const unsigned char *block) { return read<float>(block + offsetof(Block, scale)); }
  static int32_t startOf(const unsigned char *block) { return read<int32_t>(block + offsetof(Block, start)); }

  template <int Rows, int Panels>
  static void addStep(const Operands &o, int b, int step, typename Multiply::Dots (&dots)[Rows][Panels][kAcross]) {
    constexpr int64_t kGroup = 4 * sizeof(Number);
    IntVec bytes[Panels][kAcross];
    const int64_t line = PackedLayout::scaleBytes() + (b * kBytes / 4 + step) * 64;
    askFor<Panels>(o, line);
#pragma GCC unroll 4
    for (int p = 0; p < Panels; ++p) {
#pragma GCC unroll 4
      for (int v = 0; v < kAcross; ++v) {
        bytes[p][v] = loadInts(o.weights + p * o.panelBytes + line + v * kLanes * 4);
      }
    }
    const unsigned char *x = o.x + b * sizeof(Block);
    if constexpr (kHalves) {
      addGroup(
          x + 2 * step * kGroup, o.xStride, bytes, [](IntVec both) { return both & 0x0f0f0f0f; }, dots);
      addGroup(
          x + (2 * step + 1) * kGroup, o.xStride, bytes, [](IntVec both) { return both >> 4 & 0x0f0f0f0f; }, dots);
    } else {
      addGroup(
          x + step * kGroup, o.xStride, bytes, [](IntVec whole) { return whole; }, dots);
    }
  }

  template <int Rows, int Panels, typename F>
  static void addGroup(const unsigned char *x, int64_t xStride, const IntVec (&bytes)[Panels][kAcross], F &&part,
                       typename Multiply::Dots (&dots)[Rows][Panels][kAcross]) {
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
      for (int p = 0; p < Panels; ++p) {
#pragma GCC unroll 4
        for (int v = 0; v < kAcross; ++v) {
          dots[i][p][v] = Multiply::add(part(bytes[p][v]), x + i * xStride, dots[i][p][v]);
        }
      }
    }
  }

  // Magnitudes are compared by their bits, where NaN is above infinity: a block that is not finite has no finite scale,
  // and its row no finite sum.
  template <typename T>
  static void hold(const T *x, int64_t count, Block *block) {
    constexpr int kVectors = kBlock / kLanes;
    Vec v[kVectors];
    IntVec most{};
    for (int j = 0; j < kVectors; ++j) {
      v[j] = count > j * kLanes ? loadUpTo(x + j * kLanes, count - j * kLanes) : Vec{};
      IntVec bits = reinterpret_cast<IntVec>(absolute(v[j]));
      most = bits > most ? bits : most;
    }
    most = acrossLanes(most, [](IntVec a, IntVec b) { return a > b ? a : b; });
    float largest = reinterpret_cast<Vec>(most)[0];
    block->scale = largest / 127;
    // Below this its inverse would not be finite, and no product would show.
    bool counts = largest >= 1e-36f && largest <= 3.40282347e38f;
    float inverse = counts ? 127 / largest : 0.0f;
    const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number in the low bits
    IntVec sum{}, kept = IntVec{} - counts;
    for (int j = 0; j < kVectors; ++j) {
      Vec shifted = v[j] * inverse + magic;
      IntVec rounded = (reinterpret_cast<IntVec>(shifted) - reinterpret_cast<IntVec>(broadcast(magic))) & kept;
      sum += rounded;
      Multiply::hold(rounded, block->numbers + j * kLanes);
    }
    sum = acrossLanes(sum, [](IntVec a, IntVec b) { return a + b; });
    block->start = -kOffset * sum[0];
  }
};

}  // namespace sn::cpu::SN_ISA
