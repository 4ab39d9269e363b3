package dev.sinter.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.sinter.Encoder;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.Recompute;
import dev.sinter.model.Head;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.TaskGraph;
import dev.sinter.model.TaskModel;
import dev.sinter.text.Encoding;
import dev.sinter.text.SpecialToken;
import dev.sinter.text.Tokenizer;
import dev.sinter.train.AdamW;
import dev.sinter.train.Schedule;
import dev.sinter.train.TrainingLoop;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** From a text to a BERT and an encoder-decoder, and what the commands then say with them. */
class TaskCommandsTest {
  private static final Map<String, String> SOUNDS =
      new TreeMap<>(
          Map.of(
              "dog",
              "woof",
              "cat",
              "meow",
              "cow",
              "moo",
              "sheep",
              "baa",
              "duck",
              "quack",
              "rooster",
              "cockadoodle",
              "owl",
              "hoot",
              "crow",
              "caw"));
  private static final List<String> BIRDS = List.of("duck", "rooster", "owl", "crow");
  private static final List<String> DIGITS =
      List.of("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine");
  private static final ObjectMapper JSON = new ObjectMapper();

  @TempDir static Path shared;

  private static Path bert;
  private static Path pairs;
  private static String pretrained;
  private static String translated;

  private record Run(int code, String out, String err) {}

  private static Run run(Object... arguments) {
    StringWriter out = new StringWriter();
    StringWriter err = new StringWriter();
    String[] words = Arrays.stream(arguments).map(Object::toString).toArray(String[]::new);
    int code = Main.run(new PrintWriter(out, true), new PrintWriter(err, true), words);
    return new Run(code, out.toString(), err.toString());
  }

  private static String done(Object... arguments) {
    Run run = run(arguments);
    assertEquals(0, run.code, run.err);
    return run.out;
  }

  private static List<JsonNode> json(Object... arguments) throws IOException {
    Object[] all = Arrays.copyOf(arguments, arguments.length + 1);
    all[arguments.length] = "--json";
    List<JsonNode> lines = new ArrayList<>();
    for (String line : done(all).lines().toList()) {
      lines.add(JSON.readTree(line));
    }
    return lines;
  }

  @BeforeAll
  static void train() throws IOException {
    Random random = new Random(5);
    List<String> animals = List.copyOf(SOUNDS.keySet());
    List<String> times = List.of("today", "always", "often", "at night", "in the barn");
    StringBuilder documents = new StringBuilder();
    for (int i = 0; i < 300; i++) {
      String animal = animals.get(random.nextInt(animals.size()));
      for (int j = 0; j < 4; j++) {
        String time = times.get(random.nextInt(times.size()));
        documents.append("the " + animal + " says " + SOUNDS.get(animal) + " " + time + ".\n");
      }
      documents.append('\n');
    }
    Path text = Files.writeString(shared.resolve("documents.txt"), documents);
    bert = shared.resolve("bert");
    pretrained =
        done(
            "pretrain",
            "--data",
            text,
            "--out",
            bert,
            "--tokenizer",
            "wordpiece:200",
            "--layers",
            2,
            "--heads",
            4,
            "--width",
            64,
            "--length",
            40,
            "--batch",
            16,
            "--steps",
            800,
            "--lr",
            "2e-3",
            "--dropout",
            0,
            "--warmup",
            30,
            "--eval-batches",
            4,
            "--mask-words");

    StringBuilder lines = new StringBuilder();
    for (int i = 0; i < 1500; i++) {
      int[] digits = random.ints(1 + random.nextInt(4), 0, 10).toArray();
      lines.append(Arrays.stream(digits).mapToObj(DIGITS::get).collect(Collectors.joining(" ")));
      lines.append('\t');
      Arrays.stream(digits).forEach(lines::append);
      lines.append('\n');
    }
    Path tsv = Files.writeString(shared.resolve("pairs.tsv"), lines);
    pairs = shared.resolve("pairs");
    translated =
        done(
            "train-pairs",
            "--data",
            tsv,
            "--out",
            pairs,
            "--tokenizer",
            "bpe:300",
            "--layers",
            1,
            "--heads",
            4,
            "--width",
            64,
            "--length",
            32,
            "--batch",
            32,
            "--steps",
            500,
            "--lr",
            "3e-3",
            "--dropout",
            0,
            "--warmup",
            50);
  }

