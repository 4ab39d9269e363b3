// driver.cpp: NVIDIA's driver and management libraries as far as Sinter's Java side calls them, for a GPU that is not
// there. Built twice, as libcuda.so.1 and as libnvidia-ml.so.1, into a folder that only tests search.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#define SN_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

// SN_DRIVER_STATUS: what cuInit returns; SN_DRIVER_DEVICES: how many GPUs it sees.
int fromEnvironment(const char *name, int otherwise) {
  const char *text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoi(text);
}

constexpr char kBus[] = "0000:0A:00.0";

}  // namespace

SN_EXPORT int cuInit(unsigned) { return fromEnvironment("SN_DRIVER_STATUS", 0); }

SN_EXPORT int cuDeviceGetCount(int *count) {
  *count = fromEnvironment("SN_DRIVER_DEVICES", 1);
  return 0;
}

SN_EXPORT int cuDeviceGetPCIBusId(char *text, int size, int device) {
  if (device != 0) return 101;
  std::snprintf(text, static_cast<size_t>(size), "%s", kBus);
  return 0;
}

SN_EXPORT int nvmlInit_v2() { return 0; }
SN_EXPORT int nvmlShutdown() { return 0; }

SN_EXPORT int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, void **device) {
  static int gpu;
  *device = &gpu;
  return std::strcmp(bus, kBus) == 0 ? 0 : 6;
}

SN_EXPORT int nvmlSystemGetDriverVersion(char *text, unsigned size) {
  std::snprintf(text, size, "580.1");
  return 0;
}

SN_EXPORT int nvmlDeviceGetMemoryInfo(void *, unsigned long long *memory) {
  memory[0] = 100;
  memory[1] = 60;
  memory[2] = 40;
  return 0;
}

SN_EXPORT int nvmlDeviceGetUtilizationRates(void *, unsigned *rates) {
  rates[0] = 37;
  rates[1] = 12;
  return 0;
}

SN_EXPORT int nvmlDeviceGetPowerUsage(void *, unsigned *milliwatts) {
  *milliwatts = 123500;
  return 0;
}

// A GPU that does not tell its temperature.
SN_EXPORT int nvmlDeviceGetTemperature(void *, int, unsigned *) { return 3; }

SN_EXPORT int nvmlDeviceGetClockInfo(void *, int clock, unsigned *megahertz) {
  *megahertz = clock == 1 ? 1755 : 2619;
  return 0;
}
