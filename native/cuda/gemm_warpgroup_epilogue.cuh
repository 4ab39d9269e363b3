// gemm_warpgroup_epilogue.cuh: how the sums of a warpgroup become c.
//
// They leave in squares of 64 x 64, or 64 x 32 where c is fp32, through a ring of slots in shared memory: stmatrix
// writes there what a tensor copy then stores while the next square is computed. What the epilogue reads of aux comes
// the same way: a tensor copy brings it into the slot that its square will leave through, as early as while products
// are taken.
#pragma once

#include "cuda/gemm_warpgroup.cuh"

namespace sn::cuda {

#if SN_HOPPER

template <typename Layout>
class WarpgroupEpilogue {
 public:
  // Of the multiplying warpgroup `group`. All its 128 threads call everything here.
  __device__ WarpgroupEpilogue(const WarpgroupProduct &work, const WarpgroupShared<Layout> &shared, unsigned group)
      : work_(work),
        out_(work.product.out),
        slots_(shared.slots(group)),
        bias_(shared.bias(group)),
        loaded_(shared.loaded(group)),
        barrier_(kGroupBarrier + group),
        thread_(threadIdx.x % kGroupThreads),
        row_(Layout::firstRow(group)) {
    bool optional = out_.kind == SN_EPILOGUE_BIAS_RESIDUAL && out_.bias == nullptr;
    hasBias_ = out_.kind != SN_EPILOGUE_NONE && out_.kind != SN_EPILOGUE_ACTIVATION_BACKWARD && !optional;
    readsAux_ = out_.kind == SN_EPILOGUE_BIAS_RESIDUAL || out_.kind == SN_EPILOGUE_ACTIVATION_BACKWARD;
  }

  // Asks for what the epilogue of a tile will read, before its products are taken.
  __device__ __forceinline__ void begin(const Part &part) {
    part_ = part;
    part_.row += row_;
    if constexpr (Layout::kScaled) scale_ = *work_.scaleA * *work_.scaleB;
    if (hasBias_) {
#pragma unroll
      for (int i = 0; i < kBiases; ++i) {
        int column = part.column + thread_ + i * kGroupThreads;
        biases_[i] = column < work_.product.n ? toFloat(out_.bias[column]) : 0.0f;
      }
    }
    if (readsAux_ && thread_ == 0) {
      waitForStoreReads<0>();
      for (int square = 0; square < min(kSquares, Layout::kSlots); ++square) loadAux(square, use_ + square);
    }
  }

  __device__ __forceinline__ void finish(const float (&sums)[Layout::kDown][Layout::kColumns / 2]) {
    if (hasBias_) {
#pragma unroll
      for (int i = 0; i < kBiases; ++i) {
        if (thread_ + i * kGroupThreads < Layout::kColumns) bias_[thread_ + i * kGroupThreads] = biases_[i];
      }
      syncNamed(barrier_, kGroupThreads);
    }
    // Not unrolled, as all activations are in it.
#pragma unroll 1
    for (int square = 0; square < kSquares; ++square) {
      float x[kValues];
#pragma unroll
      for (int other = 0; other < kSquares; ++other) {
        if (other != square) continue;
#pragma unroll
        for (int i = 0; i < kValues; ++i) x[i] = sums[other / Layout::kAcross][other % Layout::kAcross * kValues + i];
      }
      finishSquare(square, x);
    }
  }

  // Before the block exits: its shared memory is still read.
  __device__ __forceinline__ void end() {
    if (thread_ == 0) waitForStores<0>();
  }

 private:
  static constexpr int kSquares = Layout::kDown * Layout::kAcross;
  static constexpr int kValues = 64 * 64 / kGroupThreads;  // of a square, a thread
  static constexpr int kBiases = (Layout::kColumns + kGroupThreads - 1) / kGroupThreads;

  __device__ int rowOf(int square) const { return part_.row + square / Layout::kAcross * 64; }
  __device__ int columnOf(int square) const { return part_.column + square % Layout::kAcross * 64; }
  __device__ unsigned char *slot(uint32_t use) const { return slots_ + use % Layout::kSlots * kSquareBytes; }

  // By one thread: a square of aux into the slot of the use that is to be its own.
  __device__ __forceinline__ void loadAux(int square, uint32_t use) {
    Mbarrier *loaded = loaded_ + use % Layout::kSlots;
    arriveExpecting(loaded, kSquareBytes);
    loadTile(slot(use), &work_.aux, columnOf(square), rowOf(square), static_cast<int>(part_.slice), 0, loaded);
  }

  // The fragments of 16 columns in a slot, as ldmatrix and stmatrix address them: upper left, lower left, upper right,
  // lower right.
  __device__ __forceinline__ unsigned char *fragments(uint32_t use, int sixteen) const {
    unsigned lane = thread_ % kWarp, row = static_cast<unsigned>(thread_) / kWarp * 16 + lane % 16;
    unsigned piece = 2 * sixteen + lane / 16;
    return slot(use) + row * kLineBytes + (piece ^ row % 8) * 16;
  }

