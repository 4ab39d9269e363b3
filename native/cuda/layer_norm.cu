// layer_norm.cu: each row normalised, scaled and shifted; forward and backward (Ba et al. 2016).
//
// A team of threads holds a row in registers, so that it is read once though its mean, its variance and its result each
// need all of it: a warp up to a width of 1024, then a block. Wider rows are read again, mostly out of the cache.
//
// The gradients of gain and bias, and of a bias that was added to the row, are sums over all rows. Each thread adds up
// its columns over the rows that its block meets, loading the next row meanwhile; a block leaves its sums in the
// workspace, and a second kernel adds the blocks' in their order: no atomics, the same bits in every run (as in llm.c,
// https://github.com/karpathy/llm.c).
#include "cuda/device.h"
#include "cuda/operations.h"
#include "cuda/ptx/grid.h"
#include "cuda/row_norm.cuh"

namespace sn::cuda {

namespace {

constexpr int kThreads = kNormThreads;

// Replaces each number by its sum over `Threads` threads, a warp or the whole block. `scratch`: Count floats a warp
// that no thread may still read from an earlier sum: two take turns.
template <int Threads, int Count>
__device__ __forceinline__ void teamSum(float (&x)[Count], float *scratch) {
#pragma unroll
  for (float &value : x) value = warpSum(value);
  if constexpr (Threads > kWarp) {
    if (threadIdx.x % kWarp == 0) {
#pragma unroll
      for (int i = 0; i < Count; ++i) scratch[threadIdx.x / kWarp * Count + i] = x[i];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < Count; ++i) {
      x[i] = 0;
#pragma unroll
      for (int warp = 0; warp < Threads / kWarp; ++warp) x[i] += scratch[warp * Count + i];
    }
  }
}

// ---- forward -------------------------------------------------------------------------------------------------------

// The threads of a block that share a row: a warp or all. Each holds `Eights` times eight of its elements; eights of
// neighbouring threads are neighbours.
template <int Threads, int Eights>
struct Team {
  static constexpr int kSize = Threads, kEights = Eights;
  static constexpr int kRows = kThreads / Threads;  // that a block has in hand at once

  __device__ static int number() { return static_cast<int>(threadIdx.x) / Threads; }
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % Threads; }
  __device__ static int column(int eight) { return 8 * (eight * Threads + lane()); }
};

template <typename T>
struct Forward {
  int64_t rows, width;
  float epsilon;
  const T *x, *residual, *gain, *bias;
  T *sum, *out;
  float *mean, *rstd;

  // s = x + residual, as it is kept where it is: the backward pass sees the same.
  __device__ void add(int64_t at, int64_t count, const Packed<T, 8> &own, const Packed<T, 8> &other,
                      float (&s)[8]) const {
    float added[8];
    own.unpack(s);
    other.unpack(added);
#pragma unroll
    for (int j = 0; j < 8; ++j) s[j] += added[j];
    if (sum == nullptr) return;
    storeElements(sum + at, count, s);
#pragma unroll
    for (float &value : s) value = toFloat(fromFloat<T>(value));
  }

  __device__ Packed<T, 8> residualAt(int64_t at, int64_t count) const {
    return residual == nullptr ? Packed<T, 8>{} : loadPacked<8>(residual + at, count);
  }

  __device__ float rstdFor(float squares) const { return rstdOf(squares, static_cast<float>(width), epsilon); }

  __device__ void finish(int64_t at, int64_t column, float mu, float scale, float (&s)[8]) const {
    int64_t count = width - column;
    normalizeEight(gain + column, bias == nullptr ? nullptr : bias + column, count, mu, scale, s);
    storeElements(out + at, count, s);
  }

