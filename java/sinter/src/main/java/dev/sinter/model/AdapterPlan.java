package dev.sinter.model;

import static dev.sinter.graph.ParameterSpec.constant;
import static dev.sinter.graph.ParameterSpec.normal;

import dev.sinter.graph.Activation;
import dev.sinter.graph.Bottleneck;
import dev.sinter.graph.GraphBuilder.Layout;
import dev.sinter.graph.LowRank;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.io.FormatException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Function;
import java.util.stream.Stream;

/**
 * Where an adapter lies on a model: its settings, resolved.
 *
 * @param base what it lies on
 * @param config its settings, with the targets and modules that they came to
 * @param updates of linear modules, in the model's order
 * @param bottlenecks by the name of the projection that they stand behind
 * @param copies of parameters that train whole
 */
record AdapterPlan(
    Adaptable base,
    AdapterConfig config,
    List<Update> updates,
    Map<String, Bottleneck> bottlenecks,
    List<ParameterSpec> copies) {
  /** What PEFT puts before all names. */
  static final String FILE_PREFIX = "base_model.model.";

  private static final String WEIGHT = ".weight";
  private static final float ADALORA_DEVIATION = 0.02f;

  /** What PEFT names for every classifier, whichever of them the model has. */
  private static final Set<String> HEADS = Set.of("classifier", "score");

  /**
   * The low-rank update of a linear module.
   *
   * @param module the name of its weight without {@code .weight}
   * @param weight the parameter that the module's weight is, or is a part of
   * @param layout of the weight
   * @param in columns of A
   * @param rank 0: nothing is left of it
   * @param of the names of its parameters, and which columns it adds to
   */
  record Update(String module, String weight, Layout layout, long in, int rank, LowRank of) {
    /** A, the singular values if there are any, and B. */
    List<ParameterSpec> specs() {
      if (of.scale() == null) {
        return List.of(constant(of.a(), 0, rank, in), constant(of.b(), 0, of.columns(), rank));
      }
      return List.of(
          normal(of.a(), ADALORA_DEVIATION, rank, in),
          constant(of.scale(), 0, rank, 1),
          normal(of.b(), ADALORA_DEVIATION, of.columns(), rank));
    }
  }

  /** How large a module's update is. */
  private record Size(int rank, double factor, double dropout) {}

  /**
   * Resolves settings.
   *
   * @throws IllegalArgumentException where the model has no such modules
   */
  static AdapterPlan of(Adaptable base, AdapterConfig config) {
    Set<String> saved = new LinkedHashSet<>(config.modulesToSave());
    if (base.head() != null) {
      saved.add(base.head());
    }
    List<ParameterSpec> copies = copies(base, saved, config instanceof BottleneckConfig);
    String[] modules = saved.toArray(String[]::new);
    if (config instanceof LoraConfig lora) {
      Targets targets = lora.targets().areUsual() ? base.usualTargets(false) : lora.targets();
      LoraConfig resolved = lora.withTargets(targets).withModulesToSave(modules);
      List<Update> updates =
          updates(
              base,
              targets,
              saved,
              false,
              path -> new Size(lora.rank(path), lora.factor(path), lora.dropout()));
      return new AdapterPlan(base, resolved, updates, Map.of(), copies);
    }
    if (config instanceof AdaLoraConfig ada) {
      Targets targets = ada.targets().areUsual() ? base.usualTargets(true) : ada.targets();
      AdaLoraConfig resolved = ada.withTargets(targets).withModulesToSave(modules);
      List<Update> updates =
          updates(
              base,
              targets,
              saved,
              true,
              path -> new Size(rank(ada, path), ada.factor(), ada.dropout()));
      return new AdapterPlan(base, resolved, updates, Map.of(), copies);
    }
    Map<String, Bottleneck> bottlenecks = new LinkedHashMap<>();
    for (String projection : base.projections()) {
      bottlenecks.put(
          projection,
          new Bottleneck(
              projection + ".adapter_down", projection + ".adapter_up", Activation.GELU));
    }
    return new AdapterPlan(base, config.withModulesToSave(modules), List.of(), bottlenecks, copies);
  }

  /** What training left of a module's rank. */
  private static int rank(AdaLoraConfig config, String path) {
    if (config.kept().isEmpty()) {
      return config.initialRank();
    }
    List<Boolean> kept = config.kept().get(path);
    AdapterConfig.check(
        kept != null, "rank_pattern does not say what is left of " + FormatException.quote(path));
    AdapterConfig.check(
        kept.size() == config.initialRank(),
        "rank_pattern has "
            + kept.size()
            + " triplets of "
            + FormatException.quote(path)
            + ", init_r is "
            + config.initialRank());
    return (int) kept.stream().filter(is -> is).count();
  }

  private static List<Update> updates(
      Adaptable base,
      Targets targets,
      Set<String> saved,
      boolean singular,
      Function<String, Size> sizes) {
    List<Update> all = new ArrayList<>();
    for (ParameterSpec spec : base.specs()) {
      Layout layout = base.linear().get(spec.name());
      if (layout == null) {
        continue;
      }
      long[] shape = spec.shape();
      long in = shape[layout == Layout.IN_OUT ? 0 : 1];
      long columns = shape[layout == Layout.IN_OUT ? 1 : 0] / spec.parts().size();
      for (int i = 0; i < spec.parts().size(); i++) {
        String module = module(spec.parts().get(i));
        String path = base.path(module);
        if (!targets.match(path) || isSaved(path, saved)) {
          continue;
        }
        Size size = sizes.apply(path);
        String end = singular ? "" : WEIGHT;
        LowRank pair =
            new LowRank(
                module + ".lora_A" + end,
                module + ".lora_B" + end,
                singular ? module + ".lora_E" : null,
                (float) size.factor(),
                (float) size.dropout(),
                i * columns,
                columns);
        all.add(new Update(module, spec.name(), layout, in, size.rank(), pair));
      }
    }
    if (all.isEmpty()) {
      throw new IllegalArgumentException(
          "the model has no module "
              + (targets.expression() != null
                  ? "that " + FormatException.quote(targets.expression()) + " matches"
                  : FormatException.quote(String.join(", ", targets.modules())))
              + (targets.layers().isEmpty() ? "" : " in layers " + targets.layers())
              + "; its linear modules end in "
              + String.join(", ", ends(base)));
    }
    return List.copyOf(all);
  }

  /** The last names of all linear modules. */
  private static Set<String> ends(Adaptable base) {
    Set<String> ends = new TreeSet<>();
    for (ParameterSpec spec : base.specs()) {
      if (base.linear().containsKey(spec.name())) {
        for (String part : spec.parts()) {
          String module = module(part);
          ends.add(module.substring(module.lastIndexOf('.') + 1));
        }
      }
    }
    return ends;
  }

  /** What a parameter, or a module, is in. */
  private static String module(String name) {
    return name.substring(0, Math.max(0, name.lastIndexOf('.')));
  }

  /** Whether a module, or one that it is in, trains whole. */
  private static boolean isSaved(String path, Collection<String> saved) {
    for (String at = path; !at.isEmpty(); at = module(at)) {
      String module = at;
      if (saved.stream().anyMatch(end -> Targets.endsWith(module, end))) {
        return true;
      }
    }
    return false;
  }

  /** The parameters of modules that train whole, and of all norms where they are wanted. */
  private static List<ParameterSpec> copies(Adaptable base, Set<String> saved, boolean norms) {
    List<ParameterSpec> all = new ArrayList<>();
    Set<String> missing = new HashSet<>(saved);
    missing.removeAll(HEADS);
    Set<String> gains = new HashSet<>();
    for (ParameterSpec spec : base.specs()) {
      // A weight of one dimension is a norm's; its bias is beside it.
      String module = module(spec.name());
      boolean isGain = spec.shape().length == 1 && spec.name().endsWith(WEIGHT);
      if (isGain) {
        gains.add(module);
      }
      boolean isNorm = norms && gains.contains(module);
      long wanted =
          spec.parts().stream().filter(part -> isSaved(base.path(module(part)), saved)).count();
      if (wanted == 0 && !isNorm) {
        continue;
      }
      missing.removeIf(
          end ->
              spec.parts().stream()
                  .anyMatch(part -> isSaved(base.path(module(part)), Set.of(end))));
      if (!isNorm && wanted < spec.parts().size()) {
        throw new IllegalArgumentException(
            spec.parts().get(0)
                + " and what lies beside it train together or not at all; save all of "
                + String.join(", ", spec.parts()));
      }
      if (spec.shape().length > 1 && !base.linear().containsKey(spec.name())) {
        throw new IllegalArgumentException(
            spec.name() + " is a table of embeddings; an adapter has no copy of one");
      }
      all.add(spec);
    }
    if (!missing.isEmpty()) {
      throw new IllegalArgumentException(
          "the model has no module "
              + FormatException.quote(String.join(", ", new TreeSet<>(missing)))
              + " to train whole");
    }
    return List.copyOf(all);
  }

  /** All parameters that train. */
  List<ParameterSpec> added() {
    List<ParameterSpec> all = new ArrayList<>();
    updates.stream().filter(update -> update.rank() > 0).forEach(u -> all.addAll(u.specs()));
    all.addAll(whole());
    return all;
  }

  /** Those of bottlenecks and the copies: all but the updates'. */
  List<ParameterSpec> whole() {
    List<ParameterSpec> all = new ArrayList<>();
    for (Map.Entry<String, Bottleneck> entry : bottlenecks.entrySet()) {
      Bottleneck at = entry.getValue();
      long width = width(entry.getKey());
      long size = ((BottleneckConfig) config).size();
      all.add(constant(at.down() + WEIGHT, 0, size, width));
      all.add(constant(at.down() + ".bias", 0, size));
      all.add(constant(at.up() + WEIGHT, 0, width, size));
      all.add(constant(at.up() + ".bias", 0, width));
    }
    all.addAll(copies);
    return all;
  }

  /** Outputs of a linear module. */
  private long width(String projection) {
    String weight = projection + WEIGHT;
    long[] shape =
        base.specs().stream()
            .filter(spec -> spec.name().equals(weight))
            .findFirst()
            .orElseThrow()
            .shape();
    return shape[base.linear().get(weight) == Layout.IN_OUT ? 1 : 0];
  }

  /** The updates of each weight's products, as graphs take them. */
  Map<String, List<LowRank>> lowRanks() {
    Map<String, List<LowRank>> all = new LinkedHashMap<>();
    for (Update update : updates) {
      if (update.rank() > 0) {
        all.computeIfAbsent(update.weight(), key -> new ArrayList<>()).add(update.of());
      }
    }
    return all;
  }

  /** What files call a parameter of ours. */
  String nameInFile(String parameter) {
    return FILE_PREFIX + base.path(parameter);
  }

  /** The names that files hold, and their shapes. */
  Map<String, long[]> filed() {
    Map<String, long[]> all = new LinkedHashMap<>();
    Stream.concat(updates.stream().flatMap(u -> u.specs().stream()), whole().stream())
        .forEach(spec -> spec.parts().forEach(part -> all.put(nameInFile(part), spec.partShape())));
    return all;
  }
}
