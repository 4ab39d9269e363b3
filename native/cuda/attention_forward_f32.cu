// attention_forward_f32.cu: attention without the queries x keys matrix (Dao 2023, algorithm 1), in fp32 throughout.
//
// One block owns a block of rows of one head. Keys and then values of a tile take turns in the same shared memory.
#include "cuda/attention_simt.cuh"

namespace sn::cuda {

namespace {

template <int HeadSize>
struct ForwardTile {
  static constexpr int kRows = HeadSize <= 64 ? 64 : 32;
  static constexpr int kKeys = kRows;
  static constexpr int kR = kRows / kSide;
  static constexpr int kC = kKeys / kSide;
  static constexpr int kQueryElements = kRows * kTileStride<HeadSize>;
  static constexpr int kKeyElements = kKeys * kTileStride<HeadSize>;
  static constexpr int kScoreElements = kRows * kTileStride<kKeys>;
  static constexpr size_t kSharedBytes =
      (kQueryElements + kKeyElements + kScoreElements) * sizeof(float) + kRows * sizeof(int);
  static_assert(kSharedBytes <= (99u << 10));
};

// The maximum and the sum over the 16 threads of a row, in each of them.
__device__ __forceinline__ float rowMaximum(float x) {
#pragma unroll
  for (int distance = kSide / 2; distance > 0; distance /= 2) x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, distance));
  return x;
}

__device__ __forceinline__ float rowSum(float x) {
#pragma unroll
  for (int distance = kSide / 2; distance > 0; distance /= 2) x += __shfl_xor_sync(kAllLanes, x, distance);
  return x;
}

template <int HeadSize>
__global__ void __launch_bounds__(kSimtThreads) attend(ForwardArguments<float> arguments) {
  using Tile = ForwardTile<HeadSize>;
  constexpr int kR = Tile::kR, kC = Tile::kC;
  SN_DYNAMIC_SHARED(memory);
  auto *queryTile = reinterpret_cast<float *>(memory);
  float *keyTile = queryTile + Tile::kQueryElements, *scoreTile = keyTile + Tile::kKeyElements;
  auto *firsts = reinterpret_cast<int *>(scoreTile + Tile::kScoreElements);

  const auto &size = arguments.size;
  auto [batch, head, block] = arguments.order.turn(blockIdx.x);
  if (size.cached && !size.cache.fits(batch)) {
    if (head == 0 && block == 0 && threadIdx.x == 0) size.cache.note(batch);
    return;
  }
  const Sight sight = size.sight(batch);
  const float *keys = arguments.k.at(batch, head / size.group), *values = arguments.v.at(batch, head / size.group);
  const int x = static_cast<int>(threadIdx.x % kSide), y = static_cast<int>(threadIdx.x / kSide);
  const int blockRow = block * Tile::kRows, lastRow = min(blockRow + Tile::kRows, size.queries) - 1;
  const int row = blockRow + y * kR;
  const int firstKey = sight.first(blockRow) / Tile::kKeys * Tile::kKeys, lastKey = sight.last(lastRow);
  const float scale = size.scale * kLog2E;
  const int64_t rowNumber = (static_cast<int64_t>(batch) * size.heads + head) * size.queries + row;

  copyRows<Tile::kRows, HeadSize>(queryTile, arguments.q.at(batch, head), arguments.q.rowStride, blockRow, size.queries,
                                  size.headSize, arguments.piecesIn);
  if (threadIdx.x < Tile::kRows) firsts[threadIdx.x] = sight.first(blockRow + static_cast<int>(threadIdx.x));
  float sums[kR][HeadSize / kSide] = {}, most[kR], total[kR] = {};
#pragma unroll
  for (float &highest : most) highest = -INFINITY;

  for (int key = firstKey; key < lastKey; key += Tile::kKeys) {
    __syncthreads();  // all are done with the values of before
    copyRows<Tile::kKeys, HeadSize>(keyTile, keys, arguments.k.rowStride, key, sight.keys, size.headSize,
                                    arguments.piecesIn);
    __syncthreads();
    float scores[kR][kC];
    multiplyTransposed<HeadSize>(scores, queryTile, keyTile);
#pragma unroll
    for (int r = 0; r < kR; ++r) {
      int first = firsts[y * kR + r] - key, last = sight.last(row + r) - key;
      float highest = -INFINITY, own = 0;
#pragma unroll
      for (int c = 0; c < kC; ++c) {
        int column = x + kSide * c;
        scores[r][c] = column >= first && column < last ? scores[r][c] * scale : -INFINITY;
        highest = fmaxf(highest, scores[r][c]);
      }
      float next = fmaxf(most[r], rowMaximum(highest)), base = next == -INFINITY ? 0.0f : next;
      float shrink = fastExp2(most[r] - base);
      most[r] = next;
#pragma unroll
      for (float &score : scores[r]) {
        score = fastExp2(score - base);
        own += score;
      }
      total[r] = fmaf(total[r], shrink, own);
#pragma unroll
      for (float &sum : sums[r]) sum *= shrink;
    }
    if (arguments.dropout.p > 0) {
      const auto dropout = arguments.dropout.now();
      uint32_t kept = 0;
#pragma unroll 1
      for (int i = 0; i < kR * kC; ++i) {
        int64_t index = (rowNumber + i / kC) * dropout.keys + key + x + kSide * (i % kC);
        kept |= dropout.keep(index) ? 1u << i : 0u;
      }
#pragma unroll
      for (int i = 0; i < kR * kC; ++i) scores[i / kC][i % kC] = (kept >> i & 1u) != 0 ? scores[i / kC][i % kC] : 0.0f;
    }
    placeScores(scoreTile, scores);
    __syncthreads();  // all are done with the keys
    copyRows<Tile::kKeys, HeadSize>(keyTile, values, arguments.v.rowStride, key, sight.keys, size.headSize,
                                    arguments.piecesIn);
    __syncthreads();
    multiply<HeadSize, Tile::kKeys>(sums, scoreTile, keyTile);
  }

#pragma unroll
  for (int r = 0; r < kR; ++r) {
    float sum = rowSum(total[r]);
    bool blind = sum == 0;
    if (row + r >= size.queries) continue;
    float factor = blind ? 0.0f : 1.0f / (sum * (1.0f - arguments.dropout.p));
    storeSums(arguments.out.at(batch, head) + (row + r) * arguments.out.rowStride, sums[r], factor, size.headSize);
    if (arguments.lse != nullptr && x == 0) {
      arguments.lse[rowNumber + r] = blind ? -INFINITY : (most[r] + log2f(sum)) * kLn2;
    }
  }
}

}  // namespace

cudaError_t launchForward(const sn_stream *stream, ForwardArguments<float> arguments) {
  return withHeadSize<64, 128, 256>(arguments.size.headSize, [&](auto headSize) {
    constexpr int kHeadSize = decltype(headSize)::value;
    using Tile = ForwardTile<kHeadSize>;
    const auto &size = arguments.size;
    int64_t bytes = static_cast<int64_t>(size.keys) * size.headSize * 2 * static_cast<int64_t>(sizeof(float));
    arguments.order =
        Order::of(deviceOf(stream), size.batch, size.heads, size.queries, Tile::kRows, bytes, size.causal);
    return launch(attend<kHeadSize>, dim3(static_cast<unsigned>(arguments.order.count())), dim3(kSimtThreads),
                  Tile::kSharedBytes, handleOf(stream), arguments);
  });
}

}  // namespace sn::cuda
