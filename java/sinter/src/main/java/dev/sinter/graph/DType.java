package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import java.util.Locale;

/** The storage type of a tensor's elements. Arithmetic accumulates in fp32 whatever the storage. */
public enum DType {
  /** IEEE 754 single precision. */
  F32(4, sinter.SN_F32),
  /** The upper half of a single: 8 bits of exponent, 8 of precision. */
  BF16(2, sinter.SN_BF16),
  /** Tokens, targets, lengths. */
  I32(4, -1);

  private final int bytes;
  private final int code;

  DType(int bytes, int code) {
    this.bytes = bytes;
    this.code = code;
  }

  /**
   * The size of one element.
   *
   * @return bytes
   */
  public int bytes() {
    return bytes;
  }

  /** The value of {@code sn_dtype}. */
  int code() {
    return code;
  }

  /**
   * Reads a name as a user writes it.
   *
   * @param name {@code fp32} or {@code bf16}
   * @return the type
   * @throws IllegalArgumentException for any other name
   */
  public static DType of(String name) {
    return switch (name.toLowerCase(Locale.ROOT)) {
      case "fp32", "f32", "float32" -> F32;
      case "bf16", "bfloat16" -> BF16;
      default -> throw new IllegalArgumentException("dtype " + name + ": fp32 or bf16");
    };
  }
}