  // f(aux, x) for the values of aux in this use's slot and those beside them in x.
  template <typename F>
  __device__ __forceinline__ void withAux(float (&x)[kValues], F &&f) {
    waitForPhase(loaded_ + use_ % Layout::kSlots, use_ / Layout::kSlots % 2);
#pragma unroll
    for (int sixteen = 0; sixteen < 4; ++sixteen) {
      uint32_t pairs[4];
      loadMatrix4(pairs, fragments(use_, sixteen));
      float aux[8];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        aux[2 * i] = __uint_as_float(pairs[i] << 16);
        aux[2 * i + 1] = __uint_as_float(pairs[i] & 0xffff0000u);
      }
      f(aux, x + 8 * sixteen);
    }
  }

  // A slot that is written is stored, and the next one is free of what it was used for before.
  template <typename Store>
  __device__ __forceinline__ void leave(Store &&store) {
    if (thread_ == 0) waitForStoreReads<Layout::kSlots - 2>();
    fenceAsyncProxy();
    syncNamed(barrier_, kGroupThreads);
    if (thread_ == 0) {
      store(slot(use_));
      commitStores();
    }
    ++use_;
  }

  __device__ __forceinline__ void store(const TensorMap *map, int square, const float (&x)[kValues]) {
#pragma unroll
    for (int sixteen = 0; sixteen < 4; ++sixteen) {
      uint32_t pairs[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) pairs[i] = packBf16(x[8 * sixteen + 2 * i], x[8 * sixteen + 2 * i + 1]);
      storeMatrix4(fragments(use_, sixteen), pairs);
    }
    leave([&](const unsigned char *from) {
      storeTile(map, columnOf(square), rowOf(square), static_cast<int>(part_.slice), 0, from);
    });
  }

  // In fp32, half a square at a time. A sum that is added to c is added by this thread alone, once: c has the same bits
  // every time.
  __device__ __forceinline__ void storeFloats(int square, const float (&x)[kValues]) {
    unsigned lane = thread_ % kWarp, row = static_cast<unsigned>(thread_) / kWarp * 16 + lane / 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      unsigned char *line = slot(use_) + row * kLineBytes;
#pragma unroll
      for (int eight = 0; eight < 4; ++eight) {
        unsigned piece = 2 * eight + lane % 4 / 2;
        auto *target = reinterpret_cast<float2 *>(line + (piece ^ row % 8) * 16) + lane % 2;
        const float *from = x + 16 * half + 4 * eight;
        target[0] = make_float2(from[0], from[1]);
        target[8 * kLineBytes / sizeof(float2)] = make_float2(from[2], from[3]);
      }
      leave([&](const unsigned char *from) {
        int column = columnOf(square) + 32 * half, slice = static_cast<int>(part_.slice);
        if (out_.accumulate) {
          addTile(&work_.c, column, rowOf(square), slice, 0, from);
        } else {
          storeTile(&work_.c, column, rowOf(square), slice, 0, from);
        }
      });
    }
  }

  __device__ __forceinline__ void finishSquare(int square, float (&x)[kValues]) {
    if constexpr (Layout::kScaled) {
#pragma unroll
      for (float &each : x) each *= scale_;
    }
    if (hasBias_) {
      const float *bias = bias_ + square % Layout::kAcross * 64 + thread_ % 4 * 2;
#pragma unroll
      for (int eight = 0; eight < 8; ++eight) {
        auto pair = *reinterpret_cast<const float2 *>(bias + 8 * eight);
        x[4 * eight] += pair.x;
        x[4 * eight + 1] += pair.y;
        x[4 * eight + 2] += pair.x;
        x[4 * eight + 3] += pair.y;
      }
    }
    if (out_.wide) return storeFloats(square, x);
    if (out_.kind == SN_EPILOGUE_BIAS_ACTIVATION) {
      if (out_.aux != nullptr) store(&work_.aux, square, x);
      activate<bf16, false>(out_.activation, x);
    } else if (out_.kind == SN_EPILOGUE_BIAS_RESIDUAL) {
      withAux(x, [](const float(&aux)[8], float *values) {
#pragma unroll
        for (int i = 0; i < 8; ++i) values[i] += aux[i];
      });
    } else if (out_.kind == SN_EPILOGUE_ACTIVATION_BACKWARD) {
      withAux(x, [&](float(&aux)[8], float *values) {
        activate<bf16, true>(out_.activation, aux);
#pragma unroll
        for (int i = 0; i < 8; ++i) values[i] *= aux[i];
      });
    }
    store(&work_.c, square, x);
    if (readsAux_ && thread_ == 0 && square + Layout::kSlots < kSquares) {
      waitForStoreReads<0>();
      loadAux(square + Layout::kSlots, use_ - 1 + Layout::kSlots);
    }
  }

  const WarpgroupProduct &work_;
  const Epilogue<bf16> &out_;
  unsigned char *slots_;
  float *bias_;
  Mbarrier *loaded_;
  unsigned barrier_;
  int thread_, row_;
  bool hasBias_, readsAux_;
  Part part_;
  float biases_[kBiases], scale_;
  uint32_t use_ = 0;  // of slots, counted through
};

#endif

}  // namespace sn::cuda
