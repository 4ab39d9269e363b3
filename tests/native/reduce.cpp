#include "testing.h"

using namespace sn::testing;

namespace {

constexpr int64_t kCounts[] = {1, 15, 17, 1000, 16384, 16385, 300001};

}  // namespace

TEST_CASE("sum is the factor times the sum of all, plus what is there where it accumulates") {
  everywhere([](Machine &on) {
    for (int64_t count : kCounts) {
      CAPTURE(count);
      auto workspace = reduceWorkspace(on.device, count);
      Tensor x(SN_F32, Numbers(1).normal(count, 1, 0.5)), out(SN_F32, 1);
      double total = 0;
      for (size_t i = 0; i < x.size(); ++i) total += x[i];
      REQUIRE(sn_sum(on.stream, count, 0.5f, x.floats(), 0, out.floats(), workspace.data()) == SN_OK);
      checkClose(out, {0.5 * total}, 1e-6, 1e-6);
      on.same(out);
      REQUIRE(sn_sum(on.stream, count, 0.25f, x.floats(), 1, out.floats(), workspace.data()) == SN_OK);
      checkClose(out, {0.75 * total}, 1e-6, 1e-6);
    }
  });
}

TEST_CASE("global norm is the root of the sum of squares") {
  everywhere([](Machine &on) {
    for (int64_t count : kCounts) {
      CAPTURE(count);
      auto workspace = reduceWorkspace(on.device, count);
      Tensor x(SN_F32, Numbers(1).normal(count)), out(SN_F32, 1);
      double total = 0;
      for (size_t i = 0; i < x.size(); ++i) total += x[i] * x[i];
      REQUIRE(sn_global_norm(on.stream, count, x.floats(), out.floats(), workspace.data()) == SN_OK);
      checkClose(out, {std::sqrt(total)}, 1e-6, 0);
      on.same(out);
    }
  });
}

TEST_CASE("global norm shows what is not finite") {
  everywhere([](Machine &on) {
    for (double bad : {static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
      auto values = Numbers(1).normal(40000);
      values[39999] = bad;
      Tensor x(SN_F32, values), out(SN_F32, 1);
      auto workspace = reduceWorkspace(on.device, 40000);
      REQUIRE(sn_global_norm(on.stream, 40000, x.floats(), out.floats(), workspace.data()) == SN_OK);
      CHECK(!std::isfinite(out[0]));
    }
  });
}
