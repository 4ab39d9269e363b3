// gemm.cu: c = epilogue(op(a) op(b)): the plan, its kernel, and the sum of the parts of k where the plan has several.
//
//   gemm_plan        which kernel and tile, how many parts of k: a cost model
//   gemm_tensor_core bf16
//   gemm_warpgroup   bf16, on compute capability 9.0
//   gemm_floats      fp32
//   gemm_few_rows    both, for at most eight rows
//   gemm_cublaslt    both, by NVIDIA's library, where it is there and a plan asks for it
#include <algorithm>

#include "cuda/gemm.h"
#include "cuda/gemm_cublaslt.h"
#include "cuda/operations.h"

namespace sn::cuda {

namespace {

constexpr int kAddThreads = 256;

// The sums of all parts of k [batch][splits][m][stride], added in order, go through the epilogue: eight a thread.
template <typename T>
__global__ void __launch_bounds__(kAddThreads)
    addParts(const float *parts, int64_t batch, int m, int n, int splits, int64_t stride, Epilogue<T> out) {
  int64_t rowEights = stride / 8, eight = int64_t{blockIdx.x} * kAddThreads + threadIdx.x;
  if (eight >= batch * m * rowEights) return;
  int64_t column = eight % rowEights * 8, row = eight / rowEights % m, product = eight / rowEights / m;
  const float *part = parts + (product * splits * m + row) * stride + column;
  float sums[8];
  loadEight(part, 8, sums);
  for (int split = 1; split < splits; ++split) {
    float more[8];
    loadEight(part + split * m * stride, 8, more);
#pragma unroll
    for (int j = 0; j < 8; ++j) sums[j] += more[j];
  }
  int64_t at = product * out.batch + row * out.stride + column;
  finishEight(out, at, column, static_cast<int>(min(int64_t{8}, n - column)), sums);
}

template <typename T>
cudaError_t launchPlan(const GemmPlan &plan, const sn_gemm_shape &s, const Product<T> &product, const RowNorm<T> &norm,
                       const sn_stream *stream) {
  bool transposeA = s.transpose_a != 0, transposeB = s.transpose_b != 0;
  auto slices = static_cast<unsigned>(s.batch * plan.splits);
  if (plan.kernel == GemmKernel::fewRows) {
    return launchFewRows(product, norm, transposeA, transposeB, slices, stream);
  }
  if constexpr (sizeof(T) == sizeof(bf16)) {
    if (plan.kernel != GemmKernel::warpgroup) {
      return launchTensorCore(product, plan.tile, transposeA, transposeB, slices, handleOf(stream));
    }
    if (suitsWarpgroup(product)) {
      return launchWarpgroup(product, plan.tile, plan.cluster, transposeA, transposeB, slices,
                             deviceOf(stream).multiprocessors, handleOf(stream));
    }
    return launchTensorCore(product, kUnalignedTile, transposeA, transposeB, slices, handleOf(stream));
  } else {
    return launchFloats(product, plan.tile, transposeA, transposeB, slices, handleOf(stream));
  }
}

template <typename T>
cudaError_t multiply(const GemmPlan &plan, const sn_gemm_shape &s, const RowNorm<T> &norm, const void *a, const void *b,
                     const Epilogue<T> &out, float *workspace, const sn_stream *stream) {
  Product<T> product{static_cast<int>(s.m),
                     static_cast<int>(s.n),
                     static_cast<int>(s.k),
                     static_cast<const T *>(a),
                     static_cast<const T *>(b),
                     s.a_stride,
                     s.b_stride,
                     s.batch == 1 ? 0 : s.a_batch,
                     s.batch == 1 ? 0 : s.b_batch,
                     static_cast<int>(plan.splits),
                     static_cast<int>(plan.depth),
                     out};
  if (plan.splits == 1) return launchPlan(plan, s, product, norm, stream);
  int64_t stride = partialStride(s);
  product.out = {SN_EPILOGUE_NONE, s.activation, false, true, workspace, nullptr, nullptr, stride, s.m * stride};
  if (cudaError_t error = launchPlan(plan, s, product, norm, stream)) return error;
  int64_t blocks = (s.batch * s.m * (stride / 8) + kAddThreads - 1) / kAddThreads;
  return launch(addParts<T>, dim3(static_cast<unsigned>(blocks)), dim3(kAddThreads), 0, handleOf(stream), workspace,
                s.batch, product.m, product.n, product.splits, stride, out);
}

GemmMachine machineOf(const Device &device) { return {device.multiprocessors, device.hopper}; }

// What the shape's plan stands for.
sn_status choosePlan(const Device &device, const sn_gemm_shape &s, GemmPlan *plan) {
  if (s.plan == 0) {
    *plan = planGemm(s, machineOf(device));
    return SN_OK;
  }
  for (const GemmPlan &own : plansOf(s, machineOf(device))) {
    if (codeOf(own) != s.plan) continue;
    *plan = own;
    return SN_OK;
  }
  for (int algorithm = 0, count = device.cublasLt->count(s); algorithm < count; ++algorithm) {
    *plan = planOfCublasLt(s, algorithm);
    if (codeOf(*plan) == s.plan) return SN_OK;
  }
  return fail(SN_BAD_ARGUMENT, "gemm: plan %lld is none of this shape's on this device%s",
              static_cast<long long>(s.plan), device.cublasLt->version() == 0 ? ", without cuBLASLt" : "");
}

int64_t workspaceOf(const Device &device, const sn_gemm_shape &s, const GemmPlan &plan) {
  if (plan.kernel == GemmKernel::cublasLt) return device.cublasLt->workspaceBytes(s, plan.tile);
  return workspaceBytes(plan, s);
}

}  // namespace

// Kernels count rows, columns, k and blocks in 31 bits.
sn_status checkGemmSize(const sn_gemm_shape &s) {
  constexpr int64_t kMost = int64_t{1} << 30;
  bool fits = std::max({s.batch, s.m, s.n, s.k}) <= kMost;
  // No kernel makes more blocks than one for each row, or 64 of them, and 8 columns; parts of k come only with few.
  fits = fits && s.batch * ((s.m + 63) / 64) <= kMost && s.batch * ((s.m + 63) / 64) * ((s.n + 7) / 8) <= kMost;
  if (fits) return SN_OK;
  return fail(SN_UNSUPPORTED, "gemm: batch %lld, m %lld, n %lld, k %lld is more than one launch can do",
              static_cast<long long>(s.batch), static_cast<long long>(s.m), static_cast<long long>(s.n),
              static_cast<long long>(s.k));
}

sn_status gemm_library(const sn_device *device, const char *folder, int64_t *version) {
  *version = deviceOf(device).cublasLt->load(folder);
  return SN_OK;
}

sn_status gemm_plans(const sn_device *device, const sn_gemm_shape *shape, int32_t capacity, int64_t *plans,
                     int32_t *count) {
  std::vector<int64_t> codes{0};
  for (const GemmPlan &own : plansOf(*shape, machineOf(deviceOf(device)))) codes.push_back(codeOf(own));
  for (int algorithm = 0, all = deviceOf(device).cublasLt->count(*shape); algorithm < all; ++algorithm) {
    codes.push_back(codeOf(planOfCublasLt(*shape, algorithm)));
  }
  *count = static_cast<int32_t>(codes.size());
  std::copy_n(codes.begin(), std::min(capacity, *count), plans);
  return SN_OK;
}

sn_status gemm_workspace(const sn_device *device, const sn_gemm_shape *shape, int64_t *bytes) {
  GemmPlan plan;
  if (sn_status status = choosePlan(deviceOf(device), *shape, &plan); status != SN_OK) return status;
  *bytes = workspaceOf(deviceOf(device), *shape, plan);
  return SN_OK;
}

sn_status gemm(sn_stream *stream, const sn_gemm_shape *shape, const sn_row_norm *norm, const void *a, const void *b,
               void *c, const void *bias, void *aux, void *workspace) {
  const sn_gemm_shape &s = *shape;
  const Device &device = deviceOf(stream);
  if (sn_status status = checkGemmSize(s); status != SN_OK) return status;
  GemmPlan plan;
  if (sn_status status = choosePlan(device, s, &plan); status != SN_OK) return status;
  int64_t bytes = workspaceOf(device, s, plan);
  if (bytes > 0 && workspace == nullptr) {
    return fail(SN_BAD_ARGUMENT, "gemm: this shape needs a workspace of %lld bytes", static_cast<long long>(bytes));
  }
  bool fuses = norm != nullptr && plan.kernel == GemmKernel::fewRows && normalizesItself(s);
  if (norm != nullptr && !fuses) {
    sn_status status = layer_norm_forward(stream, s.dtype, s.m, s.k, norm->epsilon, a, nullptr, norm->gain, norm->bias,
                                          nullptr, norm->out, nullptr, nullptr);
    if (status != SN_OK) return status;
    a = norm->out;
  }
  if (plan.kernel == GemmKernel::cublasLt) {
    return device.cublasLt->multiply(s, plan.tile, {a, b, c, bias, aux}, workspace, handleOf(stream));
  }
  return withType(s.dtype, [&](auto t) {
    using T = decltype(t);
    auto out = epilogueOf<T>(s, c, bias, aux);
    RowNorm<T> rowNorm = fuses ? RowNorm<T>::of(*norm, a, s.m, s.k) : RowNorm<T>{};
    return check(multiply(plan, s, rowNorm, a, b, out, static_cast<float *>(workspace), stream), "gemm");
  });
}

}  // namespace sn::cuda
