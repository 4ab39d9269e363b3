// packed.cpp: weights that no longer change, packed for products with them (sn_weight_format), and rows of them again.
#include <atomic>
#include <cmath>

#include "common/packed_layout.h"
#include "common/status.h"
#include "cpu/kernels/operations.h"
#include "cpu/kernels/rows.h"

namespace sn::cpu::SN_ISA {

namespace {

// A lane is an output: a vector of words is what lies together of a panel, kAcross of them.
constexpr int kAcross = kPanel / kLanes;

typedef Vec Numbers[kUnit][kAcross];  // of a unit of a panel

// Those of outputs from `column` on and of `in` from k on, zeros past the ends.
template <typename T>
void readUnit(const T *weights, int64_t in, int64_t out, bool outByIn, int64_t k, int64_t column, Numbers &numbers) {
  for (int v = 0; v < kAcross; ++v, column += kLanes) {
    int64_t columns = out - column, rows = in - k;
    if (!outByIn) {
      for (int64_t i = 0; i < kUnit; ++i) {
        bool there = i < rows && columns > 0;
        numbers[i][v] = there ? loadUpTo(weights + (k + i) * out + column, columns) : Vec{};
      }
      continue;
    }
    for (int64_t first = 0; first < kUnit; first += kLanes) {
      Vec block[kLanes];
      for (int64_t i = 0; i < kLanes; ++i) {
        bool there = i < columns && first < rows;
        block[i] = there ? loadUpTo(weights + (column + i) * in + k + first, rows - first) : Vec{};
      }
      transpose(block);
      for (int64_t i = 0; i < kLanes; ++i) numbers[first + i][v] = block[i];
    }
  }
}

inline IntVec magnitude(Vec v) { return reinterpret_cast<IntVec>(absolute(v)); }

// Whether the format can hold them all: magnitudes are compared by their bits.
bool within(sn_weight_format format, const Numbers &numbers) {
  IntVec most{};
  for (const auto &row : numbers) {
    for (Vec v : row) most = magnitude(v) > most ? magnitude(v) : most;
  }
  const int32_t limit = format == SN_WEIGHT_BF16 ? 0x7f7f8000 : 0x7f800000;  // what rounds to infinity, or is it
  for (int i = 0; i < kLanes; ++i) {
    if (most[i] >= limit) return false;
  }
  return true;
}

// The bits of the bf16 numbers that are nearest, even ones where two are.
inline WordVec narrowed(Vec v) {
  auto bits = reinterpret_cast<WordVec>(v);
  return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

inline Vec widened(WordVec bits) { return reinterpret_cast<Vec>(bits << 16); }

// To whole numbers, |v| below 2^22: 1.5 * 2^23 leaves no room for more.
inline Vec rounded(Vec v) { return v + 12582912.0f - 12582912.0f; }

inline WordVec toWords(Vec v) { return reinterpret_cast<WordVec>(__builtin_convertvector(v, IntVec)); }

inline Vec orOne(Vec v) { return v == 0.0f ? broadcast(1.0f) : v; }

// A block of each of kLanes outputs: the scale as bf16, and numbers from -127 to 127, or from -8 to 7.
struct Blocks {
  WordVec scale;
  Vec numbers[kBlock];
};

Blocks toEightBits(const Vec (*w)[kAcross], int v) {
  IntVec most{};
  for (int64_t i = 0; i < kBlock; ++i) most = magnitude(w[i][v]) > most ? magnitude(w[i][v]) : most;
  Blocks blocks;
  // Not smaller in magnitude, so that no quotient passes the range.
  blocks.scale = (reinterpret_cast<WordVec>(reinterpret_cast<Vec>(most) / 127.0f) + 0xffffu) >> 16;
  Vec scale = orOne(widened(blocks.scale));
  for (int64_t i = 0; i < kBlock; ++i) blocks.numbers[i] = rounded(w[i][v] / scale);
  return blocks;
}

inline Vec toFourBits(Vec v) { return minimum(maximum(rounded(v), broadcast(-8.0f)), broadcast(7.0f)); }

// The scale whose block has the least squared error, of some about those that use the whole range: of either sign, as
// there is one number more below zero than above. Everything is in units of the largest, so that no square overflows.
Blocks toFourBits(const Vec (*w)[kAcross], int v) {
  Vec most{};
  for (int64_t i = 0; i < kBlock; ++i) most = absolute(w[i][v]) > absolute(most) ? w[i][v] : most;
  Vec unit = orOne(most), shares[kBlock], least = broadcast(INFINITY), best{};
  for (int64_t i = 0; i < kBlock; ++i) shares[i] = w[i][v] / unit;
  Blocks blocks{};
  for (int step = -6; step <= 14; ++step) {
    WordVec candidate = narrowed(most / (-8.0f + 0.15f * static_cast<float>(step)));
    Vec scale = widened(candidate) / unit, inverse = 1.0f / orOne(scale), error{};
    for (Vec share : shares) {
      Vec off = fma(-toFourBits(share * inverse), scale, share);
      error = fma(off, off, error);
    }
    auto better = error < least;
    least = better ? error : least;
    best = better ? inverse : best;
    blocks.scale = better ? candidate : blocks.scale;
  }
  blocks.scale = most == 0.0f ? WordVec{} : blocks.scale;  // of nothing the quotient is -0
  for (int64_t i = 0; i < kBlock; ++i) blocks.numbers[i] = toFourBits(shares[i] * best);
  return blocks;
}

void storeWords(unsigned char *to, WordVec words) { std::memcpy(to, &words, sizeof words); }

void packBlocks(sn_weight_format format, const Vec (*w)[kAcross], int v, unsigned char *scales, unsigned char *bytes) {
  constexpr int64_t kLine = kPanel * 4;
  bool halves = format == SN_WEIGHT_Q4;
  Blocks blocks = halves ? toFourBits(w, v) : toEightBits(w, v);
  auto scale = __builtin_convertvector(blocks.scale, HalfVec);
  std::memcpy(scales + v * kLanes * 2, &scale, sizeof scale);
  const Vec *numbers = blocks.numbers;
  for (unsigned char *to = bytes + v * kLanes * 4; numbers < blocks.numbers + kBlock; to += kLine) {
    WordVec words{};
    for (int i = 0; i < 4; ++i) {
      WordVec byte =
          halves ? toWords(numbers[i] + 8.0f) | toWords(numbers[4 + i] + 8.0f) << 4 : toWords(numbers[i] + 128.0f);
      words |= byte << (8 * i);
    }
    storeWords(to, words);
    numbers += halves ? 8 : 4;
  }
}

void packUnit(sn_weight_format format, const Numbers &w, unsigned char *unit) {
  for (int v = 0; v < kAcross; ++v) {
    unsigned char *to = unit + v * kLanes * 4;
    switch (format) {
      case SN_WEIGHT_F32:
        for (int64_t k = 0; k < kUnit; ++k) storeWords(to + k * kPanel * 4, reinterpret_cast<WordVec>(w[k][v]));
        break;
      case SN_WEIGHT_BF16:
        for (int64_t k = 0; k < kUnit; k += 2) {
          storeWords(to + k / 2 * kPanel * 4, narrowed(w[k][v]) | narrowed(w[k + 1][v]) << 16);
        }
        break;
      case SN_WEIGHT_Q8:
      case SN_WEIGHT_Q4:
        const int64_t scales = kPanel * 2, bytes = kBlock * kPanel / (format == SN_WEIGHT_Q4 ? 2 : 1);
        for (int64_t b = 0; b < kUnit / kBlock; ++b) {
          packBlocks(format, w + b * kBlock, v, unit + b * scales, unit + PackedLayout::scaleBytes() + b * bytes);
        }
        break;
    }
  }
}

// The numbers of output o of a panel's unit.
void unpackOutput(sn_weight_format format, const unsigned char *unit, int64_t o, float *numbers) {
  auto *floats = reinterpret_cast<const float *>(unit);
  auto *halves = reinterpret_cast<const bf16 *>(unit);
  const unsigned char *bytes = unit + PackedLayout::scaleBytes();
  for (int64_t k = 0; k < kUnit; ++k) {
    int64_t b = k / kBlock, group = k % kBlock / 4;
    switch (format) {
      case SN_WEIGHT_F32:
        numbers[k] = floats[k * kPanel + o];
        break;
      case SN_WEIGHT_BF16:
        numbers[k] = toFloat(halves[k / 2 * 2 * kPanel + 2 * o + k % 2]);
        break;
      case SN_WEIGHT_Q8:
        numbers[k] = toFloat(halves[b * kPanel + o]) *
                     static_cast<float>(bytes[((b * 8 + group) * kPanel + o) * 4 + k % 4] - 128);
        break;
      case SN_WEIGHT_Q4:
        int both = bytes[((b * 4 + group / 2) * kPanel + o) * 4 + k % 4];
        numbers[k] = toFloat(halves[b * kPanel + o]) * static_cast<float>((both >> (group % 2 * 4) & 15) - 8);
        break;
    }
  }
}

// f(k, count, numbers) for the units of an output: its numbers from k on. Of output -1 they are zeros.
template <typename F>
void forUnits(const PackedLayout &layout, const void *packed, int64_t output, F &&f) {
  auto *unit = static_cast<const unsigned char *>(packed);
  if (output >= 0) unit += output / kPanel * layout.panelBytes();
  for (int64_t k = 0; k < layout.in; k += kUnit, unit += layout.unitBytes()) {
    float numbers[kUnit] = {};
    if (output >= 0) unpackOutput(layout.format, unit, output % kPanel, numbers);
    f(k, layout.in - k < kUnit ? layout.in - k : kUnit, numbers);
  }
}

}  // namespace

sn_status pack(sn_stream *stream, sn_weight_format format, sn_dtype dtype, int64_t in, int64_t out, int32_t out_by_in,
               const void *weights, void *packed) {
  // Panels side by side share rows of [in, out]: as many of them as make up whole pages' worth are packed together.
  constexpr int64_t kTogether = 8;
  PackedLayout layout(format, in, out);
  std::atomic<bool> sound{true};
  withType(dtype, [&](auto t) {
    auto *from = static_cast<const decltype(t) *>(weights);
    parallelRange(poolOf(stream), layout.panels(), kTogether, [&](int64_t begin, int64_t end) {
      Numbers numbers;
      for (int64_t u = 0; u < layout.units(); ++u) {
        for (int64_t panel = begin; panel < end; ++panel) {
          readUnit(from, in, out, out_by_in != 0, u * kUnit, panel * kPanel, numbers);
          if (!within(format, numbers)) sound.store(false, std::memory_order_relaxed);
          packUnit(format, numbers,
                   static_cast<unsigned char *>(packed) + panel * layout.panelBytes() + u * layout.unitBytes());
        }
      }
    });
  });
  if (sound.load()) return SN_OK;
  return fail(SN_BAD_ARGUMENT, "pack: a weight is not finite%s", format == SN_WEIGHT_BF16 ? " in bf16" : "");
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
        auto *row = static_cast<T *>(rows) + i * in;
        forUnits(layout, packed, known ? index : -1, [&](int64_t k, int64_t n, const float *numbers) {
          for (int64_t j = 0; j < n; ++j) row[k + j] = fromFloat<T>(numbers[j]);
        });
      }
    });
  });
  int64_t at = bad.load();
  if (at < 0) return SN_OK;
  return fail(SN_BAD_ARGUMENT, "packed_rows: index %d at place %lld; there are %lld rows", indices[at],
              static_cast<long long>(at), static_cast<long long>(out));
}

