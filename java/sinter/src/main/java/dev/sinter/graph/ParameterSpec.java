package dev.sinter.graph;

/**
 * A parameter: its Hugging Face name, its shape, and how a new model draws it.
 *
 * @param name for example {@code h.0.attn.c_attn.weight}
 * @param shape as on disk
 * @param mean of the initial values
 * @param deviation of the initial values; 0: all equal the mean
 */
public record ParameterSpec(String name, long[] shape, float mean, float deviation) {
  /**
   * Drawn from a normal distribution around zero.
   *
   * @param name of the parameter
   * @param deviation of the distribution
   * @param shape as on disk
   * @return the specification
   */
  public static ParameterSpec normal(String name, float deviation, long... shape) {
    return new ParameterSpec(name, shape, 0, deviation);
  }

  /**
   * Filled with one value.
   *
   * @param name of the parameter
   * @param value of all elements
   * @param shape as on disk
   * @return the specification
   */
  public static ParameterSpec constant(String name, float value, long... shape) {
    return new ParameterSpec(name, shape, value, 0);
  }

  /**
   * Counts the elements.
   *
   * @return the product of the shape
   */
  public long elements() {
    long product = 1;
    for (long size : shape) {
      product = Math.multiplyExact(product, size);
    }
    return product;
  }

  /**
   * Whether weight decay applies: to matrices and tables, not to biases and gains.
   *
   * @return true for two dimensions or more
   */
  public boolean decays() {
    return shape.length >= 2;
  }
}
