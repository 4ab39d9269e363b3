#include <algorithm>
#include <tuple>

#include "epilogue.h"
#include "testing.h"

using namespace sn::testing;

namespace {

// What the codes of a type stand for, by the tables of Micikevicius et al. 2022.
std::vector<double> numbersOf(sn_float8 type) {
  int mantissa = type == SN_E4M3 ? 3 : 2, bias = type == SN_E4M3 ? 7 : 15;
  std::vector<double> numbers;
  for (int code = 0; code < 256; ++code) {
    int exponent = (code & 0x7f) >> mantissa, rest = code & ((1 << mantissa) - 1);
    double number = exponent == 0 ? std::ldexp(rest, 1 - bias - mantissa)
                                  : std::ldexp((1 << mantissa) + rest, exponent - bias - mantissa);
    if (type == SN_E4M3 && (code & 0x7f) == 0x7f) number = NAN;
    if (type == SN_E5M2 && exponent == 31) number = rest == 0 ? INFINITY : NAN;
    numbers.push_back(code < 128 ? number : -number);
  }
  return numbers;
}

double largestOf(sn_float8 type) { return type == SN_E4M3 ? 448 : 57344; }

// Whether `code` is the number nearest to x; of two the one whose code is even.
bool isNearest(const std::vector<double> &numbers, double x, int code) {
  double distance = std::abs(numbers[static_cast<size_t>(code)] - x);
  for (int other = 0; other < 256; ++other) {
    double number = numbers[static_cast<size_t>(other)];
    if (!std::isfinite(number) || std::signbit(number) != std::signbit(x)) continue;
    if (std::abs(number - x) < distance || (std::abs(number - x) == distance && other % 2 < code % 2)) return false;
  }
  return std::isfinite(distance);
}

Bytes cast(Machine &on, Tensor &in, sn_float8 type, Tensor *scale) {
  Bytes out(in.size());
  std::fill(out.begin(), out.end(), static_cast<unsigned char>(0xa5));
  REQUIRE(sn_cast_float8(on.stream, static_cast<int64_t>(in.size()), in.dtype(), in, type, out.data(),
                         scale->floats()) == SN_OK);
  REQUIRE(sn_synchronize(on.stream) == SN_OK);
  return out;
}

void checkCast(Machine &on, sn_dtype dtype, sn_float8 type, const std::vector<double> &values) {
  CAPTURE(dtype);
  CAPTURE(type);
  CAPTURE(values.size());
  Tensor in(dtype, values), scale(SN_F32, 2);
  Bytes out = cast(on, in, type, &scale);
  double most = 0;
  for (double x : in.values()) most = std::max(most, std::isnan(x) ? 0 : std::abs(x));
  CHECK(scale[1] == most);
  double expected = most == 0 ? 1 : std::max(most / largestOf(type), 0x1p-126);
  CHECK(std::abs(scale[0] - expected) <= 0x1p-23 * expected);
  auto numbers = numbersOf(type);
  for (size_t i = 0; i < in.size(); ++i) {
    // As the division in fp32 has it.
    auto x = static_cast<double>(static_cast<float>(in[i]) / static_cast<float>(scale[0]));
    x = std::clamp(x, -largestOf(type), largestOf(type));
    CAPTURE(in[i]);
    if (std::isnan(in[i])) {
      CHECK(std::isnan(numbers[out[i]]));
    } else {
      CHECK(isNearest(numbers, x, out[i]));
    }
  }
  on.same(scale);
}

struct Call {
  sn_gemm_shape shape;
  sn_float8 typeA, typeB;
  bool spare = false;  // leaves out the operands that may be null
};

int64_t widen(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }

Call callOf(int64_t batch, int64_t m, int64_t n, int64_t k, sn_float8 typeA, sn_float8 typeB, sn_dtype cDtype,
            sn_epilogue epilogue, int32_t accumulate) {
  int64_t stride = widen(k, 16), cStride = widen(n, 8);
  return {{batch, m, n, k, 0, 1, stride, stride, cStride, m * stride, n * stride, m * cStride, SN_BF16, cDtype,
           epilogue, SN_GELU_TANH, accumulate, 0},
          typeA,
          typeB};
}

void check(Machine &on, const Call &call) {
  const auto &s = call.shape;
  CAPTURE(s.batch);
  CAPTURE(s.m);
  CAPTURE(s.n);
  CAPTURE(s.k);
  CAPTURE(s.c_dtype);
  CAPTURE(s.epilogue);
  CAPTURE(s.accumulate);
  CAPTURE(call.typeA);
  CAPTURE(call.typeB);
  auto size = static_cast<int64_t>(s.batch * s.c_batch);
  Tensor left(SN_F32, Numbers(1).normal(s.batch * s.a_batch)), right(SN_F32, Numbers(2).normal(s.batch * s.b_batch));
  Tensor scaleA(SN_F32, 2), scaleB(SN_F32, 2);
  Bytes a = cast(on, left, call.typeA, &scaleA), b = cast(on, right, call.typeB, &scaleB);
  Tensor bias(SN_BF16, Numbers(3).normal(s.n)), aux(SN_BF16, Numbers(4).normal(size)), auxBefore = aux;
  Tensor before(s.c_dtype, Numbers(5).normal(size)), c(s.c_dtype, size);
  if (s.accumulate) c = before;
  const EpilogueOperands wants(s, call.spare);
  sn_status status =
      sn_gemm_float8(on.stream, &s, call.typeA, a.data(), scaleA.floats(), call.typeB, b.data(), scaleB.floats(), c,
                     wants.bias ? static_cast<void *>(bias) : nullptr, wants.aux ? static_cast<void *>(aux) : nullptr);
  REQUIRE_MESSAGE(status == SN_OK, std::string(sn_last_error()));

  auto numbersA = numbersOf(call.typeA), numbersB = numbersOf(call.typeB);
  auto expected = s.accumulate ? before.values() : std::vector<double>(c.size(), NAN), expectedAux = auxBefore.values();
  for (int64_t batch = 0; batch < s.batch; ++batch) {
    for (int64_t i = 0; i < s.m; ++i) {
      for (int64_t j = 0; j < s.n; ++j) {
        double sum = 0;
        for (int64_t k = 0; k < s.k; ++k) {
          sum += numbersA[a[static_cast<size_t>(batch * s.a_batch + i * s.a_stride + k)]] *
                 numbersB[b[static_cast<size_t>(batch * s.b_batch + j * s.b_stride + k)]];
        }
        sum *= scaleA[0] * scaleB[0];
        auto at = static_cast<size_t>(batch * s.c_batch + i * s.c_stride + j);
        if (wants.bias) sum += bias[static_cast<size_t>(j)];
        if (s.accumulate) sum += before[at];
        expected[at] = epilogueOf(s, sum, &expectedAux[at]);
      }
    }
  }
  // k products of standard normal numbers; of their sum tensor cores keep 14 bits.
  double absolute = (on.isCuda() ? 0x1p-12 : 4e-6) * std::sqrt(static_cast<double>(s.k));
  checkClose(c, expected, 1e-5, absolute);
  if (s.epilogue == SN_EPILOGUE_BIAS_ACTIVATION && wants.aux) checkClose(aux, expectedAux, 1e-5, absolute);
  on.same(c);
}

// Whether the machine has these products at all.
bool multiplies(const Machine &on) { return !on.isCuda() || std::string(sn_device_isa(on.device)) == "sm_90"; }

}  // namespace

