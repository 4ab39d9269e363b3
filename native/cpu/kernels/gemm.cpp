// gemm.cpp: c = epilogue(op(a) op(b)), fp32 and bf16, accumulated in fp32.
//
// The larger of m and n is cut into strips, which are the parts of the work: the thread that takes a strip packs its
// share of that operand into its own scratch, where the second cache holds it. The other operand is shared: all threads
// pack it first, into the workspace, in chunks that the last cache holds. Each of its panels then meets each panel of
// the strip (Goto and van de Geijn 2008). A sum stays in registers for a whole block of k; where k has several blocks,
// sums wait in the workspace. A sum over k is taken in the same order whatever the number of threads is.
//
// Packed operands are panels [k][width] of 32-bit words: a word is one fp32 number, or a pair of bf16 along k where the
// instruction set multiplies pairs. AMX takes a in tiles of its own, and multiplies fp32 as well: see SplitWord. Few
// rows of a (decoding) go to gemv.h instead.
#include "cpu/kernels/gemm.h"

#include "common/status.h"
#include "cpu/device.h"
#include "cpu/kernels/gemv.h"
#include "cpu/kernels/operations.h"
#include "cpu/kernels/tiles.h"

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

// A kernel multiplies a panel of kRowPanel rows of a by one of kColumnPanel columns of b into a block of sums, all
// packed: sums [kRowPanel][kColumnPanel] = a b, or += where it is not the first block of k. Sums past `rows` and
// `columns` mean nothing. Meanwhile it finishes the block before: `meanwhile(share, all)` does its share of `all`.

#if defined(__AVX512F__)
constexpr int kRows = 8, kVectors = 3;
#elif defined(__AVX2__)
constexpr int kRows = 4, kVectors = 3;
#else
constexpr int kRows = 4, kVectors = 2;
#endif

// sums[kRows][Vectors] += a panel's kRows rows times b panel's first Vectors vectors, over `words` of k.
template <typename Word, int Vectors>
inline void multiplyRows(const float *a, const float *b, int64_t words, int64_t panel, bool first, float *sums) {
  Vec block[kRows][Vectors];
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < Vectors; ++j) block[i][j] = first ? Vec{} : load(sums + i * panel + j * kLanes);
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
    for (int j = 0; j < Vectors; ++j) store(sums + i * panel + j * kLanes, block[i][j]);
  }
}

// The kernel on vectors: panels of kLanes rows and kVectors * kLanes columns.
template <typename WordType>
struct VectorKernel {
  using Word = WordType;
  static constexpr int64_t kRowPanel = kLanes, kColumnPanel = kVectors * kLanes;
  static constexpr int64_t kDepth = 512 * Word::kPerWord;  // at most, of one block of k
  static constexpr int64_t kDepthUnit = Word::kPerWord;

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

