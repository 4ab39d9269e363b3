package dev.sinter.model;

import dev.sinter.graph.AdapterBank.Update;
import dev.sinter.graph.LowRank;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Parameters.Part;
import dev.sinter.io.FormatException;
import java.io.IOException;
import java.nio.file.Path;
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
   * Copies the adapter of a model, as it is now.
   *
   * @param name under which requests will ask for it
   * @param model adapted by low-rank updates alone
   * @return the adapter, for engines over the same base
   * @throws IllegalArgumentException where the model has no adapter, or one that has more than
   *     low-rank updates
   * @throws IllegalStateException where the adapter is merged
   */
  public static LoadedAdapter of(String name, LanguageModel model) {
    Adapter adapter = model.adapter();
    if (adapter == null) {
      throw new IllegalArgumentException("the model has no adapter");
    }
    if (adapter.isMerged()) {
      throw new IllegalStateException("the adapter is merged; unmerge it first");
    }
    List<ParameterSpec> whole = adapter.plan().whole();
    if (!whole.isEmpty()) {
      throw new IllegalArgumentException(
          "adapter "
              + name
              + " has "
              + whole.get(0).name()
              + ", which is no low-rank update; requests can have those alone of their own");
    }
    List<LowRankUpdate> updates = new ArrayList<>();
    for (AdapterPlan.Update update : adapter.plan().updates()) {
      if (update.rank() > 0) {
        updates.add(update(update, adapter.parameters()));
      }
    }
    return new LoadedAdapter(name, updates);
  }

  private static LowRankUpdate update(AdapterPlan.Update update, Parameters from) {
    LowRank of = update.of();
    int rank = update.rank();
    int columns = Math.toIntExact(of.columns());
    float[] a = from.read(Part.WEIGHT, of.a());
    float[] b = from.read(Part.WEIGHT, of.b()); // [columns, rank]
    float[] scale = of.scale() == null ? null : from.read(Part.WEIGHT, of.scale());
    float[] scaled = new float[b.length];
    for (int k = 0; k < rank; k++) {
      float factor = scale == null ? of.factor() : of.factor() * scale[k];
      for (int j = 0; j < columns; j++) {
        scaled[k * columns + j] = factor * b[j * rank + k];
      }
    }
    return new LowRankUpdate(
        update.weight(), Math.toIntExact(of.column()), columns, rank, a, scaled);
  }

  /**
   * Reads an adapter.
   *
   * @param name under which requests will ask for it
   * @param folder in the layout of PEFT: see {@link PeftFiles}
   * @param base for which it is to be; nothing of it changes
   * @return the adapter
   * @throws IOException where a file is missing or not what it should be, or the adapter is for
   *     another model, or has more than low-rank updates
   */
  public static LoadedAdapter read(String name, Path folder, FrozenModel base) throws IOException {
    try (LanguageModel adapted = PeftFiles.load(folder, base)) {
      return of(name, adapted);
    } catch (IllegalArgumentException e) {
      throw new FormatException(folder, e.getMessage(), e);
    }
  }

  /**
   * What a model's matrices get of it.
   *
   * @throws IllegalArgumentException where it is another model's
   */
  List<Update> updatesOf(FrozenModel model) {
    Set<String> linear = Set.copyOf(model.linearWeights());
    Map<String, List<LowRankUpdate>> byWeight = new LinkedHashMap<>();
    for (LowRankUpdate update : updates) {
      check(linear.contains(update.weight()), update, model);
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

  private void check(boolean linear, LowRankUpdate update, FrozenModel model) {
    String weight = update.weight();
    if (!linear) {
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
