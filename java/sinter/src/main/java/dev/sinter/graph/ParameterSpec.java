package dev.sinter.graph;

import java.util.List;

/**
 * A parameter: its Hugging Face name, its shape, and how a new model draws it.
 *
 * @param name for example {@code h.0.attn.c_attn.weight}
 * @param shape in memory
 * @param mean of the initial values
 * @param deviation of the initial values; 0: all equal the mean
 * @param parts the names under which files hold it: itself, or pieces of equal size that lie one
 *     after the other along its first dimension
 * @param table the values of one that is not trained; null: it is
 */
public record ParameterSpec(
    String name, long[] shape, float mean, float deviation, List<String> parts, Table table) {
  /** Checks that the pieces are of equal size. */
  public ParameterSpec {
    parts = List.copyOf(parts);
    if (shape[0] % parts.size() != 0) {
      throw new IllegalArgumentException(
          name + ": " + shape[0] + " rows do not make " + parts.size() + " equal pieces");
    }
  }

  /** The values of a table that is computed. */
  @FunctionalInterface
  public interface Table {
    /**
     * A value.
     *
     * @param row of the table
     * @param column of the table
     * @return the value there
     */
    double at(long row, long column);
  }

  /**
   * Drawn from a normal distribution around zero.
   *
   * @param name of the parameter
   * @param deviation of the distribution
   * @param shape as on disk
   * @return the specification
   */
  public static ParameterSpec normal(String name, float deviation, long... shape) {
    return new ParameterSpec(name, shape, 0, deviation, List.of(name), null);
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
    return new ParameterSpec(name, shape, value, 0, List.of(name), null);
  }

  /**
   * A table that is not trained.
   *
   * @param name of the parameter
   * @param table its values
   * @param rows of the table
   * @param columns of the table
   * @return the specification
   */
  public static ParameterSpec table(String name, Table table, long rows, long columns) {
    return new ParameterSpec(name, new long[] {rows, columns}, 0, 0, List.of(name), table);
  }

  /**
   * The same, held by files as pieces under names of their own.
   *
   * @param names of the pieces, in order along the first dimension
   * @return the specification
   */
  public ParameterSpec inParts(List<String> names) {
    return new ParameterSpec(name, shape, mean, deviation, names, table);
  }

  /**
   * The shape of each piece that files hold.
   *
   * @return the parameter's shape where it is one piece
   */
  public long[] partShape() {
    long[] part = shape.clone();
    part[0] /= parts.size();
    return part;
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
   * Whether it is trained.
   *
   * @return false for a table
   */
  public boolean trains() {
    return table == null;
  }

  /**
   * Whether weight decay applies: to matrices and tables that are trained, not to biases and gains.
   *
   * @return true for two dimensions or more
   */
  public boolean decays() {
    return shape.length >= 2 && trains();
  }
}
