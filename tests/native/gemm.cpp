#include <set>
#include <tuple>

#include "epilogue.h"
#include "gemm_tiles.h"
#include "testing.h"

using namespace sn::testing;

namespace {

struct Call {
  sn_gemm_shape shape;
  int64_t aSize, bSize, cSize;
  bool spare = false;  // leaves out the operands that may be null
};

// Operands with rows of their own stride, a little wider than needed.
Call callOf(int64_t batch, int64_t m, int64_t n, int64_t k, int32_t transposeA, int32_t transposeB, sn_dtype dtype,
            sn_dtype cDtype, sn_epilogue epilogue, int32_t accumulate, int64_t slack) {
  int64_t aRows = transposeA ? k : m, aColumns = (transposeA ? m : k) + slack;
  int64_t bRows = transposeB ? n : k, bColumns = (transposeB ? k : n) + slack;
  int64_t cColumns = n + slack;
  sn_gemm_shape shape{batch,
                      m,
                      n,
                      k,
                      transposeA,
                      transposeB,
                      aColumns,
                      bColumns,
                      cColumns,
                      aRows * aColumns,
                      bRows * bColumns,
                      m * cColumns,
                      dtype,
                      cDtype,
                      epilogue,
                      SN_GELU_TANH,
                      accumulate,
                      0};
  return {shape, batch * aRows * aColumns, batch * bRows * bColumns, batch * m * cColumns};
}

// Checks one product on one machine by each of some plans, poison between the rows of c included.
void check(Machine &on, const Call &call, const std::vector<int64_t> &plans) {
  auto s = call.shape;
  CAPTURE(s.batch);
  CAPTURE(s.m);
  CAPTURE(s.n);
  CAPTURE(s.k);
  CAPTURE(s.transpose_a);
  CAPTURE(s.transpose_b);
  CAPTURE(s.dtype);
  CAPTURE(s.c_dtype);
  CAPTURE(s.epilogue);
  CAPTURE(s.activation);
  CAPTURE(s.accumulate);
  CAPTURE(call.spare);
  Tensor a(s.dtype, Numbers(1).normal(call.aSize)), b(s.dtype, Numbers(2).normal(call.bSize));
  Tensor bias(s.dtype, Numbers(3).normal(s.n)), auxBefore(s.dtype, Numbers(4).normal(call.cSize));
  Tensor before(s.c_dtype, Numbers(5).normal(call.cSize));
  const EpilogueOperands wants(s, call.spare);

  auto expected = s.accumulate ? before.values() : std::vector<double>(before.size(), NAN);
  auto expectedAux = auxBefore.values(), left = a.values(), right = b.values();
  for (int64_t batch = 0; batch < s.batch; ++batch) {
    for (int64_t i = 0; i < s.m; ++i) {
      for (int64_t j = 0; j < s.n; ++j) {
        double sum = 0;
        for (int64_t k = 0; k < s.k; ++k) {
          int64_t atA = batch * s.a_batch + (s.transpose_a ? k * s.a_stride + i : i * s.a_stride + k);
          int64_t atB = batch * s.b_batch + (s.transpose_b ? j * s.b_stride + k : k * s.b_stride + j);
          sum += left[static_cast<size_t>(atA)] * right[static_cast<size_t>(atB)];
        }
        auto at = static_cast<size_t>(batch * s.c_batch + i * s.c_stride + j);
        if (wants.bias) sum += bias[static_cast<size_t>(j)];
        if (s.accumulate) sum += before[at];
        expected[at] = epilogueOf(s, sum, &expectedAux[at]);
      }
    }
  }
  // Relative to what is summed: k products of standard normal numbers.
  double absolute = 2e-6 * std::sqrt(static_cast<double>(s.k));
  if (s.epilogue == SN_EPILOGUE_ACTIVATION_BACKWARD) absolute *= 2;

  for (int64_t plan : plans) {
    CAPTURE(plan);
    s.plan = plan;
    Tensor c(s.c_dtype, call.cSize), aux = auxBefore;
    if (s.accumulate) c = before;
    int64_t bytes = -1;
    REQUIRE(sn_gemm_workspace(on.device, &s, &bytes) == SN_OK);
    Tensor workspace(SN_F32, bytes / 4 + 1);
    sn_status status = sn_gemm(on.stream, &s, nullptr, a, b, c, wants.bias ? static_cast<void *>(bias) : nullptr,
                               wants.aux ? static_cast<void *>(aux) : nullptr, workspace);
    REQUIRE_MESSAGE(status == SN_OK, std::string(sn_last_error()));
    checkClose(c, expected, 1e-5, absolute);
    if (s.epilogue == SN_EPILOGUE_BIAS_ACTIVATION && wants.aux) checkClose(aux, expectedAux, 1e-5, absolute);
    on.same(c);
  }
}

// By the plan that the device chooses.
void check(Machine &on, const Call &call) { check(on, call, {call.shape.plan}); }

std::vector<int64_t> plansOf(const sn_device *device, const sn_gemm_shape &shape) {
  int32_t count = -1;
  REQUIRE(sn_gemm_plans(device, &shape, 0, nullptr, &count) == SN_OK);
  REQUIRE(count >= 1);
  std::vector<int64_t> plans(static_cast<size_t>(count));
  REQUIRE(sn_gemm_plans(device, &shape, count, plans.data(), &count) == SN_OK);
  return plans;
}

// Lets a GPU have the cuBLASLt that is there: the one that stands in for it, where the tests name its folder.
int64_t loadLibrary(const sn_device *device) {
  const char *folder = std::getenv("SN_TEST_CUBLASLT");
  int64_t version = -1;
  REQUIRE(sn_gemm_library(device, folder, &version) == SN_OK);
  CHECK(version >= 0);
  if (folder != nullptr && device == cudaDevice()) CHECK(version == 130100);
  return version;
}

// In multiples of 8 elements: what cuBLASLt wants of aux.
int64_t slackOf(int64_t n) { return (8 - n % 8) % 8; }

}  // namespace

