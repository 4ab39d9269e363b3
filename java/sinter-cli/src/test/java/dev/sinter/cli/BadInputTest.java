package dev.sinter.cli;

import static dev.sinter.cli.Run.run;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Whatever is wrong, a user reads one line that says what, and a script gets the right exit code.
 */
class BadInputTest {
  @TempDir static Path shared;

  private static Path text;
  private static Path model;

  @TempDir Path folder;

  /** A small training; `more` overrides the sizes. */
  private static Run train(Path data, Path out, Object... more) {
    Map<String, Object> options = new LinkedHashMap<>();
    Object[] sizes = {"--layers", 1, "--heads", 2, "--width", 16, "--context", 8, "--batch", 2};
    Object[] lengths = {"--steps", 3, "--eval-every", 2};
    for (Object[] pairs : List.of(sizes, lengths, more)) {
      for (int i = 0; i < pairs.length; i += 2) {
        options.put(pairs[i].toString(), pairs[i + 1]);
      }
    }
    List<Object> words = new ArrayList<>(List.of("train", "--data", data, "--out", out));
    options.forEach((name, value) -> words.addAll(List.of(name, value)));
    return run(words.toArray());
  }

  @BeforeAll
  static void trainASmallModel() throws IOException {
    text = shared.resolve("text.txt");
    Files.writeString(text, "the quick brown fox jumps over the lazy dog. ".repeat(40));
    model = shared.resolve("model");
    Run run = train(text, model);
    assertEquals(0, run.code(), run.err());
  }

  @Test
  void aTrainedModelGeneratesScoresAndEvaluates() {
    Run generated =
        run("generate", "--model", model, "--prompt", "the ", "--max-new-tokens", 3, "--seed", 1);
    assertEquals(0, generated.code(), generated.err());
    assertTrue(generated.out().startsWith("the "), generated.out());
    assertEquals(0, run("eval", "--model", model, "--data", text).code());
    Run scored = run("score", "--model", model, "--ids", "1,2,3", "--json");
    assertTrue(scored.out().startsWith("{\"tokens\":[{\"id\":1,"), scored.out());
    assertEquals(0, run("info", "--model", model).code());
  }

  @Test
  void emptyFile() throws IOException {
    Path empty = Files.createFile(folder.resolve("empty.txt"));
    train(empty, folder.resolve("m")).failed(1, "empty.txt");
  }

  @Test
  void binaryFile() throws IOException {
    Path binary = folder.resolve("binary.txt");
    Files.write(binary, new byte[] {'a', 0, (byte) 0xff, (byte) 0xfe, 'b', 0, 1, 2});
    train(binary, folder.resolve("m")).failed(1, "binary.txt");
  }

  @Test
  void missingFile() {
    train(folder.resolve("none.txt"), folder.resolve("m")).failed(1, "none.txt");
  }

  @Test
  void contextLongerThanTheText() throws IOException {
    Path few = Files.writeString(folder.resolve("short.txt"), "hello");
    train(few, folder.resolve("m")).failed(2, "context");
  }

  @Test
  void headsThatDoNotDivideTheWidth() {
    train(text, folder.resolve("m"), "--heads", 3).failed(2, "n_head 3 does not divide n_embd 16");
  }

  @Test
  void lossThatIsNoNumber() {
    train(text, folder.resolve("m"), "--lr", "1e30", "--grad-clip", 0, "--warmup", 0, "--steps", 50)
        .failed(1, "loss");
  }

  @Test
  void unknownOptionAndCommand() {
    run("train", "--data", text, "--out", folder, "--nonsense").failed(2, "--nonsense");
    run("nonsense").failed(2, "nonsense");
    run("generate", "--model", model, "--prompt", "a", "--top-p", "2").failed(2, "top");
  }

  @Test
  void missingModel() {
    Path none = folder.resolve("none");
    run("generate", "--model", none, "--prompt", "a").failed(1, "none");
    run("eval", "--model", none, "--data", text).failed(1, "none");
    run("info", "--model", none).failed(1, "none");
  }

  @Test
  void corruptWeights() throws IOException {
    Path copy = Files.createDirectory(folder.resolve("copy"));
    for (String name : List.of("config.json", "tokenizer.json", "model.safetensors")) {
      Files.copy(model.resolve(name), copy.resolve(name));
    }
    byte[] weights = Files.readAllBytes(copy.resolve("model.safetensors"));
    byte[] header = weights.clone();
    header[8] = 'x';
    Files.write(copy.resolve("model.safetensors"), header);
    run("generate", "--model", copy, "--prompt", "a").failed(1, "model.safetensors");
    Files.write(
        copy.resolve("model.safetensors"), java.util.Arrays.copyOf(weights, weights.length / 2));
    run("generate", "--model", copy, "--prompt", "a").failed(1, "model.safetensors");
    Files.writeString(copy.resolve("config.json"), "{\"n_layer\": 1e9}");
    run("generate", "--model", copy, "--prompt", "a").failed(1, "config.json");
  }

  @Test
  void promptLongerThanTheContext() {
    run("generate", "--model", model, "--prompt", "the quick brown fox").failed(2, "context of 8");
    run("generate", "--model", model, "--prompt", "").failed(2, "prompt is empty");
    run("generate", "--model", model, "--prompt", "Ω").failed(2, "Ω");
  }

  @Test
  void tuningWithoutAGpuOrAModel() {
    run("tune", "--model", model, "--device", "cpu").failed(2, "cpu", "nothing to tune");
    run("tune", "--preset", "gpt7", "--device", "cpu").failed(2, "gpt7", "gpt2-xl");
    run("tune", "--model", model, "--context", 9, "--device", "cpu").failed(2, "context");
    run("tune", "--device", "cpu").failed(2, "--model");
  }

  @Test
  void aFolderThatCannotBeWritten() throws IOException {
    Path file = Files.writeString(folder.resolve("file"), "not a folder");
    train(text, file.resolve("m")).failed(1, "file");
  }
}