TEST_CASE("cast_float8 takes the nearest number, of two the even one, with a scale by the largest") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (auto type : {SN_E4M3, SN_E5M2}) {
        for (int64_t count : {1, 7, 33, 129, 2051}) checkCast(on, dtype, type, Numbers(1).normal(count));
        // Halves between neighbours, and all numbers themselves; the largest makes the scale 1.
        std::vector<double> values;
        auto numbers = numbersOf(type);
        for (int code = 0; code < 128; ++code) {
          double number = numbers[static_cast<size_t>(code)];
          if (!std::isfinite(number)) continue;
          values.push_back(number);
          values.push_back(-number);
          double next = code < 127 ? numbers[static_cast<size_t>(code) + 1] : NAN;
          if (std::isfinite(next)) values.push_back((number + next) / 2);
        }
        checkCast(on, dtype, type, values);
        checkCast(on, dtype, type, {0, 0, 0});
        checkCast(on, dtype, type, {1, NAN, -3, NAN});
        checkCast(on, dtype, type, {1e-38, -3e-38, 0});
      }
    }
  });
}

TEST_CASE("gemm_float8 equals the double-precision product of what the bytes stand for") {
  everywhere([](Machine &on) {
    if (!multiplies(on)) return;
    for (auto typeA : {SN_E4M3, SN_E5M2}) {
      for (auto typeB : {SN_E4M3, SN_E5M2}) {
        for (auto [m, n, k] : {std::tuple{1, 1, 1}, {7, 129, 33}, {129, 65, 300}, {33, 700, 129}}) {
          check(on, callOf(1, m, n, k, typeA, typeB, SN_BF16, SN_EPILOGUE_NONE, 0));
        }
      }
    }
    for (int32_t accumulate : {0, 1}) {
      check(on, callOf(1, 150, 33, 260, SN_E4M3, SN_E5M2, SN_F32, SN_EPILOGUE_NONE, accumulate));
    }
    for (auto epilogue :
         {SN_EPILOGUE_BIAS, SN_EPILOGUE_BIAS_ACTIVATION, SN_EPILOGUE_BIAS_RESIDUAL, SN_EPILOGUE_ACTIVATION_BACKWARD}) {
      auto call = callOf(2, 70, 129, 65, SN_E4M3, SN_E4M3, SN_BF16, epilogue, 0);
      check(on, call);
      call.spare = epilogue == SN_EPILOGUE_BIAS_ACTIVATION || epilogue == SN_EPILOGUE_BIAS_RESIDUAL;
      if (call.spare) check(on, call);
    }
  });
}