TEST_CASE("gemm behind a norm has the bits of the norm and of the product, called one after the other") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (int64_t k : {1, 7, 33, 768, 1030, 4100}) {
        for (int64_t m : {1, 2, 4, 7, 8, 9}) {
          for (int32_t transposeB : {0, 1}) {
            CAPTURE(dtype);
            CAPTURE(k);
            CAPTURE(m);
            CAPTURE(transposeB);
            const int64_t n = 41;
            auto call = callOf(1, m, n, k, 0, transposeB, dtype, dtype, SN_EPILOGUE_BIAS_ACTIVATION, 0, 0);
            const auto &s = call.shape;
            Tensor a(dtype, Numbers(1).normal(m * k, 2, 1)), b(dtype, Numbers(2).normal(k * n));
            Tensor gain(dtype, Numbers(3).normal(k)), shift(dtype, Numbers(4).normal(k)),
                bias(dtype, Numbers(5).normal(n));
            Tensor c(dtype, m * n), normed(dtype, m * k), twice = c, before = normed;
            int64_t bytes = -1;
            REQUIRE(sn_gemm_workspace(on.device, &s, &bytes) == SN_OK);
            Tensor workspace(SN_F32, bytes / 4 + 1);
            void *shifts = m == 2 ? nullptr : static_cast<void *>(shift);
            const sn_row_norm norm{gain, shifts, normed, 1e-5f};
            REQUIRE(sn_gemm(on.stream, &s, &norm, a, b, c, bias, nullptr, workspace) == SN_OK);
            REQUIRE(sn_layer_norm_forward(on.stream, dtype, m, k, 1e-5f, a, nullptr, gain, shifts, nullptr, before,
                                          nullptr, nullptr) == SN_OK);
            REQUIRE(sn_gemm(on.stream, &s, nullptr, before, b, twice, bias, nullptr, workspace) == SN_OK);
            REQUIRE(sn_synchronize(on.stream) == SN_OK);
            bool alike = c.bytes() == twice.bytes(), normedAlike = normed.bytes() == before.bytes();
            CHECK(alike);
            CHECK(normedAlike);
            on.same(c);
          }
        }
      }
    }
    auto call = callOf(1, 3, 5, 7, 0, 0, SN_F32, SN_F32, SN_EPILOGUE_NONE, 0, 2);
    Tensor a(SN_F32, call.aSize), b(SN_F32, call.bSize), c(SN_F32, call.cSize);
    const sn_row_norm norm{a, nullptr, c, 1e-5f}, none{nullptr, a, c, 1e-5f};
    CHECK(sn_gemm(on.stream, &call.shape, &norm, a, b, c, nullptr, nullptr, c) == SN_BAD_SHAPE);
    CHECK(sn_gemm(on.stream, &call.shape, &none, a, b, c, nullptr, nullptr, c) == SN_BAD_ARGUMENT);
  });
}

