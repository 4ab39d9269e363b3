// api.h: the part of CUDA's runtime API that host code uses.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "emulation/runtime.h"

enum cudaMemcpyKind {
  cudaMemcpyHostToHost = 0,
  cudaMemcpyHostToDevice = 1,
  cudaMemcpyDeviceToHost = 2,
  cudaMemcpyDeviceToDevice = 3,
  cudaMemcpyDefault = 4
};

enum cudaFuncAttribute {
  cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
  cudaFuncAttributePreferredSharedMemoryCarveout
};

enum cudaDeviceAttr {
  cudaDevAttrMaxThreadsPerBlock = 1,
  cudaDevAttrMaxSharedMemoryPerBlock = 8,
  cudaDevAttrWarpSize = 10,
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrL2CacheSize = 38,
  cudaDevAttrMaxThreadsPerMultiProcessor = 39,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerMultiprocessor = 81,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
};

enum cudaStreamCaptureStatus {
  cudaStreamCaptureStatusNone = 0,
  cudaStreamCaptureStatusActive = 1,
  cudaStreamCaptureStatusInvalidated = 2
};

enum cudaGraphNodeType { cudaGraphNodeTypeKernel = 0, cudaGraphNodeTypeMemcpy = 1, cudaGraphNodeTypeEmpty = 5 };
using cudaGraphNode_t = const sn::emulation::Node *;

enum cudaGraphExecUpdateResult { cudaGraphExecUpdateSuccess = 0, cudaGraphExecUpdateErrorTopologyChanged = 2 };

struct cudaGraphExecUpdateResultInfo {
  cudaGraphExecUpdateResult result;
};

struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem;
  size_t sharedMemPerBlock;
  size_t sharedMemPerBlockOptin;
  size_t sharedMemPerMultiprocessor;
  int regsPerBlock;
  int warpSize;
  int maxThreadsPerBlock;
  int maxThreadsPerMultiProcessor;
  int major;
  int minor;
  int multiProcessorCount;
  int l2CacheSize;
};

struct cudaFuncAttributes {
  size_t sharedSizeBytes;
  size_t localSizeBytes;
  int maxThreadsPerBlock;
  int numRegs;
  int maxDynamicSharedSizeBytes;
};

constexpr unsigned cudaStreamDefault = 0;
constexpr unsigned cudaStreamNonBlocking = 1;
constexpr unsigned cudaEventDefault = 0;
constexpr unsigned cudaEventBlockingSync = 1;
constexpr unsigned cudaEventDisableTiming = 2;
constexpr unsigned cudaHostAllocDefault = 0;
constexpr unsigned cudaHostAllocPortable = 1;

namespace sn::emulation {

constexpr int kMultiprocessors = 4;
constexpr int kRuntimeVersion = 13000;
constexpr int kThreadsPerMultiprocessor = 2048;

// The state, held for the length of one function of the API.
class Call {
 public:
  Call() : runtime_(Runtime::get()), lock_(runtime_.mutex) {}

  Runtime *operator->() const { return &runtime_; }

  // f(stream) if there is such a stream.
  template <typename F>
  cudaError_t with(cudaStream_t handle, F &&f) const {
    auto stream = runtime_.find(handle);
    return runtime_.finish(stream == nullptr ? cudaErrorInvalidResourceHandle : f(stream));
  }

  // f() if no capture forbids it.
  template <typename F>
  cudaError_t uncaptured(F &&f) const {
    cudaError_t refusal = runtime_.refuseWhileCapturing();
    return runtime_.finish(refusal == cudaSuccess ? f() : refusal);
  }

