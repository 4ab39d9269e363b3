package dev.sinter.model;

import static dev.sinter.model.AdapterConfig.check;

import java.util.List;

/**
 * Adapters (Houlsby et al. 2019, section 2.1): y = x + W2 gelu(W1 x + b1) + b2 after the projection
 * of each sub-layer and its dropout, before the residual sum and the norm. W1 [size, width] and W2
 * [width, size] begin normal, cut off at two deviations, the biases as zeros: so the model begins
 * near what it was. All layer norms train as well, and the task's head.
 *
 * @param size m, of the bottleneck
 * @param deviation of new weights
 * @param modulesToSave ends of the paths of further modules that train whole; empty: the task's
 *     head
 * @param base what the adapter is made over; empty: not known
 */
public record BottleneckConfig(int size, double deviation, List<String> modulesToSave, String base)
    implements AdapterConfig {
  /** Checks the ranges. */
  public BottleneckConfig {
    check(size >= 1, "a bottleneck of " + size + "; 1 or more");
    check(deviation >= 0 && Double.isFinite(deviation), "deviation " + deviation + "; 0 or more");
    modulesToSave = List.copyOf(modulesToSave);
  }

  /**
   * The paper's: a deviation of 0.01.
   *
   * @param size m, of the bottleneck: 8, 64 and 256 in the paper
   * @return the settings
   */
  public static BottleneckConfig of(int size) {
    return new BottleneckConfig(size, 0.01, List.of(), "");
  }

  @Override
  public BottleneckConfig withModulesToSave(String... modules) {
    return new BottleneckConfig(size, deviation, List.of(modules), base);
  }

  @Override
  public BottleneckConfig withBase(String name) {
    return new BottleneckConfig(size, deviation, modulesToSave, name);
  }
}
