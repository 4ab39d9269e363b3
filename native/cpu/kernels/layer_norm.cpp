// layer_norm.cpp: each row normalised, scaled and shifted; forward and backward (Ba et al. 2016).
#include "cpu/kernels/layer_norm.h"

#include "cpu/kernels/operations.h"

namespace sn::cpu::SN_ISA {

namespace {

// Rows whose gradients of gain, bias and shift are summed together: fixed, so that the order of the sums is.
constexpr int64_t kRowsPerSum = 64, kSums = 3;

int64_t sumBlocks(int64_t rows) { return (rows + kRowsPerSum - 1) / kRowsPerSum; }

}  // namespace

sn_status layer_norm_forward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t width, float epsilon,
                             const void *x, const void *residual, const void *gain, const void *bias, void *sum_out,
                             void *out, float *mean, float *rstd) {
  withType(dtype, [&](auto t) {
    using T = decltype(t);
    parallelRange(poolOf(stream), rows, rowsPerPart(width), [&](int64_t begin, int64_t end) {
      auto *gains = static_cast<const T *>(gain), *biases = static_cast<const T *>(bias);
      for (int64_t i = begin; i < end; ++i) {
        auto *row = static_cast<const T *>(x) + i * width;
        auto *other = residual == nullptr ? nullptr : static_cast<const T *>(residual) + i * width;
        auto *kept = sum_out == nullptr ? nullptr : static_cast<T *>(sum_out) + i * width;
        auto *target = static_cast<T *>(out) + i * width;
        // What follows reads the sum as it is stored, so that the backward pass sees the same.
        auto at = [&](int64_t j, int64_t n) {
          Vec v = loadUpTo(row + j, n);
          return other == nullptr ? v : v + loadUpTo(other + j, n);
        };
        if (kept != nullptr) {
          forVectors(width, [&](int64_t j, int64_t n) { storeUpTo(kept + j, at(j, n), n); });
          row = kept;
          other = nullptr;
        }
        RowNumbers numbers = normalize(width, epsilon, gains, biases, at, target);
        if (mean != nullptr) {
          mean[i] = numbers.mean;
          rstd[i] = numbers.rstd;
        }
      }
    });
  });
  return SN_OK;
}

sn_status layer_norm_backward_workspace(const sn_device *, int64_t rows, int64_t width, int64_t *bytes) {
  *bytes = sumBlocks(rows) * kSums * width * static_cast<int64_t>(sizeof(float));
  return SN_OK;
}

sn_status layer_norm_backward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t width, const void *s,
                              const void *gain, const float *mean, const float *rstd, const void *dout,
                              const void *dresidual, int32_t accumulate, void *dx, float *dgain, float *dbias,
                              float *dshift, void *workspace) {
  auto *partial = static_cast<float *>(workspace);
  int64_t blocks = sumBlocks(rows);
  withType(dtype, [&](auto t) {
    using T = decltype(t);
    parallel(poolOf(stream), blocks, [&](int64_t block, int32_t) {
      auto *gains = static_cast<const T *>(gain);
      const bool sumsGain = dgain != nullptr, sumsBias = dbias != nullptr, sumsShift = dshift != nullptr;
      float *gainSums = partial + block * kSums * width, *biasSums = gainSums + width, *shiftSums = biasSums + width;
      std::memset(static_cast<void *>(gainSums), 0, static_cast<size_t>(kSums * width) * sizeof(float));
      int64_t end = (block + 1) * kRowsPerSum < rows ? (block + 1) * kRowsPerSum : rows;
      for (int64_t i = block * kRowsPerSum; i < end; ++i) {
        auto *row = static_cast<const T *>(s) + i * width, *upper = static_cast<const T *>(dout) + i * width;
        auto *other = dresidual == nullptr ? nullptr : static_cast<const T *>(dresidual) + i * width;
        auto *target = static_cast<T *>(dx) + i * width;
        float mu = mean[i], scale = rstd[i];
        // dx = rstd (g - mean(g) - n mean(g n)) with g = dout gain and n = (s - mu) rstd.
        Vec sumG{}, sumGN{};
        forVectors(width, [&](int64_t j, int64_t n) {
          Vec d = loadUpTo(upper + j, n), normal = (loadUpTo(row + j, n) - mu) * scale;
          Vec g = d * loadUpTo(gains + j, n);
          sumG += g;
          sumGN = fma(g, normal, sumGN);
          if (sumsGain) storeUpTo(gainSums + j, fma(d, normal, loadUpTo(gainSums + j, n)), n);
          if (sumsBias) storeUpTo(biasSums + j, loadUpTo(biasSums + j, n) + d, n);
        });
        float meanG = sum(sumG) / static_cast<float>(width), meanGN = sum(sumGN) / static_cast<float>(width);
        forVectors(width, [&](int64_t j, int64_t n) {
          Vec normal = (loadUpTo(row + j, n) - mu) * scale;
          Vec g = loadUpTo(upper + j, n) * loadUpTo(gains + j, n);
          Vec v = scale * (g - meanG - normal * meanGN);
          if (other != nullptr) v += loadUpTo(other + j, n);
          if (sumsShift) storeUpTo(shiftSums + j, loadUpTo(shiftSums + j, n) + v, n);
          storeUpTo(target + j, v, n);
        });
      }
    });
  });
  auto addUp = [&](const float *first, float *out) {
    if (out == nullptr) return;
    parallelRange(poolOf(stream), width, kGrain / blocks + kLanes, [&](int64_t begin, int64_t end) {
      forVectors(end - begin, [&](int64_t i, int64_t n) {
        int64_t j = begin + i;
        Vec total = accumulate ? loadUpTo(out + j, n) : Vec{};
        for (int64_t block = 0; block < blocks; ++block) total += loadUpTo(first + block * kSums * width + j, n);
        storeUpTo(out + j, total, n);
      });
    });
  };
  addUp(partial, dgain);
  addUp(partial + width, dbias);
  addUp(partial + 2 * width, dshift);
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
