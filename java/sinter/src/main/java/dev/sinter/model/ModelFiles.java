package dev.sinter.model;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.WeightFormat;
import dev.sinter.io.FormatException;
import dev.sinter.io.SafetensorsWriter;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.Predicate;
import java.util.function.UnaryOperator;

/**
 * Models in Hugging Face's layout: {@code config.json} and {@code model.safetensors}. Where a
 * folder is read, one of llama.cpp's {@code .gguf} files may be named instead.
 */
public final class ModelFiles {
  /** The weights' file. */
  public static final String WEIGHTS = "model.safetensors";

  /** The configuration's file. */
  public static final String CONFIG = ConfigFile.NAME;

  private ModelFiles() {}

  /**
   * Reads a model of any family, with the head that config.json names.
   *
   * @param folder that holds config.json and the weights, in one file or several
   * @param device where; it stays the caller's
   * @param dtype in which operations read the weights
   * @return the model; the caller closes it
   * @throws IOException where a file is missing or not what it should be
   */
  public static Model loadAny(Path folder, Device device, DType dtype) throws IOException {
    ConfigFile config = ConfigFile.read(folder);
    return switch (family(config)) {
      case "marian" -> loadTransformer(folder, device, dtype);
      case "bert" -> loadTask(folder, BertFiles.head(config), device, dtype);
      default -> {
        Head head = GptFiles.head(config);
        yield head == null ? load(folder, device, dtype) : loadTask(folder, head, device, dtype);
      }
    };
  }

  /**
   * Reads what a model is.
   *
   * @param folder that holds config.json
   * @return its model_type: gpt2, openai-gpt, gpt3, bert or marian
   * @throws IOException where there is no config.json, or it is of another
   */
  public static String readFamily(Path folder) throws IOException {
    return family(ConfigFile.read(folder));
  }

  /**
   * Reads what the head of a BERT or a GPT is.
   *
   * @param folder that holds config.json
   * @return the head; of one that names none, and of a language model, {@link Head#mean}
   * @throws IOException where there is no config.json, or it is of neither
   */
  public static Head readHead(Path folder) throws IOException {
    ConfigFile config = ConfigFile.read(folder);
    return switch (family(config)) {
      case "marian" -> throw config.failure("model_type marian is neither a BERT nor a GPT");
      case "bert" -> BertFiles.head(config);
      default -> {
        Head head = GptFiles.head(config);
        yield head == null ? Head.mean() : head;
      }
    };
  }

  /**
   * Reads the names of a classifier's labels ({@code id2label}).
   *
   * @param folder that holds config.json
   * @return by their numbers; LABEL_0, LABEL_1, … where the file has no names
   * @throws IOException where there is no config.json, or it is not what it should be
   */
  public static List<String> readLabels(Path folder) throws IOException {
    return ConfigFile.read(folder).labelNames();
  }

  private static String family(ConfigFile config) throws FormatException {
    String type = config.text("model_type", "");
    return switch (type) {
      case "gpt2", "openai-gpt", "gpt3", "bert", "marian" -> type;
      default ->
          throw config.failure(
              "model_type "
                  + FormatException.quote(type)
                  + " is not supported; gpt2, openai-gpt, gpt3, bert and marian are");
    };
  }

  /**
   * Reads a GPT's configuration.
   *
   * @param folder that holds config.json
   * @return the shape of the model
   * @throws IOException where there is none, or it asks for what a GPT does not have
   */
  public static GptConfig readConfig(Path folder) throws IOException {
    return gptConfig(ConfigFile.read(folder));
  }

  static GptConfig gptConfig(ConfigFile config) throws FormatException {
    String family = family(config);
    if (family.equals("bert") || family.equals("marian")) {
      throw config.failure("model_type " + family + " is no GPT");
    }
    return GptFiles.read(config);
  }

