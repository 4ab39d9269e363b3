// gemm.cpp: c = epilogue(op(a) op(b)), fp32 and bf16, accumulated in fp32.
//
// First all of op(a) is packed into the workspace, by all threads, in chunks of rows that a cache can hold. Then c is
// cut into tiles; a tile is one part of the work, done by one thread. For each block of k a tile packs its strip of b
// into the worker's scratch, so that the inner kernel reads memory in order, and adds the product to an fp32 copy of
// the tile there; the epilogue then writes the tile out (Goto and van de Geijn 2008). A sum over k is taken in the same
// order whatever the tiles and the number of threads are.
//
// Packed operands are panels [k][width] of 32-bit words: a word is one fp32 number, or a pair of bf16 along k where the
// instruction set multiplies pairs. AMX takes a in tiles of its own, and multiplies fp32 as well: see SplitWord. Few
// rows of a (decoding) go to gemv.h instead.
#include "cpu/kernels/gemm.h"

#include "common/status.h"
#include "cpu/device.h"
#include "cpu/kernels/gemv.h"
#include "cpu/kernels/operations.h"

namespace sn::cpu::SN_ISA {

namespace {

int64_t roundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// ---- words ---------------------------------------------------------------------------------------------------------

// Each kind of word says how many numbers of k it holds and of how many parts a number is made, and reads kLanes words:
//   across  words whose neighbours along the panel's width lie side by side; `k` numbers the word
//   along   words of one row of a source whose neighbours along k lie side by side
// What lies past `depth` or `count` reads as 0.

struct SingleWord {
  static constexpr int kPerWord = 1, kParts = 1;

  static Vec multiply(const float *a, Vec b, Vec sum) { return fma(broadcast(*a), b, sum); }

  template <typename T>
  static void across(const T *source, int64_t stride, int64_t k, int64_t depth, int64_t count, Vec *words) {
    words[0] = k < depth ? loadUpTo(source + k * stride, count) : Vec{};
  }

  template <typename T>
  static void along(const T *row, int64_t k, int64_t depth, Vec *words) {
    words[0] = k < depth ? loadUpTo(row + k, depth - k) : Vec{};
  }
};

#if defined(__AVX512BF16__)
// Two bf16 numbers, neighbours along k.
struct PairWord {
  static constexpr int kPerWord = 2, kParts = 1;

  static Vec multiply(const float *a, Vec b, Vec sum) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(broadcast(*a)), reinterpret_cast<__m512bh>(b));
  }

  static void across(const bf16 *source, int64_t stride, int64_t k, int64_t depth, int64_t count, Vec *words) {
    WordVec pairs{};
    size_t bytes = static_cast<size_t>(count < kLanes ? count : kLanes) * sizeof(bf16);
    for (int half = 0; half < 2 && 2 * k + half < depth; ++half) {
      HalfVec bits{};
      const bf16 *row = source + (2 * k + half) * stride;
      if (bytes == sizeof bits) {
        std::memcpy(&bits, row, sizeof bits);
      } else {
        std::memcpy(&bits, row, bytes);
      }
      pairs |= __builtin_convertvector(bits, WordVec) << (16 * half);
    }
    words[0] = reinterpret_cast<Vec>(pairs);
  }

  static void along(const bf16 *row, int64_t k, int64_t depth, Vec *words) {
    words[0] = Vec{};
    int64_t count = depth - 2 * k;
    if (count >= 2 * kLanes) {
      std::memcpy(words, row + 2 * k, sizeof *words);
    } else if (count > 0) {
      std::memcpy(static_cast<void *>(words), row + 2 * k, static_cast<size_t>(count) * sizeof(bf16));
    }
  }
};
#endif

#if defined(__AMX_BF16__)
// Which 16 bits of two vectors make up a third: the upper halves of their numbers.
struct alignas(64) HalvesOrder {
  uint16_t index[2 * kLanes];

