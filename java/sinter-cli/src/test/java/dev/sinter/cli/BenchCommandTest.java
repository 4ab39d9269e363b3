package dev.sinter.cli;

import static dev.sinter.cli.Run.run;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.sinter.Gpt;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.model.GptConfig;
import dev.sinter.model.ModelFiles;
import dev.sinter.text.CharTokenizer;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What {@code bench} counts and refuses; how fast anything is, no test asks. */
class BenchCommandTest {
  @TempDir static Path shared;

  private static Path model;

  @BeforeAll
  static void makeAModel() throws IOException {
    CharTokenizer tokenizer = CharTokenizer.train("the quick brown fox jumps over the lazy dog. ");
    model = shared.resolve("model");
    GptConfig config = GptConfig.of(tokenizer.size(), 32, 64, 2, 2);
    try (Device device = Device.cpu(1);
        Gpt gpt = Gpt.create(config, tokenizer, device, DType.F32, 3)) {
      gpt.save(model);
    }
  }

  private static Run bench(Object... more) {
    List<Object> words =
        new ArrayList<>(
            List.of("bench", "--model", model, "--device", "cpu", "--runs", 2, "--pp", 0));
    words.addAll(List.of(more));
    return run(words.toArray());
  }

  private static List<JsonNode> rows(Object... more) throws IOException {
    Run run = bench(more);
    assertEquals(0, run.code(), run.err());
    List<JsonNode> rows = new ArrayList<>();
    for (String line : run.out().lines().toList()) {
      rows.add(new ObjectMapper().readTree(line));
    }
    return rows;
  }

  @Test
  void loraStandsBesideAllWeightsWithTheMemoryOfBoth() throws IOException {
    List<JsonNode> rows = rows("--json", "--tg", 0, "--train", "1x8", "--lora", 2);
    assertEquals(3, rows.size());
    assertEquals("train 1x8 fp32", rows.get(0).get("what").asText());
    assertEquals("train 1x8 lora 2 fp32", rows.get(1).get("what").asText());
    JsonNode cost = rows.get(2);
    long all = cost.get("bytes_all").asLong();
    long few = cost.get("bytes_lora").asLong();
    assertEquals((double) few / all, cost.get("memory_share").asDouble());
    assertEquals(
        rows.get(0).get("tok_s_median").asDouble() / rows.get(1).get("tok_s_median").asDouble(),
        cost.get("time_share").asDouble(),
        0.01);
    // All weights have gradients and two moments beside them, LoRA's base none of the three.
    long weights = 4L * ModelFiles.readConfig(model).parameters();
    assertTrue(all > 4 * weights && few > weights && few < all - 2 * weights, cost::toString);
  }

  @Test
  void trainingSaysHowMuchOfThePeakItIs() throws IOException {
    JsonNode row = rows("--json", "--tg", 0, "--train", "2x8").get(0);
    GptConfig config = ModelFiles.readConfig(model);
    double matrices = 2 * 12 * 64 * 64 + config.vocabulary() * 64.0;
    assertEquals(6 * matrices + 6 * 2 * 64 * 8, row.get("flop_per_token").asDouble());
    assertEquals(
        row.get("tok_s_median").asDouble()
            * row.get("flop_per_token").asDouble()
            / row.get("peak_flop_s").asDouble(),
        row.get("mfu").asDouble(),
        1e-3 * row.get("mfu").asDouble());
    assertTrue(row.get("peak_from").asText().startsWith("measured: a product of "));
    Run text = bench("--tg", 0, "--train", "2x8");
    assertTrue(text.out().matches("(?s).*  MFU +[0-9.]+% of [0-9.]+ [GT]FLOP/s, measured.*"));
  }

  @Test
  void adaptersMixedStandBesideOneAndNone() throws IOException {
    List<JsonNode> rows =
        rows("--json", "--tg", 2, "--batch", 2, "--adapters", 2, "--rank", 3, "--weights", "q8");
    assertEquals(
        List.of("tg2 x2 q8", "tg2 x2 adapter q8", "tg2 x2 2 mixed q8"),
        rows.subList(0, 3).stream().map(row -> row.get("what").asText()).toList());
    JsonNode shares = rows.get(3);
    double mixed = rows.get(2).get("tok_s_median").asDouble();
    assertEquals(
        mixed / rows.get(1).get("tok_s_median").asDouble(),
        shares.get("share_of_one").asDouble(),
        0.01);
    assertEquals(
        mixed / rows.get(0).get("tok_s_median").asDouble(),
        shares.get("share_of_none").asDouble(),
        0.01);
  }

  @Test
  void whatDoesNotGoTogetherIsRefused() {
    bench("--lora", 2).failed(2, "--lora: 1 or more, with --train");
    bench("--tg", 0, "--train", "1by8").failed(2, "--train 1by8; BxT");
    bench("--tg", 0, "--train", "1x8", "--lora", -1).failed(2, "--lora: 1 or more");
  }
}
