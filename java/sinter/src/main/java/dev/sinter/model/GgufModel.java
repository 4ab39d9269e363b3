package dev.sinter.model;

import static dev.sinter.io.FormatException.quote;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Parameters;
import dev.sinter.io.FormatException;
import dev.sinter.io.GgufFile;
import java.io.IOException;
import java.nio.FloatBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Predicate;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * GPT-2 and BERT in llama.cpp's files: its settings in the words of config.json, its tensors under
 * our parameters' names. BERT's GELU is the exact one here, as it was trained with; llama.cpp
 * computes the tanh form.
 */
final class GgufModel {
  /** Ours, by what llama.cpp calls the tables, and the parts of a block. */
  private static final Map<String, String> TABLES =
      Map.of(
          "wte", "token_embd",
          "wpe", "position_embd",
          "ln_f", "output_norm",
          "embeddings.word_embeddings", "token_embd",
          "embeddings.position_embeddings", "position_embd",
          "embeddings.token_type_embeddings", "token_types",
          "embeddings.LayerNorm", "token_embd_norm");

  private static final Map<String, String> BLOCK =
      Map.ofEntries(
          Map.entry("attn.c_attn", "attn_qkv"),
          Map.entry("attn.c_proj", "attn_output"),
          Map.entry("ln_1", "attn_norm"),
          Map.entry("mlp.c_fc", "ffn_up"),
          Map.entry("mlp.c_proj", "ffn_down"),
          Map.entry("ln_2", "ffn_norm"),
          Map.entry("attention.self.query", "attn_q"),
          Map.entry("attention.self.key", "attn_k"),
          Map.entry("attention.self.value", "attn_v"),
          Map.entry("attention.output.dense", "attn_output"),
          Map.entry("attention.output.LayerNorm", "attn_output_norm"),
          Map.entry("intermediate.dense", "ffn_up"),
          Map.entry("output.dense", "ffn_down"),
          Map.entry("output.LayerNorm", "layer_output_norm"));

  private static final Pattern NAME =
      Pattern.compile("(?:(?:h|encoder\\.layer)\\.(\\d+)\\.)?(.+)\\.(weight|bias)");

  /** What lies [in, out] with us, Conv1D's layout, and [out, in] there. */
  private static final Pattern TURNED =
      Pattern.compile("h\\.\\d+\\.(attn|mlp)\\.c_(attn|proj|fc)\\.weight");

  private static final String TOKENS = "token_embd.weight";
  private static final String OUTPUT = "output.weight";

  /** Elements that are turned together. */
  private static final int BAND = 1 << 24;

  private GgufModel() {}

  /** What config.json would say of it. */
  static ObjectNode config(Path path) throws IOException {
    try (GgufFile file = GgufFile.open(path)) {
      String family = file.text("general.architecture", "");
      if (!family.equals("gpt2") && !family.equals("bert")) {
        throw new FormatException(
            path, "architecture " + quote(family) + " is not supported; gpt2 and bert are");
      }
      if (file.number("split.count", 1) > 1) {
        throw new FormatException(path, "is one part of several; merge them");
      }
      boolean bert = family.equals("bert");
      ObjectNode json = ConfigFile.start(family, bert ? "BertModel" : "GPT2LMHeadModel");
      json.put("vocab_size", rows(path, file, TOKENS));
      json.put(
          bert ? "max_position_embeddings" : "n_positions",
          file.number(family + ".context_length"));
      json.put(bert ? "hidden_size" : "n_embd", file.number(family + ".embedding_length"));
      json.put(bert ? "num_hidden_layers" : "n_layer", file.number(family + ".block_count"));
      json.put(
          bert ? "num_attention_heads" : "n_head", file.number(family + ".attention.head_count"));
      json.put(
          bert ? "intermediate_size" : "n_inner", file.number(family + ".feed_forward_length"));
      double epsilon = file.fraction(family + ".attention.layer_norm_epsilon");
      if (bert) {
        json.put("layer_norm_eps", epsilon);
        json.put("type_vocab_size", rows(path, file, "token_types.weight"));
        json.put("pad_token_id", file.number("tokenizer.ggml.padding_token_id", 0));
      } else {
        json.put("layer_norm_epsilon", epsilon);
      }
      return json;
    }
  }

  private static int rows(Path path, GgufFile file, String table) throws FormatException {
    GgufFile.Tensor tensor = file.info(table);
    if (tensor == null || tensor.shape().length > 2 || tensor.shape()[0] > Sizes.MOST) {
      throw new FormatException(
          path, tensor == null ? "has no tensor " + quote(table) : tensor + " is no table");
    }
    return tensor.shape().length == 1 ? 1 : (int) tensor.shape()[0];
  }

  /** As {@link WeightFiles#open}. */
  static StoredWeights open(Path path, List<ParameterSpec> parameters, Predicate<String> optional)
      throws IOException {
    GgufFile file = GgufFile.open(path);
    try {
      return new Stored(file, check(path, file, parameters, optional));
    } catch (IOException | RuntimeException e) {
      file.close();
      throw e;
    }
  }

  /**
   * @param names what the file calls each part
   */
  private record Stored(GgufFile file, Map<String, String> names) implements StoredWeights {
    @Override
    public Set<String> parts() {
      return names.keySet();
    }

