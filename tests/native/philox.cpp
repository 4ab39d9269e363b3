#include "common/philox.h"

#include <doctest/doctest.h>

#define SN_ISA tested
#include <set>
#include <tuple>

#include "cpu/kernels/random.h"

using sn::Philox;

// The known answers of the Random123 library (kat_vectors, philox4x32-10).
TEST_CASE("Philox4x32-10 gives the known answers") {
  auto check = [](const Philox &block, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    CHECK(block.word[0] == a);
    CHECK(block.word[1] == b);
    CHECK(block.word[2] == c);
    CHECK(block.word[3] == d);
  };
  check(Philox::block(0, 0, 0, 0, 0, 0), 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8);
  uint32_t all = 0xffffffff;
  check(Philox::block(all, all, all, all, all, all), 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd);
  check(Philox::block(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0), 0xd16cfe09, 0x94fdcceb,
        0x5001e420, 0x24126ea1);
}

TEST_CASE("seed, step, tensor and group each change the numbers") {
  std::set<std::tuple<uint32_t, uint32_t, uint32_t, uint32_t>> seen;
  int64_t large = int64_t{1} << 32;
  int count = 0;
  for (int64_t seed : {int64_t{0}, int64_t{1}, large, int64_t{-1}}) {
    for (int64_t step : {int64_t{0}, int64_t{1}, large}) {
      for (int64_t tensor : {int64_t{0}, int64_t{1}, large}) {
        for (int64_t group : {int64_t{0}, int64_t{1}, large}) {
          Philox block = Philox::of({seed, step, tensor, nullptr}, group);
          seen.insert({block.word[0], block.word[1], block.word[2], block.word[3]});
          ++count;
        }
      }
    }
  }
  CHECK(seen.size() == static_cast<size_t>(count));
}

TEST_CASE("words of many elements at once are those of each, where groups pass 32 bits too") {
  namespace vectors = sn::cpu::tested;
  const sn_random_key key{int64_t{7} << 33 | 5, 3, 9, nullptr};
  for (int64_t group : {int64_t{0}, int64_t{1000}, (int64_t{1} << 32) - 2, (int64_t{1} << 40) - 1}) {
    vectors::WordVec words[4];
    vectors::randomWords(key, 4 * group, words);
    for (int64_t i = 0; i < vectors::kRandomBlock; ++i) {
      CHECK(words[i / vectors::kLanes][i % vectors::kLanes] == Philox::of(key, group + i / 4).word[i % 4]);
    }
  }
}

TEST_CASE("a uniform number is never 0 and never 1") {
  CHECK(sn::uniform(0) > 0.0f);
  CHECK(sn::uniform(0xffffffff) < 1.0f);
  CHECK(sn::uniform(0x80000000) == doctest::Approx(0.5));
}