 private:
  Runtime &runtime_;
  std::lock_guard<std::mutex> lock_;
};

using Memory = DeviceMemory::Kind;

inline bool directionFits(cudaMemcpyKind direction, Memory target, Memory source) {
  bool toDevice = direction == cudaMemcpyHostToDevice || direction == cudaMemcpyDeviceToDevice;
  bool fromDevice = direction == cudaMemcpyDeviceToHost || direction == cudaMemcpyDeviceToDevice;
  if (direction == cudaMemcpyDefault) return true;
  // Pinned memory is the host's and has an address on the device.
  bool targetFits = target == Memory::pinned || toDevice == (target == Memory::device);
  bool sourceFits = source == Memory::pinned || fromDevice == (source == Memory::device);
  return targetFits && sourceFits;
}

inline cudaError_t copyOn(const Call &call, const std::shared_ptr<Stream> &stream, void *target, const void *source,
                          size_t bytes, cudaMemcpyKind direction) {
  Memory targetKind, sourceKind;
  bool inBounds = call->memory.find(target, bytes, &targetKind) && call->memory.find(source, bytes, &sourceKind);
  if (!inBounds || !directionFits(direction, targetKind, sourceKind)) return cudaErrorInvalidValue;
  if (bytes == 0) return cudaSuccess;
  bool captured = stream->capture != nullptr;
  if (sourceKind == Memory::pageable && !captured) {
    // Staged before the function returns: the caller may change the source at once.
    auto *first = static_cast<const unsigned char *>(source);
    auto staged = std::make_shared<std::vector<unsigned char>>(first, first + bytes);
    auto run = [=] {
      std::memcpy(target, staged->data(), bytes);
      return std::string();
    };
    if (cudaError_t error = call->enqueue(stream, {"copy", run, {}})) return error;
  } else {
    auto run = [=] {
      std::memmove(target, source, bytes);
      return std::string();
    };
    if (cudaError_t error = call->enqueue(stream, {"copy", run, {}})) return error;
  }
  // The host waits for a copy to memory that the device cannot write by itself.
  if (targetKind == Memory::pageable && !captured) {
    call->note("synchronize");
    call->drain(*stream, stream->issued);
  }
  return cudaSuccess;
}

inline cudaError_t setOn(const Call &call, const std::shared_ptr<Stream> &stream, void *target, int value,
                         size_t bytes) {
  Memory kind;
  if (!call->memory.find(target, bytes, &kind) || kind == Memory::pageable) return cudaErrorInvalidValue;
  auto run = [=] {
    std::memset(target, value, bytes);
    return std::string();
  };
  return call->enqueue(stream, {"set", run, {}});
}

}  // namespace sn::emulation

// ---- Errors

inline cudaError_t cudaPeekAtLastError() {
  sn::emulation::Call call;
  if (call->lastError() == cudaSuccess) call->finish(cudaSuccess);
  return call->lastError();
}

inline cudaError_t cudaGetLastError() {
  cudaError_t error = cudaPeekAtLastError();
  sn::emulation::Runtime::lastError() = cudaSuccess;
  return error;
}

inline const char *cudaGetErrorName(cudaError_t error) { return sn::emulation::textOf(error).name; }

// Of a failed launch also what the kernel did wrong. Valid until the thread's next call.
inline const char *cudaGetErrorString(cudaError_t error) {
  const char *text = sn::emulation::textOf(error).text;
  if (error != cudaErrorLaunchFailure) return text;
  static thread_local std::string whole;
  whole = text + (": " + sn::emulation::lastFailure());
  return whole.c_str();
}

// ---- The device

inline cudaError_t cudaGetDeviceCount(int *count) {
  sn::emulation::Call call;
  const auto &options = sn::emulation::options();
  *count = options.devices;
  if (options.driver < sn::emulation::kRuntimeVersion) return call->finish(cudaErrorInsufficientDriver);
  return call->finish(options.devices == 0 ? cudaErrorNoDevice : cudaSuccess);
}

inline cudaError_t cudaGetDevice(int *device) {
  *device = 0;
  return cudaSuccess;
}

inline cudaError_t cudaSetDevice(int device) {
  sn::emulation::Call call;
  return call->finish(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}

inline cudaError_t cudaDriverGetVersion(int *version) {
  *version = sn::emulation::options().driver;
  return cudaSuccess;
}

inline cudaError_t cudaRuntimeGetVersion(int *version) {
  *version = sn::emulation::kRuntimeVersion;
  return cudaSuccess;
}

inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device) {
  using namespace sn::emulation;
  Call call;
  if (device != 0) return call->finish(cudaErrorInvalidDevice);
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "Emulated GPU");
  properties->totalGlobalMem = call->memory.total();
  properties->sharedMemPerBlock = kDefaultSharedBytes;
  properties->sharedMemPerBlockOptin = largestSharedBytes();
  properties->sharedMemPerMultiprocessor = largestSharedBytes() + 1024;
  properties->regsPerBlock = 65536;
  properties->warpSize = static_cast<int>(kWarp);
  properties->maxThreadsPerBlock = 1024;
  properties->maxThreadsPerMultiProcessor = kThreadsPerMultiprocessor;
  properties->major = options().major;
  properties->minor = options().minor;
  properties->multiProcessorCount = kMultiprocessors;
  properties->l2CacheSize = 4 << 20;
  return call->finish(cudaSuccess);
}

