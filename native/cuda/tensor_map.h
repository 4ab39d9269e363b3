// tensor_map.h: how a tensor copy sees a tensor in device memory; made on the host, passed to a kernel as
// `const __grid_constant__ TensorMap`.
#pragma once

#include <initializer_list>

#include "cuda/cuda.h"

#if defined(__CUDACC__)
#include <cuda.h>
#endif

namespace sn::cuda {

using TensorMap = CUtensorMap;

// The compiler takes a scoped name for one that hides the type.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
enum class Element { bf16, f32, byte };
#pragma GCC diagnostic pop

constexpr uint32_t bytesOf(Element element) { return element == Element::bf16 ? 2 : element == Element::f32 ? 4 : 1; }

// One axis of a tensor: how many elements it has, how many elements of memory one step along it is, and how many steps
// a box has of it, 256 at most.
struct Axis {
  uint64_t size, stride;
  uint32_t box;
};

// A tensor of 1 to 5 axes, the innermost, whose stride is 1, first. Addresses and the other strides are multiples of
// 16 bytes, as is a box's line, its elements along the first axis.
//
//   swizzled  in shared memory the eight pieces of 16 bytes of line l of the box (128 bytes, no fewer) are in the order
//             piece ^ l % 8, as warpgroup products read them without conflicts
//
// What a box has outside of the tensor is zero when loaded and left out when stored or added.
inline cudaError_t describeTensor(TensorMap *map, Element element, const void *data, std::initializer_list<Axis> axes,
                                  bool swizzled) {
  constexpr unsigned kAxes = 5;
  if (axes.size() == 0 || axes.size() > kAxes) return cudaErrorInvalidValue;
  auto count = static_cast<unsigned>(axes.size());
  uint64_t sizes[kAxes] = {}, strides[kAxes] = {};
  uint32_t box[kAxes] = {};
  for (unsigned i = 0; i < count; ++i) {
    const Axis &axis = axes.begin()[i];
    sizes[i] = axis.size;
    strides[i] = axis.stride * bytesOf(element);
    box[i] = axis.box;
  }
  // The layout of a narrower line is documented nowhere.
  bool layoutKnown = !swizzled || box[0] * bytesOf(element) == 128;
  if (!layoutKnown || axes.begin()->stride != 1) return cudaErrorInvalidValue;
#if defined(__CUDACC__)
  // The driver's function is looked up: nothing links with libcuda, which is only there where a driver is.
  static auto encode = [] {
    void *function = nullptr;
    cudaDriverEntryPointQueryResult found;
    cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
  }();
  if (encode == nullptr) return cudaErrorNotSupported;
  constexpr CUtensorMapDataType kTypes[] = {CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
                                            CU_TENSOR_MAP_DATA_TYPE_UINT8};
  const cuuint32_t steps[kAxes] = {1, 1, 1, 1, 1};
  CUresult result =
      encode(map, kTypes[static_cast<int>(element)], count, const_cast<void *>(data), sizes, strides + 1, box, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, swizzled ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE,
             CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
#else
  return emulation::describeTensor(map, bytesOf(element), data, count, sizes, strides, box, swizzled);
#endif
}

// A matrix of rows x columns bf16, each row `stride` elements after the one before, moved in boxes of boxRows x
// boxColumns.
inline cudaError_t describeMatrix(TensorMap *map, const bf16 *data, uint64_t rows, uint64_t columns, uint64_t stride,
                                  uint32_t boxRows, uint32_t boxColumns, bool swizzled = true) {
  return describeTensor(map, Element::bf16, data, {{columns, 1, boxColumns}, {rows, stride, boxRows}}, swizzled);
}

}  // namespace sn::cuda
