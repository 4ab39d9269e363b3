// both.h: what a function is marked with that runs on the host and, where nvcc compiles it, on a GPU.
#pragma once

#if defined(__CUDACC__)
#define SN_BOTH __host__ __device__
#else
#define SN_BOTH
#endif
