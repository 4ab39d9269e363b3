// linear.cu: products with packed weights.
//
// A warp multiplies a panel of 16 outputs by tiles of eight rows of x, step by step along `in` (linear_formats.cuh).
// Weights are read once for up to 64 rows (16 in fp32), at the speed of memory where rows are few. For enough loads in
// flight the steps along `in` are dealt out to slices; a block has a few panels, and warps for some slices of each at
// once, whose sums are added in the order of the slices. How many slices there are depends on the weights alone, and
// nothing else changes the order of a sum: so a row has the same bits among any others.
//
// Up to eight rows are rounded by each warp as it reads them, and normalised by each block: a kernel of its own would
// take longer than the product. More are rounded once, into the workspace, by the same functions.
//
// When tokens are decoded, a product is but one of many short kernels: each has its first weights on their way while
// the one before it still computes x (launchInStep).
#include <algorithm>

#include "cuda/gemm.h"
#include "cuda/linear_rows.cuh"
#include "cuda/operations.h"

namespace sn::cuda {

namespace {

constexpr int kMostSlices = 16;

// ---- the product --------------------------------------------------------------------------------------------------

// Of a block. Where a warp has many sums it needs the registers of two.
template <typename Format>
constexpr int mostWarps(int tiles) {
  return tiles * Format::kSums > 32 || tiles == 8 ? 8 : 16;
}

// How the work is dealt out.
struct Dealing {
  int slices;  // of the steps: step s is in slice s % slices
  int atOnce;  // slices that a block works on at once, a warp each of each panel
  int panels;  // of a block
  int rowBlocks;

  __host__ __device__ int warps() const { return panels * atOnce; }
};

template <typename T>
struct Linear {
  const unsigned char *packed;
  int64_t panelBytes;
  int steps, panels, rows, out;
  Dealing dealing;
  Epilogue<T> epilogue;
};

// A slice of a panel's steps, of which the weights of a few are on their way before the first is multiplied; x comes
// from the caches.
template <typename Format, int Tiles>
struct Slice {
  static constexpr int kAhead = Tiles <= 2 || Format::kAhead < 2 ? Format::kAhead : 2;

  const unsigned char *panel;
  int slices, steps;
  int next;  // step, whose weights are on their way
  typename Format::Weights weights[kAhead];

  __device__ __forceinline__ void load(int first) {
    next = first;
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      int step = first + i * slices;
      if (step < steps) weights[i] = Format::load(panel + static_cast<int64_t>(step) * Format::kBytes);
    }
  }

  // Adds the products with a few tiles of x, step after step.
  template <typename Source>
  __device__ __forceinline__ void add(const Source &x, int tile, float (&sums)[Tiles][Format::kSums]) {
#pragma unroll 1
    while (next < steps) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        int step = next + i * slices;
        if (step >= steps) break;
#pragma unroll
        for (int t = 0; t < Tiles; ++t)
          Format::multiply(weights[i], Source::fragments(x.load(tile + t, step)), sums[t]);
      }
      load(next + kAhead * slices);
    }
  }
};

// Four neighbours of the sums [slices at once][rows][columns] of a round, added in the order of the slices.
__device__ __forceinline__ void addFours(const float *sums, int slices, int stride, float (&total)[4]) {
  loadPacked<4>(sums, 4).unpack(total);
#pragma unroll 1
  for (int slice = 1; slice < slices; ++slice) {
    float more[4];
    loadPacked<4>(sums + slice * stride, 4).unpack(more);
#pragma unroll
    for (int j = 0; j < 4; ++j) total[j] += more[j];
  }
}

