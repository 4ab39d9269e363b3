package dev.sinter.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.util.RawValue;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/** Adapters' files that are not what they should be, or are of another model. */
class PeftFilesTest {
  private static final ObjectMapper JSON = new ObjectMapper();

  @TempDir Path folder;

  private Device device;
  private LanguageModel gpt;
  private TaskModel bert;

  private static Path resource(String name) {
    try {
      return Path.of(PeftFilesTest.class.getResource(name).toURI());
    } catch (URISyntaxException e) {
      throw new AssertionError(e);
    }
  }

  @BeforeEach
  void open() throws IOException {
    device = Device.cpu();
    gpt = ModelFiles.load(resource("families/gpt2"), device, DType.F32);
    bert =
        ModelFiles.loadTask(
            resource("families/bert-sequence"), Head.sequence(3), device, DType.F32);
  }

  @AfterEach
  void close() {
    gpt.close();
    bert.close();
    device.close();
  }

  private void copy(String name) throws IOException {
    for (String file : List.of(PeftFiles.CONFIG, PeftFiles.WEIGHTS)) {
      Files.write(
          folder.resolve(file),
          Files.readAllBytes(resource("adapters/" + name + "/final").resolve(file)));
    }
  }

  private void set(String name, String value) throws IOException {
    Path config = folder.resolve(PeftFiles.CONFIG);
    ObjectNode json = (ObjectNode) JSON.readTree(config.toFile());
    json.putRawValue(name, new RawValue(value));
    Files.write(config, JSON.writeValueAsBytes(json));
  }

  private String refusal() {
    String message =
        assertThrows(IOException.class, () -> PeftFiles.load(folder, gpt)).getMessage();
    HostileFolder.assertOneLine(folder, message);
    return message;
  }

  static Stream<List<String>> settings() {
    return Stream.of(
        List.of("use_dora", "true", "\"use_dora\" is not supported"),
        List.of("bias", "\"all\"", "bias \"all\" is not supported; none is"),
        List.of("init_lora_weights", "\"pissa\"", "init_lora_weights \"pissa\" is not supported"),
        List.of("peft_type", "\"IA3\"", "peft_type \"IA3\" is not supported"),
        List.of("trainable_token_indices", "[1]", "\"trainable_token_indices\" is not supported"),
        List.of("a_flag_of_next_year", "0.5", "\"a_flag_of_next_year\" is not supported"),
        List.of("layers_pattern", "\"h\"", "\"layers_pattern\" is not supported"),
        List.of("r", "0", "rank 0; 1 or more"),
        List.of("r", "2147483647", "lora_A.weight is [4, 12], not [2147483647, 12]"),
        List.of("r", "4000000000", "r is beyond 32 bits"),
        List.of("r", "3.5", "r 3.5 is no whole number"),
        List.of("r", "5", "lora_A.weight is [4, 12], not [5, 12]"),
        List.of("rank_pattern", "{\"c_attn\": 1e30}", "rank_pattern has 1.0E30"),
        List.of("rank_pattern", "{\"(\": 3}", "is no regular expression"),
        List.of("alpha_pattern", "{\"c_attn\": \"8\"}", "alpha_pattern \"8\" is no number"),
        List.of("lora_alpha", "\"much\"", "lora_alpha \"much\" is no number"),
        List.of("lora_dropout", "1", "dropout 1.0; 0 or more and less than 1"),
        List.of(
            "target_modules", "[\"q_proj\"]", "no module \"q_proj\"; its linear modules end in"),
        List.of("target_modules", "[7]", "target_modules is no list of texts"),
        List.of("target_modules", "{}", "target_modules {…} is no text"),
        List.of("target_modules", "\"*\"", "\"*\" is no regular expression"),
        List.of("target_modules", "\"(([a-z._0-9]+)+)+X\"", "takes too long"),
        List.of("target_modules", "\"" + "a".repeat(2000) + "\"", "at most 1000 characters"),
        List.of("layers_to_transform", "[1]", "unexpected \"base_model.model.transformer.h.0"),
        List.of("layers_to_transform", "[9]", "in layers [9]"),
        List.of("modules_to_save", "[\"lm_head\"]", "no module \"lm_head\" to train whole"),
        List.of("modules_to_save", "[\"ln_f\"]", "missing base_model.model.transformer.ln_f"),
        List.of("modules_to_save", "[\"wte\"]", "wte.weight is a table of embeddings"));
  }

  @ParameterizedTest
  @MethodSource("settings")
  void settingsThatAreNotSupportedOrDoNotFitAreNamed(List<String> setting) throws IOException {
    copy("lora-gpt2");
    PeftFiles.load(folder, gpt).close();
    set(setting.get(0), setting.get(1));
    String message = refusal();
    assertTrue(message.contains(setting.get(2)), message);
  }

  @ParameterizedTest
  @CsvSource({
    "init_r, 5, init_r is 5",
    "total_step, 0, leave no step of 0 to prune in",
    "beta1, 1, beta1 1.0",
    "orth_reg_weight, -1, orthogonality",
    "target_r, 99, target rank 99",
    "rank_pattern, '{\"h.lora_E\": [true]}', does not say what is left of \"transformer.h.0.attn",
    "rank_pattern, '{\"h\": [true]}', names no lora_E",
    "rank_pattern, '{\"h.lora_E\": [1]}', something else than true and false",
    "rank_pattern, 'null', 'lora_A is [3, 12], not [4, 12]'",
  })
  void adaLorasRanksFitItsTensors(String name, String value, String said) throws IOException {
    copy("adalora-gpt2");
    PeftFiles.load(folder, gpt).close();
    set(name, value);
    String message = refusal();
    assertTrue(message.contains(said), message);
  }