  __device__ void keep(int64_t row, float mu, float scale) const {
    if (mean == nullptr) return;
    mean[row] = mu;
    rstd[row] = scale;
  }
};

template <typename T, typename Team>
__global__ void __launch_bounds__(kThreads) forwardRows(Forward<T> a) {
  SN_SHARED(float, scratch, 2 * kThreads / kWarp);
  releaseNextGrid();
  waitForPriorGrid();
  int64_t row = static_cast<int64_t>(blockIdx.x) * Team::kRows + Team::number();
  if (row >= a.rows) return;
  int64_t start = row * a.width;
  Packed<T, 8> own[Team::kEights], other[Team::kEights];
#pragma unroll
  for (int i = 0; i < Team::kEights; ++i) {
    int64_t at = start + Team::column(i), count = a.width - Team::column(i);
    own[i] = loadPacked<8>(a.x + at, count);
    other[i] = a.residualAt(at, count);
  }
  float s[Team::kEights][8], total[1] = {}, squares[1] = {};
#pragma unroll
  for (int i = 0; i < Team::kEights; ++i) {
    a.add(start + Team::column(i), a.width - Team::column(i), own[i], other[i], s[i]);
    total[0] += sumOf(s[i]);
  }
  teamSum<Team::kSize>(total, scratch);
  float mu = total[0] / static_cast<float>(a.width);
#pragma unroll
  for (int i = 0; i < Team::kEights; ++i) squares[0] += squaresOf(s[i], a.width - Team::column(i), mu);
  teamSum<Team::kSize>(squares, scratch + kThreads / kWarp);
  float scale = a.rstdFor(squares[0]);
#pragma unroll
  for (int i = 0; i < Team::kEights; ++i) a.finish(start + Team::column(i), Team::column(i), mu, scale, s[i]);
  if (Team::lane() == 0) a.keep(row, mu, scale);
}

template <typename T>
__global__ void __launch_bounds__(kThreads) forwardWideRow(Forward<T> a) {
  SN_SHARED(float, scratch, 2 * kThreads / kWarp);
  releaseNextGrid();
  waitForPriorGrid();
  int64_t row = blockIdx.x, start = row * a.width;
  // f(column, s) for each of the thread's eights.
  auto forEights = [&](bool first, auto &&f) {
    for (int64_t column = 8 * threadIdx.x; column < a.width; column += 8 * kThreads) {
      int64_t at = start + column, count = a.width - column;
      float s[8];
      if (first || a.sum == nullptr) {
        a.add(at, count, loadPacked<8>(a.x + at, count), a.residualAt(at, count), s);
      } else {
        loadPacked<8>(a.sum + at, count).unpack(s);
      }
      f(column, s);
    }
  };
  float total[1] = {}, squares[1] = {};
  forEights(true, [&](int64_t, float(&s)[8]) { total[0] += sumOf(s); });
  teamSum<kThreads>(total, scratch);
  float mu = total[0] / static_cast<float>(a.width);
  forEights(false, [&](int64_t column, float(&s)[8]) { squares[0] += squaresOf(s, a.width - column, mu); });
  teamSum<kThreads>(squares, scratch + kThreads / kWarp);
  float scale = a.rstdFor(squares[0]);
  forEights(false, [&](int64_t column, float(&s)[8]) { a.finish(start + column, column, mu, scale, s); });
  if (threadIdx.x == 0) a.keep(row, mu, scale);
}

template <typename T, typename Team>
cudaError_t launchForward(const sn_stream *stream, const Forward<T> &work) {
  auto blocks = static_cast<unsigned>((work.rows + Team::kRows - 1) / Team::kRows);
  return launchInStep(stream, forwardRows<T, Team>, dim3(blocks), dim3(kThreads), 0, work);
}

template <typename T>
cudaError_t forward(const sn_stream *stream, const Forward<T> &work) {
  if (work.width <= 256) return launchForward<T, Team<kWarp, 1>>(stream, work);
  if (work.width <= 512) return launchForward<T, Team<kWarp, 2>>(stream, work);
  if (work.width <= 768) return launchForward<T, Team<kWarp, 3>>(stream, work);
  if (work.width <= kWarpNormWidth) return launchForward<T, Team<kWarp, 4>>(stream, work);
  if (work.width <= 2048) return launchForward<T, Team<kThreads, 1>>(stream, work);
  if (work.width <= 4096) return launchForward<T, Team<kThreads, 2>>(stream, work);
  if (work.width <= 8192) return launchForward<T, Team<kThreads, 4>>(stream, work);
  return launchInStep(stream, forwardWideRow<T>, dim3(static_cast<unsigned>(work.rows)), dim3(kThreads), 0, work);
}

// ---- backward ------------------------------------------------------------------------------------------------------

constexpr int kSums = 3;

template <typename T>
struct Backward {
  int64_t rows, width;
  const T *s, *gain;
  const float *mean, *rstd;
  const T *dout, *dresidual;
  T *dx;
  float *partial;  // [blocks, kSums, width]: of gain, then of bias, then of dx

