package dev.sinter.model;

import static dev.sinter.io.FormatException.quote;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.graph.Device;
import dev.sinter.graph.GraphBuilder.Layout;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Parameters.Part;
import dev.sinter.graph.Weights;
import dev.sinter.io.FormatException;
import dev.sinter.io.SafetensorsFile;
import dev.sinter.io.SafetensorsWriter;
import dev.sinter.model.AdapterPlan.Update;
import java.io.IOException;
import java.nio.FloatBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Adapters in the files of Hugging Face's PEFT: {@code adapter_config.json} and {@code
 * adapter_model.safetensors}. LoRA and AdaLoRA are read and written as PEFT does; it has no
 * bottlenecks, which have a {@code peft_type} of our own, {@code SINTER_BOTTLENECK}, in files of
 * the same kind.
 */
public final class PeftFiles {
  /** The settings' file. */
  public static final String CONFIG = "adapter_config.json";

  /** The weights' file. */
  public static final String WEIGHTS = "adapter_model.safetensors";

  private static final String LORA = "LORA";
  private static final String ADALORA = "ADALORA";
  private static final String BOTTLENECK = "SINTER_BOTTLENECK";
  private static final String LORA_E = ".lora_E";

  /** Settings that change nothing of what an adapter computes, or that are read elsewhere. */
  private static final Set<String> IGNORED =
      Set.of(
          "auto_mapping",
          "base_model_name_or_path",
          // PEFT itself sets it by the kind of the module.
          "fan_in_fan_out",
          "inference_mode",
          "layers_to_transform",
          "lora_alpha",
          "lora_dropout",
          "megatron_core",
          "modules_to_save",
          "peft_type",
          "peft_version",
          "qalora_group_size",
          "r",
          "rank_pattern",
          "revision",
          "runtime_config",
          "target_modules",
          "task_type");

  private static final Set<String> LORA_ALONE = Set.of("alpha_pattern", "use_rslora");

  private static final Set<String> ADALORA_ALONE =
      Set.of(
          "beta1",
          "beta2",
          "deltaT",
          "init_r",
          "orth_reg_weight",
          "target_r",
          "tfinal",
          "tinit",
          "total_step");

  private static final Set<String> BOTTLENECK_ALONE =
      Set.of("bottleneck_size", "initial_deviation");

  private PeftFiles() {}

  /**
   * Reads an adapter's settings.
   *
   * @param folder that an adapter was saved to
   * @return its settings; of what it was made over, {@link AdapterConfig#base}
   * @throws IOException where there are none, or they ask for what is not supported
   */
  public static AdapterConfig readConfig(Path folder) throws IOException {
    ConfigFile file = ConfigFile.read(folder, CONFIG, "an adapter");
    String type = file.text("peft_type", "");
    try {
      return switch (type) {
        case LORA -> lora(file);
        case ADALORA -> adaLora(file);
        case BOTTLENECK -> bottleneck(file);
        default ->
            throw file.failure(
                "peft_type " + quote(type) + " is not supported; LORA and ADALORA are");
      };
    } catch (IllegalArgumentException e) {
      throw file.failure(e.getMessage(), e);
    }
  }

  private static LoraConfig lora(ConfigFile file) throws FormatException {
    refuseOthers(file, LORA_ALONE);
    Map<String, Integer> ranks = new LinkedHashMap<>();
    for (Map.Entry<String, Double> rank : file.reals("rank_pattern").entrySet()) {
      int whole = rank.getValue().intValue();
      if (whole != rank.getValue()) {
        throw file.failure("rank_pattern has " + rank.getValue() + ", which is no rank");
      }
      ranks.put(rank.getKey(), whole);
    }
    return new LoraConfig(
        file.number("r", 8),
        file.real("lora_alpha", 8),
        file.real("lora_dropout", 0),
        file.flag("use_rslora", false),
        targets(file),
        ranks,
        file.reals("alpha_pattern"),
        file.texts("modules_to_save"),
        base(file));
  }

