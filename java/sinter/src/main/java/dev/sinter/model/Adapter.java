package dev.sinter.model;

import static dev.sinter.graph.ParameterSpec.constant;

import dev.sinter.graph.AdaptedWeights;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.GraphBuilder.Layout;
import dev.sinter.graph.LowRank;
import dev.sinter.graph.PackedParameters;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Parameters.Part;
import dev.sinter.graph.Weights;
import dev.sinter.model.AdapterPlan.Update;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.function.DoubleSupplier;

/**
 * The few parameters that train over a model which stays as it is: see {@link TaskModel#adapted},
 * {@link LanguageModel#adapted} and {@link PeftFiles}.
 */
public final class Adapter {
  private final Device device;
  private final AdapterPlan plan;
  private final AdaptedWeights weights;
  private AdapterConfig config;

  /** What merging changed, as it was; null: nothing is merged. */
  private Parameters originals;

  private final Map<String, float[]> moved = new HashMap<>();

  /**
   * The low-rank update of one module: {@code factor * B diag(E) A}.
   *
   * @param module its path in Hugging Face's class
   * @param a name of A [rank, in] among {@link #parameters}
   * @param b name of B [out, rank]
   * @param scale name of E [rank, 1], the singular values of AdaLoRA; null: ones
   * @param rank 1 or more
   * @param in how many inputs the module has
   * @param out how many outputs
   */
  public record Module(
      String module, String a, String b, String scale, int rank, long in, long out) {}

  /** Lays an adapter of zeros over a model's weights. */
  Adapter(Device device, Weights base, AdapterPlan plan) {
    if (base instanceof AdaptedWeights) {
      throw new IllegalArgumentException(
          "the model has an adapter; merge that, or adapt the model under it");
    }
    this.device = device;
    this.plan = plan;
    this.config = plan.config();
    this.weights = new AdaptedWeights(base, plan.added(), plan.lowRanks(), plan.bottlenecks());
  }

  /** A new adapter, with which the model computes what it did, or nearly so. */
  static Adapter create(Device device, Weights base, AdapterPlan plan, long seed) {
    Adapter adapter = new Adapter(device, base, plan);
    try {
      adapter.initialize(seed);
      return adapter;
    } catch (RuntimeException e) {
      adapter.close();
      throw e;
    }
  }

  private void initialize(long seed) {
    parameters().initialize(seed);
    SplittableRandom seeds = new SplittableRandom(seed);
    for (Update update : plan.updates()) {
      if (update.of().scale() == null) {
        double bound = 1 / Math.sqrt((double) update.in());
        SplittableRandom random = seeds.split();
        draw(update.of().a(), () -> bound * (2 * random.nextDouble() - 1));
      }
    }
    for (var bottleneck : plan.bottlenecks().values()) {
      double deviation = ((BottleneckConfig) config).deviation();
      for (String name : List.of(bottleneck.down(), bottleneck.up())) {
        SplittableRandom random = seeds.split();
        draw(name + ".weight", () -> deviation * truncatedNormal(random));
      }
    }
    for (ParameterSpec spec : plan.copies()) {
      copy(spec);
    }
  }

  private void draw(String name, DoubleSupplier values) {
    float[] drawn = parameters().read(Part.WEIGHT, name);
    for (int i = 0; i < drawn.length; i++) {
      drawn[i] = (float) values.getAsDouble();
    }
    parameters().write(Part.WEIGHT, name, drawn);
  }

  /** A standard normal that is at most 2 from 0 (Box and Muller 1958). */
  private static double truncatedNormal(SplittableRandom random) {
    while (true) {
      double radius = StrictMath.sqrt(-2 * StrictMath.log(1 - random.nextDouble()));
      double value = radius * StrictMath.cos(2 * Math.PI * random.nextDouble());
      if (Math.abs(value) <= 2) {
        return value;
      }
    }
  }

  private void copy(ParameterSpec spec) {
    if (weights.base() instanceof Parameters dense) {
      for (String part : spec.parts()) {
        parameters().write(Part.WEIGHT, part, dense.read(Part.WEIGHT, part));
      }
      return;
    }
    PackedParameters packed = (PackedParameters) weights.base();
    if (packed.isPacked(spec.name())) {
      throw new IllegalArgumentException(
          spec.name()
              + " is packed, so it cannot train whole; make it a target, or use plain files");
    }
    float[] values = new float[Math.toIntExact(spec.elements())];
    FloatBuffer to = FloatBuffer.wrap(values);
    try {
      packed.readBytes(
          spec.name(), bytes -> to.put(bytes.order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()));
    } catch (IOException e) {
      throw new UncheckedIOException(e); // an array writes nothing
    }
    parameters().write(Part.WEIGHT, spec.name(), values);
  }

  AdapterPlan plan() {
    return plan;
  }

  AdaptedWeights weights() {
    return weights;
  }

  /**
   * Returns the settings.
   *
   * @return with the targets and the modules to save that they came to on this model, and what
   *     AdaLoRA has kept
   */
  public AdapterConfig config() {
    return config;
  }

  /**
   * Returns what trains.
   *
   * @return the adapter's own parameters
   */
  public Parameters parameters() {
    return weights.added();
  }

  /**
   * Lists the low-rank updates.
   *
   * @return of each module that has one, in the model's order
   */
  public List<Module> modules() {
    List<Module> all = new ArrayList<>();
    for (Update update : plan.updates()) {
      if (update.rank() > 0) {
        LowRank of = update.of();
        all.add(
            new Module(
                plan.base().path(update.module()),
                of.a(),
                of.b(),
                of.scale(),
                update.rank(),
                update.in(),
                of.columns()));
      }
    }
    return all;
  }

