// options.h: how the emulation runs. From the environment at first; a test may change them between launches.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

namespace sn::emulation {

struct Options {
  // SN_EMULATION_SEED. 0: threads, blocks and copies in order. Any other: an order of its own for each seed.
  uint64_t seed = 0;
  // SN_EMULATION_THREADS: how many blocks of a grid run at once, each on an operating system's thread.
  int threads = 1;
  // SN_EMULATION_DEFER (0 or 1): a stream's work may wait until something synchronises. On where the seed is not 0.
  bool defer = false;
  // SN_EMULATION_MEMORY: bytes of device memory.
  size_t memory = size_t{4} << 30;
  // SN_EMULATION_DRIVER: the CUDA version that the driver knows, 13000 for 13.0; 0: there is no driver.
  int driver = 13000;
  // SN_EMULATION_DEVICES: 0 or 1.
  int devices = 1;
  // SN_EMULATION_CAPABILITY: the compute capability, as in 9.0.
  int major = 9;
  int minor = 0;
  // SN_EMULATION_LOG: a file to which a line is added for everything that the host asks of the device.
  std::string log;

  static Options fromEnvironment() {
    Options options;
    if (const char *text = std::getenv("SN_EMULATION_SEED")) options.seed = std::strtoull(text, nullptr, 10);
    if (const char *text = std::getenv("SN_EMULATION_THREADS")) options.threads = std::atoi(text);
    options.defer = options.seed != 0;
    if (const char *text = std::getenv("SN_EMULATION_DEFER")) options.defer = std::atoi(text) != 0;
    if (const char *text = std::getenv("SN_EMULATION_MEMORY")) options.memory = std::strtoull(text, nullptr, 10);
    if (const char *text = std::getenv("SN_EMULATION_DRIVER")) options.driver = std::atoi(text);
    if (const char *text = std::getenv("SN_EMULATION_DEVICES")) options.devices = std::atoi(text) != 0;
    if (const char *text = std::getenv("SN_EMULATION_CAPABILITY")) {
      char *point = nullptr;
      options.major = static_cast<int>(std::strtol(text, &point, 10));
      options.minor = *point == '.' ? std::atoi(point + 1) : 0;
    }
    if (const char *text = std::getenv("SN_EMULATION_LOG")) options.log = text;
    return options;
  }
};

inline Options &options() {
  static Options current = Options::fromEnvironment();
  return current;
}

}  // namespace sn::emulation
