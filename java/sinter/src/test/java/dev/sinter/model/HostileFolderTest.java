package dev.sinter.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.node.ObjectNode;
import com.sun.management.ThreadMXBean;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.Parameters;
import dev.sinter.io.SafetensorsFile;
import dev.sinter.io.TensorInfo.Dtype;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.FloatBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Whatever a folder holds, it is a model or one line says why not: soon, and without taking memory
 * by its word.
 */
class HostileFolderTest {
  private static final Duration SOON = Duration.ofSeconds(20);
  private static final long LITTLE_HEAP = 64L << 20;

  @TempDir Path temporary;

  /** Breaks a folder. */
  @FunctionalInterface
  private interface Break {
    void of(HostileFolder folder) throws IOException;
  }

  /** One way to break a model of a family, and words of the line that says so. */
  private record Breakage(String family, String what, Break change, List<String> says) {
    @Override
    public String toString() {
      return family + ": " + what;
    }
  }

  /** What config.json calls the same thing in each family. */
  private record Names(
      String family,
      String vocabulary,
      String context,
      String width,
      String layers,
      String heads,
      String inner,
      String activation,
      String dropout,
      String table) {
    List<String> counts() {
      return List.of(vocabulary, context, width, layers, heads, inner);
    }
  }

  private static Names gpt(String family, String activation, String table) {
    return new Names(
        family,
        "vocab_size",
        "n_positions",
        "n_embd",
        "n_layer",
        "n_head",
        "n_inner",
        activation,
        "attn_pdrop",
        table);
  }

  private static final Names GPT2 = gpt("gpt2", "activation_function", "wte.weight");
  private static final Names GPT1 = gpt("gpt1", "afn", "tokens_embed.weight");
  private static final Names GPT3 = gpt("gpt3-3", "activation_function", "wte.weight");
  private static final Names BERT =
      new Names(
          "bert-tokens",
          "vocab_size",
          "max_position_embeddings",
          "hidden_size",
          "num_hidden_layers",
          "num_attention_heads",
          "intermediate_size",
          "hidden_act",
          "hidden_dropout_prob",
          "word_embeddings.weight");
  private static final Names MARIAN =
      new Names(
          "marian",
          "vocab_size",
          "max_position_embeddings",
          "d_model",
          "encoder_layers",
          "encoder_attention_heads",
          "encoder_ffn_dim",
          "activation_function",
          "dropout",
          "model.shared.weight");
  private static final List<Names> FAMILIES = List.of(GPT2, GPT1, GPT3, BERT, MARIAN);

  /** Collects breakages. */
  private static final class Table {
    final List<Breakage> rows = new ArrayList<>();

    void add(Names names, String what, Break change, String... says) {
      rows.add(new Breakage(names.family(), what, change, List.of(says)));
    }

    /** A value of config.json. */
    void set(Names names, String name, String value, String... says) {
      String shown = value.length() > 40 ? value.substring(0, 40) + "…" : value;
      String[] all = Arrays.copyOf(says, says.length + 2);
      all[says.length] = "config.json";
      all[says.length + 1] = name;
      add(names, name + " " + shown, folder -> folder.set(name, value), all);
    }
  }

  private static List<Breakage> breakages() {
    Table table = new Table();
    addTexts(table);
    addSizes(table);
    addSettings(table);
    addIndexes(table);
    addFiles(table);
    addTensors(table);
    return table.rows;
  }

  private static String nested(int depth) {
    return "{\"a\":" + "[".repeat(depth) + "]".repeat(depth) + "}";
  }