  private static double figure(String printed, String name) {
    String line = printed.lines().filter(one -> one.startsWith(name)).findFirst().orElseThrow();
    return Double.parseDouble(line.substring(name.length()).strip());
  }

  @Test
  void trainingsSayWhatTheyLearnedAndLeaveAFolder() throws IOException {
    assertTrue(figure(pretrained, "masked accuracy") > 0.6, pretrained);
    assertTrue(figure(pretrained, "next sentence") > 0.8, pretrained);
    assertTrue(figure(translated, "exact") > 0.9, translated);
    for (Path model : List.of(bert, pairs)) {
      for (String name :
          List.of("config.json", "model.safetensors", "tokenizer.json", "metrics.csv")) {
        assertTrue(Files.size(model.resolve(name)) > 0, name);
      }
    }
    assertTrue(done("info", "--model", bert).contains("model     bert"));
    assertTrue(done("info", "--model", pairs).contains("model     marian"));
    Run again = run("pretrain", "--data", bert.resolve("metrics.csv"), "--out", bert);
    assertEquals(2, again.code);
    assertTrue(again.err.contains("holds a model already"), again.err);
  }

  private static String ids(Encoding encoding) {
    return ids(encoding.ids());
  }

  private static String ids(int... ids) {
    return Arrays.stream(ids).mapToObj(Integer::toString).collect(Collectors.joining(","));
  }

  @Test
  void masksAreFilledWithWhatWasLearned() throws IOException {
    Tokenizer tokens = Tokenizer.load(bert);
    int mask = tokens.special(SpecialToken.MASK).orElseThrow();
    String text = "The cow says [MASK] today.";
    JsonNode one = json("fill-mask", "--model", bert, "--text", text, "--top", 3).get(0);
    JsonNode first = one.get("masks").get(0);
    assertEquals("[MASK]", text.substring(first.get("start").asInt(), first.get("end").asInt()));
    assertEquals(3, first.get("top").size());
    assertEquals("moo", first.get("top").get(0).get("token").asText());
    assertTrue(first.get("top").get(0).get("probability").asDouble() > 0.5);
    String out = done("fill-mask", "--model", bert, "--text", text, "--top", 1);
    assertTrue(out.startsWith("13\tmoo\t0."), out);
    String ids = ids(tokens.parsingSpecials().encoding(text));
    JsonNode same =
        json("fill-mask", "--model", bert, "--ids", ids, "--mask", mask, "--top", 3).get(0);
    for (int i = 0; i < 3; i++) {
      JsonNode ours = same.get("masks").get(0).get("top").get(i);
      assertEquals(first.get("top").get(i).get("id"), ours.get("id"));
      assertEquals(first.get("top").get(i).get("probability"), ours.get("probability"));
      assertFalse(ours.has("token"));
    }
  }

  @Test
  void vectorsAreThoseOfTheIdsAndOfTheLibrary() throws IOException {
    Path file = Files.writeString(shared.resolve("lines.txt"), "the dog says woof\nthe owl\n");
    List<JsonNode> vectors = json("embed", "--model", bert, "--file", file, "--normalize");
    assertEquals(2, vectors.size());
    Tokenizer tokens = Tokenizer.load(bert);
    String ids = ids(tokens.encoding("the dog says woof"));
    JsonNode same = json("embed", "--model", bert, "--ids", ids, "--normalize").get(0);
    try (Encoder encoder = Encoder.load(bert)) {
      float[] ours = encoder.embed(List.of("the dog says woof"), Encoder.Pooling.MEAN, true)[0];
      for (int i = 0; i < ours.length; i++) {
        assertEquals(ours[i], vectors.get(0).get("vector").get(i).asDouble(), 1e-5);
        assertEquals(ours[i], same.get("vector").get(i).asDouble(), 1e-5);
      }
    }
    String line = done("embed", "--model", bert, "--text", "the owl", "--pooling", "first");
    assertEquals(64, line.strip().split(" ", -1).length);
  }

  /** The pre-trained BERT under a new head, saved beside it. */
  private static Path withHead(String name, Head head, List<String> labels) throws IOException {
    Path folder = shared.resolve(name);
    try (Device device = Device.cpu(2);
        TaskModel model = ModelFiles.loadForTask(bert, head, device, DType.F32, 3)) {
      if (head.task() == Head.Task.SEQUENCE) {
        fineTune(model);
      }
      Encoder.of(model, Tokenizer.load(bert), labels).save(folder);
    }
    return folder;
  }