  // Number by number from both vectors, or all of the first before the second.
  constexpr explicit HalvesOrder(bool byTurns) : index{} {
    for (int i = 0; i < 2 * kLanes; ++i) {
      index[i] = static_cast<uint16_t>(byTurns ? i / 2 * 2 + 1 + i % 2 * 2 * kLanes : 2 * i + 1);
    }
  }
};

constexpr HalvesOrder kTurns{true}, kInOrder{false};

// Two fp32 numbers, neighbours along k, each as the exact sum of three bf16 numbers: its first, middle and last eight
// bits (Henry, Tang and Heinecke 2019, "Leveraging the bfloat16 datatype for higher-precision computations"). Of the
// nine products of parts the three smallest are below fp32's own rounding and left out; the other six run at the rate
// of bf16 tiles, which is more than six times that of fp32 vectors. An infinite number, or one within 0.2% of the
// largest, gives NaN.
struct SplitWord {
  static constexpr int kPerWord = 2, kParts = 3;

  static void across(const float *source, int64_t stride, int64_t k, int64_t depth, int64_t count, Vec *words) {
    const float *row = source + 2 * k * stride;
    Vec first = 2 * k < depth ? loadUpTo(row, count) : Vec{};
    split(first, 2 * k + 1 < depth ? loadUpTo(row + stride, count) : Vec{}, kTurns, words);
  }

  static void along(const float *row, int64_t k, int64_t depth, Vec *words) {
    int64_t count = depth - 2 * k;
    Vec first = count > 0 ? loadUpTo(row + 2 * k, count) : Vec{};
    split(first, count > kLanes ? loadUpTo(row + 2 * k + kLanes, count - kLanes) : Vec{}, kInOrder, words);
  }

 private:
  // The nearest number of eight bits stands in the upper half.
  static Vec rounded(Vec v) { return reinterpret_cast<Vec>(reinterpret_cast<WordVec>(v) + 0x8000u); }
  static Vec upper(Vec v) { return reinterpret_cast<Vec>(reinterpret_cast<WordVec>(v) & 0xffff0000u); }

  static void split(Vec first, Vec second, const HalvesOrder &order, Vec *words) {
    __m512i index = _mm512_load_si512(&order);
    for (int part = 0; part < kParts; ++part) {
      Vec one = rounded(first), other = rounded(second);
      words[part] = reinterpret_cast<Vec>(
          _mm512_permutex2var_epi16(reinterpret_cast<__m512i>(one), index, reinterpret_cast<__m512i>(other)));
      first -= upper(one);
      second -= upper(other);
    }
  }
};
#endif

// kLanes vectors of words, from place `at` of the panel's source and word k on: words of one row (of a panel's row, or
// column of b, whose neighbours along k lie side by side), or of one k. `turn`: whether lanes and vectors change
// places. The first `last` are stored, each part apart.
template <typename Word, typename T>
inline void packBlock(const T *source, int64_t stride, bool isAlong, int64_t at, int64_t count, int64_t k,
                      int64_t depth, bool turn, int64_t last, float *out, int64_t partStride, int64_t lineStride) {
  constexpr int kParts = Word::kParts;
  auto read = [&](int64_t i, Vec *parts) {
    for (int part = 0; part < kParts; ++part) parts[part] = Vec{};
    if (isAlong) {
      if (i < count) Word::along(source + (at + i) * stride, k, depth, parts);
    } else if (count > 0) {
      Word::across(source + at, stride, k + i, depth, count, parts);
    }
  };
  if (!turn) {
    for (int64_t i = 0; i < last; ++i) {
      Vec parts[kParts];
      read(i, parts);
      for (int part = 0; part < kParts; ++part) store(out + part * partStride + i * lineStride, parts[part]);
    }
    return;
  }
  Vec block[kParts][kLanes];
  for (int64_t i = 0; i < kLanes; ++i) {
    Vec parts[kParts];
    read(i, parts);
    for (int part = 0; part < kParts; ++part) block[part][i] = parts[part];
  }
  for (int part = 0; part < kParts; ++part) {
    transpose(block[part]);
    for (int64_t i = 0; i < last; ++i) store(out + part * partStride + i * lineStride, block[part][i]);
  }
}

