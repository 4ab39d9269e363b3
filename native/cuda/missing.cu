// missing.cu: what has no kernel yet.
#include "cuda/device.h"
#include "cuda/operations.h"

namespace sn::cuda {

#define SN_WEAK __attribute__((weak))
SN_WEAK sn_status gemm_workspace(const sn_device *, const sn_gemm_shape *, int64_t *) {
  return fail(SN_UNSUPPORTED, "missing");
}
SN_WEAK sn_status gemm(sn_stream *, const sn_gemm_shape *, const void *, const void *, void *, const void *, void *,
                       void *) {
  return fail(SN_UNSUPPORTED, "missing");
}
SN_WEAK sn_status bias_backward(sn_stream *, sn_dtype, int64_t, int64_t, const void *, int32_t, float *) {
  return fail(SN_UNSUPPORTED, "missing");
}
SN_WEAK sn_status embedding_forward(sn_stream *, sn_dtype, int64_t, int64_t, int64_t, int64_t, int64_t, const int32_t *,
                                    const int32_t *, const void *, const void *, void *) {
  return fail(SN_UNSUPPORTED, "missing");
}
SN_WEAK sn_status embedding_backward(sn_stream *, sn_dtype, int64_t, int64_t, int64_t, int64_t, int64_t,
                                     const int32_t *, const void *, int32_t, float *, float *) {
  return fail(SN_UNSUPPORTED, "missing");
}
SN_WEAK sn_status layer_norm_forward(sn_stream *, sn_dtype, int64_t, int64_t, float, const void *, const void *,
                                     const void *, const void *, void *, void *, float *, float *) {
  return fail(SN_UNSUPPORTED, "missing");
}
SN_WEAK sn_status layer_norm_backward_workspace(const sn_device *, int64_t, int64_t, int64_t *) {
  return fail(SN_UNSUPPORTED, "missing");
}
SN_WEAK sn_status layer_norm_backward(sn_stream *, sn_dtype, int64_t, int64_t, const void *, const void *,
                                      const float *, const float *, const void *, const void *, int32_t, void *,
                                      float *, float *, void *) {
  return fail(SN_UNSUPPORTED, "missing");
}
SN_WEAK sn_status cross_entropy(sn_stream *, sn_dtype, int64_t, int64_t, int64_t, void *, const int32_t *, float,
                                float *) {
  return fail(SN_UNSUPPORTED, "missing");
}
SN_WEAK sn_status sum(sn_stream *, int64_t, float, const float *, int32_t, float *) {
  return fail(SN_UNSUPPORTED, "missing");
}
SN_WEAK sn_status global_norm(sn_stream *, int64_t, const float *, float *) { return fail(SN_UNSUPPORTED, "missing"); }
SN_WEAK sn_status adamw(sn_stream *, const sn_adamw_step *, int64_t, const float *, const float *, const uint8_t *,
                        float *, float *, float *, int32_t, void *) {
  return fail(SN_UNSUPPORTED, "missing");
}
SN_WEAK sn_status sample_workspace(const sn_device *, int64_t, int64_t, int64_t *) {
  return fail(SN_UNSUPPORTED, "missing");
}
SN_WEAK sn_status sample(sn_stream *, const sn_sampling *, sn_dtype, int64_t, int64_t, int64_t, const void *,
                         const int32_t *, const int32_t *, int64_t, sn_random_key, int32_t *, float *, void *) {
  return fail(SN_UNSUPPORTED, "missing");
}

}  // namespace sn::cuda