  /**
   * Notes which triplets of AdaLoRA's are left: what files then hold.
   *
   * @param triplets by the paths of all {@link #modules}, each as long as the initial rank
   */
  public void keep(Map<String, List<Boolean>> triplets) {
    if (!(config instanceof AdaLoraConfig adaLora)) {
      throw new IllegalStateException("only AdaLoRA's ranks change in training");
    }
    config = adaLora.withKept(triplets);
  }

  /** Which triplets of an update's parameters files hold. */
  boolean[] kept(Update update) {
    boolean[] kept = new boolean[update.rank()];
    Arrays.fill(kept, true);
    if (config instanceof AdaLoraConfig adaLora) {
      List<Boolean> triplets = adaLora.kept().get(plan.base().path(update.module()));
      // What was read from files is what is left already.
      if (triplets != null && triplets.size() == kept.length) {
        for (int i = 0; i < kept.length; i++) {
          kept[i] = triplets.get(i);
        }
      }
    }
    return kept;
  }

  /**
   * Tells where the updates are.
   *
   * @return whether they are merged into the base
   */
  public boolean isMerged() {
    return originals != null;
  }

  /**
   * Moves the updates, and the modules that train whole, into the model under the adapter: that one
   * then computes what the adapted one does, up to rounding, and can be saved as any other. The
   * adapted model still computes the same. What is overwritten is kept for {@link #unmerge}.
   *
   * <p>Training, and saving the adapter, wait for that. Of several adapters over one model, what
   * was merged last is unmerged first.
   *
   * @throws IllegalStateException where it is merged already
   * @throws IllegalArgumentException where it cannot be merged: bottlenecks are no linear maps, and
   *     packed weights do not change
   */
  public void merge() {
    if (isMerged()) {
      throw new IllegalStateException("the adapter is merged already");
    }
    if (!plan.bottlenecks().isEmpty()) {
      throw new IllegalArgumentException(
          "bottlenecks are no linear maps, so they cannot be merged; keep the adapter's files");
    }
    if (!(weights.base() instanceof Parameters base)) {
      throw new IllegalArgumentException(
          "packed weights do not change; merge into plain ones, then pack those");
    }
    originals = new Parameters(device, DType.F32, changed());
    for (ParameterSpec spec : originals.specs()) {
      originals.write(Part.WEIGHT, spec.name(), base.read(Part.WEIGHT, spec.name()));
    }
    for (Update update : plan.updates()) {
      if (update.rank() > 0) {
        String weight = update.module() + ".weight";
        float[] sum = base.read(Part.WEIGHT, weight);
        add(update, sum);
        base.write(Part.WEIGHT, weight, sum);
        // The base has it now: with B of zeros the adapted model computes what it did.
        float[] b = parameters().read(Part.WEIGHT, update.of().b());
        moved.put(update.of().b(), b);
        parameters().write(Part.WEIGHT, update.of().b(), new float[b.length]);
      }
    }
    for (ParameterSpec spec : plan.copies()) {
      for (String part : spec.parts()) {
        base.write(Part.WEIGHT, part, parameters().read(Part.WEIGHT, part));
      }
    }
  }

  /** What merging overwrites, under the names that files have for it. */
  private List<ParameterSpec> changed() {
    List<ParameterSpec> all = new ArrayList<>();
    for (Update update : plan.updates()) {
      if (update.rank() > 0) {
        all.add(constant(update.module() + ".weight", 0, update.in() * update.of().columns()));
      }
    }
    for (ParameterSpec spec : plan.copies()) {
      long each = spec.elements() / spec.parts().size();
      spec.parts().forEach(part -> all.add(constant(part, 0, each)));
    }
    return all;
  }

  /** Adds factor B diag(E) A to a weight, summed in double precision. */
  private void add(Update update, float[] weight) {
    LowRank of = update.of();
    float[] a = parameters().read(Part.WEIGHT, of.a());
    float[] b = parameters().read(Part.WEIGHT, of.b());
    float[] scale = of.scale() == null ? null : parameters().read(Part.WEIGHT, of.scale());
    int in = (int) update.in();
    int rank = update.rank();
    double[] row = new double[in];
    for (int out = 0; out < of.columns(); out++) {
      Arrays.fill(row, 0);
      for (int k = 0; k < rank; k++) {
        double times = (double) of.factor() * b[out * rank + k] * (scale == null ? 1 : scale[k]);
        for (int i = 0; i < in; i++) {
          row[i] += times * a[k * in + i];
        }
      }
      boolean across = update.layout() == Layout.IN_OUT;
      int start = across ? out : out * in;
      int step = across ? (int) of.columns() : 1;
      for (int i = 0; i < in; i++) {
        int to = start + i * step;
        weight[to] = (float) (weight[to] + row[i]);
      }
    }
  }

  /**
   * Takes the updates back into the adapter: the model under it has the bits that it had.
   *
   * @throws IllegalStateException where nothing is merged
   */
  public void unmerge() {
    if (!isMerged()) {
      throw new IllegalStateException("the adapter is not merged");
    }
    Parameters base = (Parameters) weights.base();
    for (ParameterSpec spec : originals.specs()) {
      base.write(Part.WEIGHT, spec.name(), originals.read(Part.WEIGHT, spec.name()));
    }
    for (Map.Entry<String, float[]> b : moved.entrySet()) {
      parameters().write(Part.WEIGHT, b.getKey(), b.getValue());
    }
    moved.clear();
    originals.close();
    originals = null;
  }

  /** Gives the adapter's own memory back. What is merged stays merged. */
  void close() {
    weights.close();
    if (originals != null) {
      originals.close();
      originals = null;
    }
  }
}