template <typename Format, typename Source, typename T, int Tiles>
__global__ void __launch_bounds__(mostWarps<Format>(Tiles) * kWarp, Source::kBlocks)
    multiplyPacked(Linear<T> a, Source x) {
  constexpr int kTileRows = Tiles * kRows;
  SN_DYNAMIC_SHARED(memory);
  auto *all = reinterpret_cast<float *>(memory);
  const Dealing &dealing = a.dealing;
  int warp = static_cast<int>(threadIdx.x) / kWarp, own = warp % dealing.panels, turn = warp / dealing.panels;
  int firstPanel = static_cast<int>(blockIdx.x) / dealing.rowBlocks * dealing.panels, panel = firstPanel + own;
  int tile = static_cast<int>(blockIdx.x) % dealing.rowBlocks * Tiles, columns = dealing.panels * kOutputs;
  int stride = kTileRows * columns;
  // A warp without a panel has no steps.
  Slice<Format, Tiles> slice{a.packed + panel * a.panelBytes, dealing.slices, panel < a.panels ? a.steps : 0, 0, {}};
  slice.load(turn);
  releaseNextGrid();
  waitForPriorGrid();
  x.begin(all + dealing.warps() * kTileRows * kOutputs);
#pragma unroll 1
  for (int first = 0;; first += dealing.atOnce) {
    float sums[Tiles][Format::kSums] = {};
    if (first > 0) slice.load(first + turn);
    slice.add(x, tile, sums);
    float *mine = all + turn * stride + own * kOutputs;
#pragma unroll
    for (int t = 0; t < Tiles; ++t) Format::put(sums[t], mine + t * kRows * columns, columns, first > 0 && turn == 0);
    __syncthreads();
    // The sum of the slices so far goes on in the place of the first, until it is that of all.
    if (first + dealing.atOnce == dealing.slices) break;
#pragma unroll 1
    for (int i = 4 * static_cast<int>(threadIdx.x); i < stride; i += 4 * static_cast<int>(blockDim.x)) {
      float total[4];
      addFours(all + i, dealing.atOnce, stride, total);
      storeElements(all + i, 4, total);
    }
    __syncthreads();
  }
#pragma unroll 1
  for (int i = 4 * static_cast<int>(threadIdx.x); i < stride; i += 4 * static_cast<int>(blockDim.x)) {
    int row = tile * kRows + i / columns, column = firstPanel * kOutputs + i % columns;
    if (row >= a.rows || column >= a.out) continue;
    float total[4];
    addFours(all + i, dealing.atOnce, stride, total);
    finish(a.epilogue, row * a.epilogue.stride + column, column, a.out - column, total);
  }
}

// ---- launchers ----------------------------------------------------------------------------------------------------

// Warps that read at once are then some for each multiprocessor of a large GPU.
constexpr int64_t kManyWarps = 2048;

// By the weights alone.
int slicesOf(int64_t panels, int64_t steps) {
  int slices = 1;
  while (slices < kMostSlices && 2 * slices <= steps && panels * slices < kManyWarps) slices *= 2;
  return slices;
}

// With many rows a block has more panels, whose warps share rows of x, where that leaves blocks enough.
Dealing deal(int64_t panels, int64_t steps, int64_t rowBlocks, int mostWarps, int multiprocessors) {
  constexpr int kWarps = 8, kShared = 4;
  int slices = slicesOf(panels, steps), ofBlock = std::max(1, kWarps / slices);
  auto blocks = [&](int64_t each) { return (panels + each - 1) / each * rowBlocks; };
  while (ofBlock < kShared && blocks(2 * ofBlock) >= 2 * multiprocessors) ofBlock *= 2;
  return {slices, std::min(slices, mostWarps / ofBlock), ofBlock, static_cast<int>(rowBlocks)};
}

template <typename Format, typename T, int Tiles, typename Source>
cudaError_t launchTiles(sn_stream *stream, Linear<T> work, const Source &x) {
  int64_t rowBlocks = (int64_t{work.rows} + Tiles * kRows - 1) / (Tiles * kRows);
  work.dealing = deal(work.panels, work.steps, rowBlocks, mostWarps<Format>(Tiles), deviceOf(stream).multiprocessors);
  const Dealing &dealing = work.dealing;
  int64_t blocks = (int64_t{work.panels} + dealing.panels - 1) / dealing.panels * rowBlocks;
  auto sharedBytes = sizeof(float) * dealing.warps() * Tiles * kRows * kOutputs + x.sharedBytes();
  return launchInStep(stream, multiplyPacked<Format, Source, T, Tiles>, dim3(static_cast<unsigned>(blocks)),
                      dim3(static_cast<unsigned>(dealing.warps() * kWarp)), sharedBytes, work, x);
}

// Calls f with a format's functions.
template <typename F>
auto withFormat(sn_weight_format format, F &&f) {
  switch (format) {
    case SN_WEIGHT_F32:
      return f(Floats{});
    case SN_WEIGHT_BF16:
      return f(Halves{});
    case SN_WEIGHT_Q8:
      return f(EightBits{});
    default:
      return f(FourBits{});
  }
}

