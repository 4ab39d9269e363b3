#include "packed.h"

#include <tuple>

using namespace sn::testing;

namespace {

constexpr int64_t kSizes[] = {1, 7, 16, 33, 64, 129, 768};

template <typename F>
void forShapes(F &&f) {
  for (int64_t in : kSizes) {
    for (int64_t out : kSizes) {
      if (in == 768 && out == 768) continue;
      CAPTURE(in);
      CAPTURE(out);
      f(in, out);
    }
  }
}

// The same weights, [out, in].
Tensor turned(const Tensor &weights, int64_t in, int64_t out) {
  std::vector<double> values(weights.size());
  for (int64_t k = 0; k < in; ++k) {
    for (int64_t j = 0; j < out; ++j) {
      values[static_cast<size_t>(j * in + k)] = weights[static_cast<size_t>(k * out + j)];
    }
  }
  return Tensor(weights.dtype(), values);
}

// f(first number along in, column) of each block of 32, the last of a column perhaps shorter.
template <typename F>
void forBlocks(int64_t in, int64_t out, F &&f) {
  for (int64_t column = 0; column < out; ++column) {
    for (int64_t first = 0; first < in; first += 32) f(first, column);
  }
}

double squaredError(const Packed &packed, const Tensor &weights, int64_t in, int64_t out, int64_t first,
                    int64_t column) {
  double error = 0;
  for (int64_t k = first; k < in && k < first + 32; ++k) {
    double off = weights[static_cast<size_t>(k * out + column)] - packed.weight(k, column);
    error += off * off;
  }
  return error;
}

}  // namespace

TEST_CASE("packed weights are those that were given, rounded as their format says, from both orders") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      forShapes([&](int64_t in, int64_t out) {
        Tensor weights(dtype, Numbers(1).normal(in * out)), other = turned(weights, in, out);
        for (auto format : kFormats) {
          CAPTURE(dtype);
          CAPTURE(format);
          Packed packed(on, format, in, out, weights), fromRows(on, format, in, out, other, 1);
          bool alike = packed.words() == fromRows.words();
          CHECK(alike);
          on.same(packed.words());
          Tensor expected(format == SN_WEIGHT_BF16 ? SN_BF16 : SN_F32, weights.values());
          bool padded = true, within = true, exact = true;
          for (int64_t column = 0; column < packed.columns(); ++column) {
            for (int64_t k = 0; k < packed.rows(); ++k) {
              double weight = packed.weight(k, column);
              if (k >= in || column >= out) {
                padded &= weight == 0;
                continue;
              }
              auto at = static_cast<size_t>(k * out + column);
              exact &= weight == expected[at];
              // To the nearest number; at the end of the four bits' range the block's scale may cut one step more.
              double steps = format == SN_WEIGHT_Q8 ? 0.5001 : 1.5;
              if (format >= SN_WEIGHT_Q8) {
                within &= std::abs(weight - weights[at]) <= steps * std::abs(packed.scale(k, column));
              }
            }
          }
          CHECK(padded);
          CHECK(within);
          if (format <= SN_WEIGHT_BF16) CHECK(exact);
        }
      });
    }
  });
}

TEST_CASE("eight bits have the scale of the block's largest magnitude, and no number is below -127") {
  everywhere([](Machine &on) {
    const int64_t in = 97, out = 35;
    Tensor weights(SN_F32, Numbers(1).normal(in * out));
    Packed packed(on, SN_WEIGHT_Q8, in, out, weights);
    forBlocks(in, out, [&](int64_t first, int64_t column) {
      double most = 0, number = 0;
      for (int64_t k = first; k < in && k < first + 32; ++k) {
        most = std::max(most, std::abs(weights[static_cast<size_t>(k * out + column)]));
        number = std::max(number, std::abs(packed.weight(k, column) / packed.scale(k, column)));
      }
      double scale = packed.scale(first, column);
      CHECK(scale >= most / 127 * (1 - 0x1p-20));
      CHECK(scale <= most / 127 * (1 + 0x1p-7));
      CHECK(number <= 127);
    });
  });
}

