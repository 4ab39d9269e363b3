package dev.sinter.graph;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Weights that stay as they are, dense or packed, with parameters beside them that train: low-rank
 * updates, bottlenecks, and copies of what is to be trained as a whole, which take the place of the
 * originals. The base may be shared by many.
 */
public final class AdaptedWeights extends Weights {
  private final Weights base;
  private final Parameters added;
  private final Map<String, List<LowRank>> lowRanks;
  private final Map<String, Bottleneck> bottlenecks;

  /**
   * Allocates the added parameters, zeroed.
   *
   * @param base frozen; it stays the caller's, who closes it after these
   * @param added all parameters that train
   * @param lowRanks the updates, by the weight whose product they update
   * @param bottlenecks by the name of the projection that they stand behind
   * @throws IllegalArgumentException where a named parameter is not there or does not fit
   */
  public AdaptedWeights(
      Weights base,
      List<ParameterSpec> added,
      Map<String, List<LowRank>> lowRanks,
      Map<String, Bottleneck> bottlenecks) {
    super(base.device(), base.dtype(), together(base, added), base.stream());
    this.base = base;
    this.lowRanks = Map.copyOf(lowRanks);
    this.bottlenecks = Map.copyOf(bottlenecks);
    lowRanks.forEach((weight, all) -> all.forEach(one -> check(weight, one)));
    this.added = Parameters.beside(base, added);
  }

  private static List<ParameterSpec> together(Weights base, List<ParameterSpec> added) {
    Map<String, ParameterSpec> all = new LinkedHashMap<>();
    base.specs().forEach(spec -> all.put(spec.name(), spec));
    added.forEach(spec -> all.put(spec.name(), spec));
    return new ArrayList<>(all.values());
  }

  private void check(String weight, LowRank update) {
    base.spec(weight);
    long[] a = spec(update.a()).shape();
    long[] b = spec(update.b()).shape();
    boolean fits = a.length == 2 && b.length == 2 && a[0] == b[1] && b[0] == update.columns();
    if (!fits || update.scale() != null && spec(update.scale()).elements() != a[0]) {
      throw new IllegalArgumentException(
          weight + ": " + update + " does not fit its parameters' shapes");
    }
  }

  /**
   * Returns what trains.
   *
   * @return the parameters beside the base
   */
  public Parameters added() {
    return added;
  }

  /**
   * Returns what stays as it is.
   *
   * @return the weights that were given
   */
  public Weights base() {
    return base;
  }

  @Override
  public Tensor get(String name) {
    return added.has(name) ? added.get(name) : base.get(name);
  }

  @Override
  Parameters trained() {
    return added;
  }

  @Override
  List<LowRank> lowRanks(String weight) {
    return lowRanks.getOrDefault(weight, List.of());
  }

  @Override
  Bottleneck bottleneck(String projection) {
    return bottlenecks.get(projection);
  }

  /** Gives the added parameters' memory back. Closing twice is harmless. */
  @Override
  public void close() {
    super.close();
    added.close();
  }
}
