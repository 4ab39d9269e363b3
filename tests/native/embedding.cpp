#include "testing.h"

using namespace sn::testing;

namespace {

struct Shape {
  int64_t batch, length, width, vocabulary, positions;
};

// The last three: tokens that come very often, tokens of two bytes, and of three.
constexpr Shape kShapes[] = {{1, 1, 1, 1, 1},      {2, 3, 5, 7, 4},       {3, 17, 33, 11, 20},
                             {4, 64, 768, 50, 64}, {1, 9, 130, 3, 9},     {2, 300, 40, 3, 301},
                             {1, 999, 7, 1, 999},  {2, 100, 9, 999, 100}, {3, 50, 3, 70000, 50}};

size_t at(int64_t row, int64_t width, int64_t column) { return static_cast<size_t>(row * width + column); }

Bytes workspaceFor(const Machine &on, int64_t batch, int64_t length) {
  int64_t bytes = -1;
  REQUIRE(sn_embedding_backward_workspace(on.device, batch, length, &bytes) == SN_OK);
  REQUIRE(bytes >= 0);
  return Bytes(static_cast<size_t>(bytes));
}

}  // namespace

TEST_CASE("embedding forward adds the token's row and the position's, counted from each sequence's offset") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (const auto &s : kShapes) {
        CAPTURE(s.width);
        auto tokens = Numbers(1).below(s.batch * s.length, static_cast<int32_t>(s.vocabulary));
        auto offsets = Numbers(2).below(s.batch, static_cast<int32_t>(s.positions - s.length + 1));
        Tensor words(dtype, Numbers(3).normal(s.vocabulary * s.width));
        Tensor places(dtype, Numbers(4).normal(s.positions * s.width));
        for (int variant = 0; variant < 3; ++variant) {  // no positions; positions from 0; positions from offsets
          const float scale = variant == 1 ? 1.0f : 2.5f;
          Tensor out(dtype, s.batch * s.length * s.width);
          std::vector<double> expected(out.size());
          for (int64_t i = 0; i < s.batch * s.length; ++i) {
            int64_t place = i % s.length + (variant == 2 ? offsets[static_cast<size_t>(i / s.length)] : 0);
            for (int64_t j = 0; j < s.width; ++j) {
              expected[at(i, s.width, j)] = scale * words[at(tokens[static_cast<size_t>(i)], s.width, j)] +
                                            (variant == 0 ? 0 : places[at(place, s.width, j)]);
            }
          }
          REQUIRE(sn_embedding_forward(on.stream, dtype, s.batch, s.length, s.width, s.vocabulary, s.positions, scale,
                                       tokens.data(), variant == 2 ? offsets.data() : nullptr, words,
                                       variant == 0 ? nullptr : static_cast<void *>(places), out) == SN_OK);
          checkClose(out, expected, 1e-7, scale == 1 ? 1e-7 : 6e-7);  // a unit of the terms, which may cancel
          on.same(out);
        }
      }
    }
  });
}

TEST_CASE("a token or position out of range reads as zeros and fails the call") {
  everywhere([](Machine &on) {
    int64_t width = 19;
    Tensor words(SN_F32, Numbers(1).normal(5 * width)), places(SN_F32, Numbers(2).normal(3 * width));
    for (int32_t bad : {-1, 5, INT32_MAX, INT32_MIN}) {
      Ints tokens{4, bad, 0};
      Tensor out(SN_F32, 3 * width);
      CHECK(on.status(sn_embedding_forward(on.stream, SN_F32, 1, 3, width, 5, 3, 1, tokens.data(), nullptr, words,
                                           places, out)) == SN_BAD_ARGUMENT);
      CHECK(std::string(sn_last_error()).find("token " + std::to_string(bad) + " at place 1") != std::string::npos);
      for (size_t j = 0; j < 19; ++j) CHECK(out[19 + j] == 0);
      CHECK(out[0] == doctest::Approx(words[4 * 19] + places[0]));
      CHECK(out[38] == doctest::Approx(words[0] + places[38]));
    }
    Ints tokens{1, 1, 1}, offsets{1};
    Tensor out(SN_F32, 3 * width);
    CHECK(on.status(sn_embedding_forward(on.stream, SN_F32, 1, 3, width, 5, 3, 1, tokens.data(), offsets.data(), words,
                                         places, out)) == SN_BAD_ARGUMENT);
    CHECK(sn_synchronize(on.stream) == SN_OK);
  });
}