  private static AdaLoraConfig adaLora(ConfigFile file) throws FormatException {
    refuseOthers(file, ADALORA_ALONE);
    Map<String, List<Boolean>> kept = new LinkedHashMap<>();
    for (Map.Entry<String, List<Boolean>> module : file.flags("rank_pattern").entrySet()) {
      String name = module.getKey();
      if (!name.endsWith(LORA_E)) {
        throw file.failure("rank_pattern has " + quote(name) + ", which names no lora_E");
      }
      kept.put(name.substring(0, name.length() - LORA_E.length()), module.getValue());
    }
    return new AdaLoraConfig(
        file.number("init_r", 12),
        file.number("target_r", 8),
        file.real("lora_alpha", 8),
        file.real("lora_dropout", 0),
        targets(file),
        file.number("tinit", 0),
        file.number("tfinal", 0),
        file.number("deltaT", 1),
        file.number("total_step", 0),
        file.real("beta1", 0.85),
        file.real("beta2", 0.85),
        file.real("orth_reg_weight", 0.5),
        kept,
        file.texts("modules_to_save"),
        base(file));
  }

  private static BottleneckConfig bottleneck(ConfigFile file) throws FormatException {
    refuseOthers(file, BOTTLENECK_ALONE);
    return new BottleneckConfig(
        file.number("bottleneck_size", 0),
        file.real("initial_deviation", 0.01),
        file.texts("modules_to_save"),
        base(file));
  }

  private static String base(ConfigFile file) throws FormatException {
    return file.text("base_model_name_or_path", "");
  }

  private static Targets targets(ConfigFile file) throws FormatException {
    List<Integer> layers =
        file.has("layers_to_transform") && !file.isList("layers_to_transform")
            ? List.of(file.number("layers_to_transform", 0))
            : file.numbers("layers_to_transform");
    return !file.has("target_modules") || file.isList("target_modules")
        ? new Targets(file.texts("target_modules"), null, layers)
        : new Targets(List.of(), file.text("target_modules", ""), layers);
  }

  /** What is not known changes what the adapter computes, unless it says nothing. */
  private static void refuseOthers(ConfigFile file, Set<String> known) throws FormatException {
    file.refuse("bias", "none");
    // The others change the base, or are of another kind of adapter.
    file.refuse("init_lora_weights", true, false, "gaussian", "orthogonal", "eva");
    for (String name : file.names()) {
      if (!IGNORED.contains(name)
          && !known.contains(name)
          && !name.equals("bias")
          && !name.equals("init_lora_weights")
          && !file.isEmpty(name)) {
        throw file.failure(quote(name) + " is not supported; an adapter without it is");
      }
    }
  }

  /**
   * Opens a GPT with an adapter.
   *
   * @param folder that the adapter was saved to
   * @param base what it was made over; it stays as it is, and the caller's, who closes it last
   * @return the adapted model; the caller closes it
   * @throws IOException where a file is missing, not what it should be, or of an adapter for
   *     another model; that is known before anything is allocated
   */
  public static LanguageModel load(Path folder, LanguageModel base) throws IOException {
    return base.over(load(folder, base.device(), base.weights(), base.adaptable()));
  }

  /**
   * Opens a GPT whose weights are packed with an adapter, whose own are not.
   *
   * @param folder that the adapter was saved to
   * @param base what it was made over; it stays as it is, and the caller's, who closes it last
   * @return the adapted model; the caller closes it
   * @throws IOException as {@link #load(Path, LanguageModel)}
   */
  public static LanguageModel load(Path folder, FrozenModel base) throws IOException {
    return LanguageModel.over(
        base,
        load(folder, base.device(), base.parameters(), LanguageModel.adaptable(base.layers())));
  }

  /**
   * Opens a BERT, or a GPT, with a head and an adapter.
   *
   * @param folder that the adapter was saved to
   * @param base what it was made over; its head is the adapter's, where that holds one; it stays as
   *     it is, and the caller's, who closes it last
   * @return the adapted model; the caller closes it
   * @throws IOException as {@link #load(Path, LanguageModel)}
   */
  public static TaskModel load(Path folder, TaskModel base) throws IOException {
    return base.over(load(folder, base.device(), base.weights(), base.adaptable()));
  }

