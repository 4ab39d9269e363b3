// gemm.cpp: c = epilogue(op(a) op(b)), fp32 and bf16, accumulated in fp32.
//
// c is cut into tiles; a tile is one part of the work, done by one thread. For each block of k a tile packs its strips
// of a and b into the worker's scratch, so that the inner kernel reads memory in order, and adds their product to an
// fp32 copy of the tile there; the epilogue then writes the tile out (Goto and van de Geijn 2008). A sum over k is
// taken in the same order whatever the tiles and the number of threads are.
//
// Packed operands are panels [k][width] of 32-bit words: a word is one fp32 number, or a pair of bf16 along k where the
// instruction set multiplies pairs. AMX takes a in tiles of its own. Few rows of a (decoding) go to gemv.h instead.
#include "cpu/kernels/gemm.h"

#include "common/status.h"
#include "cpu/device.h"
#include "cpu/kernels/gemv.h"
#include "cpu/kernels/operations.h"

namespace sn::cpu::SN_ISA {

namespace {

// What one tile needs. Sizes are in words along k.
struct Tile {
  int64_t rows, columns;              // of c
  int64_t paddedRows, paddedColumns;  // to whole panels
  float *sums;                        // [paddedRows, paddedColumns]
};

int64_t roundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// ---- packing -------------------------------------------------------------------------------------------------------

// Words of a source whose neighbours along the panel's width lie side by side: `k` numbers the word, `at` the column.
template <typename Word, typename T>
inline Vec wordsAcross(const T *source, int64_t stride, int64_t k, int64_t depth, int64_t at, int64_t count) {
  if constexpr (Word::kPerWord == 1) {
    const T *row = source + k * stride + at;
    return count >= kLanes ? load(row) : loadPart(row, count);
  } else {
    WordVec words{};
    for (int half = 0; half < 2; ++half) {
      int64_t row = 2 * k + half;
      if (row >= depth) break;
      HalfVec bits{};
      if (count >= kLanes) {
        std::memcpy(&bits, source + row * stride + at, sizeof bits);
      } else {
        std::memcpy(&bits, source + row * stride + at, static_cast<size_t>(count) * sizeof(T));
      }
      words |= __builtin_convertvector(bits, WordVec) << (16 * half);
    }
    return reinterpret_cast<Vec>(words);
  }
}

// kLanes words along k of one row of a source whose neighbours along k lie side by side.
template <typename Word, typename T>
inline Vec wordsAlong(const T *row, int64_t k, int64_t depth) {
  int64_t first = k * Word::kPerWord;
  int64_t count = depth - first;
  if constexpr (Word::kPerWord == 1) {
    return count >= kLanes ? load(row + first) : loadPart(row + first, count);
  } else {
    Vec words{};
    size_t most = sizeof words;
    size_t there = static_cast<size_t>(count) * sizeof(T);
    std::memcpy(&words, row + first, there < most ? there : most);
    return words;
  }
}

// Packs `width` columns (rows of a, columns of b) by `words` of k into panels [words][kPanel], zeros where the source
// ends. `along`: whether neighbours along k lie side by side in the source.
template <typename Word, typename T>
void pack(const T *source, int64_t stride, bool along, int64_t width, int64_t depth, int64_t panel, float *packed) {
  int64_t words = (depth + Word::kPerWord - 1) / Word::kPerWord;
  for (int64_t from = 0; from < width; from += panel, packed += words * panel) {
    for (int64_t at = from; at < from + panel; at += kLanes) {
      float *out = packed + (at - from);
      int64_t count = width - at;
      if (count <= 0) {
        for (int64_t k = 0; k < words; ++k) store(out + k * panel, Vec{});
      } else if (!along) {
        for (int64_t k = 0; k < words; ++k) {
          store(out + k * panel, wordsAcross<Word>(source, stride, k, depth, at, count));
        }
      } else {
        for (int64_t k = 0; k < words; k += kLanes) {
          Vec block[kLanes];
          for (int i = 0; i < kLanes; ++i) {
            block[i] = i < count ? wordsAlong<Word>(source + (at + i) * stride, k, depth) : Vec{};
          }
          transpose(block);
          int64_t last = words - k < kLanes ? words - k : kLanes;
          for (int64_t i = 0; i < last; ++i) store(out + (k + i) * panel, block[i]);
        }
      }
    }
  }
}

// ---- inner kernels -------------------------------------------------------------------------------------------------

struct SingleWord {
  static constexpr int kPerWord = 1;
  static Vec multiply(const float *a, Vec b, Vec sum) { return fma(broadcast(*a), b, sum); }
};

#if defined(__AVX512BF16__)
struct PairWord {
  static constexpr int kPerWord = 2;
  static Vec multiply(const float *a, Vec b, Vec sum) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(broadcast(*a)), reinterpret_cast<__m512bh>(b));
  }
};
#endif