// Packs `width` columns (rows of a, columns of b) into panels of `words` words of k, zeros where the source ends.
// Within a panel, groups of words follow one another: [words / kGroup][part][kGroup][panel]. `isAlong`: whether
// neighbours along k lie side by side in the source.
constexpr int64_t kGroup = 16;

template <typename Word, typename T>
void packPanels(const T *source, int64_t stride, bool isAlong, int64_t width, int64_t depth, int64_t words,
                int64_t panel, float *packed) {
  constexpr int kParts = Word::kParts;
  for (int64_t from = 0; from < width; from += panel, packed += words * panel * kParts) {
    for (int64_t at = from; at < from + panel; at += kLanes) {
      for (int64_t k = 0; k < words; k += kLanes) {
        packBlock<Word>(
            source, stride, isAlong, at, width - at, k, depth, isAlong, words - k < kLanes ? words - k : kLanes,
            packed + (k / kGroup * kParts * kGroup + k % kGroup) * panel + (at - from), kGroup * panel, panel);
      }
    }
  }
}

// ---- inner kernels -------------------------------------------------------------------------------------------------

// A piece of c that one thread computes.
struct Tile {
  int64_t rows, columns;
  int64_t paddedColumns;  // to whole panels
  float *sums;            // [rows to whole panels, paddedColumns]
};

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
  static constexpr int64_t kMostRows = 256, kMostColumns = 480;

  static void begin() {}
  static void end() {}

  static int64_t words(int64_t depth) { return (depth + Word::kPerWord - 1) / Word::kPerWord; }

  template <typename T>
  static void packRows(const T *a, int64_t stride, bool along, int64_t rows, int64_t depth, float *packed) {
    packPanels<Word>(a, stride, along, rows, depth, words(depth), kRowPanel, packed);
  }

  template <typename T>
  static void packColumns(const T *b, int64_t stride, bool along, int64_t columns, int64_t depth, float *packed) {
    packPanels<Word>(b, stride, along, columns, depth, words(depth), kColumnPanel, packed);
  }

  static void multiply(const float *a, const float *b, int64_t depth, bool first, const Tile &tile) {
    int64_t count = words(depth);
    for (int64_t j = 0; j < tile.columns; j += kColumnPanel) {
      const float *right = b + j * count;
      int64_t vectors = (tile.columns - j + kLanes - 1) / kLanes;
      for (int64_t i = 0; i < tile.rows; i += kRows) {
        const float *left = a + i / kLanes * kLanes * count + i % kLanes;
        float *sums = tile.sums + i * tile.paddedColumns + j;
        switch (vectors < kVectors ? vectors : kVectors) {
          case 1:
            multiplyBlock<Word, 1>(left, right, count, kColumnPanel, first, sums, tile.paddedColumns);
            break;
          case 2:
            multiplyBlock<Word, 2>(left, right, count, kColumnPanel, first, sums, tile.paddedColumns);
            break;
          default:
            multiplyBlock<Word, kVectors>(left, right, count, kColumnPanel, first, sums, tile.paddedColumns);
        }
      }
    }
  }
};

#if defined(__AMX_BF16__)
// The kernel on AMX tiles: 32 x 32 sums in tiles 0 to 3, 16 words of k at a time. b is packed as for vectors; a in
// tiles [16 rows][16 words].
template <typename WordType>
struct TileKernel {
  using Word = WordType;
  static constexpr int kParts = Word::kParts;
  static constexpr int64_t kRowPanel = 32, kColumnPanel = 32;
  static constexpr int64_t kDepth = kParts == 1 ? 1024 : 128;
  static constexpr int64_t kMostRows = 512, kMostColumns = 128;
  static constexpr int64_t kTile = 16 * 16, kStrip = 16 * kColumnPanel;  // words of a's and b's share in one part