TEST_CASE("gemm equals the double-precision product for every pair of transposes and odd sizes") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (int32_t transposes = 0; transposes < 4; ++transposes) {
        for (auto [m, n, k] : {std::tuple{1, 1, 1},
                               {1, 129, 65},
                               {3, 600, 7},
                               {7, 33, 129},
                               {8, 17, 40},
                               {9, 1, 2},
                               {16, 16, 16},
                               {17, 31, 33},
                               {33, 129, 7},
                               {65, 50, 257},
                               {129, 33, 1},
                               {40, 515, 64}}) {
          check(on, callOf(1, m, n, k, transposes & 1, transposes >> 1, dtype, dtype, SN_EPILOGUE_NONE, 0, 3));
        }
      }
    }
  });
}

TEST_CASE("gemm over more than one block of k and strip of rows or columns") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      // A GPU has no blocks of so much of k.
      int64_t k = on.isCuda() ? 300 : 1100;
      check(on, callOf(1, 35, 530, k, 0, 0, dtype, dtype, SN_EPILOGUE_NONE, 0, 0));
      check(on, callOf(1, 2, 1030, k, 0, 1, dtype, dtype, SN_EPILOGUE_NONE, 0, 0));
      check(on, callOf(1, 530, 35, k, 1, 1, dtype, SN_F32, SN_EPILOGUE_NONE, 0, 1));
    }
  });
}

// Two chunks of the shared operand on AMX, where numbers are stored in three parts; too large to check every element. A
// GPU has no such chunks: there it is several tiles each way.
TEST_CASE("gemm over more than one chunk of the shared operand") {
  everywhere([](Machine &on) {
    const int64_t size = on.isCuda() ? 300 : 1400, depth = on.isCuda() ? 130 : 1030;
    auto call = callOf(1, size, size, depth, 0, 0, SN_F32, SN_F32, SN_EPILOGUE_NONE, 0, 0);
    Numbers numbers(1);
    Tensor a(SN_F32, numbers.normal(call.aSize)), b(SN_F32, numbers.normal(call.bSize)), c(SN_F32, call.cSize);
    int64_t bytes = 0;
    REQUIRE(sn_gemm_workspace(on.device, &call.shape, &bytes) == SN_OK);
    Tensor workspace(SN_F32, bytes / 4 + 1);
    REQUIRE(sn_gemm(on.stream, &call.shape, nullptr, a, b, c, nullptr, nullptr, workspace) == SN_OK);
    for (int64_t at = 0; at < call.cSize; at += 997) {
      double sum = 0;
      for (int64_t k = 0; k < depth; ++k) {
        sum += a[static_cast<size_t>(at / size * depth + k)] * b[static_cast<size_t>(k * size + at % size)];
      }
      CAPTURE(at);
      CHECK(std::abs(c[static_cast<size_t>(at)] - sum) <= 3e-4);
    }
    on.same(c);
  });
}

TEST_CASE("gemm epilogues: bias, GELU with what it keeps, residual, GELU's gradient, accumulation") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (int64_t m : {2, 35}) {
        for (auto epilogue : {SN_EPILOGUE_BIAS, SN_EPILOGUE_BIAS_ACTIVATION, SN_EPILOGUE_BIAS_RESIDUAL,
                              SN_EPILOGUE_ACTIVATION_BACKWARD}) {
          check(on, callOf(1, m, 77, 40, 0, 0, dtype, dtype, epilogue, 0, 5));
        }
        check(on, callOf(1, m, 77, 40, 1, 0, dtype, SN_F32, SN_EPILOGUE_NONE, 1, 5));
        check(on, callOf(1, m, 77, 40, 0, 0, dtype, SN_F32, SN_EPILOGUE_NONE, 1, 5));
      }
    }
  });
}