  /** config.json as a text. */
  private static void addTexts(Table table) {
    String file = "config.json: ";
    table.add(GPT2, "no config.json", f -> Files.delete(f.config()), file, "no such file");
    table.add(
        GPT2,
        "config.json is a folder",
        f -> {
          Files.delete(f.config());
          Files.createDirectory(f.config());
        },
        file);
    Object[][] texts = {
      {"empty", ""},
      {"white space", " \n"},
      {"no JSON", "model_type: gpt2"},
      {"an array", "[1, 2]"},
      {"a number", "7"},
      {"null", "null"},
      {"a text", "\"gpt2\""},
      {"cut off", "{\"model_type\": \"gpt2\", \"n_embd\": 1"},
      {"cut off in a text", "{\"model_type\": \"gp"},
      {"a comment", "{\"model_type\": \"gpt2\" /* small */}"},
      {"no number as a number", "{\"model_type\": \"gpt2\", \"attn_pdrop\": NaN}"},
      {"two objects", "{\"model_type\": \"gpt2\"} {}"},
      {"a zero byte", "{\"model_type\": \"gpt2\"\0}"},
      {"deep nesting", nested(100_000)},
      {"deep nesting, cut off", "[".repeat(1_000_000)},
      {"a name twice", "{\"model_type\": \"gpt2\", \"n_embd\": 12, \"n_embd\": 24}"},
      {"a long name twice", "{\"" + "x".repeat(40_000) + "\":1,\"" + "x".repeat(40_000) + "\":1}"},
      {
        "a number of many digits",
        "{\"model_type\": \"gpt2\", \"n_embd\": " + "9".repeat(5000) + "}"
      },
      {"an exponent of many digits", "{\"model_type\": \"gpt2\", \"n_embd\": 1e999999999}"},
      {"a byte order mark", "\ufeff{\"model_type\": \"gpt2\"}"},
      {"escapes", "{\"model_type\": \"gpt2\", \"activation_function\": \"\\n\\u001b[31m\\u202e\"}"},
    };
    for (Object[] text : texts) {
      table.add(GPT2, (String) text[0], f -> f.writeConfig((String) text[1]), file);
    }
    table.add(
        GPT2,
        "UTF-16",
        f ->
            Files.write(f.config(), "{\"model_type\": \"gpt2\"}".getBytes(StandardCharsets.UTF_16)),
        file,
        "UTF-8");
    table.add(
        GPT2,
        "invalid UTF-8",
        f -> Files.write(f.config(), "{\"\u00ff\": 1}".getBytes(StandardCharsets.ISO_8859_1)),
        file,
        "UTF-8");
    table.add(
        GPT2,
        "more than a megabyte",
        f -> HostileFolder.writeSparse(f.config(), "{", 1L << 40),
        file,
        "1099511627776 bytes");
    table.add(GPT2, "no model_type", f -> f.remove("model_type"), file, "model_type");
    table.set(GPT2, "model_type", "\"llama\"", "gpt2, openai-gpt, gpt3, bert and marian");
    table.set(GPT2, "model_type", "[\"gpt2\"]", "no text");
    table.set(GPT2, "model_type", "7", "no text");
    table.set(GPT2, "model_type", "\"" + "a\\n".repeat(5000) + "\"");
  }

  /** What the decoder must have like the encoder, too. */
  private static void setTwins(HostileFolder folder, String name, String value) throws IOException {
    folder.set(name, value);
    if (folder.isMarian() && name.equals("vocab_size")) {
      folder.set("decoder_vocab_size", value);
    } else if (folder.isMarian()) {
      folder.set(name.replace("encoder_ffn", "decoder_ffn"), value);
    }
  }

