#include "testing.h"

using namespace sn::testing;

namespace {

constexpr int64_t kSizes[] = {1, 3, 4095, (1 << 20) - 1, (1 << 20) + 1, (3 << 20) + 17};

Bytes pattern(int64_t bytes) {
  Bytes values(static_cast<size_t>(bytes));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<unsigned char>(i * 31 + i / 251);
  return values;
}

}  // namespace

TEST_CASE("write, copy and read give back the same bytes, of any number") {
  everywhere([](Machine &on) {
    for (int64_t bytes : kSizes) {
      CAPTURE(bytes);
      auto source = pattern(bytes);
      Bytes first(source.size()), second(source.size()), back(source.size());
      REQUIRE(sn_write(on.stream, first.data(), source.data(), bytes) == SN_OK);
      REQUIRE(sn_copy(on.stream, second.data(), first.data(), bytes) == SN_OK);
      REQUIRE(sn_read(on.stream, second.data(), back.data(), bytes) == SN_OK);
      REQUIRE(sn_synchronize(on.stream) == SN_OK);
      CHECK(back == source);
    }
  });
}

TEST_CASE("zero sets as many bytes as it is told") {
  everywhere([](Machine &on) {
    for (int64_t bytes : kSizes) {
      auto memory = pattern(bytes + 1);
      auto last = memory.back() = 77;
      REQUIRE(sn_zero(on.stream, memory.data(), bytes) == SN_OK);
      CHECK(memory.back() == last);
      memory.pop_back();
      CHECK(memory == Bytes(memory.size(), 0));
    }
  });
}

TEST_CASE("write may be followed at once by other values in the same host memory") {
  everywhere([](Machine &on) {
    Bytes first(5000), second(5000);
    std::vector<unsigned char> host(5000, 1);
    REQUIRE(sn_write(on.stream, first.data(), host.data(), 5000) == SN_OK);
    host.assign(5000, 2);
    REQUIRE(sn_write(on.stream, second.data(), host.data(), 5000) == SN_OK);
    host.assign(5000, 3);
    REQUIRE(sn_read(on.stream, first.data(), host.data(), 5000) == SN_OK);
    CHECK(host == std::vector<unsigned char>(5000, 1));
    REQUIRE(sn_read(on.stream, second.data(), host.data(), 5000) == SN_OK);
    CHECK(host == std::vector<unsigned char>(5000, 2));
  });
}