  /**
   * Opens an encoder-decoder Transformer with an adapter.
   *
   * @param folder that the adapter was saved to
   * @param base what it was made over; it stays as it is, and the caller's, who closes it last
   * @return the adapted model; the caller closes it
   * @throws IOException as {@link #load(Path, LanguageModel)}
   */
  public static TransformerModel load(Path folder, TransformerModel base) throws IOException {
    return base.over(load(folder, base.device(), base.weights(), base.adaptable()));
  }

  private static Adapter load(Path folder, Device device, Weights base, Adaptable adaptable)
      throws IOException {
    AdapterConfig config = readConfig(folder);
    Path path = folder.resolve(WEIGHTS);
    if (!Files.isRegularFile(path)) {
      throw new FormatException(
          path, "there is no such file; of an adapter in another format save it as safetensors");
    }
    try (SafetensorsFile file = SafetensorsFile.open(path)) {
      String prefix = AdapterPlan.FILE_PREFIX + adaptable.prefix();
      boolean prefixed = file.names().stream().anyMatch(name -> name.startsWith(prefix));
      AdapterPlan plan = plan(folder, adaptable.withPrefix(prefixed), config);
      file.requireTensors(
          plan.filed(),
          Set.of(),
          "its weights are not of an adapter for this model; " + advice(config));
      Adapter adapter = new Adapter(device, base, plan);
      try {
        for (ParameterSpec spec : plan.added()) {
          for (String part : spec.parts()) {
            adapter.parameters().write(Part.WEIGHT, part, file.floats(plan.nameInFile(part))::fill);
          }
        }
        return adapter;
      } catch (IOException | RuntimeException e) {
        adapter.close();
        throw e;
      }
    }
  }

  private static String advice(AdapterConfig config) {
    return config.base().isEmpty()
        ? "open it over the model that it was made for"
        : "open it over " + quote(config.base()) + ", which it was made for";
  }

  private static AdapterPlan plan(Path folder, Adaptable adaptable, AdapterConfig config)
      throws FormatException {
    try {
      return AdapterPlan.of(adaptable, config);
    } catch (IllegalArgumentException e) {
      throw new FormatException(folder.resolve(CONFIG), e.getMessage() + "; " + advice(config), e);
    }
  }

  /**
   * Writes an adapter, in fp32, for {@link #load} and for PEFT.
   *
   * @param model adapted
   * @param folder that exists
   * @throws IOException where it cannot be written; old files stay as they were
   * @throws IllegalArgumentException where the model has no adapter
   * @throws IllegalStateException where the adapter is merged
   */
  public static void save(Model model, Path folder) throws IOException {
    Adapter adapter = model.adapter();
    if (adapter == null) {
      throw new IllegalArgumentException("the model has no adapter; save the model itself");
    }
    if (adapter.isMerged()) {
      throw new IllegalStateException(
          "the adapter is merged; unmerge it, or save the model under it");
    }
    ConfigFile.write(json(adapter), folder, CONFIG);
    SafetensorsWriter writer = new SafetensorsWriter();
    AdapterPlan plan = adapter.plan();
    for (Update update : plan.updates()) {
      boolean[] kept = adapter.kept(update);
      for (ParameterSpec spec : update.specs()) {
        boolean ofColumns = spec.name().equals(update.of().b());
        writer.add(
            plan.nameInFile(spec.name()),
            shape(spec, ofColumns, kept),
            sink -> {
              if (update.rank() > 0) {
                float[] all = adapter.parameters().read(Part.WEIGHT, spec.name());
                sink.accept(select(all, (int) spec.shape()[1], ofColumns, kept));
              }
            });
      }
    }
    for (ParameterSpec spec : plan.whole()) {
      for (String part : spec.parts()) {
        writer.add(
            plan.nameInFile(part),
            spec.partShape(),
            sink -> adapter.parameters().read(Part.WEIGHT, part, sink::accept));
      }
    }
    writer.write(folder.resolve(WEIGHTS));
  }

  /** The shape of the rows, or columns, that are kept. */
  private static long[] shape(ParameterSpec spec, boolean ofColumns, boolean[] kept) {
    long[] shape = spec.shape().clone();
    int count = 0;
    for (boolean is : kept) {
      count += is ? 1 : 0;
    }
    shape[ofColumns ? 1 : 0] = count;
    return shape;
  }