  /** Counts, in every family. */
  private static void addSizes(Table table) {
    for (Names names : FAMILIES) {
      for (String count : names.counts()) {
        for (String value : List.of("0", "-1", "-2147483648", "2147483647")) {
          table.set(names, count, value, value);
        }
        for (String value :
            List.of("1.5", "12.0", "1e1", "\"12\"", "true", "[12]", "{\"a\": 12}")) {
          table.set(names, count, value, "no whole number");
        }
        for (String value : List.of("2147483648", "-9223372036854775809", "1" + "0".repeat(900))) {
          table.set(names, count, value, "beyond 32 bits");
        }
      }
      table.set(names, names.heads(), "5", "does not divide");
      table.set(names, names.heads(), "24", "1 to 12");
      table.set(names, names.width(), "13", "does not divide");
      table.set(names, names.width(), "1048576", "at most 256");
      String differs = "model.safetensors: its weights are not of the model";
      Object[][] more = {
        {names.vocabulary(), "16777216"},
        {names.context(), "16777216"},
        {names.width(), "24"},
        {names.inner(), "16777216"},
        {names.layers(), "1024"},
        {names.layers(), "3"},
        {names.layers(), "1"},
      };
      for (Object[] one : more) {
        String name = (String) one[0];
        table.add(
            names,
            name + " " + one[1] + ", which the weights are not",
            f -> setTwins(f, name, (String) one[1]),
            differs);
      }
      table.add(
          names,
          "petabytes",
          f -> {
            for (String name : List.of(names.vocabulary(), names.context(), names.inner())) {
              setTwins(f, name, "16777216");
            }
            f.set(names.width(), "1048576");
            f.set(names.heads(), "4096");
            f.set(names.layers(), "1024");
            if (f.isMarian()) {
              f.set("decoder_layers", "1024");
              f.set("decoder_attention_heads", "4096");
            }
          },
          differs,
          "differ, among them");
    }
    for (String name : List.of("decoder_layers", "decoder_vocab_size", "decoder_ffn_dim")) {
      table.set(MARIAN, name, "0");
    }
    table.add(
        MARIAN,
        "feed-forward layers of two widths",
        f -> f.set("encoder_ffn_dim", "24"),
        "config.json: decoder_ffn_dim 20 is not supported; only 24");
    table.set(MARIAN, "decoder_attention_heads", "3", "only 2");
    table.add(
        MARIAN,
        "an odd width",
        f -> {
          f.set("d_model", "13");
          f.set("encoder_attention_heads", "1");
          f.set("decoder_attention_heads", "1");
        },
        "d_model 13 is odd");
    table.add(
        MARIAN,
        "tables of positions that are not there, of terabytes",
        f -> {
          f.tensors(all -> all.keySet().removeIf(name -> name.contains("embed_positions")));
          f.set("max_position_embeddings", "16777216");
        },
        "missing model.encoder.embed_positions.weight");
    table.add(
        GPT2,
        "sizes that are not there, for weights of other sizes",
        f -> f.writeConfig("{\"model_type\": \"gpt2\"}"),
        "not of the model that config.json describes");
    table.add(
        GPT2,
        "another family's weights",
        f -> f.set("model_type", "\"openai-gpt\""),
        "missing transformer.tokens_embed.weight");
  }

  /** What is no count. */
  private static void addSettings(Table table) {
    for (Names names : FAMILIES) {
      for (String value : List.of("-0.1", "1", "1e999", "-1e999")) {
        table.set(names, names.dropout(), value, "0 or more and less than 1");
      }
      for (String value : List.of("\"0.1\"", "true", "[0.1]", "{}")) {
        table.set(names, names.dropout(), value, "no number");
      }
      table.set(names, names.activation(), "\"swish\"", "not supported", "relu");
      table.set(names, names.activation(), "\"" + "s\\n".repeat(9000) + "\"", "not supported");
      table.set(names, names.activation(), "7");
      table.set(names, names.activation(), "{\"a\": \"gelu\"}");
      table.set(names, "tie_word_embeddings", "false", "true is");
      table.set(names, "tie_word_embeddings", "\"true\"", "true is");
      table.set(names, "tie_word_embeddings", "null", "true is");
    }
    for (Names names : List.of(GPT2, GPT1, GPT3)) {
      table.set(names, "scale_attn_weights", "false", "true is");
      table.set(names, "scale_attn_by_inverse_layer_idx", "true", "false is");
      table.set(names, "add_cross_attention", "true", "false is");
      for (String value : List.of("0", "-1e-5", "1", "1e-60", "1e999")) {
        table.set(names, "layer_norm_epsilon", value, "more than 0");
      }
    }
    for (String value : List.of("0", "-1", "16777217", "2147483648", "1.5", "\"3\"")) {
      table.set(GPT3, "window_size", value);
    }
    table.set(BERT, "position_embedding_type", "\"relative_key\"", "absolute");
    table.set(BERT, "position_embedding_type", "[]", "absolute");
    table.set(BERT, "is_decoder", "true", "false is");
    table.set(BERT, "add_cross_attention", "1", "false is");
    table.set(BERT, "type_vocab_size", "0");
    table.set(BERT, "pad_token_id", "41", "0 to 40");
    table.set(BERT, "pad_token_id", "-1", "0 to 40");
    table.set(BERT, "pad_token_id", "99999999999", "beyond 32 bits");
    table.set(BERT, "classifier_dropout", "1.5");
    table.set(BERT, "layer_norm_eps", "0");
    table.set(BERT, "id2label", "[\"a\", \"b\"]", "numbers to names");
    table.set(BERT, "id2label", "\"a\"", "numbers to names");
    table.set(BERT, "architectures", "\"BertModel\"", "no list");
    table.set(BERT, "architectures", "[7]", "no list");
    table.set(BERT, "architectures", "[[\"BertModel\"]]", "no list");
    table.add(
        BERT,
        "an unknown head",
        f -> f.set("architectures", "[\"BertForArt" + "\\n".repeat(999) + "\"]"),
        "config.json: architecture \"BertForArt",
        "not supported");
    for (String labels : List.of("0", "-1", "1048577", "1.5", "\"2\"", "2147483648")) {
      table.add(
          BERT,
          "num_labels " + labels,
          f -> {
            f.remove("id2label");
            f.set("num_labels", labels);
          },
          "config.json: num_labels");
    }
    table.add(
        BERT,
        "more labels than the classifier has",
        f -> {
          f.remove("id2label");
          f.set("num_labels", "1048576");
        },
        "classifier.weight is [5, 12], not [1048576, 12]");
    table.add(
        BERT,
        "an unknown problem_type",
        f -> {
          f.set("architectures", "[\"BertForSequenceClassification\"]");
          f.set("problem_type", "\"sorting\"");
        },
        "config.json: problem_type \"sorting\"");
    table.add(
        BERT,
        "a problem_type that is no text",
        f -> {
          f.set("architectures", "[\"BertForSequenceClassification\"]");
          f.set("problem_type", "[]");
        },
        "config.json: problem_type");
    table.add(
        GPT2,
        "no labels for a GPT",
        f -> {
          f.set("architectures", "[\"GPT2ForSequenceClassification\"]");
          f.set("num_labels", "0");
        },
        "config.json: num_labels 0");
    for (String flag : List.of("share_encoder_decoder_embeddings", "static_position_embeddings")) {
      table.set(MARIAN, flag, "false", "true is");
    }
    for (String flag : List.of("normalize_before", "normalize_embedding", "add_final_layer_norm")) {
      table.set(MARIAN, flag, "true", "false is");
    }
    for (String rate : List.of("activation_dropout", "encoder_layerdrop", "decoder_layerdrop")) {
      table.set(MARIAN, rate, "0.1", "0.0 is");
      table.set(MARIAN, rate, "\"0\"", "0.0 is");
    }
    table.set(MARIAN, "scale_embedding", "1", "neither true nor false");
    for (String token : List.of("decoder_start_token_id", "eos_token_id", "pad_token_id")) {
      table.set(MARIAN, token, "41", "0 to 40");
      table.set(MARIAN, token, "-1", "0 to 40");
      table.set(MARIAN, token, "[0]", "no whole number");
    }
  }

