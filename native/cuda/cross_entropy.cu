// cross_entropy.cu: the loss of each row and its gradient in the logits' place.
//
// A block owns a row. It reads it once, into shared memory, takes the maximum on the way, then the sum of powers, and
// writes the gradient: one read and one write where a softmax by itself would need three reads. What of a long row
// shared memory does not hold is read again, mostly out of the cache. Two rows of a GPT-2 in bf16 fit a multiprocessor
// of compute capability 9.0: one loads while the other computes. At four bytes an element there is time for some twenty
// instructions: powers of bf16 are the hardware's, and what differs in one column is looked for once in eight.
#include "cuda/device.h"
#include "cuda/operations.h"
#include "cuda/ptx/convert.h"
#include "cuda/vector.h"

namespace sn::cuda {

namespace {

constexpr int kMostThreads = 512;
constexpr int kAtOnce = 4;  // a thread's loads under way
constexpr int32_t kIgnored = -100;

// What the sums' scratch takes of shared memory, with the gap up to where the row begins.
constexpr int64_t kScratchBytes = 1024;

// e^x for x of 0 and less: for bf16 to the digits of the hardware's power of two.
template <typename T>
__device__ __forceinline__ float power(float x) {
  if constexpr (sizeof(T) == sizeof(bf16)) return fastExp2(1.44269504f * x);
  return expf(x);
}

// A row whose first pieces wait in shared memory. The power of what lies outside of the vocabulary is 0.
template <typename T>
class Row : public AlignedRow<T> {
 public:
  using AlignedRow<T>::kCount;
  using typename AlignedRow<T>::Piece;

  __device__ Row(T *start, int64_t vocabulary, int64_t stride, int64_t held, uint4 *shared)
      : AlignedRow<T>(start, vocabulary),
        start_(start),
        vocabulary_(vocabulary),
        stride_(stride),
        held_(held),
        shared_(shared) {}

  // Pieces of the whole stride.
  __device__ int64_t allPieces() const { return this->pieces(stride_); }

  __device__ void hold(int64_t piece, const Piece &loaded) const {
    if (piece < held_) shared_[piece] = {loaded.word[0], loaded.word[1], loaded.word[2], loaded.word[3]};
  }

  // A piece that this thread has loaded before.
  __device__ Piece again(int64_t piece) const {
    if (piece >= held_) return this->load(piece);
    uint4 words = shared_[piece];
    return {{words.x, words.y, words.z, words.w}};
  }

  // Which of a piece's elements this column is; -1: none.
  __device__ int within(int64_t piece, int64_t column) const {
    int64_t distance = column - this->place(piece);
    return distance >= 0 && distance < kCount ? static_cast<int>(distance) : -1;
  }

  // Writes what lies in the stride; past the vocabulary zeros.
  __device__ void store(int64_t piece, float (&x)[kCount]) const {
    int64_t at = this->place(piece);
    if (int64_t present = vocabulary_ - at; present < kCount) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) x[i] = i < present ? x[i] : 0.0f;
    }
    storeElements(start_ + at, -at, stride_ - at, x);
  }

 private:
  T *start_;
  int64_t vocabulary_, stride_, held_;
  uint4 *shared_;
};

template <typename T>
__device__ __forceinline__ float maximumOf(const Row<T> &row, float *scratch) {
  float most = -INFINITY;
  for (int64_t first = threadIdx.x; first < row.pieces(); first += kAtOnce * static_cast<int64_t>(blockDim.x)) {
    typename Row<T>::Piece loaded[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      int64_t piece = first + i * static_cast<int64_t>(blockDim.x);
      if (piece < row.pieces()) loaded[i] = row.load(piece);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      int64_t piece = first + i * static_cast<int64_t>(blockDim.x);
      if (piece >= row.pieces()) break;
      row.hold(piece, loaded[i]);
      float x[Row<T>::kCount];
      loaded[i].unpack(x);
#pragma unroll
      for (float value : x) most = fmaxf(most, value);
    }
  }
  return blockMaximum(most, scratch);
}

// The sum of e^(x - most) over all but the target: so the target's gradient, p - 1, does not cancel.
template <typename T>
__device__ __forceinline__ float sumOfOthers(const Row<T> &row, int64_t target, float most, float *scratch) {
  float total = 0;
  for (int64_t piece = threadIdx.x; piece < row.pieces(); piece += blockDim.x) {
    float x[Row<T>::kCount], sum = 0;
    row.again(piece).unpack(x);
    int own = row.within(piece, target);
#pragma unroll
    for (int i = 0; i < Row<T>::kCount; ++i) sum += i == own ? 0.0f : power<T>(x[i] - most);
    total += sum;
  }
  return blockSum(total, scratch);
}

