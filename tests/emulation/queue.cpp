#include "emulation/queue.h"

#include <mutex>
#include <utility>

#include "emulation/runtime.h"

namespace sn::emulation {

bool queue(cudaStream_t handle, const char *what, std::function<std::string()> work) {
  Runtime &runtime = Runtime::get();
  std::lock_guard lock(runtime.mutex);
  auto stream = runtime.find(handle);
  return stream != nullptr && runtime.enqueue(stream, {what, std::move(work), {}}) == cudaSuccess;
}

}  // namespace sn::emulation