  private static void addIndex(Table table, String what, String weightMap, String... says) {
    table.add(
        GPT2,
        what,
        f -> {
          f.shard();
          f.writeIndex("{\"metadata\": {}, \"weight_map\": " + weightMap + "}");
        },
        says);
  }

  /** model.safetensors.index.json. */
  private static void addIndexes(Table table) {
    String file = "model.safetensors.index.json: ";
    table.add(
        GPT2,
        "a shard that is not there",
        f -> {
          f.shard();
          Files.delete(f.path().resolve("b.safetensors"));
        },
        "b.safetensors: there is no such file");
    table.add(
        GPT2,
        "a shard that is a folder",
        f -> {
          f.shard();
          Files.delete(f.path().resolve("b.safetensors"));
          Files.createDirectory(f.path().resolve("b.safetensors"));
        },
        "b.safetensors: is no regular file");
    table.add(
        GPT2,
        "a shard that is cut off",
        f -> {
          f.shard();
          Path shard = f.path().resolve("b.safetensors");
          Files.write(shard, Arrays.copyOf(Files.readAllBytes(shard), 2000));
        },
        "b.safetensors: ");
    table.add(
        GPT2,
        "a tensor in the other shard",
        f -> {
          ObjectNode index = f.shard();
          ObjectNode map = (ObjectNode) index.get("weight_map");
          map.put("transformer.wte.weight", "a.safetensors");
          f.writeIndex(index.toString());
        },
        "a.safetensors: lacks tensor \"transformer.wte.weight\"");
    table.add(
        GPT2,
        "a tensor in no shard",
        f -> {
          ObjectNode index = f.shard();
          ((ObjectNode) index.get("weight_map")).remove("transformer.wte.weight");
          f.writeIndex(index.toString());
        },
        file,
        "missing transformer.wte.weight");
    table.add(
        GPT2,
        "an index that is a folder",
        f -> {
          f.shard();
          Files.delete(f.index());
          Files.createDirectory(f.index());
        },
        file,
        "no regular file");
    table.add(
        GPT2,
        "an index of a terabyte",
        f -> {
          f.shard();
          HostileFolder.writeSparse(f.index(), "{\"weight_map\": {", 1L << 40);
        },
        file,
        "not an index");
    String plain = "not a plain file name";
    for (String name :
        List.of(
            "../a.safetensors",
            "x/../a.safetensors",
            "/tmp/a.safetensors",
            "..",
            ".",
            "",
            "a",
            "config.json",
            "C:a.safetensors",
            "\\\\\\\\host\\\\a.safetensors",
            "a\\u0000.safetensors",
            "a\\n.safetensors",
            "a\\ud800.safetensors",
            "\\u202e.safetensors",
            "ü.safetensors",
            "a".repeat(5000) + ".safetensors")) {
      addIndex(table, "a tensor in the file " + name, "{\"a\": \"" + name + "\"}", file, plain);
    }
    for (String value : List.of("1", "null", "true", "[\"a.safetensors\"]", "{\"a\": {}}")) {
      addIndex(table, "a tensor mapped to " + value, "{\"a\": " + value + "}", file);
    }
    addIndex(table, "a map that is a list", "[\"a.safetensors\"]", file);
    addIndex(table, "a map that is null", "null", file);
    addIndex(table, "a map of nothing", "{}", file, "missing");
    addIndex(table, "a map that is cut off", "{\"a\": \"a.safe", file);
    addIndex(table, "deep nesting in place of a map", "[".repeat(100_000), file);
    addIndex(table, "deep nesting behind a map", "{}, \"a\": " + "[".repeat(100_000), file);
    addIndex(
        table,
        "a tensor twice",
        "{\"a\": \"a.safetensors\", \"a\": \"b.safetensors\"}",
        file,
        "stands twice");
    addIndex(table, "a map twice", "{}, \"weight_map\": {}", file, "stands twice");
    addIndex(table, "a long name", "{\"" + "x".repeat(60_000) + "\": 1}", file);
    addIndex(table, "a name of escapes", "{\"\\n\\u001b[2J" + "x".repeat(600) + "\": 1}", file);
    StringBuilder many = new StringBuilder("{");
    for (int i = 0; i <= 100_000; i++) {
      many.append("\"t").append(i).append("\": \"a.safetensors\", ");
    }
    addIndex(table, "a huge map", many + "\"t\": \"a.safetensors\"}", "lacks tensor \"t0\"");
    StringBuilder shards = new StringBuilder("{\"t\": \"a.safetensors\"");
    for (int i = 0; i <= 1000; i++) {
      shards.append(String.format(", \"t%d\": \"%d.safetensors\"", i, i));
    }
    addIndex(table, "a thousand shards and more", shards + "}", file, "more than 1000 files");
  }

