// random.h: Philox on vectors: the words of many elements of a random tensor at once.
#pragma once

#include "common/philox.h"
#include "cpu/kernels/rows.h"

namespace sn::cpu::SN_ISA {

// What one call of randomWords makes: four words of each lane's group.
constexpr int64_t kRandomBlock = 4 * kLanes;

#if defined(__AVX2__)
typedef uint64_t WideVec __attribute__((vector_size(kLanes * 4)));

// The products of the lower halves of all 64-bit lanes.
inline WideVec multiplyLower(WideVec a, WideVec b) {
#if defined(__AVX512F__)
  return reinterpret_cast<WideVec>(
      _mm512_maskz_mul_epu32(0xff, reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#else
  return reinterpret_cast<WideVec>(_mm256_mul_epu32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#endif
}
#endif

// Upper and lower halves of the 64-bit products of all lanes with `factor`.
inline void multiplyWide(WordVec v, uint32_t factor, WordVec *upper, WordVec *lower) {
#if defined(__AVX2__)
  auto wide = reinterpret_cast<WideVec>(v), factors = WideVec{} + factor;
  WideVec even = multiplyLower(wide, factors), odd = multiplyLower(wide >> 32, factors);
  *upper = reinterpret_cast<WordVec>((even >> 32) | (odd >> 32 << 32));
  *lower = reinterpret_cast<WordVec>((even << 32 >> 32) | (odd << 32));
#else
  for (int i = 0; i < kLanes; ++i) {
    uint64_t product = uint64_t{factor} * v[i];
    (*upper)[i] = static_cast<uint32_t>(product >> 32);
    (*lower)[i] = static_cast<uint32_t>(product);
  }
#endif
}

// Two vectors, lane by lane from each in turn.
inline void interleave(WordVec a, WordVec b, WordVec *first, WordVec *last) {
  WordVec lower, upper;
#pragma GCC unroll 16
  for (uint32_t i = 0; i < kLanes; ++i) {
    lower[i] = i / 2 + i % 2 * kLanes;
    upper[i] = lower[i] + kLanes / 2;
  }
  *first = __builtin_shuffle(a, b, lower);
  *last = __builtin_shuffle(a, b, upper);
}

// The words of elements `first` .. `first` + kRandomBlock of a tensor, as Philox::of has them; `first` is a multiple of
// 4.
inline void randomWords(const sn_random_key &key, int64_t first, WordVec words[4]) {
  int64_t group = first / 4;
  Philox start = Philox::counter(key, group);                 // the counter's words before any round
  if (static_cast<uint32_t>(group) > 0xffffffffu - kLanes) {  // the lanes' groups would carry: element by element
    uint32_t all[kRandomBlock];
    for (int64_t i = 0; i < kLanes; ++i) {
      Philox block = Philox::of(key, group + i);
      std::memcpy(all + 4 * i, block.word, sizeof block.word);
    }
    std::memcpy(words, all, sizeof all);
    return;
  }
  WordVec c0, c1 = WordVec{} + start.word[1], c2 = WordVec{} + start.word[2], c3 = WordVec{} + start.word[3];
  for (uint32_t i = 0; i < kLanes; ++i) c0[i] = start.word[0] + i;
  auto k0 = static_cast<uint32_t>(key.seed), k1 = static_cast<uint32_t>(static_cast<uint64_t>(key.seed) >> 32);
  for (int round = 0; round < Philox::kRounds; ++round) {
    WordVec leftUpper, leftLower, rightUpper, rightLower;
    multiplyWide(c0, Philox::kLeft, &leftUpper, &leftLower);
    multiplyWide(c2, Philox::kRight, &rightUpper, &rightLower);
    c0 = rightUpper ^ c1 ^ k0;
    c2 = leftUpper ^ c3 ^ k1;
    c1 = rightLower;
    c3 = leftLower;
    k0 += Philox::kLeftStep;
    k1 += Philox::kRightStep;
  }
  WordVec even[2], odd[2];
  interleave(c0, c2, &even[0], &even[1]);
  interleave(c1, c3, &odd[0], &odd[1]);
  interleave(even[0], odd[0], &words[0], &words[1]);
  interleave(even[1], odd[1], &words[2], &words[3]);
}

// uniform() of each lane.
inline Vec uniform(WordVec words) {
  return (__builtin_convertvector(reinterpret_cast<IntVec>(words >> 9), Vec) + 0.5f) * 0x1p-23f;
}

// f(i, words, n) for each vector of elements begin .. end, where `begin` is a multiple of 4 and words are those of
// elements i .. i + n.
template <typename F>
inline void forRandom(const sn_random_key &key, int64_t begin, int64_t end, F &&f) {
  for (int64_t block = begin; block < end; block += kRandomBlock) {
    WordVec words[4];
    randomWords(key, block, words);
    for (int64_t v = 0; v < 4 && block + v * kLanes < end; ++v) {
      int64_t i = block + v * kLanes;
      f(i, words[v], end - i < kLanes ? end - i : int64_t{kLanes});
    }
  }
}

}  // namespace sn::cpu::SN_ISA
