#include "testing.h"

using namespace sn::testing;

namespace {

constexpr int64_t kSizes[] = {1, 3, 4095, (1 << 20) - 1, (1 << 20) + 1, (3 << 20) + 17};

std::vector<unsigned char> pattern(int64_t bytes) {
  std::vector<unsigned char> values(static_cast<size_t>(bytes));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<unsigned char>(i * 31 + i / 251);
  return values;
}

}  // namespace

TEST_CASE("write, copy and read give back the same bytes, of any number") {
  everywhere([](Machine &on) {
    for (int64_t bytes : kSizes) {
      CAPTURE(bytes);
      auto source = pattern(bytes);
      std::vector<unsigned char> first(source.size()), second(source.size()), back(source.size());
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
      CHECK(memory == std::vector<unsigned char>(memory.size(), 0));
    }
  });
}