TEST_CASE("gemm epilogues with every activation, in tiles, in parts of k and of few rows") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (auto activation : kActivations) {
        for (auto epilogue : {SN_EPILOGUE_BIAS_ACTIVATION, SN_EPILOGUE_ACTIVATION_BACKWARD}) {
          for (auto [m, k] : {std::pair<int64_t, int64_t>{3, 40}, {35, 40}, {35, 1101}}) {
            auto call = callOf(1, m, 77, k, 0, 0, dtype, dtype, epilogue, 0, 5);
            call.shape.activation = activation;
            check(on, call);
          }
        }
      }
    }
  });
}

TEST_CASE("gemm through every tile of a GPU, sizes that end within them, rows aligned and not") {
  everywhere([](Machine &on) {
    // The CPU needs none of them, nor so many columns.
    int64_t multiprocessors = on.isCuda() ? sn_device_threads(on.device) : 1;
    for (auto [dtype, m, n, k, tile] : tiledProducts(multiprocessors)) {
      CAPTURE(tile);
      for (int32_t transposes = 0; transposes < 4; ++transposes) {
        check(on, callOf(1, m, n, k, transposes & 1, transposes >> 1, dtype, dtype, SN_EPILOGUE_NONE, 0, 3));
      }
      check(on, callOf(1, m, n, k, 0, 0, dtype, SN_F32, SN_EPILOGUE_BIAS_ACTIVATION, 0, 1));
    }
  });
}

TEST_CASE("gemm of a long k, in parts where few tiles would leave a GPU idle, through all epilogues") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      const int64_t m = 45, n = 61, k = 1101;
      for (auto epilogue : {SN_EPILOGUE_BIAS, SN_EPILOGUE_BIAS_ACTIVATION, SN_EPILOGUE_BIAS_RESIDUAL,
                            SN_EPILOGUE_ACTIVATION_BACKWARD}) {
        check(on, callOf(1, m, n, k, 0, 0, dtype, dtype, epilogue, 0, 3));
      }
      check(on, callOf(1, m, n, k, 1, 0, dtype, SN_F32, SN_EPILOGUE_NONE, 1, 3));
      check(on, callOf(2, m, n, k, 1, 1, dtype, dtype, SN_EPILOGUE_BIAS_ACTIVATION, 0, 2));
    }
  });
}

TEST_CASE("gemm of few rows, b in both orders, rows aligned and not") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (int64_t m : {1, 2, 3, 7}) {
        // Narrow or wide, each so deep that a thread comes by more than once.
        for (auto [n, k] : {std::pair{45, 1613}, {453, 421}}) {
          check(on, callOf(1, m, n, k, 0, 0, dtype, dtype, SN_EPILOGUE_NONE, 0, 3));
          check(on, callOf(1, m, n, k, 0, 1, dtype, dtype, SN_EPILOGUE_BIAS, 0, 3));
        }
        check(on, callOf(1, m, 45, 421, 1, 0, dtype, SN_F32, SN_EPILOGUE_NONE, 0, 2));
        check(on, callOf(1, m, 45, 421, 0, 1, dtype, dtype, SN_EPILOGUE_BIAS_RESIDUAL, 0, 2));
      }
    }
  });
}

TEST_CASE("gemm gives the same bits wherever its operands begin") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (auto [m, n, k] : {std::tuple{1, 45, 1613}, {3, 453, 421}, {45, 61, 1101}, {125, 253, 69}}) {
        for (int32_t transposeB : {0, 1}) {
          auto call = callOf(1, m, n, k, 0, transposeB, dtype, dtype, SN_EPILOGUE_NONE, 0, 3);
          auto a = Numbers(1).normal(call.aSize), b = Numbers(2).normal(call.bSize);
          int64_t bytes = 0;
          REQUIRE(sn_gemm_workspace(on.device, &call.shape, &bytes) == SN_OK);
          Tensor workspace(SN_F32, bytes / 4 + 1), c(dtype, call.cSize), moved(dtype, call.cSize);
          Tensor first(dtype, a), second(dtype, b);
          REQUIRE(sn_gemm(on.stream, &call.shape, nullptr, first, second, c, nullptr, nullptr, workspace) == SN_OK);
          // One element further: at no multiple of 16 bytes.
          a.insert(a.begin(), NAN);
          b.insert(b.begin(), NAN);
          Tensor third(dtype, a), fourth(dtype, b);
          REQUIRE(sn_gemm(on.stream, &call.shape, nullptr,
                          static_cast<char *>(static_cast<void *>(third)) + bytesOf(dtype),
                          static_cast<char *>(static_cast<void *>(fourth)) + bytesOf(dtype), moved, nullptr, nullptr,
                          workspace) == SN_OK);
          CAPTURE(m);
          CAPTURE(n);
          CAPTURE(transposeB);
          // Kernels of compute capability 9.0 leave operands at other addresses to those that every GPU has.
          bool alike = c.bytes() == moved.bytes();
          bool other = on.isCuda() && dtype == SN_BF16 && std::string(sn_device_isa(on.device)) == "sm_90";
          if (other) {
            checkClose(moved, c.values(), 0x1p-8, 2e-6 * std::sqrt(static_cast<double>(k)));
          } else {
            CHECK(alike);
          }
        }
      }
    }
  });
}

