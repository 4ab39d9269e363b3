// device.cu: opening GPUs, their memory, streams and recordings.
#include <algorithm>
#include <new>
#include <vector>

#include "cuda/device.h"
#include "cuda/gemm_cublaslt.h"
#include "cuda/operations.h"
#include "cuda/plugin.h"
#include "cuda/table.h"

namespace sn::cuda {

namespace {

// What the kernels need: asynchronous copies and bf16 on tensor cores.
constexpr int kLeastCapability = 80;
constexpr const char *kPortableIsa = "sm_80";

struct Recording : sn_recording {
  cudaGraphExec_t graph = nullptr;
};

cudaError_t countKernels(cudaGraph_t graph, int64_t *kernels) {
  size_t count = 0;
  if (cudaError_t error = cudaGraphGetNodes(graph, nullptr, &count)) return error;
  std::vector<cudaGraphNode_t> nodes(count);
  if (cudaError_t error = cudaGraphGetNodes(graph, nodes.data(), &count)) return error;
  *kernels = 0;
  for (cudaGraphNode_t node : nodes) {
    cudaGraphNodeType type = cudaGraphNodeTypeEmpty;
    if (cudaError_t error = cudaGraphNodeGetType(node, &type)) return error;
    if (type == cudaGraphNodeTypeKernel) ++*kernels;
  }
  return cudaSuccess;
}

sn_status countDevices(int32_t *count) {
  int devices = 0;
  cudaError_t error = cudaGetDeviceCount(&devices);
  if (error == cudaErrorInsufficientDriver) {
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0) return fail(SN_NO_DEVICE, "no NVIDIA driver is installed");
    return fail(SN_NO_DEVICE, "the NVIDIA driver knows CUDA %d.%d, this backend needs %d.%d; install a newer driver",
                driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
  }
  if (error == cudaErrorNoDevice) return fail(SN_NO_DEVICE, "no NVIDIA GPU is there");
  if (error != cudaSuccess) return fail(SN_NO_DEVICE, "no CUDA device: %s", cudaGetErrorString(error));
  *count = devices;
  return SN_OK;
}

sn_status describe(int ordinal, Device *device) {
  cudaDeviceProp properties;
  if (sn_status status = check(cudaGetDeviceProperties(&properties, ordinal), "device_create"); status != SN_OK) {
    return status;
  }
  device->ordinal = ordinal;
  device->capability = 10 * properties.major + properties.minor;
  device->hopper = device->capability == 90;
  device->overlaps = device->capability >= 90;
  device->multiprocessors = properties.multiProcessorCount;
  device->sharedBytes = properties.sharedMemPerBlockOptin;
  device->cacheBytes = static_cast<size_t>(properties.l2CacheSize);
  device->nameText = properties.name;
  device->isaText = "sm_" + std::to_string(device->capability);
  if (device->capability < kLeastCapability) {
    return fail(SN_UNSUPPORTED, "cuda:%d: %s has compute capability %d.%d; 8.0 or newer is needed", ordinal,
                properties.name, properties.major, properties.minor);
  }
  return SN_OK;
}

// The kernels that were asked for: those of the device itself, or those that every device has.
sn_status chooseIsa(const std::string &isa, Device *device) {
  if (isa.empty() || isa == device->isaText) return SN_OK;
  if (isa != kPortableIsa) {
    return fail(SN_BAD_ARGUMENT, "isa %s: this GPU has %s and %s", isa.c_str(), device->isaText.c_str(), kPortableIsa);
  }
  device->isaText = kPortableIsa;
  device->hopper = device->overlaps = false;
  return SN_OK;
}

sn_status open(int32_t ordinal, int32_t, const char *isa, sn_device **device) {
  int32_t count = 0;
  if (sn_status status = countDevices(&count); status != SN_OK) return status;
  if (ordinal < 0 || ordinal >= count) {
    return fail(SN_NO_DEVICE, "cuda:%d: there %s %d, cuda:0%s", ordinal, count == 1 ? "is" : "are", count,
                count == 1 ? "" : " and so on");
  }
  auto *created = new (std::nothrow) Device;
  if (created == nullptr) return fail(SN_OUT_OF_MEMORY, "cuda:%d: no memory for the device", ordinal);
  sn_status status = describe(ordinal, created);
  if (status == SN_OK) status = chooseIsa(isa == nullptr ? "" : isa, created);
  if (status != SN_OK) {
    delete created;
    return status;
  }
  created->backend = &backend();
  created->operations = &operations();
  created->isa = created->isaText.c_str();
  created->name = created->nameText.c_str();
  created->threads = created->multiprocessors;
  created->cublasLt = std::make_shared<CublasLt>(ordinal);
  *device = created;
  return SN_OK;
}

void close(sn_device *device) { delete static_cast<Device *>(device); }

sn_status memory(const sn_device *device, int64_t *total, int64_t *available) {
  cudaSetDevice(deviceOf(device).ordinal);
  size_t all = 0, unused = 0;
  if (sn_status status = check(cudaMemGetInfo(&unused, &all), "device_memory"); status != SN_OK) return status;
  *total = static_cast<int64_t>(all);
  *available = static_cast<int64_t>(unused);
  return SN_OK;
}

sn_status noMemory(cudaError_t error, const char *operation, int64_t bytes) {
  if (error != cudaErrorMemoryAllocation) return check(error, operation);
  cudaGetLastError();  // else the next launch would report it once more
  size_t all = 0, unused = 0;
  cudaMemGetInfo(&unused, &all);
  return fail(SN_OUT_OF_MEMORY, "cannot allocate %lld bytes: %zu of the GPU's %zu are free",
              static_cast<long long>(bytes), unused, all);
}

sn_status allocate(sn_device *device, int64_t bytes, void **memory) {
  cudaSetDevice(deviceOf(device).ordinal);
  void *allocated = nullptr;
  if (cudaError_t error = cudaMalloc(&allocated, static_cast<size_t>(bytes))) return noMemory(error, "allocate", bytes);
  cudaError_t error = cudaMemset(allocated, 0, static_cast<size_t>(bytes));
  if (error == cudaSuccess) error = cudaDeviceSynchronize();
  if (error != cudaSuccess) {
    cudaFree(allocated);
    return check(error, "allocate");
  }
  *memory = allocated;
  return SN_OK;
}

void freeMemory(sn_device *device, void *memory) {
  cudaSetDevice(deviceOf(device).ordinal);
  cudaFree(memory);
}

sn_status allocateHost(sn_device *device, int64_t bytes, void **memory) {
  cudaSetDevice(deviceOf(device).ordinal);
  void *allocated = nullptr;
  if (cudaError_t error = cudaMallocHost(&allocated, static_cast<size_t>(bytes))) {
    if (error != cudaErrorMemoryAllocation) return check(error, "allocate_host");
    cudaGetLastError();
    return fail(SN_OUT_OF_MEMORY, "cannot allocate %lld bytes of pinned host memory", static_cast<long long>(bytes));
  }
  std::fill_n(static_cast<char *>(allocated), bytes, '\0');
  *memory = allocated;
  return SN_OK;
}

void freeHost(sn_device *device, void *memory) {
  cudaSetDevice(deviceOf(device).ordinal);
  cudaFreeHost(memory);
}

void closeStream(sn_stream *stream) {
  auto *closed = static_cast<Stream *>(stream);
  cudaSetDevice(deviceOf(stream).ordinal);
  if (closed->handle != nullptr) {
    cudaStreamSynchronize(closed->handle);
    cudaStreamDestroy(closed->handle);
  }
  cudaFreeHost(closed->fault);
  delete closed;
}

sn_status openStream(sn_device *device, sn_stream **stream) {
  cudaSetDevice(deviceOf(device).ordinal);
  auto *opened = new (std::nothrow) Stream;
  if (opened == nullptr) return fail(SN_OUT_OF_MEMORY, "cannot allocate a stream");
  opened->device = device;
  cudaError_t error = cudaStreamCreateWithFlags(&opened->handle, cudaStreamNonBlocking);
  if (error == cudaSuccess) error = cudaMallocHost(&opened->fault, sizeof(Fault));
  if (error != cudaSuccess) {
    closeStream(opened);
    return check(error, "stream_create");
  }
  *opened->fault = {};
  *stream = opened;
  return SN_OK;
}

void closeRecording(sn_recording *recording) {
  auto *closed = static_cast<Recording *>(recording);
  cudaSetDevice(deviceOf(closed->device).ordinal);
  cudaGraphExecDestroy(closed->graph);
  delete closed;
}

}  // namespace

const Backend &backend() {
  static const Backend table{SN_VERSION, countDevices, open,     close,      memory,      allocate,
                             freeMemory, allocateHost, freeHost, openStream, closeStream, closeRecording};
  return table;
}

sn_status check(cudaError_t error, const char *operation) {
  if (error == cudaSuccess) return SN_OK;
  sn_status status = error == cudaErrorMemoryAllocation ? SN_OUT_OF_MEMORY : SN_FAILED;
  fail(status, "%s: %s", operation, cudaGetErrorString(error));
  cudaGetLastError();
  return status;
}

sn_status capture_begin(sn_stream *stream) {
  return check(cudaStreamBeginCapture(handleOf(stream), cudaStreamCaptureModeThreadLocal), "capture_begin");
}

sn_status capture_end(sn_stream *stream, sn_recording **recording) {
  cudaGraph_t graph = nullptr;
  if (cudaError_t error = cudaStreamEndCapture(handleOf(stream), &graph)) return check(error, "capture_end");
  auto *captured = new (std::nothrow) Recording;
  cudaError_t error = captured == nullptr ? cudaErrorMemoryAllocation : countKernels(graph, &captured->kernels);
  if (error == cudaSuccess) error = cudaGraphInstantiate(&captured->graph, graph, 0);
  cudaGraphDestroy(graph);
  if (error != cudaSuccess) {
    delete captured;
    return check(error, "capture_end");
  }
  captured->device = stream->device;
  *recording = captured;
  return SN_OK;
}

sn_status replay(sn_stream *stream, sn_recording *recording) {
  return check(cudaGraphLaunch(static_cast<Recording *>(recording)->graph, handleOf(stream)), "replay");
}

}  // namespace sn::cuda

// The library's one export.
extern "C" SN_API const sn::Backend *sinter_backend(int32_t version, sn::SetMessage setMessage);

const sn::Backend *sinter_backend(int32_t version, sn::SetMessage setMessage) {
  if (version != SN_VERSION) return nullptr;
  sn::cuda::setMessage = setMessage;
  return &sn::cuda::backend();
}