#if defined(__AVX512F__)
constexpr int kRows = 8, kVectors = 3;
#elif defined(__AVX2__)
constexpr int kRows = 4, kVectors = 3;
#else
constexpr int kRows = 4, kVectors = 2;
#endif

// sums[kRows][Vectors] += a panel's kRows rows times b panel's first Vectors vectors, over `words` of k.
template <typename Word, int Vectors>
inline void multiplyBlock(const float *a, const float *b, int64_t words, int64_t panel, bool first, float *sums,
                          int64_t stride) {
  Vec block[kRows][Vectors];
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < Vectors; ++j) block[i][j] = first ? Vec{} : load(sums + i * stride + j * kLanes);
  }
  for (int64_t k = 0; k < words; ++k) {
    Vec right[Vectors];
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) right[j] = load(b + j * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < Vectors; ++j) block[i][j] = Word::multiply(a + i, right[j], block[i][j]);
    }
    a += kLanes;
    b += panel;
  }
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < Vectors; ++j) store(sums + i * stride + j * kLanes, block[i][j]);
  }
}

// The kernel on vectors: panels of kLanes rows and kVectors * kLanes columns.
template <typename WordType>
struct VectorKernel {
  using Word = WordType;
  static constexpr int64_t kRowPanel = kLanes, kColumnPanel = kVectors * kLanes;
  static constexpr int64_t kDepth = 256 * Word::kPerWord;  // of one block of k

  static void begin() {}
  static void end() {}

  template <typename T>
  static void packRows(const T *a, int64_t stride, bool along, int64_t rows, int64_t depth, float *packed) {
    pack<Word>(a, stride, along, rows, depth, kRowPanel, packed);
  }

  template <typename T>
  static void packColumns(const T *b, int64_t stride, bool along, int64_t columns, int64_t depth, float *packed) {
    pack<Word>(b, stride, along, columns, depth, kColumnPanel, packed);
  }

  static void multiply(const float *a, const float *b, int64_t depth, bool first, const Tile &tile) {
    int64_t words = (depth + Word::kPerWord - 1) / Word::kPerWord;
    for (int64_t j = 0; j < tile.columns; j += kColumnPanel) {
      const float *right = b + j * words;
      int64_t vectors = (tile.columns - j + kLanes - 1) / kLanes;
      for (int64_t i = 0; i < tile.rows; i += kRows) {
        const float *left = a + i / kLanes * kLanes * words + i % kLanes;
        float *sums = tile.sums + i * tile.paddedColumns + j;
        switch (vectors < kVectors ? vectors : kVectors) {
          case 1:
            multiplyBlock<Word, 1>(left, right, words, kColumnPanel, first, sums, tile.paddedColumns);
            break;
          case 2:
            multiplyBlock<Word, 2>(left, right, words, kColumnPanel, first, sums, tile.paddedColumns);
            break;
          default:
            multiplyBlock<Word, kVectors>(left, right, words, kColumnPanel, first, sums, tile.paddedColumns);
        }
      }
    }
  }
};

#if defined(__AMX_BF16__)
// The kernel on AMX tiles: 32 x 32 sums in four tiles, 16 words (32 bf16) of k at a time. b is packed as for vectors; a
// in tiles [16 rows][16 words].
struct TileKernel {
  using Word = PairWord;
  static constexpr int64_t kRowPanel = 32, kColumnPanel = 32;
  static constexpr int64_t kDepth = 1024;
  static constexpr int64_t kTileWords = 16;