inline cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  if (cudaError_t error = cudaGetDeviceProperties(&properties, device)) return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = properties.maxThreadsPerBlock;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(properties.sharedMemPerBlock);
      return cudaSuccess;
    case cudaDevAttrWarpSize:
      *value = properties.warpSize;
      return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
      *value = properties.multiProcessorCount;
      return cudaSuccess;
    case cudaDevAttrL2CacheSize:
      *value = properties.l2CacheSize;
      return cudaSuccess;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = properties.maxThreadsPerMultiProcessor;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = properties.major;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = properties.minor;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(properties.sharedMemPerMultiprocessor);
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(properties.sharedMemPerBlockOptin);
      return cudaSuccess;
  }
  return sn::emulation::Call()->finish(cudaErrorInvalidValue);
}

inline cudaError_t cudaDeviceSynchronize() {
  sn::emulation::Call call;
  return call.uncaptured([&] {
    call->note("synchronize");
    call->drainAll();
    return cudaSuccess;
  });
}

// ---- Kernels

template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel *kernel, cudaFuncAttribute attribute, int value) {
  using namespace sn::emulation;
  Call call;
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return call->finish(cudaSuccess);
  bool possible = value >= 0 && static_cast<size_t>(value) <= largestSharedBytes();
  if (!possible) return call->finish(cudaErrorInvalidValue);
  auto *identity = reinterpret_cast<const void *>(kernel);
  call->sharedLimits[identity] = std::max(static_cast<size_t>(value), kDefaultSharedBytes);
  return call->finish(cudaSuccess);
}

template <typename Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, Kernel *kernel) {
  using namespace sn::emulation;
  Call call;
  auto limit = call->sharedLimits.find(reinterpret_cast<const void *>(kernel));
  *attributes = {};
  attributes->maxThreadsPerBlock = 1024;
  attributes->numRegs = 32;
  attributes->maxDynamicSharedSizeBytes =
      static_cast<int>(limit == call->sharedLimits.end() ? kDefaultSharedBytes : limit->second);
  return call->finish(cudaSuccess);
}

// Two, where shared memory and threads let them be.
template <typename Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, Kernel *, int threads, size_t sharedBytes) {
  using namespace sn::emulation;
  bool two = 2 * threads <= kThreadsPerMultiprocessor && 2 * (sharedBytes + 1024) <= largestSharedBytes() + 1024;
  *blocks = two ? 2 : 1;
  return cudaSuccess;
}

// ---- Memory

inline cudaError_t cudaMalloc(void **memory, size_t bytes) {
  using namespace sn::emulation;
  Call call;
  call->note("allocate");
  return call.uncaptured([&] { return call->memory.allocate(Memory::device, bytes, memory); });
}

inline cudaError_t cudaFree(void *memory) {
  using namespace sn::emulation;
  Call call;
  return call.uncaptured([&] {
    call->note("free");
    call->drainAll();
    return call->memory.free(Memory::device, memory);
  });
}

// Within a capture these would become nodes of the graph, which is not modelled: they are refused.
inline cudaError_t cudaMallocAsync(void **memory, size_t bytes, cudaStream_t handle) {
  using namespace sn::emulation;
  Call call;
  call->note("allocate");
  return call.with(handle, [&](const std::shared_ptr<Stream> &stream) {
    cudaError_t refusal = call->refuseCaptured(*stream);
    return refusal == cudaSuccess ? call->memory.allocate(Memory::device, bytes, memory) : refusal;
  });
}

inline cudaError_t cudaFreeAsync(void *memory, cudaStream_t handle) {
  using namespace sn::emulation;
  Call call;
  return call.with(handle, [&](const std::shared_ptr<Stream> &stream) {
    if (cudaError_t refusal = call->refuseCaptured(*stream)) return refusal;
    auto run = [memory, device = &call->memory] {
      return device->free(Memory::device, memory) == cudaSuccess ? "" : "cudaFreeAsync of what is no allocation";
    };
    return call->enqueue(stream, {"free", run, {}});
  });
}

inline cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned) {
  using namespace sn::emulation;
  Call call;
  call->note("allocate");
  return call.uncaptured([&] { return call->memory.allocate(Memory::pinned, bytes, memory); });
}

inline cudaError_t cudaMallocHost(void **memory, size_t bytes) { return cudaHostAlloc(memory, bytes, 0); }

inline cudaError_t cudaFreeHost(void *memory) {
  using namespace sn::emulation;
  Call call;
  return call.uncaptured([&] {
    call->note("free");
    call->drainAll();
    return call->memory.free(Memory::pinned, memory);
  });
}