int64_t paddedOf(int64_t in) { return (in + kUnit - 1) / kUnit * kUnit; }
int64_t tilesOf(int64_t rows) { return (rows + kRows - 1) / kRows; }

// Tiles of a block where x is prepared, and all that are: whole blocks of them.
int tilesOfBlock(int64_t rows) { return rows <= 2 * kRows ? 2 : rows <= 4 * kRows ? 4 : 8; }
int64_t preparedTilesOf(int64_t rows) {
  int64_t each = tilesOfBlock(rows);
  return (tilesOf(rows) + each - 1) / each * each;
}

// With a tile of rows to normalise, a block still has others beside it on its multiprocessor.
constexpr int64_t kMostNormBytes = int64_t{64} << 10;

template <typename Format>
int64_t normBytes(int64_t rows, int64_t in) {
  return rows * Normalized<Format>::strideOf(in) * static_cast<int64_t>(sizeof(float));
}

// Whether rows are normalised where they are multiplied or prepared.
template <typename Format>
bool normalizesItself(const sn_linear_shape &s) {
  bool prepares = s.rows > kRows && Format::kFormat != SN_WEIGHT_F32;
  return s.dtype == SN_F32 && (s.rows <= kRows || prepares) &&
         normBytes<Format>(std::min<int64_t>(s.rows, kRows), s.in) <= kMostNormBytes;
}

template <typename Format, typename T>
cudaError_t multiplyPrepared(sn_stream *stream, const sn_linear_shape &s, const Linear<T> &work,
                             const unsigned char *prepared) {
  Prepared<Format> source{prepared, static_cast<int>(preparedTilesOf(s.rows))};
  int each = tilesOfBlock(s.rows);
  auto *instance = each == 2   ? launchTiles<Format, T, 2, Prepared<Format>>
                   : each == 4 ? launchTiles<Format, T, 4, Prepared<Format>>
                               : launchTiles<Format, T, 8, Prepared<Format>>;
  return instance(stream, work, source);
}

template <typename Format>
cudaError_t multiplyNormalized(sn_stream *stream, const sn_linear_shape &s, const Linear<float> &work,
                               const RowNorm<float> &norm, void *workspace) {
  int stride = Normalized<Format>::strideOf(s.in);
  if constexpr (Format::kFormat != SN_WEIGHT_F32) {
    if (s.rows > kRows) {
      auto *prepared = static_cast<unsigned char *>(workspace);
      int tiles = static_cast<int>(preparedTilesOf(s.rows));
      cudaError_t error =
          launchInStep(stream, prepareNormalized<Format>, dim3(static_cast<unsigned>(tiles)), dim3(kNormThreads),
                       static_cast<size_t>(normBytes<Format>(kRows, s.in)), norm, stride, tiles, work.steps, prepared);
      return error != cudaSuccess ? error : multiplyPrepared<Format>(stream, s, work, prepared);
    }
  }
  Normalized<Format> source{norm, {nullptr, stride, work.rows, static_cast<int>(paddedOf(s.in))}};
  return launchTiles<Format, float, 1>(stream, work, source);
}

// Floats, of few rows those of all formats, are read where they are.
template <typename Format, typename T>
cudaError_t multiply(sn_stream *stream, const sn_linear_shape &s, const Linear<T> &work, const T *x, void *workspace) {
  int in = static_cast<int>(s.in);
  bool isFloats = Format::kFormat == SN_WEIGHT_F32;
  if constexpr (sizeof(T) == sizeof(float)) {
    if ((isFloats || work.rows <= kRows) && s.in % 4 == 0 && rowsAreAligned(x, s.x_stride, 0)) {
      Direct<Format> direct{x, s.x_stride, work.rows, in};
      if constexpr (Format::kFormat == SN_WEIGHT_F32) {
        if (work.rows > kRows) return launchTiles<Format, T, 2>(stream, work, direct);
      }
      return launchTiles<Format, T, 1>(stream, work, direct);
    }
  }
  if constexpr (Format::kFormat == SN_WEIGHT_F32) {
    PadRows<T> pad{x, s.x_stride, s.in, paddedOf(s.in), static_cast<float *>(workspace)};
    if (cudaError_t error = launchEights(handleOf(stream), s.rows * pad.padded, pad)) return error;
    Direct<Format> padded{pad.out, pad.padded, work.rows, static_cast<int>(pad.padded)};
    return work.rows > kRows ? launchTiles<Format, T, 2>(stream, work, padded)
                             : launchTiles<Format, T, 1>(stream, work, padded);
  } else {
    auto *prepared = static_cast<unsigned char *>(workspace);
    int tiles = static_cast<int>(preparedTilesOf(s.rows));
    int64_t count = int64_t{tiles} * work.steps, warps = kPrepareThreads / kWarp;
    cudaError_t error =
        launchInStep(stream, prepareRows<Format, T>, dim3(static_cast<unsigned>((count + warps - 1) / warps)),
                     dim3(kPrepareThreads), 0, x, s.x_stride, work.rows, in, tiles, count, prepared);
    return error != cudaSuccess ? error : multiplyPrepared<Format>(stream, s, work, prepared);
  }
}

