package dev.sinter.io;

import java.util.Arrays;

/**
 * A tensor of a safetensors file.
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
   * Counts the elements.
   *
   * @return the product of the shape, 1 for a scalar
   * @throws ArithmeticException where it exceeds 63 bits
   */
  public long elements() {
    long product = 1;
    for (long size : shape) {
      product = Math.multiplyExact(product, size);
    }
    return product;
  }

  /**
   * Counts the bytes.
   *
   * @return bytes in the file
   * @throws ArithmeticException where it exceeds 63 bits, or is no whole number of bytes
   */
  public long bytes() {
    long bits = Math.multiplyExact(elements(), (long) dtype.bits);
    if (bits % 8 != 0) {
      throw new ArithmeticException(bits + " bits");
    }
    return bits / 8;
  }

  @Override
  public String toString() {
    return name + " " + dtype + Arrays.toString(shape);
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