TEST_CASE("gemm adds to a residual in place, and keeps nothing of a GELU where it is not asked to") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (auto [m, n, k] : {std::tuple{2, 77, 40}, {35, 77, 40}, {45, 61, 1101}}) {
        CAPTURE(m);
        auto call = callOf(1, m, n, k, 0, 0, dtype, dtype, SN_EPILOGUE_BIAS_RESIDUAL, 0, 3);
        Tensor a(dtype, Numbers(1).normal(call.aSize)), b(dtype, Numbers(2).normal(call.bSize));
        Tensor bias(dtype, Numbers(3).normal(n)), residual(dtype, Numbers(4).normal(call.cSize)), out = residual;
        int64_t bytes = 0;
        REQUIRE(sn_gemm_workspace(on.device, &call.shape, &bytes) == SN_OK);
        Tensor workspace(SN_F32, bytes / 4 + 1);
        REQUIRE(sn_gemm(on.stream, &call.shape, nullptr, a, b, out, nullptr, residual, workspace) == SN_OK);
        Tensor inPlace = residual;
        REQUIRE(sn_gemm(on.stream, &call.shape, nullptr, a, b, inPlace, nullptr, inPlace, workspace) == SN_OK);
        bool alike = inPlace.bytes() == out.bytes();
        CHECK(alike);

        call.shape.epilogue = SN_EPILOGUE_BIAS_ACTIVATION;
        Tensor kept(dtype, call.cSize), first(dtype, call.cSize), second(dtype, call.cSize);
        REQUIRE(sn_gemm(on.stream, &call.shape, nullptr, a, b, first, bias, kept, workspace) == SN_OK);
        REQUIRE(sn_gemm(on.stream, &call.shape, nullptr, a, b, second, bias, nullptr, workspace) == SN_OK);
        alike = first.bytes() == second.bytes();
        CHECK(alike);
      }
    }
  });
}

TEST_CASE("gemm of a batch") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      check(on, callOf(3, 19, 23, 29, 0, 1, dtype, dtype, SN_EPILOGUE_NONE, 0, 2));
      check(on, callOf(2, 4, 70, 29, 0, 0, dtype, dtype, SN_EPILOGUE_BIAS, 0, 0));
    }
  });
}

TEST_CASE("gemm keeps the digits of fp32 where numbers differ by many powers of two, and NaN stays NaN") {
  everywhere([](Machine &on) {
    const int64_t m = 40, n = 40, k = 64;
    auto call = callOf(1, m, n, k, 0, 0, SN_F32, SN_F32, SN_EPILOGUE_NONE, 0, 0);
    // One term a sum: nothing cancels, so the product itself must be right.
    Tensor a(SN_F32, std::vector<double>(m * k)), b(SN_F32, std::vector<double>(k * n)), c(SN_F32, m * n);
    auto mantissas = Numbers(1).normal(m * k, 0.2, 1.5);
    for (int64_t i = 0; i < m; ++i) {
      a.set(static_cast<size_t>(i * k + i),
            std::ldexp(mantissas[static_cast<size_t>(i)], static_cast<int>(3 * i - 60)));
      for (int64_t j = 0; j < n; ++j) {
        b.set(static_cast<size_t>(i * n + j),
              std::ldexp(mantissas[static_cast<size_t>(i * n + j)], static_cast<int>(j)));
      }
    }
    int64_t bytes = 0;
    REQUIRE(sn_gemm_workspace(on.device, &call.shape, &bytes) == SN_OK);
    Tensor workspace(SN_F32, bytes / 4);
    REQUIRE(sn_gemm(on.stream, &call.shape, nullptr, a, b, c, nullptr, nullptr, workspace) == SN_OK);
    std::vector<double> expected;
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        expected.push_back(a[static_cast<size_t>(i * k + i)] * b[static_cast<size_t>(i * n + j)]);
      }
    }
    checkClose(c, expected, 2.5e-7, 0);

    b.set(7, NAN);
    a.set(0, 1);
    REQUIRE(sn_gemm(on.stream, &call.shape, nullptr, a, b, c, nullptr, nullptr, workspace) == SN_OK);
    CHECK(std::isnan(c[7]));
    CHECK(!std::isnan(c[8]));
  });
}