  /** model.safetensors as bytes. */
  private static void addFiles(Table table) {
    String file = "model.safetensors: ";
    table.add(GPT2, "no weights", f -> Files.delete(f.weights()), "has neither model.safetensors");
    table.add(
        GPT2,
        "weights that are a folder",
        f -> {
          Files.delete(f.weights());
          Files.createDirectory(f.weights());
        },
        file,
        "no regular file");
    for (int size : new int[] {0, 1, 7, 8, 9, 100, 5000, 14687}) {
      table.add(
          GPT2,
          "the first " + size + " bytes",
          f -> Files.write(f.weights(), Arrays.copyOf(Files.readAllBytes(f.weights()), size)),
          file);
    }
    table.add(
        GPT2,
        "bytes behind the last tensor",
        f -> Files.write(f.weights(), Arrays.copyOf(Files.readAllBytes(f.weights()), 20_000)),
        file,
        "not accounted for");
    for (long length : new long[] {0, 1, 2, 14_681, Integer.MAX_VALUE, Long.MAX_VALUE, -1, -8}) {
      table.add(GPT2, "a header of " + length + " bytes", f -> f.headerLength(length), file);
    }
    table.add(
        GPT2,
        "a sparse header of a terabyte",
        f -> HostileFolder.writeSparse(f.weights(), "\0\0\0\0\0\1\0\0{", 1L << 41),
        file,
        "at most 100000000");
    table.add(
        GPT2,
        "a pickled file",
        f ->
            Files.write(
                f.weights(), "PK\3\4archive/data.pkl".getBytes(StandardCharsets.ISO_8859_1)),
        file);
    String[][] lies = {
      {"an unknown dtype", "\"F32\"", "\"F33\""},
      {"a dtype that is a number", "\"F32\"", "32"},
      {"a shape of text", "\"shape\":[12]", "\"shape\":[\"12\"]"},
      {"a shape of fractions", "\"shape\":[12]", "\"shape\":[12.0]"},
      {"a negative size", "\"shape\":[12]", "\"shape\":[-12]"},
      {"another size", "\"shape\":[12]", "\"shape\":[13]"},
      {"a size beyond 63 bits", "\"shape\":[12]", "\"shape\":[9223372036854775808]"},
      {"a product beyond 63 bits", "\"shape\":[12]", "\"shape\":[4294967296,4294967296]"},
      {"zeros that hide a product", "\"shape\":[12]", "\"shape\":[0,9223372036854775807,9]"},
      {"many dimensions", "\"shape\":[12]", "\"shape\":[12" + ",1".repeat(99) + "]"},
      {"overlapping data", "\"data_offsets\":[1872,", "\"data_offsets\":[1868,"},
      {"a dtype twice", "\"dtype\":\"F32\"", "\"dtype\":\"F32\",\"dtype\":\"F32\""},
      {"an unknown field", "\"dtype\":\"F32\"", "\"dtype\":\"F32\",\"strides\":[1]"},
      {"a tensor twice", "ln_1.bias", "ln_1.weight"},
      {"a name of escapes", "transformer.ln_f.bias", "\\\\n\\\\u001b[2J"},
      {"a long name", "transformer.ln_f.bias", "x".repeat(2000)},
      {"half a surrogate pair", "transformer.ln_f.bias", "\\\\ud800"},
      {"metadata of numbers", "\"format\":\"pt\"", "\"format\":1"},
      {"deep nesting", "\"shape\":\\[12\\]", "\"shape\":" + "[".repeat(100_000)},
    };
    for (String[] lie : lies) {
      table.add(
          GPT2,
          lie[0],
          f ->
              f.header(
                  text ->
                      lie[1].contains("\\[")
                          ? text.replaceFirst(lie[1], lie[2])
                          : text.replace(lie[1], lie[2].replace("\\\\", "\\"))),
          file);
    }
  }

