// types.h: CUDA's qualifiers and vector types.
#pragma once

#define __host__
#define __device__
#define __global__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(bytes) alignas(bytes)

#define SN_VECTORS(type, name, alignment2, alignment4)                           \
  struct alignas(alignment2) name##2 {                                           \
    type x, y;                                                                   \
  };                                                                             \
  struct name##3 {                                                               \
    type x, y, z;                                                                \
  };                                                                             \
  struct alignas(alignment4) name##4 {                                           \
    type x, y, z, w;                                                             \
  };                                                                             \
  constexpr name##2 make_##name##2(type x, type y) { return {x, y}; }            \
  constexpr name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; } \
  constexpr name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }

SN_VECTORS(signed char, char, 2, 4)
SN_VECTORS(unsigned char, uchar, 2, 4)
SN_VECTORS(short, short, 4, 8)
SN_VECTORS(unsigned short, ushort, 4, 8)
SN_VECTORS(int, int, 8, 16)
SN_VECTORS(unsigned int, uint, 8, 16)
SN_VECTORS(float, float, 8, 16)
#undef SN_VECTORS

struct alignas(16) double2 {
  double x, y;
};
struct alignas(16) longlong2 {
  long long x, y;
};
struct alignas(16) ulonglong2 {
  unsigned long long x, y;
};

struct dim3 {
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  unsigned x, y, z;
};
