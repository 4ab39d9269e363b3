package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_gemm_shape;
import java.util.Locale;
import org.bytedeco.javacpp.IntPointer;

/**
 * A matrix product of dense tensors, c [m, n] = op(a) op(b) over k: what its speed depends on, and
 * so what a tuning knows it by.
 *
 * @param transposeA whether a is [k, m]
 * @param transposeB whether b is [n, k]
 * @param dtype of a and b
 * @param out type of c
 * @param epilogue a value of {@code sn_epilogue}
 * @param activation of the epilogues that have one, else null
 * @param bias whether it has one, where the epilogue allows both
 * @param aux whether it has one, where the epilogue allows both
 * @param aStride elements from a row of a to the next
 * @param cStride elements from a row of c, and of aux, to the next
 */
record Gemm(
    long m,
    long n,
    long k,
    boolean transposeA,
    boolean transposeB,
    DType dtype,
    DType out,
    int epilogue,
    Activation activation,
    boolean bias,
    boolean aux,
    long aStride,
    long cStride) {

  /** A product and nothing else. */
  static Gemm plain(
      long m, long n, long k, boolean transposeA, boolean transposeB, DType dtype, DType out) {
    int none = sinter.SN_EPILOGUE_NONE;
    long aStride = transposeA ? m : k;
    return new Gemm(
        m, n, k, transposeA, transposeB, dtype, out, none, null, false, false, aStride, n);
  }

  Gemm with(int epilogueNow, Activation activationNow, boolean biasNow, boolean auxNow) {
    return new Gemm(
        m,
        n,
        k,
        transposeA,
        transposeB,
        dtype,
        out,
        epilogueNow,
        activationNow,
        biasNow,
        auxNow,
        aStride,
        cStride);
  }

  /** The same where a, or c and aux, are columns of wider matrices. */
  Gemm among(long aColumns, long cColumns) {
    return new Gemm(
        m,
        n,
        k,
        transposeA,
        transposeB,
        dtype,
        out,
        epilogue,
        activation,
        bias,
        aux,
        aColumns,
        cColumns);
  }

  /** How many elements of memory a reaches over. */
  long aElements() {
    return (transposeA ? k : m) * aStride;
  }

  /** The same of c, and of aux. */
  long cElements() {
    return m * cStride;
  }

  /** Its multiplications and additions. */
  double flops() {
    return 2.0 * m * n * k;
  }

  sn_gemm_shape shape(long plan) {
    return new sn_gemm_shape()
        .batch(1)
        .m(m)
        .n(n)
        .k(k)
        .transpose_a(transposeA ? 1 : 0)
        .transpose_b(transposeB ? 1 : 0)
        .a_stride(aStride)
        .b_stride(transposeB ? k : n)
        .c_stride(cStride)
        .a_batch(0)
        .b_batch(0)
        .c_batch(0)
        .dtype(dtype.code())
        .c_dtype(out.code())
        .epilogue(epilogue)
        .activation(activation == null ? 0 : activation.code())
        .accumulate(0)
        .plan(plan);
  }

  /** The shape with the plan that the device's tuning has for it. */
  sn_gemm_shape shape(Device device) {
    return shape(device.tuning().plan(this));
  }

  /** Bytes of workspace, by the same plan. */
  long workspace(Device device) {
    return workspace(device, device.tuning().plan(this));
  }

  long workspace(Device device, long plan) {
    long[] bytes = new long[1];
    try (sn_gemm_shape shape = shape(plan)) {
      Natives.check(sinter.sn_gemm_workspace(device.handle().device, shape, bytes));
    }
    return bytes[0];
  }

  /** All plans that the device has for it; the first is 0, the device's own choice. */
  long[] plans(Device device) {
    try (sn_gemm_shape shape = shape(0);
        IntPointer count = new IntPointer(1)) {
      Natives.check(sinter.sn_gemm_plans(device.handle().device, shape, 0, (long[]) null, count));
      long[] plans = new long[count.get()];
      Natives.check(
          sinter.sn_gemm_plans(device.handle().device, shape, plans.length, plans, count));
      return plans;
    }
  }

  /** For example {@code 65536x3072x768 nn bf16 to bf16, bias gelu_tanh aux}. */
  @Override
  public String toString() {
    StringBuilder text = new StringBuilder(m + "x" + n + "x" + k + " ");
    text.append(transposeA ? 't' : 'n').append(transposeB ? 't' : 'n').append(' ');
    text.append(dtype).append(" to ").append(out).append(operands());
    return text.toString().toLowerCase(Locale.ROOT);
  }

  private String operands() {
    String kind =
        switch (epilogue) {
          case sinter.SN_EPILOGUE_BIAS_ACTIVATION -> " " + activation;
          case sinter.SN_EPILOGUE_BIAS_RESIDUAL -> " residual";
          case sinter.SN_EPILOGUE_ACTIVATION_BACKWARD -> " " + activation + " backward";
          default -> "";
        };
    String strides =
        (aStride == (transposeA ? m : k) ? "" : " a of " + aStride)
            + (cStride == n ? "" : " c of " + cStride);
    boolean keeps = aux && epilogue == sinter.SN_EPILOGUE_BIAS_ACTIVATION;
    String all = (bias ? " bias" : "") + kind + (keeps ? " aux" : "") + strides;
    return all.isEmpty() ? "" : "," + all;
  }
}
