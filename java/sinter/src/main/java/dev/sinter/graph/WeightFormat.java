package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import java.util.Locale;

/**
 * How weights that no longer change are held: packed for products with few rows, the same on all
 * devices and in files. Eight and four bits are whole numbers, 32 of which share a scale.
 */
public enum WeightFormat {
  /** Single precision: nothing is lost. */
  F32(sinter.SN_WEIGHT_F32),
  /** The upper half of a single. */
  BF16(sinter.SN_WEIGHT_BF16),
  /** 8.5 bits a weight. */
  Q8(sinter.SN_WEIGHT_Q8),
  /** 4.5 bits a weight. */
  Q4(sinter.SN_WEIGHT_Q4);

  private final int code;

  WeightFormat(int code) {
    this.code = code;
  }

  /**
   * Reads a name as a user writes it.
   *
   * @param name {@code fp32}, {@code bf16}, {@code q8} or {@code q4}
   * @return the format
   * @throws IllegalArgumentException for any other name
   */
  public static WeightFormat of(String name) {
    return switch (name.toLowerCase(Locale.ROOT)) {
      case "fp32", "f32", "float32" -> F32;
      case "bf16", "bfloat16" -> BF16;
      case "q8" -> Q8;
      case "q4" -> Q4;
      default ->
          throw new IllegalArgumentException("weight format " + name + ": fp32, bf16, q8 or q4");
    };
  }

  /**
   * The name that users and files know.
   *
   * @return {@code fp32}, {@code bf16}, {@code q8} or {@code q4}
   */
  public String text() {
    return this == F32 ? "fp32" : name().toLowerCase(Locale.ROOT);
  }

  /**
   * The size of a packed matrix.
   *
   * @param in its inputs
   * @param out its outputs
   * @return bytes, what is padded included
   */
  public long bytes(long in, long out) {
    Natives.load();
    long[] bytes = new long[1];
    Natives.check(sinter.sn_pack_bytes(code(), in, out, bytes));
    return bytes[0];
  }

  /** The type of the keys and values that go with such weights. */
  DType cacheType() {
    return this == F32 ? DType.F32 : DType.BF16;
  }

  /** The value of {@code sn_weight_format}. */
  int code() {
    return code;
  }
}