TEST_CASE("gemm refuses what it cannot compute") {
  everywhere([](Machine &on) {
    // So deep that a GPU, too, needs a workspace.
    auto call = callOf(1, 20, 20, 4000, 0, 0, SN_F32, SN_F32, SN_EPILOGUE_NONE, 0, 0);
    Tensor a(SN_F32, call.aSize), b(SN_F32, call.bSize), c(SN_F32, 400);
    int64_t bytes = 0;
    REQUIRE(sn_gemm_workspace(on.device, &call.shape, &bytes) == SN_OK);
    REQUIRE(bytes > 0);
    CHECK(sn_gemm(on.stream, &call.shape, nullptr, a, b, c, nullptr, nullptr, nullptr) == SN_BAD_ARGUMENT);
    CHECK(std::string(sn_last_error()).find("workspace") != std::string::npos);
    call.shape.a_stride = 3999;
    CHECK(sn_gemm(on.stream, &call.shape, nullptr, a, b, c, nullptr, nullptr, c) == SN_BAD_SHAPE);
    call = callOf(1, 20, 20, 20, 0, 0, SN_F32, SN_F32, SN_EPILOGUE_BIAS, 0, 0);
    CHECK(sn_gemm(on.stream, &call.shape, nullptr, a, b, c, nullptr, nullptr, c) == SN_BAD_ARGUMENT);
  });
}

TEST_CASE("gemm of few rows gives each row the bits that it has alone") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (int32_t transposeB : {0, 1}) {
        const int64_t rows = 7, n = 333, k = 131;
        auto call = callOf(1, rows, n, k, 0, transposeB, dtype, dtype, SN_EPILOGUE_NONE, 0, 0);
        Tensor a(dtype, Numbers(1).normal(call.aSize)), b(dtype, Numbers(2).normal(call.bSize));
        Tensor together(dtype, rows * n), workspace(SN_F32, 1);
        REQUIRE(sn_gemm(on.stream, &call.shape, nullptr, a, b, together, nullptr, nullptr, workspace) == SN_OK);
        call.shape.m = 1;
        for (int64_t row = 0; row < rows; ++row) {
          Tensor alone(dtype, n);
          auto size = static_cast<int64_t>(bytesOf(dtype));
          auto *own = static_cast<char *>(static_cast<void *>(a)) + row * k * size;
          REQUIRE(sn_gemm(on.stream, &call.shape, nullptr, own, b, alone, nullptr, nullptr, workspace) == SN_OK);
          auto *part = static_cast<char *>(static_cast<void *>(together)) + row * n * size;
          CHECK(std::memcmp(alone.bytes().data(), part, alone.bytes().size()) == 0);
        }
      }
    }
  });
}