  /**
   * Reads how a model's matrices are packed.
   *
   * @param folder that holds config.json
   * @return the format; empty: they are plain, and the model can be trained
   * @throws IOException where there is no config.json, or it names a layout that is not known
   */
  public static Optional<WeightFormat> readWeightFormat(Path folder) throws IOException {
    return Optional.ofNullable(FrozenFiles.format(ConfigFile.read(folder)));
  }

  /**
   * Reads a GPT.
   *
   * @param folder that holds config.json and the weights
   * @param device where; it stays the caller's
   * @param dtype in which operations read the weights
   * @return the model; the caller closes it
   * @throws IOException where a file is missing or not what it should be
   */
  public static LanguageModel load(Path folder, Device device, DType dtype) throws IOException {
    ConfigFile file = ConfigFile.read(folder);
    GptConfig config = gptConfig(file);
    FrozenFiles.requirePlain(file);
    return GptFiles.weights(new GptLayers(config).parameters())
        .load(folder, part -> false, () -> new LanguageModel(config, device, dtype));
  }

  /**
   * Reads a BERT, or a GPT, with a head. All weights must be there.
   *
   * @param folder that holds config.json and the weights
   * @param head its task; what the weights hold of other heads is left out
   * @param device where; it stays the caller's
   * @param dtype in which operations read the weights
   * @return the model; the caller closes it
   * @throws IOException where a file is missing or not what it should be
   */
  public static TaskModel loadTask(Path folder, Head head, Device device, DType dtype)
      throws IOException {
    return loadTask(folder, head, device, dtype, part -> false, part -> false, model -> model);
  }

  /**
   * Reads a BERT, or a GPT, under a head whose weights are drawn anew where the files have none:
   * the start of fine-tuning.
   *
   * @param folder that holds config.json and the weights
   * @param head its task
   * @param device where; it stays the caller's
   * @param dtype in which operations read the weights
   * @param seed of the new weights
   * @return the model; the caller closes it
   * @throws IOException where a file is missing or not what it should be
   */
  public static TaskModel loadForTask(Path folder, Head head, Device device, DType dtype, long seed)
      throws IOException {
    return loadForTask(folder, head, device, dtype, seed, false);
  }

  /**
   * Reads a BERT, or a GPT, under a head whose weights are drawn anew where the files have none, or
   * where those that they have are for something else: the start of fine-tuning.
   *
   * @param folder that holds config.json and the weights
   * @param head its task
   * @param device where; it stays the caller's
   * @param dtype in which operations read the weights
   * @param seed of the new weights
   * @param fresh whether the files' head is left out; BERT's pooler is read all the same
   * @return the model; the caller closes it
   * @throws IOException where a file is missing or not what it should be
   */
  public static TaskModel loadForTask(
      Path folder, Head head, Device device, DType dtype, long seed, boolean fresh)
      throws IOException {
    return loadTask(
        folder,
        head,
        device,
        dtype,
        TaskModel::isOfHead,
        part -> fresh && TaskModel.HEADS.stream().anyMatch(part::startsWith),
        model -> model.initialize(seed));
  }

  private static TaskModel loadTask(
      Path folder,
      Head head,
      Device device,
      DType dtype,
      Predicate<String> optional,
      Predicate<String> unread,
      UnaryOperator<TaskModel> start)
      throws IOException {
    ConfigFile config = ConfigFile.read(folder);
    BertConfig bert = family(config).equals("bert") ? BertFiles.read(config) : null;
    GptConfig gpt = bert == null ? gptConfig(config) : null;
    FrozenFiles.requirePlain(config);
    List<ParameterSpec> parameters;
    try {
      parameters = TaskModel.parameters(bert != null ? new Bert(bert) : new GptLayers(gpt), head);
    } catch (IllegalArgumentException e) {
      throw config.failure(e.getMessage(), e);
    }
    List<ParameterSpec> read =
        parameters.stream().filter(spec -> !unread.test(spec.name())).toList();
    return files(bert != null, read)
        .load(
            folder,
            optional,
            there -> {
              TaskModel model =
                  bert != null
                      ? new TaskModel(bert, head, device, dtype)
                      : new TaskModel(gpt, head, device, dtype);
              return start.apply(model).withDrawn(there);
            });
  }