  __device__ float *partialOfBlock() const { return partial + blockIdx.x * kSums * width; }

  __device__ Packed<T, 8> dresidualAt(int64_t at, int64_t count) const {
    return dresidual == nullptr ? Packed<T, 8>{} : loadPacked<8>(dresidual + at, count);
  }
};

// Eight elements of a row: n = (s - mu) rstd and g = dout gain.
struct Eight {
  float normal[8], upper[8], g[8];

  template <typename T>
  __device__ Eight(const Packed<T, 8> &s, const Packed<T, 8> &dout, const Packed<T, 8> &gain, float mu, float scale) {
    s.unpack(normal);
    dout.unpack(upper);
    gain.unpack(g);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      normal[j] = (normal[j] - mu) * scale;
      g[j] *= upper[j];
    }
  }

  // Adds to the sums of g and of g n over the row.
  __device__ void addTo(float (&sums)[2]) const {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      sums[0] += g[j];
      sums[1] = fmaf(g[j], normal[j], sums[1]);
    }
  }

  // dx = rstd (g - mean(g) - n mean(g n)), plus what reaches s on other ways.
  __device__ void gradient(float meanG, float meanGN, float scale, float (&dx)[8]) const {
#pragma unroll
    for (int j = 0; j < 8; ++j) dx[j] = scale * (g[j] - meanG - normal[j] * meanGN) + dx[j];
  }
};

// Eight elements of each tensor that the gradient of a row needs.
template <typename T>
struct Loaded {
  Packed<T, 8> s, dout, dresidual;
  float mu, scale;

  __device__ Loaded(const Backward<T> &a, int64_t row, int64_t column)
      : s(loadPacked<8>(a.s + row * a.width + column, a.width - column)),
        dout(loadPacked<8>(a.dout + row * a.width + column, a.width - column)),
        dresidual(a.dresidualAt(row * a.width + column, a.width - column)),
        mu(a.mean[row]),
        scale(a.rstd[row]) {}
};

// Threads of a multiprocessor that are at work at once: each may have 128 registers.
constexpr int kAtWork = 512;

// A block of as many threads as a row has eights.
template <typename T, int Threads>
__global__ void __launch_bounds__(Threads, kAtWork / Threads) backwardRows(Backward<T> a) {
  SN_SHARED(float, scratch, 4 * Threads / kWarp);
  auto width = static_cast<float>(a.width);
  int64_t column = 8 * threadIdx.x, count = a.width - column;
  auto gain = loadPacked<8>(a.gain + column, count);
  float gainSums[8] = {}, biasSums[8] = {}, shiftSums[8] = {};
  int turn = 0;
  Loaded<T> next(a, blockIdx.x, column);
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    Loaded<T> now = next;
    if (row + gridDim.x < a.rows) next = Loaded<T>(a, row + gridDim.x, column);
    Eight eight(now.s, now.dout, gain, now.mu, now.scale);
    float sums[2] = {};
    eight.addTo(sums);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      gainSums[j] = fmaf(eight.upper[j], eight.normal[j], gainSums[j]);
      biasSums[j] += eight.upper[j];
    }
    teamSum<Threads>(sums, scratch + turn);
    turn = 2 * Threads / kWarp - turn;
    float dx[8];
    now.dresidual.unpack(dx);
    eight.gradient(sums[0] / width, sums[1] / width, now.scale, dx);
    storeElements(a.dx + row * a.width + column, count, dx);
