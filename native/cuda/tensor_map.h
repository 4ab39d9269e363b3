// tensor_map.h: how a tensor copy sees a matrix in device memory; made on the host, passed to a kernel as
// `const __grid_constant__ TensorMap`.
#pragma once

#include "cuda/cuda.h"

#if defined(__CUDACC__)
#include <cuda.h>
#endif

namespace sn::cuda {

using TensorMap = CUtensorMap;

// A matrix of rows x columns bf16, each row `stride` elements after the one before, moved in boxes of boxRows x
// boxColumns.
//
//   data      a multiple of 16 bytes, as are stride and boxColumns
//   swizzled  in shared memory the eight pieces of 16 bytes of row r (128 bytes) are in the order piece ^ r % 8, as
//             warpgroup products read them without conflicts; boxColumns is then at most 64
//
// What a box has outside of the matrix is zero when loaded and left out when stored.
inline cudaError_t describeMatrix(TensorMap *map, const bf16 *data, uint64_t rows, uint64_t columns, uint64_t stride,
                                  uint32_t boxRows, uint32_t boxColumns, bool swizzled = true) {
#if defined(__CUDACC__)
  // The driver's function is looked up: nothing links with libcuda, which is only there where a driver is.
  static auto encode = [] {
    void *function = nullptr;
    cudaDriverEntryPointQueryResult found;
    cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
  }();
  if (encode == nullptr) return cudaErrorNotSupported;
  const cuuint64_t sizes[2] = {columns, rows}, strides[1] = {stride * sizeof(bf16)};
  const cuuint32_t box[2] = {boxColumns, boxRows}, steps[2] = {1, 1};
  CUresult result =
      encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<bf16 *>(data), sizes, strides, box, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, swizzled ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE,
             CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
#else
  return emulation::describeMatrix(map, data, rows, columns, stride, boxRows, boxColumns, swizzled);
#endif
}

}  // namespace sn::cuda