  static void begin() {
    struct alignas(64) {
      uint8_t palette = 1, start = 0, reserved[14] = {};
      uint16_t bytesPerRow[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } configuration;
    _tile_loadconfig(&configuration);
  }

  static void end() { _tile_release(); }

  static int64_t paddedWords(int64_t depth) { return roundUp((depth + 1) / 2, kTileWords); }

  template <typename T>
  static void packRows(const T *a, int64_t stride, bool along, int64_t rows, int64_t depth, float *packed) {
    int64_t words = paddedWords(depth);
    for (int64_t from = 0; from < roundUp(rows, kRowPanel); from += kTileWords) {
      int64_t count = rows - from;
      for (int64_t k = 0; k < words; k += kTileWords, packed += kTileWords * kTileWords) {
        Vec block[kLanes];
        for (int i = 0; i < kLanes; ++i) {
          if (along) {
            block[i] = i < count && 2 * k < depth ? wordsAlong<Word>(a + (from + i) * stride, k, depth) : Vec{};
          } else {
            block[i] =
                count > 0 && 2 * (k + i) < depth ? wordsAcross<Word>(a, stride, k + i, depth, from, count) : Vec{};
          }
        }
        if (!along) transpose(block);
        for (int i = 0; i < kLanes; ++i) store(packed + i * kTileWords, block[i]);
      }
    }
  }

  template <typename T>
  static void packColumns(const T *b, int64_t stride, bool along, int64_t columns, int64_t depth, float *packed) {
    // Each panel is padded to whole tiles of k.
    int64_t words = (depth + 1) / 2, padded = paddedWords(depth);
    for (int64_t j = 0; j < columns; j += kColumnPanel, packed += padded * kColumnPanel) {
      int64_t count = columns - j < kColumnPanel ? columns - j : kColumnPanel;
      pack<Word>(b + (along ? j * stride : j), stride, along, count, depth, kColumnPanel, packed);
      std::memset(static_cast<void *>(packed + words * kColumnPanel), 0,
                  static_cast<size_t>((padded - words) * kColumnPanel) * sizeof(float));
    }
  }

  static void multiply(const float *a, const float *b, int64_t depth, bool first, const Tile &tile) {
    int64_t words = paddedWords(depth);
    int64_t tileFloats = kTileWords * kTileWords;
    size_t stride = static_cast<size_t>(tile.paddedColumns) * sizeof(float);
    for (int64_t j = 0; j < tile.columns; j += kColumnPanel) {
      const float *right = b + j * words;
      for (int64_t i = 0; i < tile.rows; i += kRowPanel) {
        const float *upper = a + i * words, *lower = upper + kTileWords * words;
        float *sums = tile.sums + i * tile.paddedColumns + j;
        float *below = sums + kTileWords * tile.paddedColumns;
        if (first) {
          _tile_zero(0);
          _tile_zero(1);
          _tile_zero(2);
          _tile_zero(3);
        } else {
          _tile_loadd(0, sums, stride);
          _tile_loadd(1, sums + kTileWords, stride);
          _tile_loadd(2, below, stride);
          _tile_loadd(3, below + kTileWords, stride);
        }
        for (int64_t k = 0; k < words; k += kTileWords) {
          const float *across = right + k * kColumnPanel;
          _tile_loadd(4, upper + k / kTileWords * tileFloats, 64);
          _tile_loadd(6, across, kColumnPanel * sizeof(float));
          _tile_loadd(7, across + kTileWords, kColumnPanel * sizeof(float));
          _tile_dpbf16ps(0, 4, 6);
          _tile_dpbf16ps(1, 4, 7);
          _tile_loadd(5, lower + k / kTileWords * tileFloats, 64);
          _tile_dpbf16ps(2, 5, 6);
          _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(0, sums, stride);
        _tile_stored(1, sums + kTileWords, stride);
        _tile_stored(2, below, stride);
        _tile_stored(3, below + kTileWords, stride);
      }
    }
  }
};
#endif

// ---- a tile, and all tiles -----------------------------------------------------------------------------------------

constexpr int64_t kMostRows = 256, kMostColumns = 480;

// The number of equal pieces, and their size in whole panels, that `size` is cut into.
struct Cut {
  int64_t pieces, size;

  static Cut of(int64_t size, int64_t most, int64_t panel) {
    int64_t pieces = (size + most - 1) / most;
    int64_t piece = roundUp((size + pieces - 1) / pieces, panel);
    return {(size + piece - 1) / piece, piece};
  }
};

template <typename Kernel, typename T, typename C>
void runTiles(sn_stream *stream, const sn_gemm_shape &s, const T *a, const T *b, C *c, const T *bias, T *aux) {
  ThreadPool &pool = poolOf(stream);
  Cut rows = Cut::of(s.m, kMostRows, Kernel::kRowPanel);
  Cut columns = Cut::of(s.n, kMostColumns, Kernel::kColumnPanel);
  // Two tiles for each thread at least, so that neither waits long for the other; not below what packing pays for.
  while (s.batch * rows.pieces * columns.pieces < 2 * pool.threads() && columns.size >= 4 * Kernel::kColumnPanel) {
    columns = Cut::of(s.n, columns.size / 2, Kernel::kColumnPanel);
  }
  while (s.batch * rows.pieces * columns.pieces < 2 * pool.threads() && rows.size >= 4 * Kernel::kRowPanel) {
    rows = Cut::of(s.m, rows.size / 2, Kernel::kRowPanel);
  }
  int64_t tiles = rows.pieces * columns.pieces;

  auto body = [&](int64_t part, int32_t worker) {
    int64_t batch = part / tiles, tileIndex = part % tiles;
    int64_t i = tileIndex % rows.pieces * rows.size, j = tileIndex / rows.pieces * columns.size;
    Tile tile;
    tile.rows = s.m - i < rows.size ? s.m - i : rows.size;
    tile.columns = s.n - j < columns.size ? s.n - j : columns.size;
    tile.paddedRows = roundUp(tile.rows, Kernel::kRowPanel);
    tile.paddedColumns = roundUp(tile.columns, Kernel::kColumnPanel);
    tile.sums = static_cast<float *>(deviceOf(stream).scratch(worker));
    float *left = tile.sums + tile.paddedRows * tile.paddedColumns;
    float *right = left + tile.paddedRows * Kernel::kDepth / Kernel::Word::kPerWord;

    const T *leftSource = a + batch * s.a_batch, *rightSource = b + batch * s.b_batch;
    Kernel::begin();
    for (int64_t k = 0; k < s.k; k += Kernel::kDepth) {
      int64_t depth = s.k - k < Kernel::kDepth ? s.k - k : Kernel::kDepth;
      const T *as = leftSource + (s.transpose_a ? k * s.a_stride + i : i * s.a_stride + k);
      const T *bs = rightSource + (s.transpose_b ? j * s.b_stride + k : k * s.b_stride + j);
      Kernel::packRows(as, s.a_stride, !s.transpose_a, tile.rows, depth, left);
      Kernel::packColumns(bs, s.b_stride, s.transpose_b, tile.columns, depth, right);
      Kernel::multiply(left, right, depth, k == 0, tile);
    }
    Kernel::end();
    int64_t at = batch * s.c_batch + i * s.c_stride + j;
    for (int64_t row = 0; row < tile.rows; ++row) {
      finishRow(s, tile.sums + row * tile.paddedColumns, tile.columns, c + at + row * s.c_stride,
                bias == nullptr ? nullptr : bias + j, aux == nullptr ? nullptr : aux + at + row * s.c_stride);
    }
  };
  parallel(pool, s.batch * tiles, body);
}

template <typename T, typename C>
sn_status runShape(sn_stream *stream, const sn_gemm_shape &s, const void *a, const void *b, void *c, const void *bias,
                   void *aux) {
  auto *at = static_cast<const T *>(a), *bt = static_cast<const T *>(b), *biast = static_cast<const T *>(bias);
  auto *ct = static_cast<C *>(c);
  auto *auxt = static_cast<T *>(aux);
  if (fewRows(s)) {
    multiplyFewRows(stream, s, at, bt, ct, biast, auxt);
    return SN_OK;
  }
#if defined(__AMX_BF16__)
  if constexpr (sizeof(T) == 2) {
    runTiles<TileKernel>(stream, s, at, bt, ct, biast, auxt);
    return SN_OK;
  }
#endif
#if defined(__AVX512BF16__)
  if constexpr (sizeof(T) == 2) {
    runTiles<VectorKernel<PairWord>>(stream, s, at, bt, ct, biast, auxt);
    return SN_OK;
  }
#endif
  runTiles<VectorKernel<SingleWord>>(stream, s, at, bt, ct, biast, auxt);
  return SN_OK;
}

}  // namespace

sn_status gemm_workspace(const sn_device *, const sn_gemm_shape *, int64_t *bytes) {
  *bytes = 0;  // the workers' scratch serves
  return SN_OK;
}

sn_status gemm(sn_stream *stream, const sn_gemm_shape *shape, const void *a, const void *b, void *c, const void *bias,
               void *aux, void *) {
  const auto &s = *shape;
  if (s.dtype == SN_F32) return runShape<float, float>(stream, s, a, b, c, bias, aux);
  if (s.c_dtype == SN_F32) return runShape<bf16, float>(stream, s, a, b, c, bias, aux);
  return runShape<bf16, bf16>(stream, s, a, b, c, bias, aux);
}

}  // namespace sn::cpu::SN_ISA
