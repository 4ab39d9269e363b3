// gemm_tiles.h: products for which the CUDA backend takes each of its tiles, whatever the number of multiprocessors.
// Sizes are 5 more than a multiple of 8: they end within a tile, and rows that are 3 wider begin at multiples of 16
// bytes.
#pragma once

#include <sinter/sinter.h>

#include <vector>

namespace sn::testing {

struct TiledProduct {
  sn_dtype dtype;
  int64_t m, n, k;
  int tile;  // of its kernel's table
};

inline std::vector<TiledProduct> tiledProducts(int64_t multiprocessors) {
  // So wide that the tiles of one turn are a little less than a machine of any size has multiprocessors.
  auto wide = [=](int64_t columns) { return columns * multiprocessors / 4 / 8 * 8 - 3; };
  return {{SN_BF16, 501, wide(256), 69, 0}, {SN_BF16, 253, wide(256), 69, 1}, {SN_BF16, 125, wide(256), 69, 2},
          {SN_BF16, 61, wide(512), 69, 3},  {SN_BF16, 61, wide(120), 69, 4},  {SN_F32, 253, wide(256), 69, 0},
          {SN_F32, 61, wide(64), 69, 1}};
}

}  // namespace sn::testing