#pragma unroll
    for (int j = 0; j < 8; ++j) shiftSums[j] += dx[j];
  }
  float *gainPartial = a.partialOfBlock();
  storeElements(gainPartial + column, count, gainSums);
  storeElements(gainPartial + a.width + column, count, biasSums);
  storeElements(gainPartial + 2 * a.width + column, count, shiftSums);
}

template <typename T>
__global__ void __launch_bounds__(kThreads) backwardWideRows(Backward<T> a) {
  SN_SHARED(float, scratch, kThreads / kWarp);
  auto width = static_cast<float>(a.width);
  float *gainPartial = a.partialOfBlock(), *biasPartial = gainPartial + a.width, *shiftPartial = biasPartial + a.width;
  auto forEights = [&](auto &&f) {
    for (int64_t column = 8 * threadIdx.x; column < a.width; column += 8 * kThreads) f(column, a.width - column);
  };
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    int64_t start = row * a.width;
    float mu = a.mean[row], scale = a.rstd[row], sums[2] = {};
    auto eightAt = [&](int64_t column, int64_t count) {
      int64_t at = start + column;
      auto s = loadPacked<8>(a.s + at, count), dout = loadPacked<8>(a.dout + at, count);
      return Eight(s, dout, loadPacked<8>(a.gain + column, count), mu, scale);
    };
    forEights([&](int64_t column, int64_t count) {
      Eight eight = eightAt(column, count);
      eight.addTo(sums);
      float gainSums[8] = {}, biasSums[8] = {};
      if (row != blockIdx.x) {
        loadPacked<8>(gainPartial + column, count).unpack(gainSums);
        loadPacked<8>(biasPartial + column, count).unpack(biasSums);
      }
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        gainSums[j] = fmaf(eight.upper[j], eight.normal[j], gainSums[j]);
        biasSums[j] += eight.upper[j];
      }
      storeElements(gainPartial + column, count, gainSums);
      storeElements(biasPartial + column, count, biasSums);
    });
    float meanG = blockSum(sums[0], scratch) / width, meanGN = blockSum(sums[1], scratch) / width;
    forEights([&](int64_t column, int64_t count) {
      float dx[8];
      a.dresidualAt(start + column, count).unpack(dx);
      eightAt(column, count).gradient(meanG, meanGN, scale, dx);
      storeElements(a.dx + start + column, count, dx);
      float shiftSums[8] = {};
      if (row != blockIdx.x) loadPacked<8>(shiftPartial + column, count).unpack(shiftSums);
#pragma unroll
      for (int j = 0; j < 8; ++j) shiftSums[j] += dx[j];
      storeElements(shiftPartial + column, count, shiftSums);
    });
  }
}

// Where the sums go, each or null.
struct Targets {
  float *sums[kSums];  // in the order of the partial sums
};

// Adds the blocks' sums, 32 of the columns of one of the targets in each block here: every warp those of some blocks,
// one in so many, then all warps'.
__global__ void __launch_bounds__(kWarp *kWarp)
    addPartial(int64_t width, int blocks, const float *partial, int32_t accumulate,
               const __grid_constant__ Targets targets) {
  SN_SHARED(float, scratch, kWarp *kWarp);
  float *target = targets.sums[blockIdx.y];
  if (target == nullptr) return;
  int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  int warps = static_cast<int>(blockDim.x) / kWarp;
  int64_t column = static_cast<int64_t>(blockIdx.x) * kWarp + lane;
  float total = 0;
  if (column < width) {
#pragma unroll 8
    for (int block = warp; block < blocks; block += warps) {
      total += partial[(block * kSums + static_cast<int>(blockIdx.y)) * width + column];
    }
  }
  scratch[threadIdx.x] = total;
  __syncthreads();
  if (warp != 0 || column >= width) return;
  total = accumulate ? target[column] : 0.0f;
  for (int other = 0; other < warps; ++other) total += scratch[other * kWarp + lane];
  target[column] = total;
}

