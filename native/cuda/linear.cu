// linear.cu: products with packed weights.
#include "cuda/device.h"
#include "cuda/operations.h"

namespace sn::cuda {

sn_status pack(sn_stream *, sn_weight_format, sn_dtype, int64_t, int64_t, int32_t, const void *, void *) {
  return fail(SN_UNSUPPORTED, "pack: not on a GPU");
}

sn_status packed_rows(sn_stream *, sn_weight_format, sn_dtype, int64_t, int64_t, int64_t, const int32_t *, const void *,
                      void *) {
  return fail(SN_UNSUPPORTED, "packed_rows: not on a GPU");
}

sn_status linear_workspace(const sn_device *, const sn_linear_shape *, int64_t *) {
  return fail(SN_UNSUPPORTED, "linear: not on a GPU");
}

sn_status linear(sn_stream *, const sn_linear_shape *, const void *, const void *, void *, const void *, const void *,
                 void *) {
  return fail(SN_UNSUPPORTED, "linear: not on a GPU");
}

}  // namespace sn::cuda