TEST_CASE("gemm_float8 and cast_float8 refuse what they cannot compute") {
  everywhere([](Machine &on) {
    Tensor x(SN_F32, 16), scale(SN_F32, 2), c(SN_BF16, 4096);
    Bytes bytes(4096);
    CHECK(sn_cast_float8(on.stream, 0, SN_F32, x, SN_E4M3, bytes.data(), scale.floats()) == SN_BAD_SHAPE);
    CHECK(sn_cast_float8(on.stream, 16, SN_F32, x, unknown<sn_float8>(2), bytes.data(), scale.floats()) ==
          SN_BAD_DTYPE);
    CHECK(sn_cast_float8(on.stream, 16, SN_F32, x, SN_E4M3, bytes.data(), nullptr) == SN_BAD_ARGUMENT);
    auto multiply = [&](const sn_gemm_shape &shape, sn_float8 type, const float *scaleA) {
      return sn_gemm_float8(on.stream, &shape, type, bytes.data(), scaleA, SN_E4M3, bytes.data(), scale.floats(), c,
                            nullptr, nullptr);
    };
    auto shape = callOf(1, 8, 8, 16, SN_E4M3, SN_E4M3, SN_BF16, SN_EPILOGUE_NONE, 0).shape;
    CHECK(multiply(shape, unknown<sn_float8>(7), scale.floats()) == SN_BAD_DTYPE);
    CHECK(multiply(shape, SN_E4M3, nullptr) == SN_BAD_ARGUMENT);
    auto other = shape;
    other.transpose_b = 0;
    CHECK(multiply(other, SN_E4M3, scale.floats()) == SN_BAD_ARGUMENT);
    other = shape;
    other.dtype = SN_F32;
    other.c_dtype = SN_F32;
    CHECK(multiply(other, SN_E4M3, scale.floats()) == SN_BAD_DTYPE);
    other = shape;
    other.epilogue = SN_EPILOGUE_BIAS;
    CHECK(multiply(other, SN_E4M3, scale.floats()) == SN_BAD_ARGUMENT);
    other = shape;
    other.a_stride = 17;
    if (on.isCuda()) CHECK(multiply(other, SN_E4M3, scale.floats()) == SN_UNSUPPORTED);
    if (!multiplies(on)) CHECK(multiply(shape, SN_E4M3, scale.floats()) == SN_UNSUPPORTED);
  });
}