  /** Animals that fly are of class 1. */
  private static void fineTune(TaskModel model) throws IOException {
    Tokenizer tokens = Tokenizer.load(bert);
    List<String> animals = List.copyOf(SOUNDS.keySet());
    int batch = animals.size();
    int length = 16;
    try (TaskGraph graph = model.trainingGraph(batch, length, 0, 1, Recompute.NONE, 1)) {
      for (int i = 0; i < batch; i++) {
        int[] ids = tokens.encoding("this is the " + animals.get(i), length).ids();
        graph.tokens().put(i * length, ids);
        graph.lengths().put(i, ids.length);
        graph.targets().put(i, BIRDS.contains(animals.get(i)) ? 1 : 0);
      }
      AdamW optimizer = AdamW.of(Schedule.cosine(1e-3, 1e-4));
      TrainingLoop loop = new TrainingLoop(model, optimizer, 60, 1);
      while (loop.goesOn()) {
        loop.step(graph::run, (long) batch * length);
      }
    }
  }

  @Test
  void textsAreClassifiedByTheNamesOfTheirLabels() throws IOException {
    Path model = withHead("animals", Head.sequence(2), List.of("mammal", "bird"));
    Path file =
        Files.writeString(shared.resolve("animals.txt"), "this is the cow\nthis is the owl");
    List<JsonNode> all = json("classify", "--model", model, "--file", file);
    assertEquals("mammal", all.get(0).get("labels").get(0).get("label").asText());
    assertEquals("bird", all.get(1).get("labels").get(0).get("label").asText());
    assertTrue(all.get(1).get("labels").get(0).get("score").asDouble() > 0.8);
    Tokenizer tokens = Tokenizer.load(bert);
    JsonNode same =
        json("classify", "--model", model, "--ids", ids(tokens.encoding("this is the owl"))).get(0);
    assertEquals(
        all.get(1).get("labels").get(0).get("score").asDouble(),
        same.get("labels").get(0).get("score").asDouble(),
        1e-5);
    Encoding two = tokens.encoding("this is", "the owl");
    JsonNode pair =
        json("classify", "--model", model, "--text", "this is", "--pair", "the owl").get(0);
    assertEquals(pair, json("classify", "--model", model, "--text", "this is\tthe owl").get(0));
    assertEquals(
        pair,
        json("classify", "--model", model, "--ids", ids(two), "--types", ids(two.types())).get(0));
    assertTrue(
        done("classify", "--model", model, "--text", "this is the owl").startsWith("bird 0."));
  }

  @Test
  void wordsAreLabelledWhereTheyStand() throws IOException {
    Path model = withHead("tags", Head.tokens(3), List.of("O", "B-X", "I-X"));
    String text = "The rooster says: cockadoodle! " + "The dog says woof. ".repeat(20);
    JsonNode words = json("classify", "--model", model, "--text", text).get(0).get("words");
    assertEquals("rooster", words.get(1).get("text").asText());
    for (JsonNode word : words) {
      assertEquals(
          word.get("text").asText(),
          text.substring(word.get("start").asInt(), word.get("end").asInt()));
      assertTrue(word.get("score").asDouble() >= 1 / 3.0);
    }
    Encoding input = Tokenizer.load(bert).encoding("the dog");
    JsonNode tokens = json("classify", "--model", model, "--ids", ids(input)).get(0).get("words");
    JsonNode same = json("classify", "--model", model, "--text", "the dog").get(0).get("words");
    assertEquals(4, tokens.size()); // of ids alone no one says that some are the template's
    assertEquals(same.get(1).get("label"), tokens.get(2).get("label"));
    assertEquals(same.get(1).get("score"), tokens.get(2).get("score"));
    String lines = done("classify", "--model", model, "--text", "the dog");
    assertTrue(lines.matches("(?s)the [OBI](-X)?\\Rdog [OBI](-X)?\\R\\R"), lines);
  }

