// warpgroup.h: products of a warpgroup, 128 threads, on the tensor cores (PTX ISA, "Asynchronous warpgroup-level matrix
// instructions"). sm_90a.
//
//   fenceWarpgroup();                    registers and shared memory are ready
//   multiplyWarpgroup<128>(d, a, b);     once for each 16 of the inner dimension
//   commitProducts();
//   waitForProducts<0>();                until then d, a and b are the tensor cores'
//
// Thread t of the group holds of d [64, Columns] as many fragments of 16 x 8 as there are eights of columns, in the
// layout of mma.m16n8k16 (ptx/matrix.h): its warp's rows are 16 (t / 32) to the 15th after.
#pragma once

#include "cuda/cuda.h"

namespace sn::cuda {

// Which dimension of an operand has its elements beside one another in shared memory: the inner one, or rows of a and
// columns of b.
enum class Major { inner, outer };

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

// Tells the compiler, which does not see that products write registers until they are waited for, that what uses these
// stays on its side of this line: before the fence, and after the wait.
template <int Count>
__device__ __forceinline__ void holdRegisters([[maybe_unused]] float (&registers)[Count]) {
#if defined(__CUDACC__)
#pragma unroll
  for (int i = 0; i < Count; ++i) asm volatile("" : "+f"(registers[i])::"memory");
#endif
}

#if defined(__CUDACC__)
// The accumulators of 64, 128 and 256 columns, as the instruction names them and as the compiler binds them.
#define SN_NAMES_32                                                      \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15" \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define SN_NAMES_64                                                                  \
  SN_NAMES_32                                                                        \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47" \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define SN_NAMES_128                                                                             \
  SN_NAMES_64                                                                                    \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"             \
  ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"             \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111" \
  ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define SN_BIND_8(i)                                                                                          \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
      "+f"(d[i + 7])
#define SN_BIND_32(i) SN_BIND_8(i), SN_BIND_8(i + 8), SN_BIND_8(i + 16), SN_BIND_8(i + 24)
#define SN_BIND_64(i) SN_BIND_32(i), SN_BIND_32(i + 32)
#define SN_BIND_128(i) SN_BIND_64(i), SN_BIND_64(i + 64)

// The accumulators come first; then a, b, whether to accumulate, and which operands are transposed.
#define SN_WGMMA(columns, names, a, b, accumulate, transposed)                            \
  "{\n"                                                                                   \
  ".reg .pred accumulate;\n"                                                              \
  "setp.ne.b32 accumulate, " accumulate                                                   \
  ", 0;\n"                                                                                \
  "wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32.bf16.bf16 {" names "}, " a ", " b \
  ", accumulate, 1, 1, " transposed                                                       \
  ";\n"                                                                                   \
  "}"
#define SN_SHARED_OPERANDS "l"(a), "l"(b), "r"(add), "n"(transposedA), "n"(transposedB)
#define SN_REGISTER_OPERANDS "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add), "n"(transposedB)
#endif

// d += a b, or d = a b, for a [64, 16] and b [16, Columns] in shared memory.
template <int Columns, Major majorA = Major::inner, Major majorB = Major::inner>
__device__ __forceinline__ void multiplyWarpgroup(float (&d)[Columns / 2], uint64_t a, uint64_t b,
                                                  bool accumulate = true) {
  static_assert(Columns == 64 || Columns == 128 || Columns == 256);
  constexpr int transposedA = majorA == Major::outer, transposedB = majorB == Major::outer;
#if defined(__CUDACC__)
  int add = accumulate;
  if constexpr (Columns == 64) {
    asm volatile(SN_WGMMA(64, SN_NAMES_32, "%32", "%33", "%34", "%35, %36")
                 : SN_BIND_32(0)
                 : SN_SHARED_OPERANDS
                 : "memory");
  } else if constexpr (Columns == 128) {
    asm volatile(SN_WGMMA(128, SN_NAMES_64, "%64", "%65", "%66", "%67, %68")
                 : SN_BIND_64(0)
                 : SN_SHARED_OPERANDS
                 : "memory");
  } else {
    asm volatile(SN_WGMMA(256, SN_NAMES_128, "%128", "%129", "%130", "%131, %132")
                 : SN_BIND_128(0)
                 : SN_SHARED_OPERANDS
                 : "memory");
  }
#else
  emulation::addProduct({Columns, d, false, {}, a, b, transposedA != 0, transposedB != 0, accumulate});
#endif
}

// The same with a in registers, the layout that of mma.m16n8k16: each warp has its 16 rows.
template <int Columns, Major majorB = Major::inner>
__device__ __forceinline__ void multiplyWarpgroup(float (&d)[Columns / 2], const uint32_t (&a)[4], uint64_t b,
                                                  bool accumulate = true) {
  static_assert(Columns == 64 || Columns == 128 || Columns == 256);
  constexpr int transposedB = majorB == Major::outer;
#if defined(__CUDACC__)
  int add = accumulate;
  if constexpr (Columns == 64) {
    asm volatile(SN_WGMMA(64, SN_NAMES_32, "{%32, %33, %34, %35}", "%36", "%37", "%38")
                 : SN_BIND_32(0)
                 : SN_REGISTER_OPERANDS
                 : "memory");
  } else if constexpr (Columns == 128) {
    asm volatile(SN_WGMMA(128, SN_NAMES_64, "{%64, %65, %66, %67}", "%68", "%69", "%70")
                 : SN_BIND_64(0)
                 : SN_REGISTER_OPERANDS
                 : "memory");
  } else {
    asm volatile(SN_WGMMA(256, SN_NAMES_128, "{%128, %129, %130, %131}", "%132", "%133", "%134")
                 : SN_BIND_128(0)
                 : SN_REGISTER_OPERANDS
                 : "memory");
  }
#else
  emulation::addProduct({Columns, d, true, {a[0], a[1], a[2], a[3]}, 0, b, false, transposedB != 0, accumulate});
#endif
}

#if defined(__CUDACC__)
#undef SN_NAMES_32
#undef SN_NAMES_64
#undef SN_NAMES_128
#undef SN_BIND_8
#undef SN_BIND_32
#undef SN_BIND_64
#undef SN_BIND_128
#undef SN_WGMMA
#undef SN_SHARED_OPERANDS
#undef SN_REGISTER_OPERANDS
#endif

#endif

}  // namespace sn::cuda