TEST_CASE("gemm has the reference's result by every plan, epilogue, transpose and dtype") {
  everywhere([](Machine &on) {
    bool library = loadLibrary(on.device) != 0;
    auto checkPlans = [&](Call call) {
      auto plans = plansOf(on.device, call.shape);
      CHECK(plans[0] == 0);
      CHECK((plans.size() > 1) == on.isCuda());
      check(on, call, plans);
    };
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (int32_t transposes = 0; transposes < 4; ++transposes) {
        int32_t a = transposes & 1, b = transposes >> 1;
        checkPlans(callOf(1, 35, 61, 77, a, b, dtype, dtype, SN_EPILOGUE_NONE, 0, 3));
        checkPlans(callOf(2, 19, 45, 23, a, b, dtype, SN_F32, SN_EPILOGUE_NONE, 0, 2));
        checkPlans(callOf(1, 3, 61, 601, a, b, dtype, dtype, SN_EPILOGUE_BIAS, 0, 3));
      }
      for (auto epilogue : {SN_EPILOGUE_BIAS, SN_EPILOGUE_BIAS_ACTIVATION, SN_EPILOGUE_BIAS_RESIDUAL,
                            SN_EPILOGUE_ACTIVATION_BACKWARD}) {
        for (int64_t batch : {1, 2}) {
          auto call = callOf(batch, 25, 61, 530, 0, 0, dtype, dtype, epilogue, 0, slackOf(61));
          checkPlans(call);
          call.spare = epilogue == SN_EPILOGUE_BIAS_ACTIVATION || epilogue == SN_EPILOGUE_BIAS_RESIDUAL;
          if (call.spare) checkPlans(call);
        }
        checkPlans(callOf(1, 5, 45, 69, 0, 1, dtype, dtype, epilogue, 0, 1));
      }
      checkPlans(callOf(1, 45, 61, 1101, 1, 0, dtype, SN_F32, SN_EPILOGUE_NONE, 0, 3));
      checkPlans(callOf(1, 45, 61, 1101, 1, 0, dtype, SN_F32, SN_EPILOGUE_NONE, 1, 3));
      // With and without the library there is a way to each shape, and the library is one.
      auto call = callOf(1, 35, 61, 77, 0, 0, dtype, dtype, SN_EPILOGUE_NONE, 0, 3);
      sn_device *without = nullptr;
      if (!on.isCuda() || !library) continue;
      REQUIRE(sn_device_create(SN_CUDA, 0, 0, std::getenv("SN_TEST_ISA"), &without) == SN_OK);
      auto all = plansOf(on.device, call.shape), own = plansOf(without, call.shape);
      CHECK(all.size() > own.size());
      call.shape.plan = all.back();
      int64_t bytes = -1;
      CHECK(sn_gemm_workspace(without, &call.shape, &bytes) == SN_BAD_ARGUMENT);
      CHECK(std::string(sn_last_error()).find("without cuBLASLt") != std::string::npos);
      sn_device_destroy(without);
    }
  });
}

// Rows that begin at multiples of 16 bytes have kernels of their own on some GPUs, each with tiles of several sizes.
TEST_CASE("gemm has the reference's result by every plan where rows are aligned") {
  everywhere([](Machine &on) {
    if (!on.isCuda()) return;
    auto checkPlans = [&](Call call) { check(on, call, plansOf(on.device, call.shape)); };
    auto aligned = [](int64_t batch, int64_t m, int64_t n, int64_t k, int32_t transposes, sn_dtype cDtype,
                      sn_epilogue epilogue, int32_t accumulate) {
      auto call = callOf(batch, m, n, k, transposes & 1, transposes >> 1, SN_BF16, cDtype, epilogue, accumulate, 0);
      auto widen = [](int64_t &stride) { stride += slackOf(stride); };
      widen(call.shape.a_stride);
      widen(call.shape.b_stride);
      widen(call.shape.c_stride);
      call.shape.a_batch = (transposes & 1 ? k : m) * call.shape.a_stride;
      call.shape.b_batch = (transposes >> 1 ? n : k) * call.shape.b_stride;
      call.shape.c_batch = m * call.shape.c_stride;
      return Call{call.shape, batch * call.shape.a_batch, batch * call.shape.b_batch, batch * call.shape.c_batch};
    };
    for (int32_t transposes = 0; transposes < 4; ++transposes) {
      for (auto [m, n, k] : {std::tuple{270, 129, 136}, {1, 1300, 33}, {129, 33, 7}, {33, 1, 1}}) {
        checkPlans(aligned(1, m, n, k, transposes, SN_BF16, SN_EPILOGUE_NONE, 0));
      }
      checkPlans(aligned(3, 70, 77, 65, transposes, SN_F32, SN_EPILOGUE_BIAS, 0));
    }
    checkPlans(aligned(1, 140, 129, 520, 1, SN_F32, SN_EPILOGUE_NONE, 1));
    checkPlans(aligned(1, 70, 129, 520, 2, SN_F32, SN_EPILOGUE_NONE, 0));
    for (auto epilogue :
         {SN_EPILOGUE_BIAS, SN_EPILOGUE_BIAS_ACTIVATION, SN_EPILOGUE_BIAS_RESIDUAL, SN_EPILOGUE_ACTIVATION_BACKWARD}) {
      checkPlans(aligned(1, 140, 329, 70, 0, SN_BF16, epilogue, 0));
      checkPlans(aligned(2, 30, 77, 530, 2, SN_BF16, epilogue, 0));
      auto call = aligned(1, 70, 65, 40, 1, SN_BF16, epilogue, 0);
      call.spare = epilogue == SN_EPILOGUE_BIAS_ACTIVATION || epilogue == SN_EPILOGUE_BIAS_RESIDUAL;
      checkPlans(call);
      for (auto activation : kActivations) {
        call.shape.activation = activation;
        if (epilogue != SN_EPILOGUE_BIAS && epilogue != SN_EPILOGUE_BIAS_RESIDUAL) checkPlans(call);
      }
    }
  });
}

