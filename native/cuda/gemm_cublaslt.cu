// gemm_cublaslt.cu: what we call of cuBLASLt, and how our products are told to it.
//
// It thinks in columns: a matrix whose rows lie side by side in memory is to it the transposed one. So we ask for
// c^T = op(b)^T op(a)^T, and everything of ours is what it expects: c^T has n rows, bias is one value a row, strides of
// rows are its leading dimensions.
//
// The declarations below are those parts of its documented interface that we use; they are the same in its versions 12
// and 13.
#include <dlfcn.h>

#include <algorithm>
#include <initializer_list>
#include <span>
#include <string>

#include "common/status.h"
#include "cuda/gemm_cublaslt.h"

namespace sn::cuda {

namespace {

// ---- cuBLASLt's numbers ---------------------------------------------------------------------------------------------

constexpr int kSuccess = 0;

// Types of elements, of scales and of arithmetic.
constexpr int32_t kFloat32 = 0, kBfloat16 = 14;
constexpr int32_t kComputeFloat32 = 68;  // all digits: no TF32

constexpr int32_t kPlain = 0, kTransposed = 1;

// Attributes of a product,
constexpr int kTransposeA = 3, kTransposeB = 4, kEpilogue = 7, kBiasPointer = 8, kAuxPointer = 11, kAuxStride = 12,
              kAuxBatchStride = 13;
// of a matrix,
constexpr int kBatchCount = 5, kBatchStride = 6;
// and of what is asked for.
constexpr int kMostWorkspace = 1, kReductions = 3, kAlignments[] = {5, 6, 7, 8};

constexpr uint32_t kNone = 1, kBias = 4, kGeluBias = 32 | kBias, kGeluAuxBias = 128 | kGeluBias,
                   kGeluBackward = 64 | 128;

// ---- what we ask for ------------------------------------------------------------------------------------------------

// Sums of parts of k meet in the workspace, in fp32 and in order: not in c, which may be bf16.
constexpr uint32_t kReduceInWorkspace = 2;
constexpr uint64_t kWorkspaceBytes = uint64_t{32} << 20;
constexpr int kMostAlgorithms = 8;

// Of all operands, in bytes. It is the same whatever they are, so that the algorithms depend on the shape alone.
constexpr uint32_t kAlignment = 16;
// Its aux has strides that are multiples of this.
constexpr int64_t kAuxUnit = 8;

// The epilogues of a shape: what is null decides when it runs which of them it is. Empty: it has none that does this.
std::span<const uint32_t> epiloguesOf(sn_epilogue epilogue) {
  static constexpr uint32_t kOfNone[] = {kNone}, kOfBias[] = {kBias}, kOfGelu[] = {kGeluAuxBias, kGeluBias},
                            kOfResidual[] = {kBias, kNone}, kOfGeluBackward[] = {kGeluBackward};
  switch (epilogue) {
    case SN_EPILOGUE_NONE:
      return kOfNone;
    case SN_EPILOGUE_BIAS:
      return kOfBias;
    case SN_EPILOGUE_BIAS_ACTIVATION:
      return kOfGelu;
    case SN_EPILOGUE_BIAS_RESIDUAL:
      return kOfResidual;
    case SN_EPILOGUE_ACTIVATION_BACKWARD:
      return kOfGeluBackward;
    default:
      return {};
  }
}

uint32_t epilogueOf(const sn_gemm_shape &s, const GemmOperands &operands) {
  if (s.epilogue == SN_EPILOGUE_BIAS_ACTIVATION) return operands.aux != nullptr ? kGeluAuxBias : kGeluBias;
  if (s.epilogue == SN_EPILOGUE_BIAS_RESIDUAL) return operands.bias != nullptr ? kBias : kNone;
  return epiloguesOf(s.epilogue)[0];
}

bool hasAux(uint32_t epilogue) { return epilogue == kGeluAuxBias || epilogue == kGeluBackward; }

// What it may be asked for: it knows the epilogue, bias and aux have c's type, sizes 31 bits, aux's strides their unit.
bool suits(const sn_gemm_shape &s) {
  bool small = std::max({s.batch, s.m, s.n, s.k}) <= INT32_MAX;
  bool known = !epiloguesOf(s.epilogue).empty() && (s.epilogue == SN_EPILOGUE_NONE || s.c_dtype == s.dtype);
  bool gelu = s.epilogue == SN_EPILOGUE_BIAS_ACTIVATION || s.epilogue == SN_EPILOGUE_ACTIVATION_BACKWARD;
  known = known && (!gelu || s.activation == SN_GELU_TANH);  // its only GELU
  return small && known && (!gelu || (s.c_stride % kAuxUnit == 0 && (s.batch == 1 || s.c_batch % kAuxUnit == 0)));
}

int32_t typeOf(sn_dtype dtype) { return dtype == SN_BF16 ? kBfloat16 : kFloat32; }

}  // namespace

// ---- the library ----------------------------------------------------------------------------------------------------

// An algorithm as the library describes it, with what it needs.
struct CublasLt::Algorithm {
  uint64_t description[8];
  size_t workspace;
  int status;
  float waves;
  int reserved[4];
};

#define SN_CUBLASLT(X)                                                                                             \
  X(GetVersion, size_t())                                                                                          \
  X(Create, int(void **handle))                                                                                    \
  X(Destroy, int(void *handle))                                                                                    \
  X(MatmulDescCreate, int(void **product, int32_t compute, int32_t scale))                                         \
  X(MatmulDescDestroy, int(void *product))                                                                         \
  X(MatmulDescSetAttribute, int(void *product, int attribute, const void *value, size_t bytes))                    \
  X(MatrixLayoutCreate, int(void **matrix, int32_t type, uint64_t rows, uint64_t columns, int64_t stride))         \
  X(MatrixLayoutDestroy, int(void *matrix))                                                                        \
  X(MatrixLayoutSetAttribute, int(void *matrix, int attribute, const void *value, size_t bytes))                   \
  X(MatmulPreferenceCreate, int(void **preference))                                                                \
  X(MatmulPreferenceDestroy, int(void *preference))                                                                \
  X(MatmulPreferenceSetAttribute, int(void *preference, int attribute, const void *value, size_t bytes))           \
  X(MatmulAlgoGetHeuristic, int(void *handle, void *product, void *a, void *b, void *c, void *d, void *preference, \
                                int most, Algorithm *algorithms, int *count))                                      \
  X(Matmul, int(void *handle, void *product, const void *alpha, const void *a, void *layoutA, const void *b,       \
                void *layoutB, const void *beta, const void *c, void *layoutC, void *d, void *layoutD,             \
                const uint64_t *algorithm, void *workspace, size_t bytes, cudaStream_t stream))

struct CublasLt::Functions {
#define SN_FUNCTION(name, type) std::add_pointer_t<type> name = nullptr;
  SN_CUBLASLT(SN_FUNCTION)
#undef SN_FUNCTION