TEST_CASE("embedding backward adds each row to its token, and the positions' rows over the batch") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (const auto &s : kShapes) {
        for (int32_t accumulate : {0, 1}) {
          CAPTURE(s.width);
          const float scale = accumulate ? 1.0f : 2.5f;
          const int32_t padding = accumulate ? -1 : 1;
          auto tokens = Numbers(1).below(s.batch * s.length, static_cast<int32_t>(s.vocabulary));
          auto workspace = workspaceFor(on, s.batch, s.length);
          Tensor dout(dtype, Numbers(2).normal(s.batch * s.length * s.width));
          Tensor dwords(SN_F32, Numbers(3).normal(s.vocabulary * s.width));
          Tensor dplaces(SN_F32, accumulate ? Numbers(4).normal(s.positions * s.width)
                                            : std::vector<double>(static_cast<size_t>(s.positions * s.width), NAN));
          auto expectedWords = dwords.values(), expectedPlaces = dplaces.values();
          if (!accumulate) expectedPlaces.assign(expectedPlaces.size(), 0);
          for (int64_t i = 0; i < s.batch * s.length; ++i) {
            for (int64_t j = 0; j < s.width; ++j) {
              double value = dout[at(i, s.width, j)];
              int32_t token = tokens[static_cast<size_t>(i)];
              if (token != padding) expectedWords[at(token, s.width, j)] += scale * value;
              expectedPlaces[at(i % s.length, s.width, j)] += value;
            }
          }
          REQUIRE(sn_embedding_backward(on.stream, dtype, s.batch, s.length, s.width, s.vocabulary, s.positions, scale,
                                        padding, tokens.data(), dout, accumulate, dwords.floats(), dplaces.floats(),
                                        workspace.data()) == SN_OK);
          checkClose(dwords, expectedWords, 1e-5, 1e-5);
          checkClose(dplaces, expectedPlaces, 1e-5, 1e-5);
          on.same(dwords);
          on.same(dplaces);
          REQUIRE(sn_embedding_backward(on.stream, dtype, s.batch, s.length, s.width, s.vocabulary, 0, scale, padding,
                                        tokens.data(), dout, accumulate, dwords.floats(), nullptr,
                                        workspace.data()) == SN_OK);

          // A frozen table of tokens: the positions' gradient alone.
          if (accumulate) continue;
          Tensor placesAlone(SN_F32, s.positions * s.width);
          REQUIRE(sn_embedding_backward(on.stream, dtype, s.batch, s.length, s.width, s.vocabulary, s.positions, scale,
                                        padding, tokens.data(), dout, 0, nullptr, placesAlone.floats(),
                                        workspace.data()) == SN_OK);
          CHECK(placesAlone.bytes() == dplaces.bytes());
        }
      }
    }
  });
}

TEST_CASE("embedding backward leaves out a token that is out of range") {
  everywhere([](Machine &on) {
    Ints tokens{1, -1, 5, 1, INT32_MIN, INT32_MAX};
    Tensor dout(SN_F32, {1, 2, 3, 4, 5, 6}), dwords(SN_F32, std::vector<double>(5));
    auto workspace = workspaceFor(on, 1, 6);
    REQUIRE(sn_embedding_backward(on.stream, SN_F32, 1, 6, 1, 5, 0, 1, -1, tokens.data(), dout, 0, dwords.floats(),
                                  nullptr, workspace.data()) == SN_OK);
    CHECK(dwords.values() == std::vector<double>{0, 5, 0, 0, 0});
  });
}