// The mean of x - most over the vocabulary.
template <typename T>
__device__ __forceinline__ float meanBelow(const Row<T> &row, int64_t vocabulary, float most, float *scratch) {
  float total = 0;
  for (int64_t piece = threadIdx.x; piece < row.pieces(); piece += blockDim.x) {
    float x[Row<T>::kCount], sum = 0;
    row.again(piece).unpack(x);
    int64_t at = row.place(piece);
#pragma unroll
    for (int i = 0; i < Row<T>::kCount; ++i) sum += at + i >= 0 && at + i < vocabulary ? x[i] - most : 0.0f;
    total += sum;
  }
  return blockSum(total, scratch) / static_cast<float>(vocabulary);
}

// `share`: what smoothing takes of every column's gradient.
template <typename T>
__device__ __forceinline__ void storeGradient(const Row<T> &row, int64_t target, float most, float factor, float share,
                                              float atTarget) {
  for (int64_t piece = threadIdx.x; piece < row.allPieces(); piece += blockDim.x) {
    float x[Row<T>::kCount] = {};
    if (piece < row.pieces()) {
      row.again(piece).unpack(x);
      int own = row.within(piece, target);
#pragma unroll
      for (int i = 0; i < Row<T>::kCount; ++i) {
        x[i] = (i == own ? atTarget : power<T>(x[i] - most) * factor) - share;
      }
    }
    row.store(piece, x);
  }
}

template <typename T>
__global__ void __launch_bounds__(kMostThreads, 2)
    crossEntropy(int64_t vocabulary, int64_t stride, int64_t held, float smoothing, T *logits, const int32_t *targets,
                 const float *weights, float scale, float *losses) {
  SN_DYNAMIC_SHARED(shared);
  SN_SHARED(float, scratch, kMostThreads / kWarp);
  int64_t number = blockIdx.x;
  Row<T> row(logits + number * stride, vocabulary, stride, held, reinterpret_cast<uint4 *>(shared));
  int32_t target = targets[number];
  if (target < 0 || target >= vocabulary) {
    if (threadIdx.x == 0) losses[number] = target == kIgnored ? 0.0f : NAN;
    float zeros[Row<T>::kCount] = {};
    for (int64_t piece = threadIdx.x; scale != 0 && piece < row.allPieces(); piece += blockDim.x) {
      row.store(piece, zeros);
    }
    return;
  }
  // Read before anything is overwritten: the sums wait for all threads.
  float logit = toFloat(logits[number * stride + target]);
  float most = maximumOf(row, scratch);
  float others = sumOfOthers(row, target, most, scratch);
  float atTarget = logit - most, total = others + expf(atTarget);
  // Where the target is the maximum, its power of 1 would swallow the digits of small others.
  float loss = atTarget == 0 ? log1pf(others) : logf(total) - atTarget;
  if (smoothing > 0) loss += smoothing * (atTarget - meanBelow(row, vocabulary, most, scratch));
  float weight = weights == nullptr ? 1.0f : weights[number];
  if (threadIdx.x == 0) losses[number] = weight * loss;
  if (scale == 0) return;
  scale *= weight;
  float share = scale * smoothing / static_cast<float>(vocabulary);
  storeGradient(row, target, most, scale / total, share, scale * (smoothing - others / total));
}

}  // namespace

sn_status cross_entropy(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t vocabulary, int64_t stride,
                        float smoothing, void *logits, const int32_t *targets, const float *weights,
                        float gradient_scale, float *losses) {
  return withType(dtype, [&](auto t) {
    using T = decltype(t);
    constexpr int64_t kPiece = sizeof(uint4), kCount = Vector<T>::kCount;
    // One more where the row's start is not aligned.
    int64_t pieces = (vocabulary + kCount - 1) / kCount + 1;
    int64_t most = (static_cast<int64_t>(deviceOf(stream).sharedBytes) - kScratchBytes) / kPiece;
    int64_t held = pieces < most ? pieces : most;
    int64_t threads = (pieces / kAtOnce + kWarp - 1) / kWarp * kWarp;
    threads = threads < kWarp ? kWarp : threads < kMostThreads ? threads : kMostThreads;
    return check(launch(crossEntropy<T>, dim3(static_cast<unsigned>(rows)), dim3(static_cast<unsigned>(threads)),
                        static_cast<size_t>(held * kPiece), handleOf(stream), vocabulary, stride, held, smoothing,
                        static_cast<T *>(logits), targets, weights, gradient_scale, losses),
                 "cross_entropy");
  });
}

}  // namespace sn::cuda