  template <typename F>
  static void multiply(const float *a, const float *b, int64_t rows, int64_t columns, int64_t depth, bool first,
                       float *sums, F &&meanwhile) {
    meanwhile(1, 1);
    int64_t count = words(depth), vectors = (columns + kLanes - 1) / kLanes;
    for (int64_t i = 0; i < rows; i += kRows) {
      float *target = sums + i * kColumnPanel;
      switch (vectors < kVectors ? vectors : kVectors) {
        case 1:
          multiplyRows<Word, 1>(a + i, b, count, kColumnPanel, first, target);
          break;
        case 2:
          multiplyRows<Word, 2>(a + i, b, count, kColumnPanel, first, target);
          break;
        default:
          multiplyRows<Word, kVectors>(a + i, b, count, kColumnPanel, first, target);
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
  static constexpr int64_t kDepth = kParts == 1 ? 2048 : 1024;
  static constexpr int64_t kDepthUnit = 2 * kGroup;
  static constexpr int64_t kTile = 16 * 16, kStrip = 16 * kColumnPanel;  // words of a's and b's share in one part

  static void begin() { configureTiles(); }
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

  // Tiles are multiplied apart from vectors: what the vectors do meanwhile costs no time.
  template <typename F>
  static void multiply(const float *a, const float *b, int64_t, int64_t, int64_t depth, bool first, float *sums,
                       F &&meanwhile) {
    constexpr size_t kStride = kColumnPanel * sizeof(float);
    int64_t count = words(depth);
    const float *upper = a, *lower = a + count * kGroup * kParts;
    float *below = sums + 16 * kColumnPanel;
    if (first) {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    } else {
      _tile_loadd(0, sums, kStride);
      _tile_loadd(1, sums + 16, kStride);
      _tile_loadd(2, below, kStride);
      _tile_loadd(3, below + 16, kStride);
    }
    for (int64_t k = 0; k < count; k += kGroup) {
      multiplyGroup(upper, lower, b);
      meanwhile(k / kGroup + 1, count / kGroup);
      upper += kParts * kTile;
      lower += kParts * kTile;
      b += kParts * kStrip;
    }
    _tile_stored(0, sums, kStride);
    _tile_stored(1, sums + 16, kStride);
    _tile_stored(2, below, kStride);
    _tile_stored(3, below + 16, kStride);
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

// ---- chunks, blocks and strips -------------------------------------------------------------------------------------

// The number of equal pieces, and their size in whole units, that `size` is cut into.
struct Cut {
  int64_t pieces, size;

  static Cut of(int64_t size, int64_t most, int64_t unit) {
    int64_t pieces = (size + most - 1) / most;
    int64_t piece = roundUp((size + pieces - 1) / pieces, unit);
    return {(size + piece - 1) / piece, piece};
  }

  int64_t lengthOf(int64_t piece, int64_t all) const { return all - piece * size < size ? all - piece * size : size; }
};

constexpr int64_t kChunkWords = int64_t{2} << 20;  // of the shared operand: 8 MB, what the last cache gives two threads
constexpr int64_t kMostStrip = 128, kLeastStrip = 64;

template <typename Kernel>
struct Plan {
  static constexpr int64_t kBlock = Kernel::kRowPanel * Kernel::kColumnPanel;  // sums

  bool byRows;      // strips are rows of a and c, and b is shared; else strips are columns, and a is shared
  int64_t striped;  // the size of the dimension that is cut into strips
  int64_t stripPanel, sharedPanel;
  Cut depths, chunks;
  int64_t packedWords, sums;  // of the workspace

  static int64_t wordsOf(int64_t width, int64_t depth) { return width * Kernel::words(depth) * Kernel::Word::kParts; }

  explicit Plan(const sn_gemm_shape &s)
      : byRows(s.m >= s.n),
        striped(byRows ? s.m : s.n),
        stripPanel(byRows ? Kernel::kRowPanel : Kernel::kColumnPanel),
        sharedPanel(byRows ? Kernel::kColumnPanel : Kernel::kRowPanel),
        depths(Cut::of(s.k, Kernel::kDepth, Kernel::kDepthUnit)) {
    int64_t most = kChunkWords / wordsOf(sharedPanel, depths.size) * sharedPanel;
    chunks = Cut::of(byRows ? s.n : s.m, most, sharedPanel);
    packedWords = wordsOf(chunks.size, depths.size);
    sums = depths.pieces == 1 ? 0 : roundUp(striped, stripPanel) * chunks.size;
  }

  int64_t bytes() const { return (packedWords + sums) * static_cast<int64_t>(sizeof(float)); }
};

// One block of k of one chunk of the shared operand.
template <typename Kernel, typename T, typename C>
struct Share {
  sn_stream *stream;
  const sn_gemm_shape &s;
  const Plan<Kernel> &plan;
  const T *a, *b, *bias;
  C *c;
  T *aux;
  float *packed, *sums;
  int64_t first, count, k, depth;  // first and count: of the chunk

  void run() const {
    ThreadPool &pool = poolOf(stream);
    int64_t panels = (count + plan.sharedPanel - 1) / plan.sharedPanel;
    parallelRange(pool, panels, kGrain / (plan.sharedPanel * depth) + 1, [&](int64_t begin, int64_t end) {
      int64_t from = begin * plan.sharedPanel, to = end * plan.sharedPanel;
      pack(!plan.byRows, first + from, (to < count ? to : count) - from, packed + plan.wordsOf(from, depth));
    });

    // Four parts for each thread, so that none waits long for another, unless strips become too narrow to be worth it.
    Cut strips = Cut::of(plan.striped, kMostStrip, plan.stripPanel);
    while (strips.pieces < 4 * pool.threads() && strips.size > kLeastStrip) {
      strips = Cut::of(plan.striped, strips.size / 2, plan.stripPanel);
    }
    Cut ranges{1, count};
    while (strips.pieces * ranges.pieces < pool.threads() && ranges.size > plan.sharedPanel) {
      ranges = Cut::of(count, ranges.size / 2, plan.sharedPanel);
    }
    parallel(pool, strips.pieces * ranges.pieces, [&](int64_t part, int32_t worker) {
      int64_t strip = part % strips.pieces, range = part / strips.pieces;
      multiplyStrip(strip * strips.size, strips.lengthOf(strip, plan.striped), range * ranges.size,
                    range * ranges.size + ranges.lengthOf(range, count),
                    static_cast<float *>(deviceOf(stream).scratch(worker)));
    });
  }

 private:
  void pack(bool rows, int64_t from, int64_t width, float *out) const {
    if (rows) {
      Kernel::packRows(a + (s.transpose_a ? k * s.a_stride + from : from * s.a_stride + k), s.a_stride, !s.transpose_a,
                       width, depth, out);
    } else {
      Kernel::packColumns(b + (s.transpose_b ? from * s.b_stride + k : k * s.b_stride + from), s.b_stride,
                          s.transpose_b, width, depth, out);
    }
  }

  // A block of c whose sums are complete.
  struct Finished {
    const float *sums = nullptr;
    int64_t row = 0, rows = 0, column = 0, columns = 0;
    int64_t done = 0;  // rows
  };

  void multiplyStrip(int64_t strip, int64_t width, int64_t from, int64_t to, float *scratch) const {
    float *own = scratch + 2 * plan.kBlock;
    pack(plan.byRows, strip, width, own);
    Finished before;
    int64_t turn = 0;
    Kernel::begin();
    for (int64_t i = from; i < to; i += plan.sharedPanel) {
      const float *shared = packed + plan.wordsOf(i, depth);
      for (int64_t j = 0; j < width; j += plan.stripPanel, ++turn) {
        const float *striped = own + plan.wordsOf(j, depth);
        float *block = plan.sums == 0 ? scratch + turn % 2 * plan.kBlock
                                      : sums + (strip + j) * plan.chunks.size + i * plan.stripPanel;
        if (plan.byRows) {
          multiplyBlock(striped, shared, strip + j, width - j, first + i, count - i, block, &before);
        } else {
          multiplyBlock(shared, striped, first + i, count - i, strip + j, width - j, block, &before);
        }
      }
    }
    Kernel::end();
    finish(&before, before.rows);
  }

  // The block of c at (row, column), of which `rows` and `columns` are left; finishes the one before.
  void multiplyBlock(const float *left, const float *right, int64_t row, int64_t rows, int64_t column, int64_t columns,
                     float *block, Finished *before) const {
    if (rows > Kernel::kRowPanel) rows = Kernel::kRowPanel;
    if (columns > Kernel::kColumnPanel) columns = Kernel::kColumnPanel;
    bool last = k + depth == s.k;
    if (last) {
      for (int64_t i = 0; i < rows; ++i) {
        int64_t at = (row + i) * s.c_stride + column;
        prefetchRow(c + at, columns);
        if (aux != nullptr) prefetchRow(aux + at, columns);
      }
    }
    Kernel::multiply(left, right, rows, columns, depth, k == 0, block,
                     [&](int64_t share, int64_t all) { finish(before, before->rows * share / all); });
    if (last) *before = {block, row, rows, column, columns};
  }

  // Finishes a block up to `end` of its rows.
  void finish(Finished *block, int64_t end) const {
    if (end <= block->done) return;
    int64_t at = (block->row + block->done) * s.c_stride + block->column;
    finishBlock(s, block->sums + block->done * Kernel::kColumnPanel, Kernel::kColumnPanel, end - block->done,
                block->columns, c + at, bias == nullptr ? nullptr : bias + block->column,
                aux == nullptr ? nullptr : aux + at);
    block->done = end;
  }

  template <typename E>
  static void prefetchRow(const E *row, int64_t count) {
    for (int64_t i = 0; i < count; i += 64 / static_cast<int64_t>(sizeof(E))) __builtin_prefetch(row + i, 1);
  }
};

template <typename Kernel, typename T, typename C>
void multiplyAll(sn_stream *stream, const sn_gemm_shape &s, const T *a, const T *b, C *c, const T *bias, T *aux,
                 void *workspace) {
  Plan<Kernel> plan(s);
  auto *packed = static_cast<float *>(workspace), *sums = packed + plan.packedWords;
  for (int64_t batch = 0; batch < s.batch; ++batch) {
    for (int64_t chunk = 0; chunk < plan.chunks.pieces; ++chunk) {
      for (int64_t block = 0; block < plan.depths.pieces; ++block) {
        Share<Kernel, T, C>{stream,
                            s,
                            plan,
                            a + batch * s.a_batch,
                            b + batch * s.b_batch,
                            bias,
                            c + batch * s.c_batch,
                            aux == nullptr ? nullptr : aux + batch * s.c_batch,
                            packed,
                            sums,
                            chunk * plan.chunks.size,
                            plan.chunks.lengthOf(chunk, plan.byRows ? s.n : s.m),
                            block * plan.depths.size,
                            plan.depths.lengthOf(block, s.k)}
            .run();
      }
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
  if (fewRows(s)) {
    multiplyFewRows(stream, s, at, bt, ct, biast, auxt);
    return SN_OK;
  }
  if (workspace == nullptr) return fail(SN_BAD_ARGUMENT, "gemm: workspace is null; sn_gemm_workspace has its size");
  withKernel<T>([&](auto kernel) { multiplyAll<decltype(kernel)>(stream, s, at, bt, ct, biast, auxt, workspace); });
  return SN_OK;
}

// Each shape has one way here.
sn_status checkPlan(const sn_gemm_shape &s) {
  if (s.plan == 0) return SN_OK;
  return fail(SN_BAD_ARGUMENT, "gemm: plan %lld is none of this shape's on a CPU; 0 is",
              static_cast<long long>(s.plan));
}

}  // namespace

sn_status gemm_library(const sn_device *, const char *, int64_t *version) {
  *version = 0;
  return SN_OK;
}

sn_status gemm_plans(const sn_device *, const sn_gemm_shape *, int32_t capacity, int64_t *plans, int32_t *count) {
  *count = 1;
  if (capacity > 0) plans[0] = 0;
  return SN_OK;
}

sn_status gemm_workspace(const sn_device *, const sn_gemm_shape *shape, int64_t *bytes) {
  if (sn_status status = checkPlan(*shape); status != SN_OK) return status;
  if (fewRows(*shape)) {
    *bytes = 0;
    return SN_OK;
  }
  withType(shape->dtype, [&](auto t) {
    withKernel<decltype(t)>([&](auto kernel) { *bytes = Plan<decltype(kernel)>(*shape).bytes(); });
  });
  return SN_OK;
}

sn_status gemm(sn_stream *stream, const sn_gemm_shape *shape, const sn_row_norm *norm, const void *a, const void *b,
               void *c, const void *bias, void *aux, void *workspace) {
  const auto &s = *shape;
  if (sn_status status = checkPlan(s); status != SN_OK) return status;
  if (norm != nullptr) {
    layer_norm_forward(stream, s.dtype, s.m, s.k, norm->epsilon, a, nullptr, norm->gain, norm->bias, nullptr, norm->out,
                       nullptr, nullptr);
    a = norm->out;
  }
  if (s.dtype == SN_F32) return runShape<float, float>(stream, s, a, b, c, bias, aux, workspace);
  if (s.c_dtype == SN_F32) return runShape<bf16, float>(stream, s, a, b, c, bias, aux, workspace);
  return runShape<bf16, bf16>(stream, s, a, b, c, bias, aux, workspace);
}

}  // namespace sn::cpu::SN_ISA
