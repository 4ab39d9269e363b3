package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_gemm_shape;

/** Shapes of matrix products of dense tensors. */
final class Gemm {
  private Gemm() {}

  /** c [m, n] = op(a) op(b) over k, each operand dense. */
  static sn_gemm_shape shape(
      long m, long n, long k, boolean transposeA, boolean transposeB, DType dtype, DType cDtype) {
    return new sn_gemm_shape()
        .batch(1)
        .m(m)
        .n(n)
        .k(k)
        .transpose_a(transposeA ? 1 : 0)
        .transpose_b(transposeB ? 1 : 0)
        .a_stride(transposeA ? m : k)
        .b_stride(transposeB ? k : n)
        .c_stride(n)
        .a_batch(0)
        .b_batch(0)
        .c_batch(0)
        .dtype(dtype.code())
        .c_dtype(cDtype.code())
        .epilogue(sinter.SN_EPILOGUE_NONE)
        .activation(0)
        .accumulate(0);
  }

  static long workspace(Device device, sn_gemm_shape shape) {
    long[] bytes = new long[1];
    Natives.check(sinter.sn_gemm_workspace(device.handle().device, shape, bytes));
    return bytes[0];
  }
}