  static void begin() {
    struct alignas(64) {
      uint8_t palette = 1, start = 0, reserved[14] = {};
      uint16_t bytesPerRow[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } configuration;
    _tile_loadconfig(&configuration);
  }

  static void end() { _tile_release(); }

  static int64_t words(int64_t depth) { return roundUp((depth + 1) / 2, kGroup); }

  template <typename T>
  static void packRows(const T *a, int64_t stride, bool along, int64_t rows, int64_t depth, float *packed) {
    for (int64_t from = 0; from < roundUp(rows, kRowPanel); from += kLanes) {
      for (int64_t k = 0; k < words(depth); k += kGroup, packed += kParts * kTile) {
        packBlock<Word>(a, stride, along, from, rows - from, k, depth, !along, kLanes, packed, kTile, kGroup);
      }
    }
  }

  template <typename T>
  static void packColumns(const T *b, int64_t stride, bool along, int64_t columns, int64_t depth, float *packed) {
    packPanels<Word>(b, stride, along, columns, depth, words(depth), kColumnPanel, packed);
  }

  static void multiply(const float *a, const float *b, int64_t depth, bool first, const Tile &tile) {
    int64_t count = words(depth);
    size_t stride = static_cast<size_t>(tile.paddedColumns) * sizeof(float);
    for (int64_t i = 0; i < tile.rows; i += kRowPanel) {
      for (int64_t j = 0; j < tile.columns; j += kColumnPanel) {
        const float *upper = a + i * count * kParts, *lower = upper + count * kGroup * kParts;
        const float *across = b + j * count * kParts;
        float *sums = tile.sums + i * tile.paddedColumns + j;
        float *below = sums + 16 * tile.paddedColumns;
        if (first) {
          _tile_zero(0);
          _tile_zero(1);
          _tile_zero(2);
          _tile_zero(3);
        } else {
          _tile_loadd(0, sums, stride);
          _tile_loadd(1, sums + 16, stride);
          _tile_loadd(2, below, stride);
          _tile_loadd(3, below + 16, stride);
        }
        for (int64_t k = 0; k < count; k += kGroup) {
          multiplyGroup(upper, lower, across);
          upper += kParts * kTile;
          lower += kParts * kTile;
          across += kParts * kStrip;
        }
        _tile_stored(0, sums, stride);
        _tile_stored(1, sums + 16, stride);
        _tile_stored(2, below, stride);
        _tile_stored(3, below + 16, stride);
      }
    }
  }

 private:
  static void loadRows(const float *upper, const float *lower, int part) {
    _tile_loadd(4, upper + part * kTile, 64);
    _tile_loadd(5, lower + part * kTile, 64);
  }

  static void loadColumns(const float *across, int part) {
    _tile_loadd(6, across + part * kStrip, kColumnPanel * sizeof(float));
    _tile_loadd(7, across + part * kStrip + 16, kColumnPanel * sizeof(float));
  }

  static void addProducts() {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }

  static void multiplyGroup(const float *upper, const float *lower, const float *across) {
    if constexpr (kParts == 1) {
      loadRows(upper, lower, 0);
      loadColumns(across, 0);
      addProducts();
    } else {
      // Small products before large ones, one operand changing at a time.
      loadRows(upper, lower, 0);
      loadColumns(across, 2);
      addProducts();
      loadColumns(across, 1);
      addProducts();
      loadRows(upper, lower, 1);
      addProducts();
      loadColumns(across, 0);
      addProducts();
      loadRows(upper, lower, 2);
      addProducts();
      loadRows(upper, lower, 0);
      addProducts();
    }
  }
};
#endif

// ---- a chunk of rows, its tiles, and all chunks
// ----------------------------------------------------------------------

// The number of equal pieces, and their size in whole panels, that `size` is cut into.
struct Cut {
  int64_t pieces, size;

  static Cut of(int64_t size, int64_t most, int64_t panel) {
    int64_t pieces = (size + most - 1) / most;
    int64_t piece = roundUp((size + pieces - 1) / pieces, panel);
    return {(size + piece - 1) / piece, piece};
  }
};

template <typename Kernel>
struct Packing {
  static constexpr int64_t kChunkWords = int64_t{2} << 20;  // of op(a): 8 MB, what the last cache gives two threads