// Kernels count rows, numbers, panels and blocks in 31 bits.
sn_status checkSize(const sn_linear_shape &s) {
  constexpr int64_t kMost = int64_t{1} << 30;
  PackedLayout layout(s.format, s.in, s.out);
  if (std::max({s.rows, s.in, s.out}) <= kMost &&
      tilesOf(s.rows) * std::max(layout.panels(), layout.units()) <= kMost) {
    return SN_OK;
  }
  return fail(SN_UNSUPPORTED, "linear: rows %lld, in %lld, out %lld is more than one launch can do",
              static_cast<long long>(s.rows), static_cast<long long>(s.in), static_cast<long long>(s.out));
}

}  // namespace

sn_status linear_workspace(const sn_device *, const sn_linear_shape *shape, int64_t *bytes) {
  const auto &s = *shape;
  *bytes = withFormat(s.format, [&](auto format) {
    using Format = decltype(format);
    int64_t padded = paddedOf(s.in);
    if constexpr (Format::kFormat == SN_WEIGHT_F32) {
      return s.rows * padded * static_cast<int64_t>(sizeof(float));
    } else {
      return preparedTilesOf(s.rows) * (padded / Format::kDepth) * Format::kPreparedBytes;
    }
  });
  return SN_OK;
}

sn_status linear(sn_stream *stream, const sn_linear_shape *shape, const sn_row_norm *norm, const void *x,
                 const void *packed, void *y, const void *bias, const void *aux, void *workspace) {
  const auto &s = *shape;
  if (sn_status status = checkSize(s); status != SN_OK) return status;
  PackedLayout layout(s.format, s.in, s.out);
  return withType(s.dtype, [&](auto t) {
    using T = decltype(t);
    // An activation's input is not kept.
    bool adds = s.epilogue == SN_EPILOGUE_BIAS_RESIDUAL;
    Epilogue<T> epilogue{s.epilogue,
                         s.activation,
                         false,
                         s.y_dtype == SN_F32,
                         y,
                         adds ? static_cast<T *>(const_cast<void *>(aux)) : nullptr,
                         static_cast<const T *>(bias),
                         s.y_stride,
                         0};
    return withFormat(s.format, [&](auto format) {
      using Format = decltype(format);
      Linear<T> work{static_cast<const unsigned char *>(packed),
                     layout.panelBytes(),
                     static_cast<int>(paddedOf(s.in) / Format::kDepth),
                     static_cast<int>(layout.panels()),
                     static_cast<int>(s.rows),
                     static_cast<int>(s.out),
                     {},
                     epilogue};
      if constexpr (sizeof(T) == sizeof(float)) {
        if (norm != nullptr && normalizesItself<Format>(s)) {
          auto rowNorm = RowNorm<float>::of(*norm, x, s.rows, s.in);
          return check(multiplyNormalized<Format>(stream, s, work, rowNorm, workspace), "linear");
        }
      }
      const void *rows = x;
      if (norm != nullptr) {
        sn_status status = layer_norm_forward(stream, s.dtype, s.rows, s.in, norm->epsilon, x, nullptr, norm->gain,
                                              norm->bias, nullptr, norm->out, nullptr, nullptr);
        if (status != SN_OK) return status;
        rows = norm->out;
      }
      return check(multiply<Format>(stream, s, work, static_cast<const T *>(rows), workspace), "linear");
    });
  });
}

}  // namespace sn::cuda