  /** The elements of the rows, or columns, that are kept. */
  private static FloatBuffer select(float[] all, int width, boolean ofColumns, boolean[] kept) {
    FloatBuffer chosen = FloatBuffer.allocate(all.length);
    for (int i = 0; i < all.length; i++) {
      if (kept[ofColumns ? i % width : i / width]) {
        chosen.put(all[i]);
      }
    }
    return chosen.flip();
  }

  private static ObjectNode json(Adapter adapter) {
    Adaptable base = adapter.plan().base();
    AdapterConfig config = adapter.config();
    ObjectNode json = ConfigFile.start();
    putText(json, "base_model_name_or_path", config.base());
    json.put("inference_mode", true);
    putText(json, "task_type", base.taskType());
    putTexts(json, "modules_to_save", config.modulesToSave());
    if (config instanceof BottleneckConfig bottleneck) {
      json.put("peft_type", BOTTLENECK);
      json.put("bottleneck_size", bottleneck.size());
      json.put("initial_deviation", bottleneck.deviation());
    } else if (config instanceof LoraConfig lora) {
      json.put("peft_type", LORA);
      putUpdates(json, adapter, lora.targets(), lora.alpha(), lora.dropout());
      json.put("r", lora.rank());
      json.put("use_rslora", lora.rankStabilized());
      ObjectNode ranks = json.putObject("rank_pattern");
      lora.ranks().forEach(ranks::put);
      ObjectNode alphas = json.putObject("alpha_pattern");
      lora.alphas().forEach((path, alpha) -> putNumber(alphas, path, alpha));
    } else if (config instanceof AdaLoraConfig ada) {
      json.put("peft_type", ADALORA);
      putUpdates(json, adapter, ada.targets(), ada.alpha(), ada.dropout());
      json.put("init_r", ada.initialRank());
      json.put("target_r", ada.targetRank());
      json.put("tinit", ada.tinit());
      json.put("tfinal", ada.tfinal());
      json.put("deltaT", ada.deltaT());
      json.put("total_step", ada.totalSteps());
      json.put("beta1", ada.beta1());
      json.put("beta2", ada.beta2());
      json.put("orth_reg_weight", ada.orthogonality());
      if (ada.kept().isEmpty()) {
        json.putNull("rank_pattern");
      } else {
        ObjectNode kept = json.putObject("rank_pattern");
        ada.kept().forEach((path, triplets) -> triplets.forEach(kept.putArray(path + LORA_E)::add));
      }
    }
    return json;
  }

  private static void putUpdates(
      ObjectNode json, Adapter adapter, Targets targets, double alpha, double dropout) {
    json.put("bias", "none");
    json.put(
        "fan_in_fan_out",
        adapter.plan().updates().stream().anyMatch(update -> update.layout() == Layout.IN_OUT));
    json.put("init_lora_weights", true);
    if (targets.layers().isEmpty()) {
      json.putNull("layers_to_transform");
    } else {
      targets.layers().forEach(json.putArray("layers_to_transform")::add);
    }
    json.putNull("layers_pattern");
    putNumber(json, "lora_alpha", alpha);
    json.put("lora_dropout", dropout);
    if (targets.expression() != null) {
      json.put("target_modules", targets.expression());
    } else {
      putTexts(json, "target_modules", targets.modules());
    }
    json.put("use_dora", false);
  }

  private static void putText(ObjectNode json, String name, String text) {
    json.put(name, text == null || text.isEmpty() ? null : text);
  }

  private static void putTexts(ObjectNode json, String name, List<String> texts) {
    if (texts.isEmpty()) {
      json.putNull(name);
    } else {
      texts.forEach(json.putArray(name)::add);
    }
  }

  /** A whole number as such: PEFT's alphas are. */
  private static void putNumber(ObjectNode json, String name, double value) {
    if (value == Math.rint(value) && Math.abs(value) < Integer.MAX_VALUE) {
      json.put(name, (int) value);
    } else {
      json.put(name, value);
    }
  }
}
