package dev.sinter.cli;

import static dev.sinter.cli.Run.run;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.Gpt;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.WeightFormat;
import dev.sinter.model.GptConfig;
import dev.sinter.model.ModelFiles;
import dev.sinter.text.CharTokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What {@code quantize} writes, prints and refuses. */
class QuantizeCommandTest {
  @TempDir static Path shared;

  private static Path model;
  private static Path text;

  @TempDir Path folder;

  @BeforeAll
  static void makeAModel() throws IOException {
    String words = "the quick brown fox jumps over the lazy dog. ";
    CharTokenizer tokenizer = CharTokenizer.train(words);
    text = Files.writeString(shared.resolve("text.txt"), words.repeat(5));
    model = shared.resolve("model");
    GptConfig config = GptConfig.of(tokenizer.size(), 32, 64, 1, 2);
    try (Device device = Device.cpu(1);
        Gpt gpt = Gpt.create(config, tokenizer, device, DType.F32, 3)) {
      gpt.save(model);
    }
  }

  private static Run quantize(Path from, String to, Path out, Object... more) {
    List<Object> words =
        new ArrayList<>(
            List.of("quantize", "--model", from, "--to", to, "--out", out, "--device", "cpu"));
    words.addAll(List.of(more));
    return run(words.toArray());
  }

  @ParameterizedTest
  @CsvSource({"f32, F32, 0.0001", "bf16, BF16, 1", "q8, Q8, 1", "q4, Q4, 5"})
  void itWritesAPackedModelAndSaysWhatThatCosts(String to, WeightFormat format, double most)
      throws IOException {
    Path out = folder.resolve("packed");
    Run run = quantize(model, to, out, "--text", text);
    assertEquals(0, run.code(), run.err());
    assertEquals(Optional.of(format), ModelFiles.readWeightFormat(out));
    String info = run("info", "--model", out).out();
    assertTrue(info.contains("packed, " + format.text()), info);
    assertArrayEquals(
        Files.readAllBytes(model.resolve("tokenizer.json")),
        Files.readAllBytes(out.resolve("tokenizer.json")));
    Matcher loss =
        Pattern.compile("loss +([\\d.]+) as fp32, ([\\d.]+) as " + format.text() + ": (\\S+)%")
            .matcher(run.out());
    assertTrue(loss.find(), run.out());
    double before = Double.parseDouble(loss.group(1));
    double after = Double.parseDouble(loss.group(2));
    assertEquals(100 * (after / before - 1), Double.parseDouble(loss.group(3)), 2e-3);
    assertTrue(Math.abs(after / before - 1) < most / 100, run.out());
    String evaluated = run("eval", "--model", model, "--data", text, "--device", "cpu").out();
    Matcher plain = Pattern.compile("loss +([\\d.]+)").matcher(evaluated);
    assertTrue(plain.find(), evaluated);
    assertEquals(Double.parseDouble(plain.group(1)), before, 1e-4);
  }

  @ParameterizedTest
  @ValueSource(strings = {"f32", "bf16", "q8", "q4"})
  void aPackedModelGeneratesWhatThePlainOneDoesInThatFormat(String format) {
    Path out = folder.resolve("packed");
    assertEquals(0, quantize(model, format, out).code());
    Object[] prompt = {"--prompt", "the quick ", "--max-new-tokens", 12, "--seed", 5, "--json"};
    Run plain = run(generate(model, prompt, "--weights", format));
    assertEquals(0, plain.code(), plain.err());
    assertEquals(plain.out(), run(generate(out, prompt)).out());
    assertEquals(plain.out(), run(generate(out, prompt, "--weights", format)).out());
    String other = format.equals("q8") ? "q4" : "q8";
    run(generate(out, prompt, "--weights", other)).failed(1, "packed as", other);
    run(generate(out, prompt, "--beams", 2)).failed(1, "packed");
    run(generate(model, prompt, "--weights", "q5")).failed(2, "q5");
  }

  private static Object[] generate(Path from, Object[] options, Object... more) {
    List<Object> words = new ArrayList<>(List.of("generate", "--model", from, "--device", "cpu"));
    words.addAll(List.of(options));
    words.addAll(List.of(more));
    return words.toArray();
  }

  @Test
  void withoutATextItSaysThatTheLossIsNotMeasured() {
    Run run = quantize(model, "q8", folder.resolve("packed"));
    assertEquals(0, run.code(), run.err());
    assertTrue(run.out().contains("not measured"), run.out());
  }

  @Test
  void aModelWithoutATokenizerIsPackedWithoutOne() throws IOException {
    Path bare = Files.createDirectory(folder.resolve("bare"));
    for (String name : List.of(ModelFiles.CONFIG, ModelFiles.WEIGHTS)) {
      Files.copy(model.resolve(name), bare.resolve(name));
    }
    Path out = folder.resolve("packed");
    assertEquals(0, quantize(bare, "q8", out).code());
    try (var files = Files.list(out)) {
      assertEquals(2, files.count());
    }
    quantize(bare, "q8", folder.resolve("other"), "--text", text).failed(1, "no tokenizer.json");
    assertFalse(Files.exists(folder.resolve("other")));
  }

  @Test
  void onlyAPackedModelIsReplacedAndOnlyWhenAsked() throws IOException {
    Path out = folder.resolve("packed");
    assertEquals(0, quantize(model, "q8", out).code());
    quantize(model, "q4", out).failed(2, "is there already", "--overwrite");
    assertEquals(Optional.of(WeightFormat.Q8), ModelFiles.readWeightFormat(out));
    assertEquals(0, quantize(model, "q4", out, "--overwrite").code());
    assertEquals(Optional.of(WeightFormat.Q4), ModelFiles.readWeightFormat(out));
    quantize(model, "q4", model, "--overwrite").failed(2, "no packed model");
    quantize(model, "q4", folder, "--overwrite").failed(2, "no packed model");
    assertTrue(Files.exists(out));
  }

  @Test
  void wrongUsageAndFailuresAreOneLine() throws IOException {
    Path out = folder.resolve("packed");
    quantize(model, "q5", out).failed(2, "q5", "q8");
    quantize(folder.resolve("none"), "q8", out).failed(1, "none");
    quantize(model, "q8", out, "--text", folder.resolve("none.txt")).failed(1, "none.txt");
    run("quantize", "--model", model, "--out", out).failed(2, "--to");
    Path file = Files.writeString(folder.resolve("file"), "not a folder");
    quantize(model, "q8", file.resolve("m")).failed(1, "file");
    assertFalse(Files.exists(out));
    assertEquals(0, quantize(model, "q8", out).code());
    quantize(out, "q8", folder.resolve("again")).failed(2, "packed already");
    run("score", "--model", out, "--ids", "1,2").failed(1, "packed (q8)");
    run("eval", "--model", out, "--data", text).failed(1, "packed (q8)");
  }
}
