package dev.sinter.cli;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.model.BertConfig;
import dev.sinter.model.Head;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.TaskModel;
import dev.sinter.text.WordTokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SearchCommandTest {
  private static final String SPACE =
      "{\"lr\": {\"log_uniform\": [1e-5, 3e-2]}, \"batch\": [8, 16], \"warmup\": 0.1}";

  @TempDir Path folder;

  @BeforeEach
  void prepare() throws IOException {
    Random random = new Random(1);
    StringBuilder rows = new StringBuilder("text\tlabel\n");
    for (int i = 0; i < 64; i++) {
      boolean good = random.nextBoolean();
      rows.append("a ").append(good ? "fine" : "poor").append(i % 3 == 0 ? " film" : " book");
      rows.append('\t').append(good ? "good" : "bad").append('\n');
    }
    Files.writeString(folder.resolve("train.tsv"), rows);
    Files.writeString(folder.resolve("valid.tsv"), rows);
    Files.writeString(folder.resolve("space.json"), SPACE);
    WordTokenizer tokenizer =
        WordTokenizer.trainWordPiece("a fine poor film book ".repeat(20), 60, true);
    BertConfig config = BertConfig.of(tokenizer.size(), 16, 16, 1, 2);
    try (Device device = Device.cpu(1);
        TaskModel model = new TaskModel(config, Head.masked(), device, DType.F32)) {
      ModelFiles.save(model.initialize(1), List.of(), folder.resolve("base"));
    }
    tokenizer.save(folder.resolve("base"));
  }

  private List<String> arguments(String out, String... more) {
    List<String> words = new ArrayList<>(List.of("search", "--task", "classify"));
    for (String name : List.of("space", "model", "train", "valid", "out")) {
      String file =
          switch (name) {
            case "space" -> "space.json";
            case "model" -> "base";
            case "out" -> out;
            default -> name + ".tsv";
          };
      words.addAll(List.of("--" + name, folder.resolve(file).toString()));
    }
    words.addAll(List.of("--metric", "accuracy", "--device", "cpu", "--threads", "1"));
    words.addAll(Arrays.asList(more));
    return words;
  }

  private Run search(String out, String... more) {
    return Run.run(arguments(out, more).toArray());
  }

  @Test
  void ashaFindsOptionsWithWhichTheModelLearnsAndKeepsTheBest() throws Exception {
    Run run = search("out", "--trials", "9");
    assertEquals(0, run.code(), run.err());
    Path out = folder.resolve("out");
    List<String> table = run.out().lines().toList();
    assertEquals(
        List.of("trial", "accuracy", "epochs", "status", "lr", "batch", "warmup"),
        List.of(table.get(0).strip().split(" +")));
    assertEquals(11, table.size(), run.out());
    List<String> csv = Files.readAllLines(out.resolve("trials.csv"));
    assertEquals("trial,accuracy,epochs,status,lr,batch,warmup", csv.get(0));
    double before = 1;
    int finished = 0;
    for (int i = 1; i <= 9; i++) {
      String[] cells = csv.get(i).split(",", -1);
      double accuracy = Double.parseDouble(cells[1]);
      assertTrue(accuracy <= before, csv::toString);
      before = accuracy;
      finished += cells[3].equals("finished") ? 1 : 0;
      assertEquals("0.1", cells[6]);
    }
    assertEquals(1, finished);
    String[] best = csv.get(1).split(",", -1);
    assertTrue(Double.parseDouble(best[1]) >= 0.95, csv::toString);
    assertTrue(table.get(10).startsWith("best: trial " + best[0] + ", epochs " + best[2]));
    // Its folder is a model that finetune could have written.
    Run evaluated =
        Run.run("classify", "--model", out.resolve("best"), "--text", "a poor book", "--json");
    assertEquals(0, evaluated.code(), evaluated.err());
    assertTrue(evaluated.out().startsWith("{\"labels\":[{\"id\":0,\"label\":\"bad\""));
    assertTrue(Files.exists(out.resolve("best/report.json")));
    assertFalse(Files.exists(out.resolve(".trial")));
    assertEquals(1600, ImageIO.read(out.resolve("trials.png").toFile()).getWidth());
    String page = Files.readString(out.resolve("trials.html"));
    assertTrue(page.contains("trial " + best[0]) && page.contains("accuracy"));
  }

  @Test
  void aSearchThatIsKilledEndsAsOneThatIsNot() throws Exception {
    assertEquals(0, search("whole", "--trials", "9").code());
    Path killed = folder.resolve("killed");
    Path log = killed.resolve("search.jsonl");
    for (int results = 1; results < 8; results += 5) {
      Process process = start(results > 1);
      while (process.isAlive() && results(log) < results) {
        Thread.sleep(5);
      }
      process.destroyForcibly().waitFor();
      assertTrue(results(log) >= results, () -> read(folder.resolve("log")));
    }
    Run last = search("killed", "--trials", "9", "--resume");
    assertEquals(0, last.code(), last.err());
    Path whole = folder.resolve("whole");
    for (String name : List.of("search.jsonl", "trials.csv", "best/model.safetensors")) {
      assertArrayEquals(
          Files.readAllBytes(whole.resolve(name)), Files.readAllBytes(killed.resolve(name)), name);
    }
    assertEquals(folders(whole), folders(killed));
  }

  private Process start(boolean resume) throws IOException {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(List.of("-cp", System.getProperty("java.class.path"), Main.class.getName()));
    command.addAll(arguments("killed", "--trials", "9"));
    if (resume) {
      command.add("--resume");
    }
    return new ProcessBuilder(command)
        .redirectErrorStream(true)
        .redirectOutput(ProcessBuilder.Redirect.appendTo(folder.resolve("log").toFile()))
        .start();
  }

  private static String read(Path file) {
    try {
      return Files.exists(file) ? Files.readString(file) : "";
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  private static long results(Path log) {
    return read(log).lines().filter(line -> line.startsWith("{\"result\"")).count();
  }

  private static List<String> folders(Path out) throws IOException {
    try (Stream<Path> trials = Files.list(out.resolve("trials"))) {
      return trials.map(path -> path.getFileName().toString()).sorted().toList();
    }
  }

  @Test
  void aSearchMayBeMadeLongerAndAFolderIsNotOverwritten() throws Exception {
    String[] random = {"--method", "random", "--epochs", "1"};
    assertEquals(0, search("out", with(random, "--trials", "2")).code());
    search("out", with(random, "--trials", "3")).failed(2, "holds a search", "--resume");
    Run longer = search("out", with(random, "--trials", "3", "--resume"));
    assertEquals(0, longer.code(), longer.err());
    // Two results come from the log.
    assertEquals(3, longer.err().lines().filter(line -> line.startsWith("trial ")).count());
    assertEquals(4, Files.readAllLines(folder.resolve("out/trials.csv")).size());
    search("out", with(random, "--trials", "3", "--resume", "--seed", "1"))
        .failed(1, "search.jsonl: is of another search: seed is 42 there, 1 here");
    search("none", with(random, "--resume")).failed(2, "holds no search");
  }

  private static String[] with(String[] some, String... more) {
    return Stream.concat(Arrays.stream(some), Arrays.stream(more)).toArray(String[]::new);
  }

  @Test
  void trialsThatDivergeFailAndTheOthersGoOn() throws Exception {
    Files.writeString(folder.resolve("space.json"), "{\"lr\": [1e8, 1e-3], \"grad-clip\": 0}");
    List<String> words = arguments("out", "--trials", "4", "--method", "random", "--epochs", "2");
    words.set(words.indexOf("accuracy"), "loss");
    Run run = Run.run(words.toArray());
    assertEquals(0, run.code(), run.err());
    assertTrue(run.err().contains("diverged"), run.err());
    List<String> csv = Files.readAllLines(folder.resolve("out/trials.csv"));
    assertTrue(csv.get(1).contains(",finished,0.001,"), csv::toString);
    assertTrue(csv.get(4).contains(",failed,"), csv::toString);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '\0',
      value = {
        "{\"lrr\": 1} | 2 | --space: trial 1: Unknown option: '--lrr=1'",
        "{\"lr\": \"x\"} | 2 | --space: trial 1: Invalid value for option '--lr'",
        "{\"warmup\": [0.1, 2]} | 2 | warmup 2.0; a share of all steps",
        "{\"epochs\": 3} | 2 | --space: epochs is for the search to set",
        "{\"lr\": {\"uniform\": [1]}} | 1 | space.json: lr.uniform: is no pair of numbers",
        "{\"lr\": | 1 | space.json: line 1, column 7: is not JSON"
      })
  void aSpaceThatFinetuneWouldRefuseFailsBeforeAnythingIsTrained(
      String space, int code, String says) throws Exception {
    Files.writeString(folder.resolve("space.json"), space);
    search("out", "--trials", "9").failed(code, says);
    assertFalse(Files.exists(folder.resolve("out")));
  }

  @Test
  void whatMakesNoSearchIsRefused() {
    search("out", "--trials", "5").failed(2, "take 9 trials or more");
    search("out", "--method", "grid").failed(2, "--method grid; asha or random");
    List<String> words = arguments("out");
    words.set(words.indexOf("accuracy"), "bleu");
    Run.run(words.toArray()).failed(2, "--metric bleu; loss, accuracy, macro_f1");
    // Nothing is left of it that the next one would have to go on with.
    assertFalse(Files.exists(folder.resolve("out/search.jsonl")));
    assertFalse(Files.exists(folder.resolve("out/.trial")));
    words.set(words.indexOf("classify"), "guess");
    Run.run(words.toArray()).failed(2, "no task is called guess");
  }
}