  @Test
  void answersHaveTheirPlacesInTheContext() throws IOException {
    Path model = withHead("answers", Head.span(), List.of());
    String context = "The rooster says cockadoodle. ".repeat(9) + "The dog says woof.";
    JsonNode one =
        json("classify", "--model", model, "--question", "Who?", "--context", context).get(0);
    String text = one.get("text").asText();
    assertEquals(text, context.substring(one.get("start").asInt(), one.get("end").asInt()));
    assertFalse(text.isEmpty());
    String line = JSON.writeValueAsString(Map.of("question", "Who?", "context", context));
    Path file = Files.writeString(shared.resolve("questions.jsonl"), line);
    assertEquals(one, json("classify", "--model", model, "--file", file).get(0));

    String small = "The dog says woof.";
    JsonNode words =
        json("classify", "--model", model, "--question", "Who?", "--context", small).get(0);
    Encoding input = Tokenizer.load(bert).encoding("Who?", small);
    JsonNode places =
        json("classify", "--model", model, "--ids", ids(input), "--types", ids(input.types()))
            .get(0);
    assertEquals(words.get("start").asInt(), input.starts()[places.get("start").asInt()]);
    assertEquals(words.get("end").asInt(), input.ends()[places.get("end").asInt() - 1]);
    assertEquals(words.get("score"), places.get("score"));
    JsonNode orNone =
        json("classify", "--model", model, "--question", "Who?", "--context", small, "--or-none")
            .get(0);
    boolean none = words.get("null_score").asDouble() >= words.get("score").asDouble();
    assertEquals(none, orNone.get("text").asText().isEmpty());
  }

  @Test
  void choicesAreWeighed() throws IOException {
    Path model = withHead("choices", Head.choice(2), List.of());
    JsonNode one =
        json(
                "classify",
                "--model",
                model,
                "--text",
                "the dog says",
                "--choice",
                "woof",
                "--choice",
                "moo",
                "--choice",
                "baa")
            .get(0);
    assertEquals(3, one.get("probabilities").size());
    String line = "{\"prompt\": \"the dog says\", \"choices\": [\"woof\", \"moo\", \"baa\"]}";
    Path file = Files.writeString(shared.resolve("choices.jsonl"), line);
    assertEquals(one, json("classify", "--model", model, "--file", file).get(0));
    Tokenizer tokens = Tokenizer.load(bert);
    List<Object> words = new ArrayList<>(List.of("classify", "--model", model));
    for (String choice : List.of("woof", "moo", "baa")) {
      Encoding input = tokens.encoding("the dog says", choice);
      words.addAll(List.of("--ids", ids(input), "--types", ids(input.types())));
    }
    assertEquals(one, json(words.toArray()).get(0));
  }

  @Test
  void linesAreTranslatedBestFirst() throws IOException {
    InputStream before = System.in;
    String lines = "three one four\n\nseven\n";
    System.setIn(new ByteArrayInputStream(lines.getBytes(StandardCharsets.UTF_8)));
    try {
      String out = done("translate", "--model", pairs, "--text", "-");
      assertEquals(List.of("314", "", "7"), out.lines().toList());
    } finally {
      System.setIn(before);
    }
    JsonNode all =
        json(
                "translate",
                "--model",
                pairs,
                "--text",
                "nine eight two",
                "--beams",
                3,
                "--count",
                3,
                "--paper-penalty",
                0.6,
                "--early-stopping",
                "never")
            .get(0)
            .get("translations");
    assertEquals(3, all.size());
    assertEquals("982", all.get(0).get("text").asText());
    assertTrue(all.get(0).get("score").asDouble() >= all.get(1).get("score").asDouble());
    String ids = ids(Tokenizer.load(pairs).encode("nine eight two"));
    JsonNode same =
        json("translate", "--model", pairs, "--ids", ids, "--beams", 3).get(0).get("translations");
    assertEquals(all.get(0).get("ids"), same.get(0).get("ids"));
    assertEquals(all.get(0).get("score").asDouble(), same.get(0).get("score").asDouble(), 1e-6);
    assertFalse(same.get(0).has("text"));
    JsonNode two =
        json("translate", "--model", pairs, "--ids", ids, "--length-penalty", 1, "--max-length", 2)
            .get(0)
            .get("translations");
    assertTrue(two.get(0).get("ids").size() <= 2);
  }

