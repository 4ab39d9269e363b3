package dev.sinter.io;

import java.util.Arrays;

/**
 * A tensor of a safetensors file, without its data: row-major, little-endian.
 *
 * @param name of the tensor
 * @param dtype of its elements
 * @param shape its sizes; empty for a scalar
 */
public record TensorInfo(String name, Dtype dtype, long[] shape) {
  /** The element types of the format. */
  public enum Dtype {
    /** Boolean, a byte each. */
    BOOL(8),
    /** Unsigned byte. */
    U8(8),
    /** Signed byte. */
    I8(8),
    /** 8-bit float, 5 bits of exponent. */
    F8_E5M2(8),
    /** 8-bit float, 4 bits of exponent. */
    F8_E4M3(8),
    /** 8-bit power of two. */
    F8_E8M0(8),
    /** 8-bit float, 4 bits of exponent, one zero. */
    F8_E4M3FNUZ(8),
    /** 8-bit float, 5 bits of exponent, one zero. */
    F8_E5M2FNUZ(8),
    /** 4-bit float. */
    F4(4),
    /** 6-bit float, 2 bits of exponent. */
    F6_E2M3(6),
    /** 6-bit float, 3 bits of exponent. */
    F6_E3M2(6),
    /** 16-bit integer. */
    I16(16),
    /** Unsigned 16-bit integer. */
    U16(16),
    /** IEEE half. */
    F16(16),
    /** Upper half of a single. */
    BF16(16),
    /** 32-bit integer. */
    I32(32),
    /** Unsigned 32-bit integer. */
    U32(32),
    /** IEEE single. */
    F32(32),
    /** Complex of two singles. */
    C64(64),
    /** IEEE double. */
    F64(64),
    /** 64-bit integer. */
    I64(64),
    /** Unsigned 64-bit integer. */
    U64(64);

    private final int bits;

    Dtype(int bits) {
      this.bits = bits;
    }

    /**
     * Returns the size of an element.
     *
     * @return bits
     */
    public int bits() {
      return bits;
    }
  }

  /**
   * Checks that a tensor of this type and shape has a size in bytes.
   *
   * @throws IllegalArgumentException where a dimension is negative, the size exceeds 2^63 - 1 bits,
   *     or the data would end inside a byte
   */
  public TensorInfo {
    shape = shape.clone();
    bits(name, dtype, shape);
  }

  /** A copy of the sizes. */
  @Override
  public long[] shape() {
    return shape.clone();
  }

  /**
   * Counts the elements.
   *
   * @return the product of the shape, 1 for a scalar
   */
  public long elements() {
    return bits(name, dtype, shape) / dtype.bits;
  }

  /**
   * Counts the bytes.
   *
   * @return bytes in the file
   */
  public long bytes() {
    return bits(name, dtype, shape) / 8;
  }

  private static long bits(String name, Dtype dtype, long[] shape) {
    long bits = dtype.bits;
    try {
      for (long size : shape) {
        if (size < 0) {
          throw problem(name, shape, "has a negative dimension");
        }
        bits = Math.multiplyExact(bits, size);
      }
    } catch (ArithmeticException e) {
      throw problem(name, shape, "is larger than any file can be");
    }
    if (bits % 8 != 0) {
      throw problem(name, shape, "of " + dtype + " ends inside a byte");
    }
    return bits;
  }

  private static IllegalArgumentException problem(String name, long[] shape, String problem) {
    return new IllegalArgumentException(
        "tensor "
            + FormatException.quote(name)
            + ": shape "
            + Arrays.toString(shape)
            + " "
            + problem);
  }

  @Override
  public String toString() {
    return FormatException.quote(name) + " " + dtype + Arrays.toString(shape);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof TensorInfo that
        && name.equals(that.name)
        && dtype == that.dtype
        && Arrays.equals(shape, that.shape);
  }

  @Override
  public int hashCode() {
    return name.hashCode() * 31 + Arrays.hashCode(shape);
  }
}