  /** Tensors that are not what config.json says, in every family. */
  private static void addTensors(Table table) {
    for (Names names : FAMILIES) {
      String end = names.table();
      table.add(
          names,
          "no table of tokens",
          f -> f.tensors(all -> all.keySet().removeIf(name -> name.endsWith(end))),
          "missing",
          end);
      table.add(
          names, "no tensors", f -> f.tensors(Map::clear), "model.safetensors: ", "missing", end);
      table.add(
          names,
          "one tensor more",
          f -> {
            String name = f.named(end);
            f.tensors(all -> all.put("and\none" + "more".repeat(100), all.get(name)));
          },
          "unexpected \"and\\u000aone");
      table.add(
          names,
          "a layer more",
          f -> {
            String name =
                f.tensors().keySet().stream()
                    .filter(one -> one.contains(".1."))
                    .findFirst()
                    .orElseThrow();
            f.tensors(all -> all.put(name.replace(".1.", ".2."), all.get(name)));
          },
          "unexpected",
          ".2.");
      for (long[] shape : new long[][] {{12, 41}, {41, 13}, {41}, {41, 12, 1}, {0, 12}, {}}) {
        table.add(
            names,
            "a table of " + Arrays.toString(shape),
            f -> {
              String name = f.named(end);
              f.tensors(all -> all.put(name, all.get(name).shaped(shape)));
            },
            end + " is " + Arrays.toString(shape) + ", not [41, 12]");
      }
      for (Dtype dtype : List.of(Dtype.F64, Dtype.I64, Dtype.I32, Dtype.F8_E4M3, Dtype.BOOL)) {
        table.add(
            names,
            "a table of " + dtype,
            f -> {
              String name = f.named(end);
              f.tensors(all -> all.put(name, all.get(name).typed(dtype)));
            },
            end + " is " + dtype + ", not F32, F16 or BF16");
      }
      table.add(
          names,
          "large shapes everywhere",
          f ->
              f.tensors(
                  all ->
                      all.replaceAll(
                          (name, tensor) ->
                              tensor.shaped(
                                  0, 999_999_999_999_999L, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1))),
          "differ, among them");
    }
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("breakages")
  void aBrokenFolderGivesOneLineSoonAndTakesNoMemory(Breakage broken) throws IOException {
    HostileFolder folder = HostileFolder.copyOf(broken.family(), temporary);
    broken.change().of(folder);
    // There is no device: whatever would be allocated on it fails.
    assertTimeoutPreemptively(SOON, () -> assertRefused(folder.path(), broken.says()));
  }

  private static void assertRefused(Path folder, List<String> says) {
    ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    long before = threads.getCurrentThreadAllocatedBytes();
    IOException e =
        assertThrows(IOException.class, () -> ModelFiles.loadAny(folder, null, DType.F32).close());
    long bytes = threads.getCurrentThreadAllocatedBytes() - before;
    assertTrue(bytes < LITTLE_HEAP, bytes + " bytes on the heap: " + e.getMessage());
    HostileFolder.assertOneLine(folder, e.getMessage());
    for (String part : says) {
      assertTrue(e.getMessage().contains(part), e.getMessage() + ": lacks " + part);
    }
  }

  @Test
  void theTableHasAtLeastSixtyKinds() {
    assertTrue(breakages().stream().map(Breakage::what).distinct().count() >= 60);
  }

  @ParameterizedTest
  @ValueSource(strings = {"config.json", "model.safetensors", "model.safetensors.index.json"})
  @EnabledOnOs({OS.LINUX, OS.MAC})
  void aPipeIsNotWaitedFor(String name) throws IOException, InterruptedException {
    HostileFolder folder = HostileFolder.copyOf("gpt2", temporary);
    if (name.equals(SafetensorsFile.INDEX_NAME)) {
      Files.delete(folder.weights());
    }
    Path pipe = temporary.resolve(name);
    Files.deleteIfExists(pipe);
    assertEquals(0, new ProcessBuilder("mkfifo", pipe.toString()).start().waitFor());
    assertTimeoutPreemptively(SOON, () -> assertRefused(folder.path(), List.of(name)));
  }

  @Test
  void headsOfAnotherFamilyAndSizesOfNewOnesAreRefused() throws IOException {
    HostileFolder folder = HostileFolder.copyOf("gpt2", temporary);
    IOException e =
        assertThrows(
            IOException.class,
            () -> ModelFiles.loadTask(folder.path(), Head.span(), null, DType.F32).close());
    assertTrue(e.getMessage().contains("config.json: a GPT has no head for SPAN"), e.getMessage());
    folder.set("n_embd", "1048576");
    folder.set("n_head", "4096");
    e =
        assertThrows(
            IOException.class,
            () ->
                ModelFiles.loadForTask(folder.path(), Head.tokens(1 << 20), null, DType.F32, 1)
                    .close());
    HostileFolder.assertOneLine(folder.path(), e.getMessage());
  }

  @ParameterizedTest
  @CsvSource({"gpt2", "gpt1", "gpt3-3", "bert-tokens", "marian"})
  void weightsThatAreNoNumbersAreRead(String family) throws IOException {
    HostileFolder folder = HostileFolder.copyOf(family, temporary);
    folder.tensors(all -> all.values().forEach(one -> Arrays.fill(one.bytes(), (byte) 0xff)));
    try (Device device = Device.cpu();
        Model model = ModelFiles.loadAny(folder.path(), device, DType.F32)) {
      String name = model.parameters().specs().get(0).name();
      FloatBuffer values = FloatBuffer.allocate(41 * 12);
      model.parameters().read(Parameters.Part.WEIGHT, name, values::put);
      assertTrue(Float.isNaN(values.get(0)));
    }
  }

  @ParameterizedTest
  @CsvSource({"gpt2", "marian"})
  void shardsAndHalvesAreRead(String family) throws IOException {
    HostileFolder folder = HostileFolder.copyOf(family, temporary);
    folder.tensors(all -> all.replaceAll((name, tensor) -> tensor.typed(Dtype.BF16)));
    folder.shard();
    try (Device device = Device.cpu();
        Model model = ModelFiles.loadAny(folder.path(), device, DType.F32)) {
      assertEquals(
          family.equals("gpt2") ? LanguageModel.class : TransformerModel.class, model.getClass());
    }
  }
}
