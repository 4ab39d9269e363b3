package dev.sinter.model;

import dev.sinter.graph.AdapterBank.Update;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;

/**
 * A low-rank adapter on the host, as it was read: for a model whose weights stay as they are, which
 * can have many, each request its own.
 *
 * @param name under which requests ask for it
 * @param updates of weights; those of one weight add up
 */
public record LoadedAdapter(String name, List<LowRankUpdate> updates) {
  /** Checks that it has a name. */
  public LoadedAdapter {
    Objects.requireNonNull(name, "name");
    if (name.isBlank()) {
      throw new IllegalArgumentException("an adapter needs a name that is not blank");
    }
    updates = List.copyOf(updates);
  }

  /**
   * What a model's matrices get of it.
   *
   * @throws IllegalArgumentException where it is another model's
   */
  List<Update> updatesOf(FrozenModel model) {
    Set<String> adaptable = Set.copyOf(model.adaptable());
    Map<String, List<LowRankUpdate>> byWeight = new LinkedHashMap<>();
    for (LowRankUpdate update : updates) {
      check(adaptable.contains(update.weight()), update, model);
      byWeight.computeIfAbsent(update.weight(), weight -> new ArrayList<>()).add(update);
    }
    List<Update> all = new ArrayList<>();
    byWeight.forEach((weight, parts) -> all.add(together(weight, parts, shape(weight, model))));
    return all;
  }

  /** [in, out] */
  private static long[] shape(String weight, FrozenModel model) {
    return model.parameters().get(weight).shape();
  }

  private void check(boolean adaptable, LowRankUpdate update, FrozenModel model) {
    String weight = update.weight();
    if (!adaptable) {
      throw new IllegalArgumentException(
          String.format(
              "adapter %s changes %s, which is no weight of a linear layer of this model; it is"
                  + " an adapter of another base",
              name, weight));
    }
    long[] shape = shape(weight, model);
    if (update.in() != shape[0] || (long) update.first() + update.columns() > shape[1]) {
      throw new IllegalArgumentException(
          String.format(
              "adapter %s changes outputs %d to %d of %d inputs of %s, which has %d outputs of %d"
                  + " inputs; it is an adapter of another base",
              name,
              update.first(),
              update.first() + update.columns() - 1,
              update.in(),
              weight,
              shape[1],
              shape[0]));
    }
  }

  /** One update of the whole weight: the ranks of its parts, one after the other. */
  private static Update together(String weight, List<LowRankUpdate> parts, long[] shape) {
    int in = (int) shape[0];
    int out = (int) shape[1];
    LowRankUpdate first = parts.get(0);
    if (parts.size() == 1 && first.columns() == out) {
      return new Update(weight, first.rank(), first.a(), first.b());
    }
    int rank = parts.stream().mapToInt(LowRankUpdate::rank).sum();
    float[] a = new float[Math.multiplyExact(rank, in)];
    float[] b = new float[Math.multiplyExact(rank, out)];
    int row = 0;
    for (LowRankUpdate part : parts) {
      System.arraycopy(part.a(), 0, a, row * in, part.a().length);
      for (int k = 0; k < part.rank(); k++, row++) {
        System.arraycopy(part.b(), k * part.columns(), b, row * out + part.first(), part.columns());
      }
    }
    return new Update(weight, rank, a, b);
  }
}