template <typename T>
cudaError_t cudaMalloc(T **memory, size_t bytes) {
  return cudaMalloc(reinterpret_cast<void **>(memory), bytes);
}
template <typename T>
cudaError_t cudaMallocAsync(T **memory, size_t bytes, cudaStream_t stream) {
  return cudaMallocAsync(reinterpret_cast<void **>(memory), bytes, stream);
}
template <typename T>
cudaError_t cudaMallocHost(T **memory, size_t bytes) {
  return cudaMallocHost(reinterpret_cast<void **>(memory), bytes);
}

inline cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
  sn::emulation::Call call;
  *available = call->memory.available();
  *total = call->memory.total();
  return call->finish(cudaSuccess);
}

inline cudaError_t cudaMemcpyAsync(void *target, const void *source, size_t bytes, cudaMemcpyKind direction,
                                   cudaStream_t handle = nullptr) {
  using namespace sn::emulation;
  Call call;
  return call.with(handle, [&](const std::shared_ptr<Stream> &stream) {
    return copyOn(call, stream, target, source, bytes, direction);
  });
}

inline cudaError_t cudaMemcpy(void *target, const void *source, size_t bytes, cudaMemcpyKind direction) {
  using namespace sn::emulation;
  Call call;
  return call.uncaptured([&] {
    auto stream = call->find(nullptr);
    cudaError_t error = copyOn(call, stream, target, source, bytes, direction);
    call->drain(*stream, stream->issued);
    return error;
  });
}

inline cudaError_t cudaMemsetAsync(void *target, int value, size_t bytes, cudaStream_t handle = nullptr) {
  using namespace sn::emulation;
  Call call;
  return call.with(handle,
                   [&](const std::shared_ptr<Stream> &stream) { return setOn(call, stream, target, value, bytes); });
}

inline cudaError_t cudaMemset(void *target, int value, size_t bytes) {
  using namespace sn::emulation;
  Call call;
  return call.uncaptured([&] { return setOn(call, call->find(nullptr), target, value, bytes); });
}

// ---- Streams

inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
  sn::emulation::Call call;
  *stream = call->makeStream((flags & cudaStreamNonBlocking) == 0).get();
  return call->finish(cudaSuccess);
}

inline cudaError_t cudaStreamCreate(cudaStream_t *stream) { return cudaStreamCreateWithFlags(stream, 0); }

inline cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}

inline cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  using namespace sn::emulation;
  Call call;
  if (handle == nullptr) return call->finish(cudaErrorInvalidResourceHandle);
  return call.with(handle, [&](const std::shared_ptr<Stream> &stream) {
    cudaError_t refusal = call->refuseCaptured(*stream);
    if (refusal == cudaSuccess) call->remove(stream);
    return refusal;
  });
}

inline cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  using namespace sn::emulation;
  Call call;
  return call.with(handle, [&](const std::shared_ptr<Stream> &stream) {
    cudaError_t refusal = call->refuseCaptured(*stream);
    call->note("synchronize");
    if (refusal == cudaSuccess) call->drain(*stream, stream->issued);
    return refusal;
  });
}

inline cudaError_t cudaStreamQuery(cudaStream_t handle) {
  using namespace sn::emulation;
  Call call;
  return call.with(handle, [&](const std::shared_ptr<Stream> &stream) {
    if (cudaError_t refusal = call->refuseCaptured(*stream)) return refusal;
    bool idle = stream->idle();
    call->advance(*stream);
    return idle ? cudaSuccess : cudaErrorNotReady;
  });
}

// ---- Events

inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
  *event = new sn::emulation::Event;
  (*event)->timed = (flags & cudaEventDisableTiming) == 0;
  return cudaSuccess;
}

inline cudaError_t cudaEventCreate(cudaEvent_t *event) { return cudaEventCreateWithFlags(event, 0); }

inline cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle = nullptr) {
  using namespace sn::emulation;
  Call call;
  return call.with(handle, [&](const std::shared_ptr<Stream> &stream) {
    event->capture = stream->capture;
    if (event->capture != nullptr) {
      event->tail = stream->tail;
      return event->capture->valid ? cudaSuccess : cudaErrorStreamCaptureInvalidated;
    }
    event->completion = std::make_shared<Event::Completion>();
    event->mark = {stream, stream->issued + 1};
    auto run = [completion = event->completion] {
      completion->done = true;
      completion->time = std::chrono::steady_clock::now();
      return std::string();
    };
    return call->enqueue(stream, {"event", run, {}});
  });
}