  private static WeightFiles files(boolean bert, List<ParameterSpec> parameters) {
    return bert ? BertFiles.weights(parameters) : GptFiles.weights(parameters);
  }

  /**
   * Reads an encoder-decoder Transformer.
   *
   * @param folder that holds config.json and the weights
   * @param device where; it stays the caller's
   * @param dtype in which operations read the weights
   * @return the model; the caller closes it
   * @throws IOException where a file is missing or not what it should be
   */
  public static TransformerModel loadTransformer(Path folder, Device device, DType dtype)
      throws IOException {
    ConfigFile config = ConfigFile.read(folder);
    if (!family(config).equals("marian")) {
      throw config.failure("model_type " + family(config) + " is no encoder-decoder Transformer");
    }
    FrozenFiles.requirePlain(config);
    TransformerConfig shape = TransformerFiles.read(config);
    return TransformerFiles.weights(new Transformer(shape).parameters())
        .load(
            folder,
            TransformerFiles::isTable,
            // Tables of constants: files need not hold them.
            () -> new TransformerModel(shape, device, dtype).initialize(0));
  }

  /**
   * Writes a GPT's configuration.
   *
   * @param config to write
   * @param endOfText the token that ends a text, if there is one
   * @param folder that exists
   * @throws IOException where it cannot be written
   */
  public static void writeConfig(GptConfig config, OptionalInt endOfText, Path folder)
      throws IOException {
    ConfigFile.write(GptFiles.json(config, endOfText), folder);
  }

  /**
   * Writes a GPT's weights, in fp32.
   *
   * @param model whose weights
   * @param folder that exists
   * @throws IOException where they cannot be written; an old file stays as it was
   * @throws IllegalArgumentException for an adapted model, here and below: an adapter has files of
   *     its own, {@link PeftFiles}
   */
  public static void writeWeights(LanguageModel model, Path folder) throws IOException {
    write(GptFiles.weights(model.parameters().specs()), model, folder);
  }

  /**
   * Writes a model with its head: configuration and weights, in fp32.
   *
   * @param model to write
   * @param labels names of the classes, in order; empty: they have none
   * @param folder that exists
   * @throws IOException where it cannot be written; old files stay as they were
   */
  public static void save(TaskModel model, List<String> labels, Path folder) throws IOException {
    requireOwn(model);
    ConfigFile.write(
        model.bertConfig() != null
            ? BertFiles.json(model.bertConfig(), model.head(), labels)
            : GptFiles.json(model.gptConfig(), model.head(), labels),
        folder);
    write(files(model.bertConfig() != null, model.parameters().specs()), model, folder);
  }

  /**
   * Writes an encoder-decoder Transformer: configuration and weights, in fp32.
   *
   * @param model to write
   * @param folder that exists
   * @throws IOException where it cannot be written; old files stay as they were
   */
  public static void save(TransformerModel model, Path folder) throws IOException {
    requireOwn(model);
    ConfigFile.write(TransformerFiles.json(model.config()), folder);
    write(TransformerFiles.weights(model.parameters().specs()), model, folder);
  }

  private static void requireOwn(Model model) {
    if (model.weights() != model.parameters()) {
      throw new IllegalArgumentException(
          "the model is adapted: merge its adapter and save the model under it, or save the"
              + " adapter with PeftFiles");
    }
  }

  private static void write(WeightFiles files, Model model, Path folder) throws IOException {
    requireOwn(model);
    SafetensorsWriter writer = new SafetensorsWriter();
    files.add(writer, model);
    writer.write(folder.resolve(WEIGHTS));
  }
}