TEST_CASE("four bits lose less than the plain scale of the block's largest magnitude does") {
  everywhere([](Machine &on) {
    const int64_t in = 320, out = 160;
    Tensor weights(SN_F32, Numbers(1).normal(in * out, 0.02));
    Packed packed(on, SN_WEIGHT_Q4, in, out, weights);
    double error = 0, plain = 0, power = 0;
    forBlocks(in, out, [&](int64_t first, int64_t column) {
      double most = 0, own = squaredError(packed, weights, in, out, first, column), other = 0;
      auto weight = [&](int64_t k) { return weights[static_cast<size_t>(k * out + column)]; };
      for (int64_t k = first; k < first + 32; ++k) {
        if (std::abs(weight(k)) > std::abs(most)) most = weight(k);
      }
      Tensor scale(SN_BF16, std::vector<double>{most / -8});
      for (int64_t k = first; k < first + 32; ++k) {
        double number = std::min(7.0, std::nearbyint(weight(k) / scale[0]));
        other += (weight(k) - number * scale[0]) * (weight(k) - number * scale[0]);
        power += weight(k) * weight(k);
      }
      CHECK(own <= other * (1 + 1e-5));
      error += own;
      plain += other;
    });
    CHECK(error < 0.9 * plain);
    CHECK(error < 0.0067 * power);
  });
}

TEST_CASE("what four bits can hold they hold exactly") {
  everywhere([](Machine &on) {
    const int64_t in = 64, out = 33;
    auto numbers = Numbers(1).below(in * out, 16);
    Tensor weights(SN_F32, in * out);
    for (int64_t k = 0; k < in; ++k) {
      for (int64_t j = 0; j < out; ++j) {
        auto at = static_cast<size_t>(k * out + j);
        double number = k % 32 == j % 32 ? -8 : numbers[at] - 8;
        weights.set(at, std::ldexp(j % 2 == 0 ? number : -number, static_cast<int>(j) - 40));
      }
    }
    Packed packed(on, SN_WEIGHT_Q4, in, out, weights);
    for (int64_t k = 0; k < in; ++k) {
      for (int64_t j = 0; j < out; ++j) CHECK(packed.weight(k, j) == weights[static_cast<size_t>(k * out + j)]);
    }
  });
}

TEST_CASE("weights of any size, zeros and the smallest included, are packed to finite ones near them") {
  everywhere([](Machine &on) {
    const int64_t in = 64, out = 20;
    auto normal = Numbers(1).normal(in * out);
    for (double size : {0.0, 1e-45, 1e-39, 1e-36, 1e-30, 1e-20, 1e20, 1e30, 5e37}) {
      CAPTURE(size);
      Tensor weights(SN_F32, in * out);
      for (size_t i = 0; i < normal.size(); ++i) weights.set(i, std::max(-3.0, std::min(3.0, normal[i])) * size);
      for (auto format : kFormats) {
        CAPTURE(format);
        Packed packed(on, format, in, out, weights);
        double worst = 0;
        for (int64_t k = 0; k < in; ++k) {
          for (int64_t j = 0; j < out; ++j) {
            worst = std::max(worst, std::abs(packed.weight(k, j) - weights[static_cast<size_t>(k * out + j)]));
          }
        }
        // Where there are digits for it: the smallest numbers have none.
        CHECK(worst <= (format == SN_WEIGHT_Q4 ? 0.35 : 0.02) * size + 1e-38);
      }
    }
  });
}

TEST_CASE("packing refuses weights that are not finite, wherever they are") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      for (auto [in, out] : {std::tuple{1, 1}, {33, 17}, {129, 40}}) {
        for (double wrong : {double{NAN}, double{INFINITY}, -double{INFINITY}}) {
          for (int64_t at : {0, in * out / 2, in * out - 1}) {
            Tensor weights(dtype, Numbers(1).normal(in * out));
            weights.set(static_cast<size_t>(at), wrong);
            for (auto format : kFormats) {
              for (int32_t outByIn : {0, 1}) {
                Packed packed(format, in, out);
                CHECK(on.status(sn_pack(on.stream, format, dtype, in, out, outByIn, weights, packed)) ==
                      SN_BAD_ARGUMENT);
                CHECK(std::string(sn_last_error()).find("not finite") != std::string::npos);
              }
            }
          }
        }
      }
    }
    // What fp32 holds and bf16 does not.
    Tensor weights(SN_F32, std::vector<double>{3.4e38});
    Packed packed(SN_WEIGHT_BF16, 1, 1);
    CHECK(on.status(sn_pack(on.stream, SN_WEIGHT_BF16, SN_F32, 1, 1, 0, weights, packed)) == SN_BAD_ARGUMENT);
  });
}