  @Test
  void anAdapterForAnotherModelIsRefusedWithTheNameOfItsOwn() throws IOException {
    copy("lora-bert");
    String message = refusal();
    assertTrue(
        message.endsWith(
            "its linear modules end in c_attn, c_fc, c_proj; open it over"
                + " \"families/bert-sequence\", which it was made for"),
        message);
    copy("lora-gpt2");
    try (LanguageModel wider =
            LanguageModel.create(GptConfig.of(41, 13, 16, 2, 2), device, DType.F32, 1);
        LanguageModel deeper =
            LanguageModel.create(GptConfig.of(41, 13, 12, 3, 2), device, DType.F32, 1)) {
      String other =
          assertThrows(IOException.class, () -> PeftFiles.load(folder, wider)).getMessage();
      assertTrue(
          other.contains(
              "not of an adapter for this model; open it over \"families/gpt2\", which it was"
                  + " made for: base"),
          other);
      assertTrue(other.contains("h.0.attn.c_attn.lora_A.weight is [4, 12], not [4, 16]"), other);
      other = assertThrows(IOException.class, () -> PeftFiles.load(folder, deeper)).getMessage();
      assertTrue(other.contains("missing base_model.model.transformer.h.2.attn"), other);
    }
    // A head that the model under it does not have.
    copy("lora-bert");
    try (TaskModel mean = bert.withHead(Head.mean())) {
      String other =
          assertThrows(IOException.class, () -> PeftFiles.load(folder, mean)).getMessage();
      assertTrue(other.contains("unexpected \"base_model.model.classifier.bias\""), other);
    }
  }

  @Test
  void filesThatAreNotThereAreNamed() throws IOException {
    assertEquals(
        folder.resolve(PeftFiles.CONFIG)
            + ": there is no such file; name a folder that an adapter was saved to",
        refusal());
    copy("lora-gpt2");
    Files.delete(folder.resolve(PeftFiles.WEIGHTS));
    assertTrue(refusal().contains("adapter_model.safetensors: there is no such file"));
  }

  @Test
  void anAdapterKnowsWhatItWasMadeOver() throws IOException {
    copy("rslora-gpt2");
    AdapterConfig config = PeftFiles.readConfig(folder);
    assertEquals("families/gpt2", config.base());
    assertEquals(
        LoraConfig.of(4)
            .withAlpha(4)
            .withRankStabilized()
            .withTargets(Targets.matching(".*\\.(c_fc|c_proj|c_attn)"))
            .withBase("families/gpt2"),
        config);
  }

  @Test
  void whatIsSavedIsReadAsItWas() throws IOException {
    List<AdapterConfig> all =
        List.of(
            new LoraConfig(
                3,
                4.5,
                0.25,
                true,
                Targets.of("query", "dense").inLayers(0, 1),
                Map.of("query", 2),
                Map.of("0\\.output\\.dense", 9.0),
                List.of("pooler", "classifier"),
                "base"),
            new AdaLoraConfig(
                4,
                2,
                16,
                0.5,
                Targets.matching(".*dense"),
                3,
                4,
                5,
                60,
                0.75,
                0.5,
                0.25,
                Map.of(),
                List.of("classifier"),
                "base"),
            new BottleneckConfig(7, 0.02, List.of("pooler", "classifier"), "base"));
    for (AdapterConfig config : all) {
      try (TaskModel adapted = bert.adapted(config, 3)) {
        PeftFiles.save(adapted, folder);
        assertEquals(config, PeftFiles.readConfig(folder));
        PeftFiles.load(folder, bert).close();
      }
    }
    assertThrows(IllegalArgumentException.class, () -> PeftFiles.save(bert, folder));
  }

  @Test
  void aModelWithoutTheClassesPrefixHasItsOwnNames() throws IOException {
    try (TaskModel mean = bert.withHead(Head.mean());
        TaskModel adapted = mean.adapted(LoraConfig.of(2), 3)) {
      PeftFiles.save(adapted, folder);
      String header =
          new String(
              Files.readAllBytes(folder.resolve(PeftFiles.WEIGHTS)), StandardCharsets.ISO_8859_1);
      assertTrue(header.contains("base_model.model.encoder.layer.0.attention.self.query.lora_A"));
      PeftFiles.load(folder, mean).close();
    }
  }

  @Test
  void noChangeOfAByteDoesMoreThanARefusal() throws IOException {
    Random random = new Random(7);
    for (String name : List.of("lora-gpt2", "adalora-gpt2")) {
      for (int i = 0; i < 60; i++) {
        copy(name);
        Path file = folder.resolve(i % 2 == 0 ? PeftFiles.CONFIG : PeftFiles.WEIGHTS);
        byte[] bytes = Files.readAllBytes(file);
        int most = i % 2 == 0 ? bytes.length : 900;
        for (int change = 0; change < 1 + i % 3; change++) {
          bytes[random.nextInt(Math.min(most, bytes.length))] = (byte) (32 + random.nextInt(95));
        }
        Files.write(file, bytes);
        try {
          PeftFiles.load(folder, gpt).close();
        } catch (IOException e) {
          HostileFolder.assertOneLine(folder, e.getMessage());
        }
      }
    }
  }
}
