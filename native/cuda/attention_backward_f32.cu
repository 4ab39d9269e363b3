// attention_backward_f32.cu: dq, dk and dv from the saved log-sum-exp of each row (Dao 2023, algorithm 2), in fp32
// throughout. As in bf16, one kernel owns keys and the other rows, and the order of every sum is fixed.
#include "cuda/attention_simt.cuh"

namespace sn::cuda {

namespace {

template <int HeadSize>
struct GradientTile {
  static constexpr int kRows = HeadSize <= 128 ? 32 : 16;  // own ones, and those that come by at a time
  static constexpr int kR = kRows / kSide;
  static constexpr int kRowElements = kRows * kTileStride<HeadSize>;
  static constexpr int kScoreElements = kRows * kTileStride<kRows>;
  // Own rows and those that come by, two tiles each; probabilities and their gradients.
  static constexpr size_t kSharedBytes = (4 * kRowElements + 2 * kScoreElements) * sizeof(float);
  static_assert(kSharedBytes <= (99u << 10));
};

// The probability of a score, and its gradient from the product dout v^T (Dao 2023, algorithm 2, lines 11 to 14).
struct PairGradient {
  float p;   // dropped or scaled, as dv takes it
  float ds;  // of the score, before the scale

  __device__ PairGradient(float score, float product, bool seen, float factor, float scale, RowNumbers row) {
    float whole = seen ? fastExp2(fmaf(score, scale, -row.lse)) : 0.0f;
    p = whole * factor;
    ds = whole * fmaf(product, factor, -row.sum);
  }
};

__device__ __forceinline__ float keptFactor(const ProbabilityDropout &dropout, int64_t row, int key) {
  if (dropout.p == 0) return 1;
  return dropout.keep(row * dropout.keys + key) ? 1.0f / (1.0f - dropout.p) : 0.0f;
}

// dk and dv of a block of keys.
template <int HeadSize>
__global__ void __launch_bounds__(kSimtThreads, 1) keyGradients(BackwardArguments<float> arguments) {
  using Tile = GradientTile<HeadSize>;
  constexpr int kRows = Tile::kRows, kR = Tile::kR;
  SN_DYNAMIC_SHARED(memory);
  auto *keyTile = reinterpret_cast<float *>(memory);
  float *valueTile = keyTile + Tile::kRowElements, *queryTile = valueTile + Tile::kRowElements;
  float *doutTile = queryTile + Tile::kRowElements, *pTile = doutTile + Tile::kRowElements;
  float *dsTile = pTile + Tile::kScoreElements;

  const auto &size = arguments.size;
  auto [batch, shared, block] = arguments.order.turn(blockIdx.x);
  const Sight sight = size.sight(batch);
  const int x = static_cast<int>(threadIdx.x % kSide), y = static_cast<int>(threadIdx.x / kSide);
  const int blockKey = block * kRows, key = blockKey + y * kR;
  const int firstRow = sight.firstRow(blockKey) / kRows * kRows;
  const int lastRow = sight.lastRow(blockKey, min(kRows, size.keys - blockKey), size.queries);
  const float scale = size.scale * kLog2E;
  const auto dropout = arguments.dropout.now();

  copyRows<kRows, HeadSize>(keyTile, arguments.k.at(batch, shared), arguments.k.rowStride, blockKey, size.keys,
                            size.headSize, arguments.piecesIn);
  copyRows<kRows, HeadSize>(valueTile, arguments.v.at(batch, shared), arguments.v.rowStride, blockKey, size.keys,
                            size.headSize, arguments.piecesIn);
  float dk[kR][HeadSize / kSide] = {}, dv[kR][HeadSize / kSide] = {};
  for (int head = shared * size.group; head < (shared + 1) * size.group; ++head) {
    for (int row = firstRow; row < lastRow; row += kRows) {
      const int64_t rowNumber = (static_cast<int64_t>(batch) * size.heads + head) * size.queries + row;
      __syncthreads();  // all are done with the rows of before
      copyRows<kRows, HeadSize>(queryTile, arguments.q.at(batch, head), arguments.q.rowStride, row, size.queries,
                                size.headSize, arguments.piecesIn);
      copyRows<kRows, HeadSize>(doutTile, arguments.dout.at(batch, head), arguments.dout.rowStride, row, size.queries,
                                size.headSize, arguments.piecesIn);
      __syncthreads();
      float p[kR][kR], ds[kR][kR];
      multiplyTransposed<HeadSize>(p, keyTile, queryTile);
      multiplyTransposed<HeadSize>(ds, valueTile, doutTile);
#pragma unroll
      for (int c = 0; c < kR; ++c) {
        int own = x + kSide * c, first = sight.first(row + own), last = sight.last(row + own);
        bool there = row + own < size.queries;
        RowNumbers numbers = there ? arguments.rows[rowNumber + own] : RowNumbers{};
#pragma unroll
        for (int r = 0; r < kR; ++r) {
          bool seen = there && key + r >= first && key + r < last;
          float factor = keptFactor(dropout, rowNumber + own, key + r);
          PairGradient pair(p[r][c], ds[r][c], seen, factor, scale, numbers);
          p[r][c] = pair.p;
          ds[r][c] = pair.ds;
        }
      }
      placeScores(pTile, p);
      placeScores(dsTile, ds);
      __syncthreads();
      multiply<HeadSize, kRows>(dv, pTile, doutTile);
      multiply<HeadSize, kRows>(dk, dsTile, queryTile);
    }
  }
#pragma unroll
  for (int r = 0; r < kR; ++r) {
    if (key + r >= size.keys) continue;
    storeSums(arguments.dk.at(batch, shared) + (key + r) * arguments.dk.rowStride, dk[r], size.scale, size.headSize);
    storeSums(arguments.dv.at(batch, shared) + (key + r) * arguments.dv.rowStride, dv[r], 1.0f, size.headSize);
  }
}

// dq of a block of rows.
template <int HeadSize>
__global__ void __launch_bounds__(kSimtThreads, 1) queryGradients(BackwardArguments<float> arguments) {
  using Tile = GradientTile<HeadSize>;
  constexpr int kRows = Tile::kRows, kR = Tile::kR;
  SN_DYNAMIC_SHARED(memory);
  auto *queryTile = reinterpret_cast<float *>(memory);
  float *doutTile = queryTile + Tile::kRowElements, *keyTile = doutTile + Tile::kRowElements;
  float *valueTile = keyTile + Tile::kRowElements, *dsTile = valueTile + Tile::kRowElements;

  const auto &size = arguments.size;
  auto [batch, head, block] = arguments.order.turn(blockIdx.x);
  const int shared = head / size.group;
  const Sight sight = size.sight(batch);
  const int x = static_cast<int>(threadIdx.x % kSide), y = static_cast<int>(threadIdx.x / kSide);
  const int blockRow = block * kRows, row = blockRow + y * kR;
  const int firstKey = sight.first(blockRow) / kRows * kRows;
  const int lastKey = sight.last(min(blockRow + kRows, size.queries) - 1);
  const float scale = size.scale * kLog2E;
  const int64_t rowNumber = (static_cast<int64_t>(batch) * size.heads + head) * size.queries + row;
  const auto dropout = arguments.dropout.now();

  copyRows<kRows, HeadSize>(queryTile, arguments.q.at(batch, head), arguments.q.rowStride, blockRow, size.queries,
                            size.headSize, arguments.piecesIn);
  copyRows<kRows, HeadSize>(doutTile, arguments.dout.at(batch, head), arguments.dout.rowStride, blockRow, size.queries,
                            size.headSize, arguments.piecesIn);
  RowNumbers numbers[kR];
#pragma unroll
  for (int r = 0; r < kR; ++r) {
    numbers[r] = row + r < size.queries ? arguments.rows[rowNumber + r] : RowNumbers{};
  }
  float dq[kR][HeadSize / kSide] = {};
  for (int key = firstKey; key < lastKey; key += kRows) {
    __syncthreads();  // all are done with the keys of before
    copyRows<kRows, HeadSize>(keyTile, arguments.k.at(batch, shared), arguments.k.rowStride, key, size.keys,
                              size.headSize, arguments.piecesIn);
    copyRows<kRows, HeadSize>(valueTile, arguments.v.at(batch, shared), arguments.v.rowStride, key, size.keys,
                              size.headSize, arguments.piecesIn);
    __syncthreads();
    float p[kR][kR], ds[kR][kR];
    multiplyTransposed<HeadSize>(p, queryTile, keyTile);
    multiplyTransposed<HeadSize>(ds, doutTile, valueTile);
#pragma unroll
    for (int r = 0; r < kR; ++r) {
      int first = sight.first(row + r), last = sight.last(row + r);
#pragma unroll
      for (int c = 0; c < kR; ++c) {
        int own = key + x + kSide * c;
        float factor = keptFactor(dropout, rowNumber + r, own);
        ds[r][c] = PairGradient(p[r][c], ds[r][c], own >= first && own < last, factor, scale, numbers[r]).ds;
      }
    }
    placeScores(dsTile, ds);
    __syncthreads();
    multiply<HeadSize, kRows>(dq, dsTile, keyTile);
  }
#pragma unroll
  for (int r = 0; r < kR; ++r) {
    if (row + r >= size.queries) continue;
    storeSums(arguments.dq.at(batch, head) + (row + r) * arguments.dq.rowStride, dq[r], size.scale, size.headSize);
  }
}

}  // namespace

cudaError_t launchBackward(const sn_stream *stream, BackwardArguments<float> arguments) {
  return withHeadSize<64, 128, 256>(arguments.size.headSize, [&](auto headSize) {
    constexpr int kHeadSize = decltype(headSize)::value;
    using Tile = GradientTile<kHeadSize>;
    const auto &size = arguments.size;
    const Device &device = deviceOf(stream);
    int64_t rowBytes = size.headSize * 2 * static_cast<int64_t>(sizeof(float));
    arguments.order = Order::of(device, size.batch, size.heads / size.group, size.keys, Tile::kRows,
                                size.queries * rowBytes * size.group, false);
    cudaError_t error = launch(keyGradients<kHeadSize>, dim3(static_cast<unsigned>(arguments.order.count())),
                               dim3(kSimtThreads), Tile::kSharedBytes, handleOf(stream), arguments);
    if (error != cudaSuccess) return error;
    arguments.order =
        Order::of(device, size.batch, size.heads, size.queries, Tile::kRows, size.keys * rowBytes, size.causal);
    return launch(queryGradients<kHeadSize>, dim3(static_cast<unsigned>(arguments.order.count())), dim3(kSimtThreads),
                  Tile::kSharedBytes, handleOf(stream), arguments);
  });
}

}  // namespace sn::cuda
