// philox.h: Philox4x32-10 (Salmon et al. 2011): four random words for a counter and a key, in no particular order.
//
// The mapping of sn_random_key: the key is the seed's two halves; the counter is (group, step, tensor), where element i
// of a tensor takes word i % 4 of group i / 4, the group has 48 bits, and step and tensor are folded to 40 bits each.
#pragma once

#include <sinter/sinter.h>

#include "common/both.h"

namespace sn {

// The key as it is now: what its clock says is in its step.
SN_BOTH inline sn_random_key keyNow(sn_random_key key) {
  if (key.clock != nullptr) key.step += *key.clock;
  key.clock = nullptr;
  return key;
}

struct Philox {
  static constexpr int kRounds = 10;
  static constexpr uint32_t kLeft = 0xD2511F53u, kRight = 0xCD9E8D57u;          // what the counter is multiplied by
  static constexpr uint32_t kLeftStep = 0x9E3779B9u, kRightStep = 0xBB67AE85u;  // what the key grows by

  uint32_t word[4];

  SN_BOTH static Philox block(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1) {
    for (int round = 0; round < kRounds; ++round) {
      uint64_t left = uint64_t{kLeft} * c0, right = uint64_t{kRight} * c2;
      uint32_t n0 = static_cast<uint32_t>(right >> 32) ^ c1 ^ k0, n2 = static_cast<uint32_t>(left >> 32) ^ c3 ^ k1;
      c1 = static_cast<uint32_t>(right);
      c3 = static_cast<uint32_t>(left);
      c0 = n0;
      c2 = n2;
      k0 += kLeftStep;
      k1 += kRightStep;
    }
    return {{c0, c1, c2, c3}};
  }

  // The counter of elements 4 * group .. 4 * group + 3 of a random tensor.
  SN_BOTH static Philox counter(const sn_random_key &key, int64_t group) {
    auto step = static_cast<uint64_t>(key.step), tensor = static_cast<uint64_t>(key.tensor);
    auto g = static_cast<uint64_t>(group);
    return {{static_cast<uint32_t>(g),
             static_cast<uint32_t>((g >> 32 & 0xffff) | (step >> 32 & 0xff) << 16 | (tensor >> 32 & 0xff) << 24),
             static_cast<uint32_t>(step), static_cast<uint32_t>(tensor)}};
  }

  // The words of those elements.
  SN_BOTH static Philox of(const sn_random_key &key, int64_t group) {
    auto seed = static_cast<uint64_t>(key.seed);
    Philox c = counter(key, group);
    return block(c.word[0], c.word[1], c.word[2], c.word[3], static_cast<uint32_t>(seed),
                 static_cast<uint32_t>(seed >> 32));
  }
};

// A number in (0, 1) from a word: never 0, so that its logarithm is finite, and never 1: 23 bits and a half are exact.
SN_BOTH inline float uniform(uint32_t word) { return (static_cast<float>(word >> 9) + 0.5f) * 0x1p-23f; }

}  // namespace sn