  // All words of k in one row, block by block.
  static int64_t wordsPerRow(int64_t k) {
    int64_t blocks = k / Kernel::kDepth, rest = k % Kernel::kDepth;
    int64_t words = blocks * Kernel::words(Kernel::kDepth) + (rest > 0 ? Kernel::words(rest) : 0);
    return words * Kernel::Word::kParts;
  }

  static Cut chunks(const sn_gemm_shape &s) {
    int64_t most = kChunkWords / wordsPerRow(s.k);
    return Cut::of(s.m, most < Kernel::kMostRows ? Kernel::kMostRows : most, Kernel::kRowPanel);
  }

  static int64_t bytes(const sn_gemm_shape &s) {
    return chunks(s).size * wordsPerRow(s.k) * static_cast<int64_t>(sizeof(float));
  }
};

template <typename Kernel, typename T, typename C>
void multiplyChunk(sn_stream *stream, const sn_gemm_shape &s, int64_t firstRow, int64_t rowsOfChunk, const T *a,
                   const T *b, C *c, const T *bias, T *aux, float *packed) {
  ThreadPool &pool = poolOf(stream);
  constexpr int kParts = Kernel::Word::kParts;
  int64_t paddedRows = roundUp(rowsOfChunk, Kernel::kRowPanel);
  int64_t blockWords = paddedRows * Kernel::words(Kernel::kDepth) * kParts;
  int64_t blocks = (s.k + Kernel::kDepth - 1) / Kernel::kDepth;
  auto depthOf = [&](int64_t block) {
    int64_t rest = s.k - block * Kernel::kDepth;
    return rest < Kernel::kDepth ? rest : Kernel::kDepth;
  };

  constexpr int64_t kRowsPerPart = 2 * Kernel::kRowPanel;
  int64_t groups = (rowsOfChunk + kRowsPerPart - 1) / kRowsPerPart;
  parallel(pool, blocks * groups, [&](int64_t part, int32_t) {
    int64_t block = part / groups, from = part % groups * kRowsPerPart, k = block * Kernel::kDepth;
    int64_t rows = rowsOfChunk - from < kRowsPerPart ? rowsOfChunk - from : kRowsPerPart;
    int64_t i = firstRow + from;
    Kernel::packRows(a + (s.transpose_a ? k * s.a_stride + i : i * s.a_stride + k), s.a_stride, !s.transpose_a, rows,
                     depthOf(block), packed + block * blockWords + from * Kernel::words(depthOf(block)) * kParts);
  });

  Cut rows = Cut::of(rowsOfChunk, Kernel::kMostRows, Kernel::kRowPanel);
  Cut columns = Cut::of(s.n, Kernel::kMostColumns, Kernel::kColumnPanel);
  // Two tiles for each thread at least, so that neither waits long for the other; not below what packing pays for.
  while (rows.pieces * columns.pieces < 2 * pool.threads() && columns.size >= 4 * Kernel::kColumnPanel) {
    columns = Cut::of(s.n, columns.size / 2, Kernel::kColumnPanel);
  }
  while (rows.pieces * columns.pieces < 2 * pool.threads() && rows.size >= 4 * Kernel::kRowPanel) {
    rows = Cut::of(rowsOfChunk, rows.size / 2, Kernel::kRowPanel);
  }
  parallel(pool, rows.pieces * columns.pieces, [&](int64_t part, int32_t worker) {
    int64_t from = part % rows.pieces * rows.size, j = part / rows.pieces * columns.size;
    Tile tile;
    tile.rows = rowsOfChunk - from < rows.size ? rowsOfChunk - from : rows.size;
    tile.columns = s.n - j < columns.size ? s.n - j : columns.size;
    tile.paddedColumns = roundUp(tile.columns, Kernel::kColumnPanel);
    tile.sums = static_cast<float *>(deviceOf(stream).scratch(worker));
    float *right = tile.sums + roundUp(tile.rows, Kernel::kRowPanel) * tile.paddedColumns;
    Kernel::begin();
    for (int64_t block = 0; block < blocks; ++block) {
      int64_t depth = depthOf(block), k = block * Kernel::kDepth;
      Kernel::packColumns(b + (s.transpose_b ? j * s.b_stride + k : k * s.b_stride + j), s.b_stride, s.transpose_b,
                          tile.columns, depth, right);
      Kernel::multiply(packed + block * blockWords + from * Kernel::words(depth) * kParts, right, depth, block == 0,
                       tile);
    }
    Kernel::end();
    for (int64_t row = 0; row < tile.rows; ++row) {
      int64_t at = (firstRow + from + row) * s.c_stride + j;
      finishRow(s, tile.sums + row * tile.paddedColumns, tile.columns, c + at, bias == nullptr ? nullptr : bias + j,
                aux == nullptr ? nullptr : aux + at);
    }
  });
}

template <typename Kernel, typename T, typename C>
void multiplyAll(sn_stream *stream, const sn_gemm_shape &s, const T *a, const T *b, C *c, const T *bias, T *aux,
                 void *workspace) {
  Cut chunks = Packing<Kernel>::chunks(s);
  for (int64_t batch = 0; batch < s.batch; ++batch) {
    for (int64_t i = 0; i < s.m; i += chunks.size) {
      multiplyChunk<Kernel>(stream, s, i, s.m - i < chunks.size ? s.m - i : chunks.size, a + batch * s.a_batch,
                            b + batch * s.b_batch, c + batch * s.c_batch, bias,
                            aux == nullptr ? nullptr : aux + batch * s.c_batch, static_cast<float *>(workspace));
    }
  }
}

// Calls f(kernel) with the kernel for numbers of type T.
template <typename T, typename F>
void withKernel(F &&f) {
#if defined(__AMX_BF16__)
  f(TileKernel<std::conditional_t<sizeof(T) == 2, PairWord, SplitWord>>{});
#elif defined(__AVX512BF16__)
  f(VectorKernel<std::conditional_t<sizeof(T) == 2, PairWord, SingleWord>>{});
#else
  f(VectorKernel<SingleWord>{});
#endif
}

template <typename T, typename C>
sn_status runShape(sn_stream *stream, const sn_gemm_shape &s, const void *a, const void *b, void *c, const void *bias,
                   void *aux, void *workspace) {
  auto *at = static_cast<const T *>(a), *bt = static_cast<const T *>(b), *biast = static_cast<const T *>(bias);
  auto *ct = static_cast<C *>(c);
  auto *auxt = static_cast<T *>(aux);
  if (workspace == nullptr && !(fewRows(s) && fewRowsWorkspace(s) == 0)) {
    return fail(SN_BAD_ARGUMENT, "gemm: workspace is null; sn_gemm_workspace has its size");
  }
  if (fewRows(s)) {
    multiplyFewRows(stream, s, at, bt, ct, biast, auxt, workspace);
    return SN_OK;
  }
  withKernel<T>([&](auto kernel) { multiplyAll<decltype(kernel)>(stream, s, at, bt, ct, biast, auxt, workspace); });
  return SN_OK;
}

}  // namespace

sn_status gemm_workspace(const sn_device *, const sn_gemm_shape *shape, int64_t *bytes) {
  if (fewRows(*shape)) {
    *bytes = fewRowsWorkspace(*shape);
    return SN_OK;
  }
  withType(shape->dtype, [&](auto t) {
    withKernel<decltype(t)>([&](auto kernel) { *bytes = Packing<decltype(kernel)>::bytes(*shape); });
  });
  return SN_OK;
}

sn_status gemm(sn_stream *stream, const sn_gemm_shape *shape, const void *a, const void *b, void *c, const void *bias,
               void *aux, void *workspace) {
  const auto &s = *shape;
  if (s.dtype == SN_F32) return runShape<float, float>(stream, s, a, b, c, bias, aux, workspace);
  if (s.c_dtype == SN_F32) return runShape<bf16, float>(stream, s, a, b, c, bias, aux, workspace);
  return runShape<bf16, bf16>(stream, s, a, b, c, bias, aux, workspace);
}

}  // namespace sn::cpu::SN_ISA
