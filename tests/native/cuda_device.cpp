// What a CUDA device says where there is none, or not enough of it. Each case wants a machine of its own, which the
// emulation pretends by its environment: see CMakeLists.txt.
#include "testing.h"

using namespace sn::testing;

namespace {

void load() {
  const char *library = std::getenv("SN_TEST_CUDA");
  REQUIRE(library != nullptr);
  REQUIRE_MESSAGE(sn_load_cuda(library) == SN_OK, sn_last_error());
}

void checkThereIsNone(const std::string &message) {
  load();
  int32_t count = -1;
  CHECK(sn_device_count(SN_CUDA, &count) == SN_NO_DEVICE);
  CHECK(std::string(sn_last_error()) == message);
  CHECK(count == -1);
  sn_device *device = nullptr;
  CHECK(sn_device_create(SN_CUDA, 0, 0, nullptr, &device) == SN_NO_DEVICE);
  CHECK(std::string(sn_last_error()) == message);
  CHECK(device == nullptr);
}

}  // namespace

TEST_CASE("without a driver" * doctest::skip()) { checkThereIsNone("no NVIDIA driver is installed"); }

TEST_CASE("with an old driver" * doctest::skip()) {
  checkThereIsNone("the NVIDIA driver knows CUDA 12.0, this backend needs 13.0; install a newer driver");
}

TEST_CASE("without a GPU" * doctest::skip()) { checkThereIsNone("no NVIDIA GPU is there"); }

TEST_CASE("with an old GPU" * doctest::skip()) {
  load();
  int32_t count = 0;
  CHECK(sn_device_count(SN_CUDA, &count) == SN_OK);
  CHECK(count == 1);
  sn_device *device = nullptr;
  CHECK(sn_device_create(SN_CUDA, 0, 0, nullptr, &device) == SN_UNSUPPORTED);
  CHECK(std::string(sn_last_error()) == "cuda:0: Emulated GPU has compute capability 7.5; 8.0 or newer is needed");
  CHECK(device == nullptr);
}

TEST_CASE("with one GPU" * doctest::skip()) {
  load();
  sn_device *device = nullptr;
  CHECK(sn_device_create(SN_CUDA, 1, 0, nullptr, &device) == SN_NO_DEVICE);
  CHECK(std::string(sn_last_error()) == "cuda:1: there is 1, cuda:0");
  CHECK(sn_device_create(SN_CUDA, 0, 0, "avx2", &device) == SN_BAD_ARGUMENT);
  CHECK(std::string(sn_last_error()) == "isa avx2: this GPU has sm_90 and sm_80");
  for (const char *isa : {"sm_90", "sm_80"}) {
    REQUIRE(sn_device_create(SN_CUDA, 0, 0, isa, &device) == SN_OK);
    CHECK(std::string(sn_device_isa(device)) == isa);
    sn_device_destroy(device);
  }
  REQUIRE(sn_device_create(SN_CUDA, 0, 0, nullptr, &device) == SN_OK);
  CHECK(std::string(sn_device_isa(device)) == "sm_90");
  CHECK(std::string(sn_device_name(device)) == "Emulated GPU");
  CHECK(sn_device_threads(device) == 4);
  sn_device_destroy(device);
}

// 1 MiB of memory.
TEST_CASE("with little memory" * doctest::skip()) {
  everywhere([](Machine &on) {
    int64_t total = 0, available = 0;
    REQUIRE(sn_device_memory(on.device, &total, &available) == SN_OK);
    CHECK(total == 1 << 20);
    CHECK(available == total);
    void *most = nullptr, *more = nullptr;
    REQUIRE(sn_allocate(on.device, 1000000, &most) == SN_OK);
    CHECK(sn_allocate(on.device, 100000, &more) == SN_OUT_OF_MEMORY);
    CHECK(std::string(sn_last_error()) == "cannot allocate 100000 bytes: 48576 of the GPU's 1048576 are free");
    CHECK(more == nullptr);

    // The device is as usable as before: what there is can be had, and work runs.
    REQUIRE(sn_allocate(on.device, 40000, &more) == SN_OK);
    std::vector<float> numbers(10000, 1.5f), sums(10000);
    REQUIRE(sn_write(on.stream, more, numbers.data(), 40000) == SN_OK);
    REQUIRE(sn_add(on.stream, SN_F32, 10000, more, more, most) == SN_OK);
    REQUIRE(sn_read(on.stream, most, sums.data(), 40000) == SN_OK);
    CHECK(sums == std::vector<float>(10000, 3.0f));
    sn_free(on.device, more);
    sn_free(on.device, most);
    REQUIRE(sn_device_memory(on.device, &total, &available) == SN_OK);
    CHECK(available == total);
  });
}
