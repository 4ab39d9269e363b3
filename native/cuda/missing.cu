// missing.cu: what has no kernel yet.
#include "cuda/device.h"
#include "cuda/operations.h"

namespace sn::cuda {

#define SN_WEAK __attribute__((weak))
SN_WEAK sn_status attention_backward_workspace(const sn_device *, const sn_attention_shape *, int64_t *) {
  return fail(SN_UNSUPPORTED, "missing");
}
SN_WEAK sn_status attention_backward(sn_stream *, const sn_attention_shape *, const void *, const void *, const void *,
                                     const void *, const float *, const void *, void *, void *, void *, void *) {
  return fail(SN_UNSUPPORTED, "missing");
}
SN_WEAK sn_status cache_append(sn_stream *, const sn_cache_shape *, const int32_t *, const void *, const void *, void *,
                               void *) {
  return fail(SN_UNSUPPORTED, "missing");
}
SN_WEAK sn_status attention_decode(sn_stream *, const sn_cache_shape *, const int32_t *, const void *, const void *,
                                   const void *, void *) {
  return fail(SN_UNSUPPORTED, "missing");
}

}  // namespace sn::cuda
