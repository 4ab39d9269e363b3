// planted_bugs.h: what the two parts of the program planted_bugs share.
#pragma once

#include <functional>
#include <vector>

#include "cuda/cuda.h"

namespace sn::planted {

constexpr int kThreads = 128;
constexpr int kTiles = 12;

struct Planted {
  const char *name;
  // Launches the kernel; `in` has kTiles * kThreads numbers.
  std::function<cudaError_t(bool wrong, float *out, const float *in)> run;
  // What out must be, from in.
  std::vector<float> (*expected)(const std::vector<float> &in);
};

// Those of what only sm_90a has.
const std::vector<Planted> &hopperBugs();

}  // namespace sn::planted