  @Test
  void whatIsWrongIsSaidInOneLine() throws IOException {
    Path none = shared.resolve("none");
    Path bad = Files.writeString(shared.resolve("bad.tsv"), "a\tb\nno tab\n");
    Object[][] usage = {
      {"fill-mask", "--model", bert, "--text", "no mask"},
      {"fill-mask", "--model", bert, "--ids", "1,2"},
      {"fill-mask", "--model", bert, "--ids", "1,2", "--mask", 4},
      {"fill-mask", "--model", bert, "--text", "[MASK]", "--top", 0},
      {"fill-mask", "--model", bert, "--text", "[MASK]", "--ids", "1"},
      {"embed", "--model", bert},
      {"embed", "--model", bert, "--ids", "1,99999"},
      {"embed", "--model", bert, "--ids", "1,-2"},
      {"embed", "--model", bert, "--ids", "1".repeat(50).replace("1", "1,") + "1"},
      {"embed", "--model", bert, "--text", "the", "--pooling", "none"},
      {"classify", "--model", bert, "--text", "the"},
      {"classify", "--model", bert, "--question", "the"},
      {"translate", "--model", pairs, "--text", "one", "--beams", 2, "--count", 3},
      {"translate", "--model", pairs, "--text", "one", "--max-length", 0},
      {"translate", "--model", pairs, "--ids", "1,99999"},
      {"translate", "--model", pairs},
      {"train-pairs", "--data", bad, "--out", none},
      {"train-pairs", "--data", bad, "--out", none, "--preset", "nothing"},
      {"pretrain", "--data", bad, "--out", none, "--tokenizer", "bpe:300"},
      {"pretrain", "--data", bad, "--out", none, "--tokenizer", "wordpiece:40"},
      {"pretrain", "--out", none},
    };
    Object[][] failures = {
      {"fill-mask", "--model", none, "--text", "[MASK]"},
      {"fill-mask", "--model", pairs, "--text", "[MASK]"},
      {"embed", "--model", none, "--text", "the"},
      {"embed", "--model", bert, "--file", none.resolve("lines")},
      {"translate", "--model", bert, "--text", "one"},
      {"pretrain", "--data", none.resolve("text"), "--out", none},
    };
    for (Object[][] some : List.of(usage, failures)) {
      for (Object[] arguments : some) {
        Run run = run(arguments);
        String what = Arrays.toString(arguments) + ": " + run.err;
        assertEquals(some == usage ? 2 : 1, run.code, what);
        assertEquals(1, run.err.lines().filter(line -> line.startsWith("sinter: ")).count(), what);
        assertFalse(run.err.contains("\tat "), what);
      }
    }
  }

  @Test
  void gptsOfEveryFamilyTrainAndGoOn() throws IOException {
    Path text = Files.writeString(shared.resolve("gpt.txt"), "the quick brown fox. ".repeat(60));
    for (String family : List.of("gpt1", "gpt2", "gpt3")) {
      Path out = shared.resolve(family);
      List<Object> words =
          new ArrayList<>(
              List.of(
                  "train",
                  "--data",
                  text,
                  "--out",
                  out,
                  "--family",
                  family,
                  "--layers",
                  2,
                  "--heads",
                  2,
                  "--width",
                  16,
                  "--context",
                  16,
                  "--steps",
                  3,
                  "--batch",
                  2));
      done(words.toArray());
      assertEquals(family.equals("gpt3") ? 4 : 0, ModelFiles.readConfig(out).window());
      assertEquals(family, ModelFiles.readConfig(out).family().toString().toLowerCase(Locale.ROOT));
      done("train", "--out", out, "--resume");
      done("train", "--out", out, "--resume", "--family", family, "--layers", 2);
      assertEquals(2, run("train", "--out", out, "--resume", "--layers", 3).code);
      done("generate", "--model", out, "--prompt", "the ", "--max-new-tokens", 3);
      assertEquals(16, json("embed", "--model", out, "--text", "the").get(0).get("vector").size());
      assertTrue(done("info", "--model", out).contains("model     "));
    }
    Path banded = shared.resolve("banded");
    done(
        "train",
        "--data",
        text,
        "--out",
        banded,
        "--family",
        "gpt3",
        "--window",
        5,
        "--layers",
        2,
        "--heads",
        2,
        "--width",
        16,
        "--context",
        16,
        "--steps",
        2,
        "--batch",
        2);
    assertEquals(5, ModelFiles.readConfig(banded).window());
    Path none = shared.resolve("none");
    assertEquals(
        2, run("train", "--data", text, "--out", none, "--window", 5).code); // gpt2 has none
    assertEquals(
        2, run("train", "--data", text, "--out", none, "--preset", "gpt2", "--layers", 2).code);
    assertEquals(2, run("train", "--data", text, "--out", none, "--preset", "gpt9").code);
    assertEquals(2, run("train", "--data", text, "--out", none, "--family", "gpt9").code);
  }
}
