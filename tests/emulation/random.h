// random.h: xorshift64 (Marsaglia 2003): the choices of a run, the same for the same seed.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace sn::emulation {

class Random {
 public:
  // Neighbouring seeds give unrelated sequences: the mix is SplitMix64's (Steele et al. 2014).
  explicit Random(uint64_t seed) {
    seed += 0x9e3779b97f4a7c15u;
    seed = (seed ^ (seed >> 30)) * 0xbf58476d1ce4e5b9u;
    seed = (seed ^ (seed >> 27)) * 0x94d049bb133111ebu;
    state_ = (seed ^ (seed >> 31)) | 1;
  }

  // `limit`: up to 2^32.
  size_t below(size_t limit) {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<size_t>((state_ >> 32) * limit >> 32);
  }

  bool onceIn(size_t times) { return below(times) == 0; }

  template <typename T>
  void shuffle(std::vector<T> &values) {
    for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[below(i)]);
  }

 private:
  uint64_t state_;
};

}  // namespace sn::emulation