TEST_CASE("packed rows are the weights of the outputs that are asked for, and zeros for -1") {
  everywhere([](Machine &on) {
    for (auto dtype : {SN_F32, SN_BF16}) {
      forShapes([&](int64_t in, int64_t out) {
        Tensor weights(SN_F32, Numbers(1).normal(in * out));
        auto indices = Numbers(2).below(11, static_cast<int32_t>(out));
        indices[3] = -1;
        indices[7] = static_cast<int32_t>(out - 1);
        for (auto format : kFormats) {
          CAPTURE(dtype);
          CAPTURE(format);
          Packed packed(on, format, in, out, weights);
          Tensor rows(dtype, 11 * in);
          REQUIRE(on.status(sn_packed_rows(on.stream, format, dtype, in, out, 11, indices.data(), packed, rows)) ==
                  SN_OK);
          std::vector<double> expected;
          for (int32_t index : indices) {
            for (int64_t k = 0; k < in; ++k) expected.push_back(index < 0 ? 0 : packed.weight(k, index));
          }
          Tensor rounded(dtype, expected);
          bool alike = rows.values() == rounded.values();
          CHECK(alike);
        }
      });
    }
  });
}

TEST_CASE("packed rows refuse an index that is out of range, and give the others") {
  everywhere([](Machine &on) {
    const int64_t in = 40, out = 33;
    Tensor weights(SN_F32, Numbers(1).normal(in * out));
    for (int32_t wrong : {33, -2, 1 << 30, INT32_MIN}) {
      for (auto format : kFormats) {
        Packed packed(on, format, in, out, weights);
        Ints indices(3, 32);
        indices[1] = wrong;
        Tensor rows(SN_F32, 3 * in);
        CHECK(on.status(sn_packed_rows(on.stream, format, SN_F32, in, out, 3, indices.data(), packed, rows)) ==
              SN_BAD_ARGUMENT);
        CHECK(std::string(sn_last_error()).find("packed_rows") != std::string::npos);
        for (int64_t k = 0; k < in; ++k) {
          CHECK(rows[static_cast<size_t>(k)] == packed.weight(k, 32));
          CHECK(rows[static_cast<size_t>(in + k)] == 0);
          CHECK(rows[static_cast<size_t>(2 * in + k)] == packed.weight(k, 32));
        }
      }
    }
  });
}