    @Override
    public Parameters.Source elements(String part) throws IOException {
      return TURNED.matcher(part).matches()
          ? new Turned(file, names.get(part), BAND)::fill
          : file.floats(names.get(part))::fill;
    }

    @Override
    public void close() {
      file.close();
    }
  }

  /** What the file calls each part that is there. */
  private static Map<String, String> check(
      Path path, GgufFile file, List<ParameterSpec> parameters, Predicate<String> optional)
      throws IOException {
    Map<String, String> found = new LinkedHashMap<>();
    List<String> problems = new ArrayList<>();
    for (ParameterSpec spec : parameters) {
      for (String part : spec.parts()) {
        String name = nameOf(part);
        GgufFile.Tensor tensor = file.info(name);
        long[] shape = spec.partShape();
        if (TURNED.matcher(part).matches()) {
          shape = new long[] {shape[1], shape[0]};
        }
        if (tensor != null && !same(shape, tensor.shape())) {
          problems.add(tensor + " is not " + Arrays.toString(shape));
        } else if (tensor != null) {
          found.put(part, name);
        } else if (!optional.test(part) || spec.elements() > WeightFiles.MOST_OPTIONAL) {
          problems.add("missing " + name);
        }
      }
    }
    Set<String> known = Set.copyOf(found.values());
    for (String name : file.names()) {
      boolean left = name.equals(OUTPUT) || name.startsWith("cls.");
      if (!left && !known.contains(name)) {
        problems.add("unexpected " + quote(name));
      }
    }
    if (!problems.isEmpty()) {
      throw new FormatException(
          path,
          "its tensors are not of the model that its settings describe, "
              + problems.size()
              + " differ: "
              + String.join("; ", problems.subList(0, Math.min(5, problems.size()))));
    }
    if (file.info(OUTPUT) != null && !tied(file)) {
      throw new FormatException(
          path, OUTPUT + " is not " + TOKENS + "; an output of its own is not supported");
    }
    return found;
  }

  /** A table of one row may be stored as a vector. */
  private static boolean same(long[] ours, long... stored) {
    return Arrays.equals(ours, stored)
        || ours.length == 2 && ours[0] == 1 && stored.length == 1 && stored[0] == ours[1];
  }

  private static String nameOf(String part) {
    Matcher name = NAME.matcher(part);
    if (!name.matches()) {
      return part;
    }
    return name.group(1) == null
        ? TABLES.getOrDefault(name.group(2), name.group(2)) + "." + name.group(3)
        : "blk."
            + name.group(1)
            + "."
            + BLOCK.getOrDefault(name.group(2), name.group(2))
            + "."
            + name.group(3);
  }

  private static boolean tied(GgufFile file) throws IOException {
    long elements = file.info(TOKENS).elements();
    if (!Arrays.equals(file.info(OUTPUT).shape(), file.info(TOKENS).shape())) {
      return false;
    }
    GgufFile.FloatReader tokens = file.floats(TOKENS);
    GgufFile.FloatReader outputs = file.floats(OUTPUT);
    FloatBuffer a = FloatBuffer.allocate(1 << 16);
    FloatBuffer b = FloatBuffer.allocate(1 << 16);
    for (long done = 0; done < elements; done += a.capacity()) {
      int count = (int) Math.min(a.capacity(), elements - done);
      tokens.fill(a.clear().limit(count));
      outputs.fill(b.clear().limit(count));
      if (!a.flip().equals(b.flip())) {
        return false;
      }
    }
    return true;
  }

  /** A matrix read column after column, some columns at a time. */
  static final class Turned {
    private final GgufFile.FloatReader reader;
    private final int rows;
    private final int columns;
    private final int step;
    private final FloatBuffer row;
    private final FloatBuffer band;
    private int nextColumn;

    /**
     * @param most elements that are turned together, but for at least one block of each row
     */
    Turned(GgufFile file, String name, int most) throws FormatException {
      GgufFile.Tensor tensor = file.info(name);
      this.reader = file.floats(name);
      this.rows = (int) tensor.shape()[0];
      this.columns = (int) tensor.shape()[1];
      int block = tensor.type().block();
      // Whole blocks, so that each is widened once.
      this.step = Math.min(columns, Math.max(1, most / rows / block) * block);
      this.row = FloatBuffer.allocate(step);
      this.band = FloatBuffer.allocate(Math.multiplyExact(rows, step)).limit(0);
    }

    void fill(FloatBuffer target) throws IOException {
      while (target.hasRemaining()) {
        if (!band.hasRemaining()) {
          turn();
        }
        int count = Math.min(target.remaining(), band.remaining());
        target.put(band.slice(band.position(), count));
        band.position(band.position() + count);
      }
    }

    private void turn() throws IOException {
      int width = Math.min(step, columns - nextColumn);
      band.clear().limit(rows * width);
      for (int r = 0; r < rows; r++) {
        reader.seek((long) r * columns + nextColumn);
        reader.fill(row.clear().limit(width));
        for (int c = 0; c < width; c++) {
          band.put(c * rows + r, row.get(c));
        }
      }
      nextColumn += width;
    }
  }
}
