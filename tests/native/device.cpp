#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "testing.h"

using namespace sn::testing;

TEST_CASE("a device opens at every instruction set of this CPU, says what it is, and closes") {
  CHECK(sn_version() == SN_VERSION);
  for (const auto &isa : instructionSets()) {
    sn_device *device = nullptr;
    REQUIRE(sn_device_create(SN_CPU, 0, 2, isa.c_str(), &device) == SN_OK);
    CHECK(sn_device_isa(device) == isa);
    CHECK(sn_device_threads(device) == 2);
    CHECK(std::string(sn_device_name(device)) != "");
    int64_t total = 0, available = 0;
    CHECK(sn_device_memory(device, &total, &available) == SN_OK);
    CHECK(total > 0);
    CHECK(available > 0);
    CHECK(available <= total);
    sn_device_destroy(device);
  }
}

TEST_CASE("without a name the best instruction set is taken, without a number one thread a core") {
  sn_device *device = nullptr;
  REQUIRE(sn_device_create(SN_CPU, 0, 0, nullptr, &device) == SN_OK);
  CHECK(sn_device_isa(device) == instructionSets().back());
  CHECK(sn_device_threads(device) >= 1);
  sn_device_destroy(device);
}

TEST_CASE("what cannot be opened gives a status and a message") {
  sn_device *device = nullptr;
  CHECK(sn_device_create(SN_CPU, 0, 1, "mmx", &device) == SN_BAD_ARGUMENT);
  CHECK(std::string(sn_last_error()) == "isa mmx: unknown; one of baseline, avx2, avx512, avx512bf16, amx");
  CHECK(sn_device_create(SN_CPU, 1, 1, nullptr, &device) == SN_NO_DEVICE);
  CHECK(sn_device_create(SN_CPU, 0, -1, nullptr, &device) == SN_BAD_ARGUMENT);
  CHECK(sn_device_create(SN_CPU, 0, 1025, nullptr, &device) == SN_BAD_ARGUMENT);
  CHECK(sn_device_create(SN_CPU, 0, 1, nullptr, nullptr) == SN_BAD_ARGUMENT);
  CHECK(device == nullptr);
}

TEST_CASE("null handles are refused or ignored, never followed") {
  sn_device_destroy(nullptr);
  sn_stream_destroy(nullptr);
  sn_free(nullptr, nullptr);
  CHECK(std::string(sn_device_isa(nullptr)) == "");
  CHECK(std::string(sn_device_name(nullptr)) == "");
  CHECK(sn_device_threads(nullptr) == 0);
  int64_t bytes = 0;
  void *memory = nullptr;
  sn_stream *stream = nullptr;
  CHECK(sn_device_memory(nullptr, &bytes, &bytes) == SN_BAD_ARGUMENT);
  CHECK(sn_allocate(nullptr, 1, &memory) == SN_BAD_ARGUMENT);
  CHECK(sn_stream_create(nullptr, &stream) == SN_BAD_ARGUMENT);
  CHECK(sn_synchronize(nullptr) == SN_BAD_ARGUMENT);
}

TEST_CASE("memory is aligned to 256 bytes and zeroed, whatever its size") {
  Machine::Record record;
  Machine machine("baseline", 1, &record);
  for (int64_t bytes : {1, 255, 4096, 100001, 5 << 20}) {
    CAPTURE(bytes);
    void *memory = nullptr;
    REQUIRE(sn_allocate(machine.device, bytes, &memory) == SN_OK);
    CHECK(reinterpret_cast<uintptr_t>(memory) % 256 == 0);
    auto *first = static_cast<unsigned char *>(memory);
    bool zeroed = true;
    for (int64_t i = 0; i < bytes; ++i) zeroed &= first[i] == 0;
    CHECK(zeroed);
    std::memset(memory, 0xff, static_cast<size_t>(bytes));
    sn_free(machine.device, memory);
  }
  sn_free(machine.device, nullptr);
}

TEST_CASE("memory that nobody has is refused with a message") {
  Machine::Record record;
  Machine machine("baseline", 1, &record);
  void *memory = nullptr;
  for (int64_t bytes : {int64_t{1} << 60, INT64_MAX}) {
    CHECK(sn_allocate(machine.device, bytes, &memory) == SN_OUT_OF_MEMORY);
    CHECK(std::string(sn_last_error()).find("cannot allocate " + std::to_string(bytes) + " bytes") == 0);
  }
  CHECK(sn_allocate(machine.device, 0, &memory) == SN_BAD_ARGUMENT);
  CHECK(sn_allocate(machine.device, -1, &memory) == SN_BAD_ARGUMENT);
  CHECK(memory == nullptr);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// In a process of its own, whose address space has room for some threads' stacks but not for all.
TEST_CASE("too many threads for the system give a failure, not an end of the process") {
  pid_t child = fork();
  if (child == 0) {
    rlimit limit{size_t{256} << 20, size_t{256} << 20};
    setrlimit(RLIMIT_AS, &limit);
    sn_device *device = nullptr;
    sn_status status = sn_device_create(SN_CPU, 0, 1000, nullptr, &device);
    _exit(status == SN_OUT_OF_MEMORY && std::string(sn_last_error()).find("1000 threads") != std::string::npos ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
#endif