cudaError_t launchAddPartial(cudaStream_t stream, int64_t width, int blocks, const float *partial, int32_t accumulate,
                             const Targets &targets) {
  unsigned wanted = kSums;
  while (wanted > 0 && targets.sums[wanted - 1] == nullptr) --wanted;
  if (wanted == 0) return cudaSuccess;
  auto tiles = static_cast<unsigned>((width + kWarp - 1) / kWarp);
  constexpr int kBlocksOfAWarp = 8;
  int warps = (blocks + kBlocksOfAWarp - 1) / kBlocksOfAWarp;
  if (warps > kWarp) warps = kWarp;
  return launch(addPartial, dim3(tiles, wanted), dim3(warps * kWarp), 0, stream, width, blocks, partial, accumulate,
                targets);
}

// Threads of a block that holds a row; 0 where it is too wide.
int backwardThreads(int64_t width) {
  for (int threads = kWarp; threads <= kAtWork; threads *= 2) {
    if (width <= 8 * threads) return threads;
  }
  return 0;
}

// How many blocks share out the rows: as many as are at work at once, but not so many of small ones that the second
// kernel has the most to do.
int64_t backwardBlocks(const Device &device, int64_t rows, int64_t width) {
  constexpr int kMost = 8;
  int threads = backwardThreads(width), each = threads == 0 ? 2 : kAtWork / threads;
  int64_t most = int64_t{each < kMost ? each : kMost} * device.multiprocessors;
  return rows < most ? rows : most;
}

template <typename T>
cudaError_t backward(cudaStream_t stream, const Backward<T> &work, unsigned blocks) {
  int threads = backwardThreads(work.width);
  auto *kernel = threads == 32    ? backwardRows<T, 32>
                 : threads == 64  ? backwardRows<T, 64>
                 : threads == 128 ? backwardRows<T, 128>
                 : threads == 256 ? backwardRows<T, 256>
                 : threads == 512 ? backwardRows<T, 512>
                                  : backwardWideRows<T>;
  return launch(kernel, dim3(blocks), dim3(threads == 0 ? kThreads : threads), 0, stream, work);
}

}  // namespace

sn_status layer_norm_forward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t width, float epsilon,
                             const void *x, const void *residual, const void *gain, const void *bias, void *sum,
                             void *out, float *mean, float *rstd) {
  return withType(dtype, [&](auto t) {
    using T = decltype(t);
    Forward<T> work{rows,
                    width,
                    epsilon,
                    static_cast<const T *>(x),
                    static_cast<const T *>(residual),
                    static_cast<const T *>(gain),
                    static_cast<const T *>(bias),
                    static_cast<T *>(sum),
                    static_cast<T *>(out),
                    mean,
                    rstd};
    return check(forward(stream, work), "layer_norm_forward");
  });
}

sn_status layer_norm_backward_workspace(const sn_device *device, int64_t rows, int64_t width, int64_t *bytes) {
  *bytes = backwardBlocks(deviceOf(device), rows, width) * kSums * width * static_cast<int64_t>(sizeof(float));
  return SN_OK;
}

sn_status layer_norm_backward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t width, const void *s,
                              const void *gain, const float *mean, const float *rstd, const void *dout,
                              const void *dresidual, int32_t accumulate, void *dx, float *dgain, float *dbias,
                              float *dshift, void *workspace) {
  auto *partial = static_cast<float *>(workspace);
  auto blocks = static_cast<int>(backwardBlocks(deviceOf(stream), rows, width));
  cudaError_t error = withType(dtype, [&](auto t) {
    using T = decltype(t);
    Backward<T> work{rows,
                     width,
                     static_cast<const T *>(s),
                     static_cast<const T *>(gain),
                     mean,
                     rstd,
                     static_cast<const T *>(dout),
                     static_cast<const T *>(dresidual),
                     static_cast<T *>(dx),
                     partial};
    return backward(handleOf(stream), work, static_cast<unsigned>(blocks));
  });
  if (error == cudaSuccess) {
    error = launchAddPartial(handleOf(stream), width, blocks, partial, accumulate, {{dgain, dbias, dshift}});
  }
  return check(error, "layer_norm_backward");
}

}  // namespace sn::cuda
