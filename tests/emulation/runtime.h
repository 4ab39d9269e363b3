// runtime.h: the state behind CUDA's runtime API: one pretended device with its memory, streams, captures and failures.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "emulation/device_memory.h"
#include "emulation/grid.h"
#include "emulation/streams.h"

namespace sn::emulation {

// Dynamic shared memory that every kernel may use, and what one that asks for more may have.
constexpr size_t kDefaultSharedBytes = size_t{48} << 10;

inline size_t largestSharedBytes() {
  int capability = 10 * options().major + options().minor;
  size_t kilobytes = 227;
  if (capability < 90) kilobytes = capability == 80 || capability == 87 ? 163 : 99;
  if (capability >= 120) kilobytes = 99;
  return kilobytes << 10;
}

class Runtime {
 public:
  static Runtime &get() {
    static Runtime runtime;
    return runtime;
  }

  // Held by each function of the API.
  std::mutex mutex;
  DeviceMemory memory;
  std::map<const void *, size_t> sharedLimits;
  // Of the last kernel that failed.
  std::string failure;

  // What a function returns: its own error, or that a kernel has failed since the last one that could say so.
  cudaError_t finish(cudaError_t error) {
    if (error == cudaSuccess && failurePending_) {
      error = cudaErrorLaunchFailure;
      failurePending_ = false;
    }
    if (error != cudaSuccess && error != cudaErrorNotReady) lastError() = error;
    return error;
  }

  static cudaError_t &lastError() {
    static thread_local cudaError_t error = cudaSuccess;
    return error;
  }

  // ---- Streams

  std::shared_ptr<Stream> makeStream(bool blocking) {
    auto stream = std::make_shared<Stream>();
    stream->blocking = blocking;
    streams_.push_back(stream);
    return stream;
  }

  // Null if there is no such stream.
  std::shared_ptr<Stream> find(const Stream *handle) const {
    if (handle == nullptr) return legacy_;
    for (const auto &stream : streams_) {
      if (stream.get() == handle) return stream;
    }
    return nullptr;
  }

  void remove(const std::shared_ptr<Stream> &stream) {
    drain(*stream, stream->issued);
    streams_.erase(std::remove(streams_.begin(), streams_.end(), stream), streams_.end());
  }

  cudaError_t enqueue(const std::shared_ptr<Stream> &stream, Work work, const void *kernel = nullptr) {
    if (stream->capture != nullptr) return captureNode(*stream, std::move(work), kernel);
    if (stream == legacy_ && invalidateBlockingCaptures()) return cudaErrorStreamCaptureImplicit;
    orderWithLegacy(stream, work);
    stream->queue.push_back(std::move(work));
    ++stream->issued;
    if (!options().defer) {
      drain(*stream, stream->issued);
    } else if (options().seed != 0 && choices().onceIn(kEnqueuesPerRun)) {
      drain(*stream, stream->completed + 1 + choices().below(stream->queue.size()));
    }
    return cudaSuccess;
  }

  // Runs a stream's work up to this number, and before that all that it comes after.
  void drain(Stream &stream, uint64_t number) {
    while (stream.completed < number) {
      Work work = std::move(stream.queue.front());
      stream.queue.pop_front();
      for (const Mark &mark : work.after) drain(*mark.stream, mark.number);
      // After a failure nothing is certain any more: what was queued is dropped.
      if (!failurePending_) {
        Work *next = stream.queue.empty() ? nullptr : &stream.queue.front();
        if (work.isKernel && next != nullptr && next->begin && next->after.empty()) next->begin();
        std::string message = work.run();
        if (!message.empty()) {
          failure = message;
          failurePending_ = true;
        }
      }
      ++stream.completed;
    }
  }

  void drainAll() {
    drain(*legacy_, legacy_->issued);
    for (const auto &stream : streams_) drain(*stream, stream->issued);
  }

  // Work that someone looks at from time to time does get done.
  void advance(Stream &stream) {
    if (!stream.idle()) drain(stream, stream.completed + 1);
  }

  // ---- Captures

  cudaError_t beginCapture(const std::shared_ptr<Stream> &stream, cudaStreamCaptureMode mode) {
    if (stream == legacy_) return cudaErrorStreamCaptureUnsupported;
    if (stream->capture != nullptr) return cudaErrorInvalidValue;
    auto capture = std::make_shared<Capture>();
    capture->mode = mode;
    capture->origin = stream;
    join(stream, capture);
    captures_.push_back(capture);
    return cudaSuccess;
  }

  cudaError_t endCapture(const std::shared_ptr<Stream> &stream, Graph **graph) {
    *graph = nullptr;
    auto capture = stream->capture;
    if (capture == nullptr) return cudaErrorInvalidValue;
    if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != std::this_thread::get_id()) {
      return cudaErrorStreamCaptureWrongThread;
    }
    if (capture->origin != stream) {
      capture->valid = false;
      return cudaErrorStreamCaptureUnmatched;
    }
    bool joined = capture->joined();
    capture->end();
    captures_.erase(std::remove(captures_.begin(), captures_.end(), capture), captures_.end());
    if (!capture->valid) return cudaErrorStreamCaptureInvalidated;
    if (!joined) return cudaErrorStreamCaptureUnjoined;
    *graph = new Graph(std::move(capture->graph));
    return cudaSuccess;
  }

  void join(const std::shared_ptr<Stream> &stream, const std::shared_ptr<Capture> &capture) {
    stream->capture = capture;
    capture->streams.push_back(stream);
  }

