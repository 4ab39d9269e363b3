#include "common/backends.h"

#include <dlfcn.h>

#include <mutex>

#include "common/status.h"

namespace sn {

namespace {

std::mutex loading;
const Backend *cuda = nullptr;

void setMessage(const char *message) { fail(SN_FAILED, "%s", message); }

}  // namespace

sn_status loadCuda(const char *library) {
  std::lock_guard lock(loading);
  if (cuda != nullptr) return SN_OK;
  // It stays loaded: devices, and threads of CUDA's own, outlive any moment at which it could go.
  void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return fail(SN_NO_DEVICE, "cannot load the CUDA backend: %s", dlerror());
  auto entry = reinterpret_cast<BackendEntry>(dlsym(handle, SN_BACKEND_ENTRY));
  if (entry == nullptr) return fail(SN_NO_DEVICE, "%s is no backend of Sinter: %s", library, dlerror());
  const Backend *loaded = entry(SN_VERSION, setMessage);
  if (loaded == nullptr || loaded->version != SN_VERSION) {
    return fail(SN_NO_DEVICE, "%s is of another version than this library (%d); use both of one release", library,
                SN_VERSION);
  }
  cuda = loaded;
  return SN_OK;
}

const Backend *cudaBackend() {
  std::lock_guard lock(loading);
  return cuda;
}

}  // namespace sn