  // Whether the library has them all.
  bool find(void *library) {
    bool all = true;
#define SN_FIND(name, type)                                                            \
  name = reinterpret_cast<std::add_pointer_t<type>>(dlsym(library, "cublasLt" #name)); \
  all = all && name != nullptr;
    SN_CUBLASLT(SN_FIND)
#undef SN_FIND
    return all;
  }
};

// A product, told to the library: left is our b, right our a.
class CublasLt::Description {
 public:
  Description(const Functions &functions, const sn_gemm_shape &s, uint32_t epilogue, const void *bias, const void *aux)
      : functions_(functions) {
    done(functions.MatmulDescCreate(&product, kComputeFloat32, kFloat32));
    set(kTransposeA, s.transpose_b != 0 ? kTransposed : kPlain);
    set(kTransposeB, s.transpose_a != 0 ? kTransposed : kPlain);
    set(kEpilogue, epilogue);
    if (epilogue == kBias || epilogue == kGeluBias || epilogue == kGeluAuxBias) set(kBiasPointer, bias);
    if (hasAux(epilogue)) {
      set(kAuxPointer, aux);
      set(kAuxStride, s.c_stride);
      if (s.batch > 1) set(kAuxBatchStride, s.c_batch);
    }
    describe(&left, s.dtype, s.transpose_b != 0 ? s.k : s.n, s.transpose_b != 0 ? s.n : s.k, s.b_stride, s, s.b_batch);
    describe(&right, s.dtype, s.transpose_a != 0 ? s.m : s.k, s.transpose_a != 0 ? s.k : s.m, s.a_stride, s, s.a_batch);
    describe(&out, s.c_dtype, s.n, s.m, s.c_stride, s, s.c_batch);
  }
  ~Description() {
    if (product != nullptr) functions_.MatmulDescDestroy(product);
    for (void *matrix : {left, right, out}) {
      if (matrix != nullptr) functions_.MatrixLayoutDestroy(matrix);
    }
  }
  Description(const Description &) = delete;
  Description &operator=(const Description &) = delete;

  // Whether the library took all of it.
  bool complete() const { return complete_; }

  void *product = nullptr, *left = nullptr, *right = nullptr, *out = nullptr;

 private:
  void done(int status) { complete_ = complete_ && status == kSuccess; }

  template <typename T>
  void set(int attribute, T value) {
    if (complete_) done(functions_.MatmulDescSetAttribute(product, attribute, &value, sizeof value));
  }

  void describe(void **matrix, sn_dtype dtype, int64_t rows, int64_t columns, int64_t stride, const sn_gemm_shape &s,
                int64_t batchStride) {
    if (!complete_) return;
    done(functions_.MatrixLayoutCreate(matrix, typeOf(dtype), static_cast<uint64_t>(rows),
                                       static_cast<uint64_t>(columns), stride));
    if (!complete_ || s.batch == 1) return;
    auto count = static_cast<int32_t>(s.batch);
    done(functions_.MatrixLayoutSetAttribute(*matrix, kBatchCount, &count, sizeof count));
    done(functions_.MatrixLayoutSetAttribute(*matrix, kBatchStride, &batchStride, sizeof batchStride));
  }

  const Functions &functions_;
  bool complete_ = true;
};

CublasLt::CublasLt(int ordinal) : ordinal_(ordinal) {}

// The library itself stays loaded, as CUDA's own do.
CublasLt::~CublasLt() {
  if (functions_ != nullptr) functions_->Destroy(handle_);
}

bool CublasLt::take(const std::string &file) {
  void *library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return false;
  auto found = std::make_unique<Functions>();
  cudaSetDevice(ordinal_);
  if (!found->find(library) || found->Create(&handle_) != kSuccess) return false;
  version_ = static_cast<int64_t>(found->GetVersion());
  functions_ = std::move(found);
  return true;
}

int64_t CublasLt::load(const char *folder) {
  std::lock_guard lock(mutex_);
  auto in = [&](const std::string &place) {
    return take(place + "libcublasLt.so.13") || take(place + "libcublasLt.so.12");
  };
  bool found = functions_ != nullptr || (folder != nullptr && in(std::string(folder) + "/"));
  if (!found) in("");
  return version_;
}

int64_t CublasLt::version() const {
  std::lock_guard lock(mutex_);
  return version_;
}

// ---- its algorithms -------------------------------------------------------------------------------------------------

std::vector<CublasLt::Algorithm> CublasLt::ask(const sn_gemm_shape &s, uint32_t epilogue) const {
  // It looks at the alignment of these two addresses, and at nothing behind them.
  auto *aligned = reinterpret_cast<void *>(uintptr_t{kAlignment});
  Description description(*functions_, s, epilogue, aligned, aligned);
  void *preference = nullptr;
  if (!description.complete() || functions_->MatmulPreferenceCreate(&preference) != kSuccess) return {};
  bool told = true;
  auto prefer = [&](int attribute, auto value) {
    told = told && functions_->MatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value) == kSuccess;
  };
  prefer(kMostWorkspace, kWorkspaceBytes);
  prefer(kReductions, kReduceInWorkspace);
  for (int alignment : kAlignments) prefer(alignment, kAlignment);
  std::vector<Algorithm> algorithms(kMostAlgorithms);
  int count = 0;
  cudaSetDevice(ordinal_);
  if (!told || functions_->MatmulAlgoGetHeuristic(handle_, description.product, description.left, description.right,
                                                  description.out, description.out, preference, kMostAlgorithms,
                                                  algorithms.data(), &count) != kSuccess) {
    count = 0;
  }
  functions_->MatmulPreferenceDestroy(preference);
  algorithms.resize(static_cast<size_t>(std::clamp(count, 0, kMostAlgorithms)));
  std::erase_if(algorithms, [](const Algorithm &algorithm) {
    return algorithm.status != kSuccess || algorithm.workspace > kWorkspaceBytes;
  });
  return algorithms;
}

const std::vector<CublasLt::Algorithm> &CublasLt::algorithmsOf(const sn_gemm_shape &s, uint32_t epilogue) {
  bool one = s.batch == 1;
  Key key{s.batch,
          s.m,
          s.n,
          s.k,
          s.a_stride,
          s.b_stride,
          s.c_stride,
          one ? 0 : s.a_batch,
          one ? 0 : s.b_batch,
          one ? 0 : s.c_batch,
          s.transpose_a != 0,
          s.transpose_b != 0,
          s.dtype,
          s.c_dtype,
          epilogue};
  std::lock_guard lock(mutex_);
  auto [entry, fresh] = known_.try_emplace(key);
  if (fresh) entry->second = ask(s, epilogue);
  return entry->second;
}

int CublasLt::count(const sn_gemm_shape &s) {
  if (version() == 0 || !suits(s)) return 0;
  int count = kMostAlgorithms;
  for (uint32_t epilogue : epiloguesOf(s.epilogue)) {
    count = std::min(count, static_cast<int>(algorithmsOf(s, epilogue).size()));
  }
  return count;
}

int64_t CublasLt::workspaceBytes(const sn_gemm_shape &s, int algorithm) {
  size_t bytes = 0;
  for (uint32_t epilogue : epiloguesOf(s.epilogue)) {
    bytes = std::max(bytes, algorithmsOf(s, epilogue)[static_cast<size_t>(algorithm)].workspace);
  }
  return static_cast<int64_t>(bytes);
}

sn_status CublasLt::multiply(const sn_gemm_shape &s, int algorithm, const GemmOperands &operands, void *workspace,
                             cudaStream_t stream) {
  for (const void *operand : {operands.a, operands.b, static_cast<const void *>(operands.c), operands.bias,
                              static_cast<const void *>(operands.aux)}) {
    if (reinterpret_cast<uintptr_t>(operand) % kAlignment != 0) {
      return fail(SN_BAD_ARGUMENT, "gemm: an operand is at no multiple of %u bytes, as plans of cuBLASLt want it",
                  kAlignment);
    }
  }
  uint32_t epilogue = epilogueOf(s, operands);
  const Algorithm &chosen = algorithmsOf(s, epilogue)[static_cast<size_t>(algorithm)];
  Description description(*functions_, s, epilogue, operands.bias, operands.aux);
  if (!description.complete()) return fail(SN_FAILED, "gemm: cuBLASLt does not take the description of this product");
  bool residual = s.epilogue == SN_EPILOGUE_BIAS_RESIDUAL;
  const float alpha = 1, beta = residual || s.accumulate != 0 ? 1 : 0;
  int status = functions_->Matmul(handle_, description.product, &alpha, operands.b, description.left, operands.a,
                                  description.right, &beta, residual ? operands.aux : operands.c, description.out,
                                  operands.c, description.out, chosen.description, workspace, chosen.workspace, stream);
  return status == kSuccess ? SN_OK : fail(SN_FAILED, "gemm: cuBLASLt fails with its status %d", status);
}

}  // namespace sn::cuda