  // For a function that no capture goes with: also invalidates those that it spoils.
  cudaError_t refuseWhileCapturing() {
    bool refused = false;
    for (const auto &capture : captures_) {
      bool own = capture->thread == std::this_thread::get_id();
      bool global = capture->mode == cudaStreamCaptureModeGlobal;
      if (!global && (capture->mode != cudaStreamCaptureModeThreadLocal || !own)) continue;
      capture->valid = false;
      refused = true;
    }
    return refused ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
  }

  // For a function that waits for the stream.
  static cudaError_t refuseCaptured(const Stream &stream) {
    if (stream.capture == nullptr) return cudaSuccess;
    stream.capture->valid = false;
    return cudaErrorStreamCaptureUnsupported;
  }

  // Null where graphs run in the order of their capture.
  Random *graphOrder() { return options().seed == 0 ? nullptr : &choices(); }

 private:
  // Deferred work runs once in so many times without being waited for; with a seed of 0 never.
  static constexpr size_t kEnqueuesPerRun = 8;

  static cudaError_t captureNode(Stream &stream, Work work, const void *kernel) {
    Capture &capture = *stream.capture;
    if (!capture.valid) return cudaErrorStreamCaptureInvalidated;
    capture.graph.nodes.push_back({work.what, kernel, std::move(work.run), stream.tail});
    stream.tail = {capture.graph.nodes.size() - 1};
    return cudaSuccess;
  }

  // The legacy stream waits for all blocking streams, and they for it.
  void orderWithLegacy(const std::shared_ptr<Stream> &stream, Work &work) const {
    auto follow = [&](const std::shared_ptr<Stream> &other) {
      if (!other->idle()) work.after.push_back({other, other->issued});
    };
    if (stream == legacy_) {
      for (const auto &other : streams_) {
        if (other->blocking) follow(other);
      }
    } else if (stream->blocking) {
      follow(legacy_);
    }
  }

  // Begun anew when a test sets another seed.
  Random &choices() {
    if (seed_ != options().seed) choices_ = Random(options().seed);
    seed_ = options().seed;
    return choices_;
  }

  bool invalidateBlockingCaptures() {
    bool any = false;
    for (const auto &stream : streams_) {
      if (!stream->blocking || stream->capture == nullptr) continue;
      stream->capture->valid = false;
      any = true;
    }
    return any;
  }

  std::shared_ptr<Stream> legacy_ = std::make_shared<Stream>();
  std::vector<std::shared_ptr<Stream>> streams_;
  std::vector<std::shared_ptr<Capture>> captures_;
  uint64_t seed_ = 0;
  Random choices_{0};
  bool failurePending_ = false;
};

// Why the last kernel that failed did so: one line.
inline std::string lastFailure() {
  std::lock_guard lock(Runtime::get().mutex);
  return Runtime::get().failure;
}

inline cudaError_t checkLaunch(const Runtime &runtime, const Grid &grid) {
  uint64_t threads = uint64_t{grid.threads.x} * grid.threads.y * grid.threads.z;
  if (threads == 0 || threads > 1024 || grid.threads.z > 64) return cudaErrorInvalidConfiguration;
  if (grid.blockCount() == 0 || grid.blocks.x > 0x7fffffffu) return cudaErrorInvalidConfiguration;
  if (grid.blocks.y > 65535 || grid.blocks.z > 65535) return cudaErrorInvalidConfiguration;
  if (grid.blocks.x % grid.clusterBlocks != 0) return cudaErrorInvalidConfiguration;
  if (grid.clusterBlocks > 1 && options().major < 9) return cudaErrorInvalidConfiguration;
  auto limit = runtime.sharedLimits.find(grid.kernel);
  size_t allowed = limit == runtime.sharedLimits.end() ? kDefaultSharedBytes : limit->second;
  return grid.sharedBytes > allowed ? cudaErrorInvalidValue : cudaSuccess;
}

// cudaLaunchKernelEx
template <typename... Parameters>
cudaError_t launchWith(unsigned clusterBlocks, bool overlapping, void (*kernel)(Parameters...), dim3 blocks,
                       dim3 threads, size_t sharedBytes, cudaStream_t handle, Parameters... parameters) {
  Runtime &runtime = Runtime::get();
  std::lock_guard lock(runtime.mutex);
  auto stream = runtime.find(handle);
  if (stream == nullptr) return runtime.finish(cudaErrorInvalidResourceHandle);
  auto grid = std::make_shared<Grid>();
  grid->kernel = reinterpret_cast<const void *>(kernel);
  grid->blocks = blocks;
  grid->threads = threads;
  grid->sharedBytes = sharedBytes;
  grid->clusterBlocks = clusterBlocks;
  grid->body = [=] { kernel(parameters...); };
  grid->overlapping = overlapping;
  if (cudaError_t error = checkLaunch(runtime, *grid)) return runtime.finish(error);
  Work work{"kernel", [grid] { return GridRun(*grid).run(); }, {}, true};
  if (overlapping) {
    auto started = std::make_shared<std::unique_ptr<GridRun>>();
    work.begin = [=] {
      *started = std::make_unique<GridRun>(*grid);
      (*started)->begin();
    };
    work.run = [=] {
      auto run = *started == nullptr ? std::make_unique<GridRun>(*grid) : std::move(*started);
      return run->run();
    };
  }
  return runtime.finish(runtime.enqueue(stream, std::move(work), grid->kernel));
}

// kernel<<<blocks, threads, sharedBytes, stream>>>(parameters...)
template <typename... Parameters>
cudaError_t launch(void (*kernel)(Parameters...), dim3 blocks, dim3 threads, size_t sharedBytes, cudaStream_t handle,
                   Parameters... parameters) {
  return launchWith<Parameters...>(1, false, kernel, blocks, threads, sharedBytes, handle, parameters...);
}

}  // namespace sn::emulation
