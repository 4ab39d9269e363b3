// paged_attention.cu: attention over a cache in pages.
#include "cuda/device.h"
#include "cuda/operations.h"

namespace sn::cuda {

sn_status paged_append(sn_stream *, const sn_paged_shape *, const int32_t *, const int32_t *, const int32_t *,
                       const void *, const void *, void *, void *) {
  return fail(SN_UNSUPPORTED, "paged_append: not on a GPU");
}

sn_status paged_attention_workspace(const sn_device *, const sn_paged_shape *, int64_t *) {
  return fail(SN_UNSUPPORTED, "paged_attention: not on a GPU");
}

sn_status paged_attention(sn_stream *, const sn_paged_shape *, const int32_t *, const int32_t *, const int32_t *,
                          const void *, const void *, const void *, void *, void *) {
  return fail(SN_UNSUPPORTED, "paged_attention: not on a GPU");
}

}  // namespace sn::cuda