TEST_CASE("gemm refuses a plan that is none of the shape's") {
  everywhere([](Machine &on) {
    loadLibrary(on.device);
    auto call = callOf(1, 40, 24, 64, 0, 0, SN_F32, SN_F32, SN_EPILOGUE_NONE, 0, 0);
    Tensor a(SN_F32, call.aSize), b(SN_F32, call.bSize), c(SN_F32, call.cSize), workspace(SN_F32, 4096);
    auto plans = plansOf(on.device, call.shape);
    CHECK(std::set<int64_t>(plans.begin(), plans.end()).size() == plans.size());
    for (int64_t plan : {int64_t{-1}, int64_t{1}, int64_t{99}, int64_t{1} << 40, plans.back() + (1 << 8),
                         plans.back() + (int64_t{64} << 16)}) {
      CAPTURE(plan);
      call.shape.plan = plan;
      int64_t bytes = -1;
      CHECK(sn_gemm_workspace(on.device, &call.shape, &bytes) == SN_BAD_ARGUMENT);
      CHECK(bytes == -1);
      CHECK(sn_gemm(on.stream, &call.shape, nullptr, a, b, c, nullptr, nullptr, workspace) == SN_BAD_ARGUMENT);
      CHECK(std::string(sn_last_error()).find("plan") != std::string::npos);
    }
    // A list that is too short takes what it can.
    std::vector<int64_t> few(2, -7);
    int32_t count = -1;
    call.shape.plan = 0;
    CHECK(sn_gemm_plans(on.device, &call.shape, 1, few.data(), &count) == SN_OK);
    CHECK(count == static_cast<int32_t>(plans.size()));
    CHECK(few == std::vector<int64_t>{0, -7});
    CHECK(sn_gemm_plans(on.device, &call.shape, -1, few.data(), &count) == SN_BAD_ARGUMENT);
    CHECK(sn_gemm_plans(on.device, &call.shape, 1, nullptr, &count) == SN_BAD_ARGUMENT);
    call.shape.m = 0;
    CHECK(sn_gemm_plans(on.device, &call.shape, 2, few.data(), &count) == SN_BAD_SHAPE);
  });
}

TEST_CASE("gemm says it where cuBLASLt would need aligned operands") {
  everywhere([](Machine &on) {
    if (loadLibrary(on.device) == 0) return;
    auto call = callOf(1, 40, 24, 64, 0, 0, SN_F32, SN_F32, SN_EPILOGUE_NONE, 0, 0);
    Tensor a(SN_F32, call.aSize + 1), b(SN_F32, call.bSize), c(SN_F32, call.cSize), workspace(SN_F32, 4096);
    call.shape.plan = plansOf(on.device, call.shape).back();
    CHECK(sn_gemm(on.stream, &call.shape, nullptr, a, b, c, nullptr, nullptr, workspace) == SN_OK);
    CHECK(sn_gemm(on.stream, &call.shape, nullptr, a.floats() + 1, b, c, nullptr, nullptr, workspace) ==
          SN_BAD_ARGUMENT);
    CHECK(std::string(sn_last_error()).find("16 bytes") != std::string::npos);
  });
}
