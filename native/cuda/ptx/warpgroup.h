// warpgroup.h: products of a warpgroup, 128 threads, on the tensor cores (PTX ISA, "Asynchronous warpgroup-level matrix
// instructions"). sm_90a.
//
//   pinRegisters(d);
//   fenceWarpgroup();                    registers and shared memory are ready
//   multiplyWarpgroup<128>(d, a, b);     once for each 16 of the inner dimension
//   commitProducts();
//   waitForProducts<0>();                until then d, a and b are the tensor cores'
//   pinRegisters(d);
//
// Thread t of the group holds of d [64, Columns] as many fragments of 16 x 8 as there are eights of columns, in the
// layout of mma.m16n8k16 (ptx/matrix.h): its warp's rows are 16 (t / 32) to the 15th after.
#pragma once

#include "cuda/cuda.h"

namespace sn::cuda {

// Which dimension of an operand has its elements beside one another in shared memory: the inner one, or rows of a and
// columns of b.
enum class Major { inner, outer };

// Numbers of 8 bits: sign, exponent (4 or 5 bits), mantissa.
enum class Byte { e4m3, e5m2 };

#if SN_HOPPER

// A swizzled operand of any number of lines (rows of a, columns of b) with 64 of the inner dimension: each line is 128
// bytes, as one box of 64 columns is loaded.
__device__ __forceinline__ uint64_t describeInner(const void *shared) {
#if defined(__CUDACC__)
  auto address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
#else
  uint32_t address = emulation::here().block->shared.addressOf(shared);
#endif
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62, kEightLines = uint64_t{1024 >> 4} << 32,
                     kUnused = uint64_t{1} << 16;
  return (address & 0x3ffffu) >> 4 | kUnused | kEightLines | kSwizzle128;
}

// A swizzled operand whose 64 lines lie beside one another, 128 bytes for each of the inner dimension; the next 64
// lines begin `bytes` later. It is one box of 64 columns after another.
__device__ __forceinline__ uint64_t describeOuter(const void *shared, uint32_t bytes) {
  constexpr uint64_t kUnused = uint64_t{1} << 16;
  return (describeInner(shared) & ~kUnused) | uint64_t{bytes >> 4} << 16;
}

// The descriptor of the same lines, 16 `steps` further in the inner dimension.
template <Major major>
__device__ __forceinline__ uint64_t advance(uint64_t descriptor, int steps) {
  constexpr uint32_t kBytes = major == Major::inner ? 16 * sizeof(bf16) : 16 * 128;
  return descriptor + static_cast<uint64_t>(steps) * (kBytes >> 4);
}

// Before the first product, and after d or a in registers were touched.
__device__ __forceinline__ void fenceWarpgroup() {
#if defined(__CUDACC__)
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#else
  emulation::fenceWarpgroup();
#endif
}

// Keeps the compiler from moving what it does with d over this line: it knows of a product's registers only that the
// instruction that starts it changes them. Before fenceWarpgroup() where d was written, and after waiting where it is
// read.
template <int Count>
__device__ __forceinline__ void pinRegisters([[maybe_unused]] float (&d)[Count]) {
#if defined(__CUDACC__)
#pragma unroll
  for (int i = 0; i < Count; ++i) asm volatile("" : "+f"(d[i])::"memory");
#endif
}

// The products since the last commit become a group.
__device__ __forceinline__ void commitProducts() {
#if defined(__CUDACC__)
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
  emulation::commitProducts();
#endif
}

// Waits for all groups but the latest `Pending`.
template <int Pending>
__device__ __forceinline__ void waitForProducts() {
#if defined(__CUDACC__)
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
#else
  emulation::waitForProducts(Pending);
#endif
}

#if defined(__CUDACC__)
// The accumulators as the instruction names them and as the compiler binds them.
#define SN_NAMES_32                                                      \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15" \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define SN_NAMES_48 \
  SN_NAMES_32       \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define SN_NAMES_64 \
  SN_NAMES_48       \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define SN_NAMES_80 \
  SN_NAMES_64       \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define SN_NAMES_88 \
  SN_NAMES_80       \
  ", %80, %81, %82, %83, %84, %85, %86, %87"
#define SN_NAMES_96 \
  SN_NAMES_88       \
  ", %88, %89, %90, %91, %92, %93, %94, %95"
#define SN_NAMES_128                                                                             \
  SN_NAMES_96                                                                                    \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111" \
  ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define SN_BIND_8(i)                                                                                          \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
      "+f"(d[i + 7])
#define SN_BIND_16(i) SN_BIND_8(i), SN_BIND_8(i + 8)
#define SN_BIND_32 SN_BIND_16(0), SN_BIND_16(16)
#define SN_BIND_48 SN_BIND_32, SN_BIND_16(32)
#define SN_BIND_64 SN_BIND_48, SN_BIND_16(48)
#define SN_BIND_80 SN_BIND_64, SN_BIND_16(64)
#define SN_BIND_88 SN_BIND_80, SN_BIND_8(80)
#define SN_BIND_96 SN_BIND_88, SN_BIND_8(88)
#define SN_BIND_128 SN_BIND_96, SN_BIND_16(96), SN_BIND_16(112)

// X(columns, accumulators, names of the operands after them).
#define SN_WIDTHS(X)                                             \
  X(64, 32, "%32", "%33", "%34", "%35", "%36", "%37", "%38")     \
  X(96, 48, "%48", "%49", "%50", "%51", "%52", "%53", "%54")     \
  X(128, 64, "%64", "%65", "%66", "%67", "%68", "%69", "%70")    \
  X(160, 80, "%80", "%81", "%82", "%83", "%84", "%85", "%86")    \
  X(176, 88, "%88", "%89", "%90", "%91", "%92", "%93", "%94")    \
  X(192, 96, "%96", "%97", "%98", "%99", "%100", "%101", "%102") \
  X(256, 128, "%128", "%129", "%130", "%131", "%132", "%133", "%134")

// Signs and layouts of the operands come last.
#define SN_WGMMA(shape, types, accumulators, a, b, accumulate, last)                                             \
  "{\n"                                                                                                          \
  ".reg .pred accumulate;\n"                                                                                     \
  "setp.ne.b32 accumulate, " accumulate                                                                          \
  ", 0;\n"                                                                                                       \
  "wgmma.mma_async.sync.aligned.m64n" shape ".f32." types " {" SN_NAMES_##accumulators "}, " a ", " b            \
                                                                                       ", accumulate, 1, 1" last \
                                                                                       ";\n"                     \
                                                                                       "}"
#endif

template <int Columns>
constexpr bool isWidth = Columns == 64 || Columns == 96 || Columns == 128 || Columns == 160 || Columns == 176 ||
                         Columns == 192 || Columns == 256;

// d += a b, or d = a b, for a [64, 16] and b [16, Columns] in shared memory.
template <int Columns, Major majorA = Major::inner, Major majorB = Major::inner>
__device__ __forceinline__ void multiplyWarpgroup(float (&d)[Columns / 2], uint64_t a, uint64_t b,
                                                  bool accumulate = true) {
  static_assert(isWidth<Columns>);
  constexpr int transposedA = majorA == Major::outer, transposedB = majorB == Major::outer;
#if defined(__CUDACC__)
  int add = accumulate;
#define SN_MULTIPLY(columns, accumulators, p0, p1, p2, p3, p4, p5, p6)                            \
  if constexpr (Columns == columns) {                                                             \
    asm volatile(SN_WGMMA(#columns "k16", "bf16.bf16", accumulators, p0, p1, p2, ", " p3 ", " p4) \
                 : SN_BIND_##accumulators                                                         \
                 : "l"(a), "l"(b), "r"(add), "n"(transposedA), "n"(transposedB)                   \
                 : "memory");                                                                     \
  }
  SN_WIDTHS(SN_MULTIPLY)
#undef SN_MULTIPLY
#else
  emulation::addProduct({Columns, d, false, {}, a, b, transposedA != 0, transposedB != 0, accumulate});
#endif
}

// The same with a in registers, the layout that of mma.m16n8k16: each warp has its 16 rows.
template <int Columns, Major majorB = Major::inner>
__device__ __forceinline__ void multiplyWarpgroup(float (&d)[Columns / 2], const uint32_t (&a)[4], uint64_t b,
                                                  bool accumulate = true) {
  static_assert(isWidth<Columns>);
  constexpr int transposedB = majorB == Major::outer;
#if defined(__CUDACC__)
  int add = accumulate;
#define SN_MULTIPLY(columns, accumulators, p0, p1, p2, p3, p4, p5, p6)                                           \
  if constexpr (Columns == columns) {                                                                            \
    asm volatile(                                                                                                \
        SN_WGMMA(#columns "k16", "bf16.bf16", accumulators, "{" p0 ", " p1 ", " p2 ", " p3 "}", p4, p5, ", " p6) \
        : SN_BIND_##accumulators                                                                                 \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add), "n"(transposedB)                         \
        : "memory");                                                                                             \
  }
  SN_WIDTHS(SN_MULTIPLY)
#undef SN_MULTIPLY
#else
  emulation::addProduct({Columns, d, true, {a[0], a[1], a[2], a[3]}, 0, b, false, transposedB != 0, accumulate});
#endif
}

// d += a b, or d = a b, for a [64, 32] and b [32, Columns] of bytes in shared memory, both with the inner dimension's
// elements beside one another. The tensor cores add up fewer than the 24 bits of a float: long sums are to be cut.
template <int Columns, Byte formatA, Byte formatB>
__device__ __forceinline__ void multiplyWarpgroupBytes(float (&d)[Columns / 2], uint64_t a, uint64_t b,
                                                       bool accumulate = true) {
  static_assert(isWidth<Columns>);
#if defined(__CUDACC__)
  int add = accumulate;
#define SN_MULTIPLY_TYPES(columns, accumulators, types, p0, p1, p2)          \
  asm volatile(SN_WGMMA(#columns "k32", types, accumulators, p0, p1, p2, "") \
               : SN_BIND_##accumulators                                      \
               : "l"(a), "l"(b), "r"(add)                                    \
               : "memory")
#define SN_MULTIPLY(columns, accumulators, p0, p1, p2, p3, p4, p5, p6)   \
  if constexpr (Columns == columns) {                                    \
    if constexpr (formatA == Byte::e4m3 && formatB == Byte::e4m3) {      \
      SN_MULTIPLY_TYPES(columns, accumulators, "e4m3.e4m3", p0, p1, p2); \
    } else if constexpr (formatA == Byte::e4m3) {                        \
      SN_MULTIPLY_TYPES(columns, accumulators, "e4m3.e5m2", p0, p1, p2); \
    } else if constexpr (formatB == Byte::e4m3) {                        \
      SN_MULTIPLY_TYPES(columns, accumulators, "e5m2.e4m3", p0, p1, p2); \
    } else {                                                             \
      SN_MULTIPLY_TYPES(columns, accumulators, "e5m2.e5m2", p0, p1, p2); \
    }                                                                    \
  }
  SN_WIDTHS(SN_MULTIPLY)
#undef SN_MULTIPLY
#undef SN_MULTIPLY_TYPES
#else
  constexpr auto numbers = [](Byte format) {
    return format == Byte::e4m3 ? emulation::Numbers::e4m3 : emulation::Numbers::e5m2;
  };
  emulation::addProduct({Columns, d, false, {}, a, b, false, false, accumulate, numbers(formatA), numbers(formatB)});
#endif
}

#if defined(__CUDACC__)
#undef SN_NAMES_32
#undef SN_BIND_32
#undef SN_NAMES_48
#undef SN_BIND_48
#undef SN_NAMES_64
#undef SN_BIND_64
#undef SN_NAMES_80
#undef SN_BIND_80
#undef SN_NAMES_88
#undef SN_BIND_88
#undef SN_NAMES_96
#undef SN_BIND_96
#undef SN_NAMES_128
#undef SN_BIND_128
#undef SN_BIND_8
#undef SN_BIND_16
#undef SN_WIDTHS
#undef SN_WGMMA
#endif

#endif

}  // namespace sn::cuda
