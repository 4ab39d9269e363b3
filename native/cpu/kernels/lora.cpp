// lora.cpp: the low-rank update of each row by an adapter of its own: t = a x, then y += t b.
//
// A row's sums run in an order that its shape alone gives: of t lanes follow `in`, then are added; of y the ranks
// follow one another. So it makes no difference that neighbours with the same adapter go together, four to a team, and
// that each number of it is loaded once for all four.
#include "common/status.h"
#include "cpu/kernels/operations.h"
#include "cpu/kernels/rows.h"

namespace sn::cpu::SN_ISA {

namespace {

constexpr int kTeam = 4;
// Sums that run side by side: a chain of additions would wait for each. A row by itself has eight; a team has four rows
// times what is left of the registers.
constexpr int kAlone = 8, kTogether = kLanes == 16 ? 4 : 2;
constexpr int64_t kRanks = kAlone, kStrip = kAlone * kLanes;

// Rows from `first` on, all of one adapter.
struct Team {
  int64_t first;
  int32_t count, adapter;
};

template <typename T>
struct Lora {
  const sn_lora_shape &s;
  const T *x, *a, *b;
  T *y;
  float *middle;  // t, [rows, rank]

  // t[row, r] for `Rows` rows and `Ranks` ranks.
  template <int Rows, int Ranks>
  void down(int64_t row, int64_t adapter, int64_t rank) const {
    const T *inputs = x + row * s.x_stride, *weights = a + (adapter * s.rank + rank) * s.in;
    Vec sums[Rows][Ranks] = {};
    forVectors(s.in, [&](int64_t k, int64_t n) {
      Vec input[Rows];
#pragma GCC unroll 4
      for (int i = 0; i < Rows; ++i) input[i] = loadUpTo(inputs + i * s.x_stride + k, n);
#pragma GCC unroll 8
      for (int r = 0; r < Ranks; ++r) {
        Vec weight = loadUpTo(weights + r * s.in + k, n);
#pragma GCC unroll 4
        for (int i = 0; i < Rows; ++i) sums[i][r] = fma(input[i], weight, sums[i][r]);
      }
    });
    for (int i = 0; i < Rows; ++i) {
      for (int r = 0; r < Ranks; ++r) middle[(row + i) * s.rank + rank + r] = sum(sums[i][r]);
    }
  }

  // The same for `count` ranks.
  template <int Rows, int AtOnce>
  void downs(int64_t row, int64_t adapter, int64_t rank, int64_t count) const {
    for (; count >= AtOnce; count -= AtOnce, rank += AtOnce) down<Rows, AtOnce>(row, adapter, rank);
    for (; count > 0; --count, ++rank) down<Rows, 1>(row, adapter, rank);
  }

  // y[row, j] += the sum over r of t[row, r] b[r, j] for `Rows` rows and `Vectors` vectors from output j on; of a
  // single vector, `count` outputs.
  template <int Rows, int Vectors>
  void up(int64_t row, int64_t adapter, int64_t j, int64_t count) const {
    const T *weights = b + adapter * s.rank * s.out + j;
    const float *t = middle + row * s.rank;
    T *outputs = y + row * s.y_stride + j;
    Vec sums[Rows][Vectors] = {};
    for (int64_t r = 0; r < s.rank; ++r) {
      Vec weight[Vectors];
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) weight[v] = loadUpTo(weights + r * s.out + v * kLanes, count);
#pragma GCC unroll 4
      for (int i = 0; i < Rows; ++i) {
        Vec factor = broadcast(t[i * s.rank + r]);
#pragma GCC unroll 8
        for (int v = 0; v < Vectors; ++v) sums[i][v] = fma(factor, weight[v], sums[i][v]);
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) {
        T *at = outputs + i * s.y_stride + v * kLanes;
        storeUpTo(at, loadUpTo(at, count) + sums[i][v], count);
      }
    }
  }

  // The same for `count` outputs.
  template <int Rows, int AtOnce>
  void ups(int64_t row, int64_t adapter, int64_t j, int64_t count) const {
    constexpr int64_t kStep = AtOnce * kLanes;
    for (; count >= kStep; count -= kStep, j += kStep) up<Rows, AtOnce>(row, adapter, j, kLanes);
    forVectors(count, [&](int64_t from, int64_t n) { up<Rows, 1>(row, adapter, j + from, n); });
  }
};

// Rows that have an adapter, shared out to teams; returns how many there are.
int64_t makeTeams(const sn_lora_shape &s, const int32_t *which, Team *teams) {
  int64_t count = 0;
  for (int64_t row = 0; row < s.rows; ++row) {
    if (which[row] < 0 || which[row] >= s.adapters) continue;
    if (count > 0) {
      Team &last = teams[count - 1];
      if (last.adapter == which[row] && last.first + last.count == row && last.count < kTeam) {
        ++last.count;
        continue;
      }
    }
    teams[count++] = {row, 1, which[row]};
  }
  return count;
}

}  // namespace

sn_status lora_workspace(const sn_device *, const sn_lora_shape *shape, int64_t *bytes) {
  *bytes = shape->rows * (static_cast<int64_t>(sizeof(Team)) + shape->rank * static_cast<int64_t>(sizeof(float)));
  return SN_OK;
}

sn_status lora(sn_stream *stream, const sn_lora_shape *shape, const int32_t *which, const void *x, const void *a,
               const void *b, void *y, void *workspace) {
  const auto &s = *shape;
  auto *teams = static_cast<Team *>(workspace);
  int64_t count = makeTeams(s, which, teams);
  int64_t blocks = (s.rank + kRanks - 1) / kRanks, strips = (s.out + kStrip - 1) / kStrip;
  withType(s.dtype, [&](auto type) {
    using T = decltype(type);
    Lora<T> rows{s,
                 static_cast<const T *>(x),
                 static_cast<const T *>(a),
                 static_cast<const T *>(b),
                 static_cast<T *>(y),
                 reinterpret_cast<float *>(teams + s.rows)};
    parallelRange(poolOf(stream), count * blocks, rowsPerPart(kRanks * s.in), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Team &team = teams[i / blocks];
        int64_t rank = i % blocks * kRanks, ranks = s.rank - rank < kRanks ? s.rank - rank : kRanks;
        if (team.count == kTeam) {
          rows.template downs<kTeam, kTogether>(team.first, team.adapter, rank, ranks);
          continue;
        }
        for (int32_t row = 0; row < team.count; ++row) {
          rows.template downs<1, kAlone>(team.first + row, team.adapter, rank, ranks);
        }
      }
    });
    parallelRange(poolOf(stream), count * strips, rowsPerPart(kStrip * s.rank), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Team &team = teams[i / strips];
        int64_t j = i % strips * kStrip, outputs = s.out - j < kStrip ? s.out - j : kStrip;
        if (team.count == kTeam) {
          rows.template ups<kTeam, kTogether>(team.first, team.adapter, j, outputs);
          continue;
        }
        for (int32_t row = 0; row < team.count; ++row) {
          rows.template ups<1, kAlone>(team.first + row, team.adapter, j, outputs);
        }
      }
    });
  });
  for (int64_t row = 0; row < s.rows; ++row) {
    if (which[row] >= -1 && which[row] < s.adapters) continue;
    return fail(SN_BAD_ARGUMENT, "lora: adapter %d of row %lld; there are %lld adapters", which[row],
                static_cast<long long>(row), static_cast<long long>(s.adapters));
  }
  return SN_OK;
}

}  // namespace sn::cpu::SN_ISA
