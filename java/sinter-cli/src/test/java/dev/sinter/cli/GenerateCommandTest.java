package dev.sinter.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.sinter.Gpt;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.model.GptConfig;
import dev.sinter.text.CharTokenizer;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What {@code generate} prints. */
class GenerateCommandTest {
  @TempDir static Path model;

  private static int vocabulary;

  private record Run(int code, String out, String err) {}

  @BeforeAll
  static void makeAModel() throws IOException {
    CharTokenizer tokenizer = CharTokenizer.train("the quick brown fox jumps over the lazy dog. ");
    vocabulary = tokenizer.size();
    GptConfig config = GptConfig.of(vocabulary, 32, 16, 1, 2);
    try (Device device = Device.cpu(1);
        Gpt gpt = Gpt.create(config, tokenizer, device, DType.F32, 3)) {
      gpt.save(model);
    }
  }

  private static Run generate(Object... arguments) {
    StringWriter out = new StringWriter();
    StringWriter err = new StringWriter();
    List<String> words =
        new ArrayList<>(List.of("generate", "--model", model.toString(), "--device", "cpu"));
    for (Object argument : arguments) {
      words.add(argument.toString());
    }
    int code =
        Main.run(
            new PrintWriter(out, true), new PrintWriter(err, true), words.toArray(String[]::new));
    return new Run(code, out.toString(), err.toString());
  }

  private static JsonNode completions(Object... arguments) throws IOException {
    Run run = generate(arguments);
    assertEquals(0, run.code, run.err);
    return new ObjectMapper().readTree(run.out).get("completions");
  }

  @Test
  void jsonSaysWhatTheHelpSays() throws IOException {
    JsonNode all =
        completions(
            "--prompt",
            "the ",
            "--prompt",
            "lazy dog",
            "--count",
            2,
            "--max-new-tokens",
            5,
            "--json");
    assertEquals(4, all.size());
    for (int i = 0; i < 4; i++) {
      JsonNode one = all.get(i);
      assertEquals(i / 2, one.get("prompt").asInt());
      assertEquals(5, one.get("text").asText().length());
      assertEquals(5, one.get("ids").size());
      assertEquals("length", one.get("finish").asText());
      double sum = 0;
      for (JsonNode logprob : one.get("logprobs")) {
        sum += logprob.asDouble();
      }
      assertEquals(sum, one.get("score").asDouble(), 1e-4);
    }
    // The third is of the second prompt, with the seed after the first two.
    JsonNode third =
        completions("--prompt", "lazy dog", "--seed", 2, "--max-new-tokens", 5, "--json").get(0);
    assertEquals(third.get("ids"), all.get(2).get("ids"));
  }

  @Test
  void idsNeedNoTokenizer() throws IOException {
    Path hidden = model.resolveSibling("hidden-tokenizer.json");
    Files.move(model.resolve("tokenizer.json"), hidden);
    try {
      Run run = generate("--ids", "1,2,3", "--temperature", 0, "--max-length", 7);
      assertEquals(0, run.code, run.err);
      assertTrue(run.out.strip().matches("\\d+(,\\d+){3}"), run.out);
      JsonNode all = completions("--ids", "1,2,3", "--temperature", 0, "--max-length", 7, "--json");
      assertFalse(all.get(0).has("text"));
      assertEquals("[" + run.out.strip() + "]", all.get(0).get("ids").toString());
      int first = all.get(0).get("ids").get(0).asInt();
      JsonNode ended =
          completions("--ids", "1,2,3", "--temperature", 0, "--eos", first, "--json").get(0);
      assertEquals("end_of_text", ended.get("finish").asText());
      assertEquals(1, ended.get("ids").size());
    } finally {
      Files.move(hidden, model.resolve("tokenizer.json"));
    }
  }

  @Test
  void beamsAreTheBestFirst() throws IOException {
    JsonNode all =
        completions(
            "--prompt",
            "the ",
            "--beams",
            4,
            "--count",
            3,
            "--no-repeat-ngram",
            2,
            "--length-penalty",
            0.5,
            "--early-stopping",
            "never",
            "--max-new-tokens",
            6,
            "--json");
    assertEquals(3, all.size());
    for (int i = 1; i < 3; i++) {
      double before = all.get(i - 1).get("score").asDouble();
      assertTrue(before >= all.get(i).get("score").asDouble());
    }
    Run run = generate("--prompt", "the ", "--beams", 2, "--max-new-tokens", 6);
    assertEquals(0, run.code, run.err);
    assertTrue(run.out.startsWith("the "), run.out);
  }

  @Test
  void everyProcessorHasAnOption() throws IOException {
    JsonNode all =
        completions(
            "--prompt",
            "the ",
            "--max-new-tokens",
            8,
            "--json",
            "--no-repeat-ngram",
            2,
            "--encoder-no-repeat-ngram",
            3,
            "--encoder-repetition-penalty",
            1.1,
            "--min-length",
            6,
            "--min-new-tokens",
            3,
            "--bad-words",
            "1,2",
            "--bad-words",
            4,
            "--sequence-bias",
            "5,6=-1.5",
            "--suppress",
            "0,1,2",
            "--begin-suppress",
            3,
            "--forced-bos",
            5,
            "--forced-eos",
            7,
            "--exponential-decay",
            "2,1.1",
            "--remove-invalid",
            "--top-h",
            0.9,
            "--typical",
            0.9,
            "--epsilon",
            0.001,
            "--eta",
            0.001,
            "--renormalize");
    JsonNode ids = all.get(0).get("ids");
    assertEquals(7, ids.get(ids.size() - 1).asInt());
    for (JsonNode id : ids) {
      assertTrue(id.asInt() > 2 && id.asInt() < vocabulary, ids.toString());
    }
  }

  @Test
  void whatIsWrongIsSaid() {
    Object[][] wrong = {
      {"--prompt", "the ", "--ids", "1"},
      {"--max-new-tokens", 3},
      {"--ids", "one"},
      {"--ids", "1,2", "--stop", "x"},
      {"--ids", "1,2", "--beams", 2, "--stop", "x"},
      {"--ids", "1,99999"},
      {"--ids", "1,2,3", "--max-length", 3},
      {"--prompt", "the ", "--beams", 2, "--top-k", 3},
      {"--prompt", "the ", "--beams", 2, "--count", 3},
      {"--prompt", "the ", "--beams", 0},
      {"--prompt", "the ", "--beams", 2, "--length-penalty", 1, "--paper-penalty", 1},
      {"--prompt", "the ", "--sequence-bias", "3"},
      {"--prompt", "the ", "--exponential-decay", "3"},
      {"--prompt", "the ", "--eos", "-1"},
    };
    for (Object[] arguments : wrong) {
      Run run = generate(arguments);
      assertEquals(2, run.code, String.join(" ", List.of(arguments).toString(), run.err));
      assertTrue(run.err.startsWith("sinter: "), run.err);
    }
  }
}
