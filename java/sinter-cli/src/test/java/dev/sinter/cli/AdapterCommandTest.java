package dev.sinter.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.sinter.Generator;
import dev.sinter.Gpt;
import dev.sinter.generate.Completion;
import dev.sinter.generate.EngineSettings;
import dev.sinter.generate.Request;
import dev.sinter.generate.Sampling;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Parameters.Part;
import dev.sinter.model.BottleneckConfig;
import dev.sinter.model.GptConfig;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.LoraConfig;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.PeftFiles;
import dev.sinter.text.CharTokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Prompts of one command, each with an adapter of its own. */
class AdapterCommandTest {
  @TempDir static Path folder;

  private static Path model;

  @BeforeAll
  static void makeModelsAndAdapters() throws IOException {
    CharTokenizer tokenizer = CharTokenizer.train("the quick brown fox jumps over the lazy dog. ");
    GptConfig config = GptConfig.of(tokenizer.size(), 32, 16, 1, 2);
    model = Files.createDirectory(folder.resolve("model"));
    try (Device device = Device.cpu(1);
        Gpt gpt = Gpt.create(config, tokenizer, device, DType.F32, 3)) {
      gpt.save(model);
      try (LanguageModel base = ModelFiles.load(model, device, DType.F32)) {
        saveAdapter(base, "a", 1);
        saveAdapter(base, "b", 2);
        try (LanguageModel adapted = base.adapted(BottleneckConfig.of(4), 1)) {
          PeftFiles.save(adapted, Files.createDirectory(folder.resolve("bottleneck")));
        }
      }
      GptConfig wider = GptConfig.of(tokenizer.size(), 32, 32, 1, 2);
      try (LanguageModel other = LanguageModel.create(wider, device, DType.F32, 1)) {
        saveAdapter(other, "foreign", 1);
      }
    }
  }

  /** Values that change much. */
  private static void saveAdapter(LanguageModel base, String name, long seed) throws IOException {
    Random random = new Random(seed);
    try (LanguageModel adapted = base.adapted(LoraConfig.of(2).withAlpha(4), seed)) {
      for (ParameterSpec spec : adapted.parameters().specs()) {
        adapted
            .parameters()
            .write(
                Part.WEIGHT,
                spec.name(),
                target -> {
                  while (target.hasRemaining()) {
                    target.put((float) random.nextGaussian());
                  }
                });
      }
      PeftFiles.save(adapted, Files.createDirectory(folder.resolve(name)));
    }
  }

  private static String adapter(String name) {
    return name + "=" + folder.resolve(name);
  }

  private static Run generate(Object... arguments) {
    List<Object> all = new ArrayList<>(List.of("generate", "--model", model, "--device", "cpu"));
    all.addAll(List.of(arguments));
    return Run.run(all.toArray());
  }

  private static List<String> texts(Object... arguments) throws IOException {
    List<Object> all = new ArrayList<>(List.of("--json", "--max-new-tokens", 12));
    all.addAll(List.of(arguments));
    Run run = generate(all.toArray());
    assertEquals(0, run.code(), run.err());
    List<String> texts = new ArrayList<>();
    for (JsonNode one : new ObjectMapper().readTree(run.out()).get("completions")) {
      texts.add(one.path("adapter").asText("none") + ": " + one.get("text").asText());
    }
    return texts;
  }

  @Test
  void eachPromptHasTheAdapterThatItUses() throws IOException {
    Object[] three = {"--prompt", "the ", "--prompt", "the ", "--prompt", "the "};
    List<Object> mixed = new ArrayList<>(List.of(three));
    mixed.addAll(List.of("--adapter", adapter("a"), "--adapter", adapter("b")));
    mixed.addAll(List.of("--use", "a", "--use", "none", "--use", "b", "--temperature", 0));
    List<String> texts = texts(mixed.toArray());
    String plain = texts("--prompt", "the ", "--temperature", 0).get(0);
    String a = texts("--prompt", "the ", "--temperature", 0, "--adapter", adapter("a")).get(0);
    assertEquals(a, texts.get(0));
    assertEquals(plain, texts.get(1));
    assertTrue(texts.get(2).startsWith("b: "), texts.get(2));
    assertNotEquals(texts.get(0).substring(3), texts.get(2).substring(3));
    assertNotEquals(plain.substring(6), a.substring(3));
    Run streamed =
        generate(
            "--prompt",
            "the ",
            "--temperature",
            0,
            "--max-new-tokens",
            12,
            "--adapter",
            adapter("a"),
            "--use",
            "a");
    assertEquals("the " + a.substring(3), streamed.out().stripTrailing());
  }

  @Test
  void theFacadeServesWhatTheCommandPrints() throws IOException {
    String expected =
        texts("--prompt", "the ", "--temperature", 0, "--adapter", adapter("a")).get(0);
    try (Device device = Device.cpu(1);
        Generator gpt = Generator.load(model, device, null, EngineSettings.defaults())) {
      gpt.loadAdapter("x", folder.resolve("a"));
      Request request = Request.of("the ", Sampling.greedy().withMaxNewTokens(12)).withAdapter("x");
      Completion completion = gpt.engine().submit(request).join();
      assertEquals(expected, "a: " + completion.text());
      gpt.unloadAdapter("x");
      assertEquals(List.of(), gpt.engine().adapters());
    }
  }

  @Test
  void whatDoesNotFitIsOneLine() {
    Object[] prompt = {"--prompt", "the "};
    Path foreign = folder.resolve("foreign");
    failed(1, foreign + "/adapter_model.safetensors", prompt, "--adapter", adapter("foreign"));
    failed(1, "is no low-rank update", prompt, "--adapter", adapter("bottleneck"));
    failed(1, "adapter_config.json", prompt, "--adapter", adapter("absent"));
    failed(2, "--adapter a; NAME=DIR", prompt, "--adapter", "a");
    failed(2, "--adapter a is there twice", prompt, "--adapter", adapter("a"), "--adapter", "a=x");
    failed(2, "--adapter none means no adapter", prompt, "--adapter", "none=x");
    failed(2, "--use c; a, none", prompt, "--adapter", adapter("a"), "--use", "c");
    failed(2, "--use c; there is no --adapter", prompt, "--use", "c");
    failed(2, "--adapter names a, b; --use", prompt, "--adapter", adapter("a"), "--adapter", "b=x");
    failed(
        2, "2 --use and 1 prompts", prompt, "--adapter", adapter("a"), "--use", "a", "--use", "a");
    failed(2, "without adapters", prompt, "--adapter", adapter("a"), "--beams", "2");
  }

  private static void failed(int code, String says, Object[] prompt, Object... more) {
    List<Object> all = new ArrayList<>(List.of(prompt));
    all.addAll(List.of(more));
    generate(all.toArray()).failed(code, says);
  }
}