sn_status packed_embedding(sn_stream *stream, sn_weight_format format, sn_dtype dtype, int64_t batch, int64_t length,
                           int64_t width, int64_t vocabulary, int64_t positions, float scale, const int32_t *tokens,
                           const int32_t *offsets, const void *packed, const void *position_table, void *out) {
  PackedLayout layout(format, width, vocabulary);
  std::atomic<int64_t> bad{-1};
  withType(dtype, [&](auto t) {
    using T = decltype(t);
    auto *places = static_cast<const T *>(position_table);
    parallelRange(poolOf(stream), batch * length, rowsPerPart(width), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        int64_t position = i % length + (offsets == nullptr ? 0 : offsets[i / length]);
        bool known =
            tokens[i] >= 0 && tokens[i] < vocabulary && (places == nullptr || (position >= 0 && position < positions));
        if (!known) bad.store(i, std::memory_order_relaxed);
        T *row = static_cast<T *>(out) + i * width;
        forUnits(layout, packed, known ? tokens[i] : -1, [&](int64_t k, int64_t n, const float *numbers) {
          const T *shift = known && places != nullptr ? places + position * width + k : nullptr;
          forVectors(n, [&](int64_t j, int64_t m) {
            Vec v = scale * loadUpTo(numbers + j, m);
            if (shift != nullptr) v += loadUpTo(shift + j, m);
            storeUpTo(row + k + j, v, m);
          });
        });
      }
    });
  });
  int64_t at = bad.load();
  if (at < 0) return SN_OK;
  return fail(SN_BAD_ARGUMENT, "packed_embedding: token %d at place %lld; %lld tokens and %lld positions are known",
              tokens[at], static_cast<long long>(at), static_cast<long long>(vocabulary),
              static_cast<long long>(positions));
}

}  // namespace sn::cpu::SN_ISA
