#include "cpu/device.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <new>
#include <string>
#include <string_view>

#include "common/status.h"
#include "cpu/isa.h"

namespace sn::cpu {

namespace {

// Each block carries its size in front, a page's worth before the memory that the caller sees.
constexpr int64_t kHeader = 4096;
constexpr int64_t kHugePage = int64_t{2} << 20;

int32_t usableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return CPU_COUNT(&set);
}

std::string processorName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    auto colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "CPU";
}

sn_status countDevices(int32_t *count) {
  *count = 1;
  return SN_OK;
}

sn_status open(int32_t ordinal, int32_t threads, const char *isa, sn_device **device) {
  if (ordinal != 0) return fail(SN_NO_DEVICE, "cpu:%d: there is one CPU device, cpu:0", ordinal);
  const Isa *chosen = nullptr;
  if (sn_status status = chooseIsa(isa, &chosen); status != SN_OK) return status;
  if (threads == 0) threads = usableCores();
  static const std::string name = processorName();
  try {
    auto *created = new Device(threads);
    created->backend = &cpuBackend();
    created->operations = chosen->operations;
    created->isa = chosen->name;
    created->name = name.c_str();
    created->threads = threads;
    *device = created;
    return SN_OK;
  } catch (const std::exception &e) {
    return fail(SN_OUT_OF_MEMORY, "cannot start a CPU device with %d threads: %s", threads, e.what());
  }
}

void close(sn_device *device) { delete static_cast<Device *>(device); }

sn_status memory(const sn_device *, int64_t *total, int64_t *available) {
  struct sysinfo info;
  if (sysinfo(&info) != 0) return fail(SN_FAILED, "sysinfo: %s", std::strerror(errno));
  *total = static_cast<int64_t>(info.totalram) * info.mem_unit;
  *available = static_cast<int64_t>(info.freeram + info.bufferram) * info.mem_unit;
  std::ifstream file("/proc/meminfo");
  for (std::string key; file >> key;) {
    int64_t kib = 0;
    if (key == "MemAvailable:" && file >> kib) *available = kib << 10;
  }
  return SN_OK;
}

sn_status allocate(sn_device *, int64_t bytes, void **memory) {
  *memory = allocatePages(bytes);
  if (*memory == nullptr) {
    return fail(SN_OUT_OF_MEMORY, "cannot allocate %lld bytes: %s", static_cast<long long>(bytes),
                std::strerror(errno));
  }
  return SN_OK;
}

void freeMemory(sn_device *, void *memory) { freePages(memory); }

sn_status openStream(sn_device *device, sn_stream **stream) {
  *stream = new (std::nothrow) sn_stream{device};
  return *stream == nullptr ? fail(SN_OUT_OF_MEMORY, "cannot allocate a stream") : SN_OK;
}

void closeStream(sn_stream *stream) { delete stream; }

// The CPU makes no recordings.
void closeRecording(sn_recording *) {}

}  // namespace

Device::Device(int32_t threads_) : pool(threads_), scratch_(allocatePages(threads_ * kScratchBytes)) {
  if (scratch_ == nullptr) throw std::bad_alloc();
}

Device::~Device() { freePages(scratch_); }

void *allocatePages(int64_t bytes) {
  if (bytes > INT64_MAX - 2 * kHugePage) {
    errno = ENOMEM;
    return nullptr;
  }
  int64_t size = bytes + kHeader;
  bool huge = size >= kHugePage;
  if (huge) size = (size + kHugePage - 1) / kHugePage * kHugePage;
  void *pages = mmap(nullptr, static_cast<size_t>(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return nullptr;
  if (huge) madvise(pages, static_cast<size_t>(size), MADV_HUGEPAGE);
  std::memcpy(pages, &size, sizeof size);
  return static_cast<char *>(pages) + kHeader;
}

void freePages(void *memory) {
  if (memory == nullptr) return;
  void *pages = static_cast<char *>(memory) - kHeader;
  int64_t size = 0;
  std::memcpy(&size, pages, sizeof size);
  munmap(pages, static_cast<size_t>(size));
}

}  // namespace sn::cpu

namespace sn {

const Backend &cpuBackend() {
  using namespace cpu;
  static const Backend backend{SN_VERSION, countDevices,  open,       close,      cpu::memory, cpu::allocate,
                               freeMemory, cpu::allocate, freeMemory, openStream, closeStream, closeRecording};
  return backend;
}

}  // namespace sn