inline cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned = 0) {
  using namespace sn::emulation;
  Call call;
  return call.with(handle, [&](const std::shared_ptr<Stream> &stream) {
    if (event->capture == nullptr && stream->capture == nullptr) {
      if (event->completion == nullptr || event->completion->done) return cudaSuccess;
      auto nothing = [] { return std::string(); };
      return call->enqueue(stream, {"wait", nothing, {event->mark}});
    }
    if (event->capture == nullptr) {
      stream->capture->valid = false;
      return cudaErrorStreamCaptureIsolation;
    }
    if (stream->capture == nullptr) call->join(stream, event->capture);
    if (stream->capture != event->capture) {
      stream->capture->valid = false;
      event->capture->valid = false;
      return cudaErrorStreamCaptureMerge;
    }
    for (size_t node : event->tail) {
      auto &tail = stream->tail;
      if (std::find(tail.begin(), tail.end(), node) == tail.end()) tail.push_back(node);
    }
    return cudaSuccess;
  });
}

inline cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  sn::emulation::Call call;
  if (event->capture != nullptr) return call->finish(cudaErrorCapturedEvent);
  call->note("synchronize");
  if (event->completion != nullptr) call->drain(*event->mark.stream, event->mark.number);
  return call->finish(cudaSuccess);
}

inline cudaError_t cudaEventQuery(cudaEvent_t event) {
  sn::emulation::Call call;
  if (event->capture != nullptr) return call->finish(cudaErrorCapturedEvent);
  if (event->completion == nullptr || event->completion->done) return call->finish(cudaSuccess);
  call->advance(*event->mark.stream);
  return call->finish(cudaErrorNotReady);
}

inline cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  sn::emulation::Call call;
  bool recorded = begin->completion != nullptr && end->completion != nullptr;
  if (!recorded || !begin->timed || !end->timed) return call->finish(cudaErrorInvalidResourceHandle);
  if (!begin->completion->done || !end->completion->done) return call->finish(cudaErrorNotReady);
  *milliseconds = std::chrono::duration<float, std::milli>(end->completion->time - begin->completion->time).count();
  return call->finish(cudaSuccess);
}

// ---- Captures and graphs

inline cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  using namespace sn::emulation;
  Call call;
  return call.with(handle, [&](const std::shared_ptr<Stream> &stream) { return call->beginCapture(stream, mode); });
}

inline cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t *graph) {
  using namespace sn::emulation;
  Call call;
  return call.with(handle, [&](const std::shared_ptr<Stream> &stream) { return call->endCapture(stream, graph); });
}

inline cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus *status) {
  using namespace sn::emulation;
  Call call;
  return call.with(handle, [&](const std::shared_ptr<Stream> &stream) {
    *status = cudaStreamCaptureStatusNone;
    if (stream->capture == nullptr) return cudaSuccess;
    *status = stream->capture->valid ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusInvalidated;
    return cudaSuccess;
  });
}

// The nodes' handles, as many as there are or as fit.
inline cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count) {
  size_t fit = nodes == nullptr ? graph->nodes.size() : std::min(*count, graph->nodes.size());
  for (size_t i = 0; nodes != nullptr && i < fit; ++i) nodes[i] = &graph->nodes[i];
  *count = fit;
  return cudaSuccess;
}

inline cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType *type) {
  *type = node->kernel != nullptr ? cudaGraphNodeTypeKernel : cudaGraphNodeTypeMemcpy;
  return cudaSuccess;
}

inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long = 0) {
  sn::emulation::Call()->note("instantiate");
  *executable = new sn::emulation::ExecutableGraph{std::make_shared<sn::emulation::Graph>(*graph)};
  return cudaSuccess;
}

inline cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t handle) {
  using namespace sn::emulation;
  Call call;
  return call.with(handle, [&](const std::shared_ptr<Stream> &stream) {
    auto run = [graph = executable->graph, order = call->graphOrder()] { return runGraph(*graph, order); };
    return call->enqueue(stream, {"graph", run, {}});
  });
}

// New arguments for the same kernels in the same order.
inline cudaError_t cudaGraphExecUpdate(cudaGraphExec_t executable, cudaGraph_t graph,
                                       cudaGraphExecUpdateResultInfo *info) {
  using namespace sn::emulation;
  Call call;
  const auto &now = executable->graph->nodes, &then = graph->nodes;
  auto alike = [](const Node &a, const Node &b) {
    return a.kernel == b.kernel && a.after == b.after && std::strcmp(a.what, b.what) == 0;
  };
  bool same = std::equal(now.begin(), now.end(), then.begin(), then.end(), alike);
  info->result = same ? cudaGraphExecUpdateSuccess : cudaGraphExecUpdateErrorTopologyChanged;
  if (!same) return call->finish(cudaErrorGraphExecUpdateFailure);
  executable->graph = std::make_shared<Graph>(*graph);
  return call->finish(cudaSuccess);
}

inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}

inline cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
