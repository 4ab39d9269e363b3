// cuda.h: the one header that a kernel includes for the language: CUDA itself under nvcc; with any other compiler its
// emulation on the host (tests/emulation), where tests run the same kernels without a GPU.
#pragma once

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#else
#include "emulation/cuda.h"
#endif

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <utility>

#if defined(__CUDACC__)
// An array in shared memory of a size known when compiling, and the memory whose size the launch gives.
#define SN_SHARED(type, name, count) __shared__ __align__(16) type name[count]
#define SN_DYNAMIC_SHARED(name) extern __shared__ __align__(1024) unsigned char name[]
#endif

// Whether instructions that only sm_90a has may be used here: in device code for it, and where no device code is made.
// The body of a kernel that needs them is empty elsewhere, and the host launches it on compute capability 9.0 alone.
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define SN_HOPPER 1
#else
#define SN_HOPPER 0
#endif

namespace sn::cuda {

using bf16 = __nv_bfloat16;

// What a kernel may have without being asked for more.
constexpr size_t kFreeSharedBytes = size_t{48} << 10;

// Lets a kernel have so much dynamic shared memory: asked of CUDA once for each kernel, device and larger size.
template <typename Kernel>
cudaError_t allowSharedBytes(Kernel *kernel, size_t bytes) {
  static std::mutex mutex;
  static std::map<std::pair<Kernel *, int>, size_t> allowed;
  int device = 0;
  if (cudaError_t error = cudaGetDevice(&device)) return error;
  std::lock_guard lock(mutex);
  size_t &limit = allowed[{kernel, device}];
  if (bytes <= limit) return cudaSuccess;
  cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (error == cudaSuccess) limit = bytes;
  return error;
}

// kernel<<<grid, block, sharedBytes, stream>>>(arguments...), and whether the launch was accepted.
template <typename... Parameters, typename... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t sharedBytes, cudaStream_t stream,
                   Arguments &&...arguments) {
  if (sharedBytes > kFreeSharedBytes) {
    if (cudaError_t error = allowSharedBytes(kernel, sharedBytes)) return error;
  }
#if defined(__CUDACC__)
  kernel<<<grid, block, sharedBytes, stream>>>(static_cast<Parameters>(arguments)...);
  return cudaGetLastError();
#else
  return emulation::launch<Parameters...>(kernel, grid, block, sharedBytes, stream,
                                          static_cast<Parameters>(arguments)...);
#endif
}

// What a launch may have beyond a grid of blocks. sm_90.
struct LaunchAttributes {
  // So many blocks, beside one another in x, are a cluster (ptx/cluster.h): 8 at most, and the grid's x a multiple.
  unsigned clusterBlocks = 1;
  // It may start while the kernel before it in the stream still runs, and calls waitForPriorGrid() (ptx/grid.h) before
  // it touches what that one reads or writes.
  bool overlapping = false;
};

template <typename... Parameters, typename... Arguments>
cudaError_t launchWith(LaunchAttributes attributes, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                       size_t sharedBytes, cudaStream_t stream, Arguments &&...arguments) {
  constexpr unsigned kLargestCluster = 8;
  unsigned clusterBlocks = attributes.clusterBlocks;
  if (clusterBlocks == 0 || clusterBlocks > kLargestCluster || grid.x % clusterBlocks != 0) {
    return cudaErrorInvalidConfiguration;
  }
  if (sharedBytes > kFreeSharedBytes) {
    if (cudaError_t error = allowSharedBytes(kernel, sharedBytes)) return error;
  }
#if defined(__CUDACC__)
  cudaLaunchAttribute chosen[2];
  unsigned count = 0;
  if (attributes.overlapping) {
    chosen[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    chosen[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (clusterBlocks > 1) {
    chosen[count].id = cudaLaunchAttributeClusterDimension;
    chosen[count++].val.clusterDim = {clusterBlocks, 1, 1};
  }
  cudaLaunchConfig_t configuration = {};
  configuration.gridDim = grid;
  configuration.blockDim = block;
  configuration.dynamicSmemBytes = sharedBytes;
  configuration.stream = stream;
  configuration.attrs = chosen;
  configuration.numAttrs = count;
  return cudaLaunchKernelEx(&configuration, kernel, static_cast<Parameters>(arguments)...);
#else
  return emulation::launchWith<Parameters...>(clusterBlocks, attributes.overlapping, kernel, grid, block, sharedBytes,
                                              stream, static_cast<Parameters>(arguments)...);
#endif
}

// A kernel that may overlap the one before it.
template <typename... Parameters, typename... Arguments>
cudaError_t launchOverlapping(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t sharedBytes,
                              cudaStream_t stream, Arguments &&...arguments) {
  return launchWith({1, true}, kernel, grid, block, sharedBytes, stream, std::forward<Arguments>(arguments)...);
}

// A kernel of clusters.
template <typename... Parameters, typename... Arguments>
cudaError_t launchCluster(void (*kernel)(Parameters...), dim3 grid, dim3 block, unsigned clusterBlocks,
                          size_t sharedBytes, cudaStream_t stream, Arguments &&...arguments) {
  return launchWith({clusterBlocks, false}, kernel, grid, block, sharedBytes, stream,
                    std::forward<Arguments>(arguments)...);
}

}  // namespace sn::cuda