TEST_CASE("a packed embedding adds rows of the table and of positions, and refuses what is out of range") {
  everywhere([](Machine &on) {
    const int64_t batch = 3, length = 2, positions = 9;
    for (auto dtype : {SN_F32, SN_BF16}) {
      forShapes([&](int64_t width, int64_t vocabulary) {
        Tensor weights(SN_F32, Numbers(1).normal(width * vocabulary)),
            table(dtype, Numbers(2).normal(positions * width));
        auto tokens = Numbers(3).below(batch * length, static_cast<int32_t>(vocabulary));
        const Ints offsets{0, 7, 3};
        for (auto format : kFormats) {
          CAPTURE(dtype);
          CAPTURE(format);
          Packed packed(on, format, width, vocabulary, weights);
          auto embed = [&](const Ints &ids, const Ints *from, bool adds, Tensor &out) {
            return on.status(sn_packed_embedding(
                on.stream, format, dtype, batch, length, width, vocabulary, adds ? positions : 0, 0.5f, ids.data(),
                from == nullptr ? nullptr : from->data(), packed, adds ? static_cast<void *>(table) : nullptr, out));
          };
          for (auto [adds, from] : {std::pair<bool, const Ints *>{true, &offsets}, {true, nullptr}, {false, nullptr}}) {
            Tensor out(dtype, batch * length * width);
            REQUIRE(embed(tokens, from, adds, out) == SN_OK);
            std::vector<double> expected;
            for (size_t i = 0; i < tokens.size(); ++i) {
              int64_t place = static_cast<int64_t>(i) % length + (from == nullptr ? 0 : (*from)[i / length]);
              for (int64_t k = 0; k < width; ++k) {
                double shift = adds ? table[static_cast<size_t>(place * width + k)] : 0;
                expected.push_back(0.5 * packed.weight(k, tokens[i]) + shift);
              }
            }
            checkClose(out, expected, 2e-7, 2e-7);
            on.same(out);
          }
          for (int32_t wrong : {-1, static_cast<int32_t>(vocabulary), INT32_MAX}) {
            auto spoilt = tokens;
            spoilt[1] = wrong;
            Tensor out(dtype, batch * length * width);
            CHECK(embed(spoilt, nullptr, true, out) == SN_BAD_ARGUMENT);
            CHECK(on.status(SN_OK) == SN_OK);
            for (int64_t k = 0; k < width; ++k) CHECK(out[static_cast<size_t>(width + k)] == 0);
          }
          const Ints far{0, 8, 3};
          Tensor out(dtype, batch * length * width);
          CHECK(embed(tokens, &far, true, out) == SN_BAD_ARGUMENT);
        }
      });
    }
  });
}

TEST_CASE("packing refuses what it does not know") {
  everywhere([](Machine &on) {
    int64_t bytes = -1;
    CHECK(sn_pack_bytes(unknown<sn_weight_format>(4), 8, 8, &bytes) == SN_BAD_DTYPE);
    CHECK(sn_pack_bytes(SN_WEIGHT_Q8, 0, 8, &bytes) == SN_BAD_SHAPE);
    CHECK(sn_pack_bytes(SN_WEIGHT_Q8, 8, int64_t{1} << 62, &bytes) == SN_BAD_SHAPE);
    CHECK(sn_pack_bytes(SN_WEIGHT_Q8, 8, 8, nullptr) == SN_BAD_ARGUMENT);
    CHECK(bytes == -1);
    Tensor weights(SN_F32, Numbers(1).normal(64));
    Packed packed(SN_WEIGHT_Q8, 8, 8);
    Ints indices(1, 0);
    CHECK(sn_pack(on.stream, SN_WEIGHT_Q8, unknown<sn_dtype>(7), 8, 8, 0, weights, packed) == SN_BAD_DTYPE);
    CHECK(sn_pack(on.stream, SN_WEIGHT_Q8, SN_F32, 8, 8, 0, nullptr, packed) == SN_BAD_ARGUMENT);
    CHECK(sn_pack(on.stream, SN_WEIGHT_Q8, SN_F32, 8, -8, 0, weights, packed) == SN_BAD_SHAPE);
    CHECK(sn_packed_rows(on.stream, SN_WEIGHT_Q8, SN_F32, 8, 8, 0, indices.data(), packed, weights) == SN_BAD_SHAPE);
    CHECK(sn_packed_rows(on.stream, SN_WEIGHT_Q8, SN_F32, 8, 8, 1, nullptr, packed, weights) == SN_BAD_ARGUMENT);
    auto embed = [&](sn_weight_format format, int64_t width, int64_t vocabulary, const int32_t *tokens) {
      return sn_packed_embedding(on.stream, format, SN_F32, 1, 1, width, vocabulary, 0, 1, tokens, nullptr, packed,
                                 nullptr, weights);
    };
    CHECK(embed(unknown<sn_weight_format>(4), 8, 8, indices.data()) == SN_BAD_DTYPE);
    CHECK(embed(SN_WEIGHT_Q8, 0, 8, indices.data()) == SN_BAD_SHAPE);
    CHECK(embed(SN_WEIGHT_Q8, 8, 8, nullptr) == SN_BAD_ARGUMENT);
  });
}
