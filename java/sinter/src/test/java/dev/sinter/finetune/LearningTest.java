package dev.sinter.finetune;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.model.GptConfig.Family;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.TransformerConfig;
import dev.sinter.model.TransformerModel;
import dev.sinter.text.Tokenizer;
import dev.sinter.text.WordTokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.function.Supplier;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Each task is learned where the answer is known, and told on what was held out. */
class LearningTest {
  private static final List<String> SEEN =
      List.of(
          "{N} lives in {P} .",
          "yesterday {N} went to {P} with {N} .",
          "{P} is a large city , said {N} .",
          "in {P} we met {N} and {N} .",
          "the road from {P} to {P} is long .",
          "{N} told {N} about {P} .",
          "who knows {N} ?",
          "{P} was cold this year .",
          "people of {P} like {N} .",
          "{N} , {N} and {N} are friends .",
          "where is {P} ?",
          "a man from {P} met {N} in a city .",
          "this is {N} , who lives here .",
          "{N} is the mayor of {P} .");
  private static final List<String> HELD =
      List.of(
          "{N} and {N} met in {P} .",
          "the city of {P} is where {N} lives .",
          "said {N} , who went from {P} to {P} .");

  @TempDir static Path folder;

  private static Device device;

  @BeforeAll
  static void open() {
    device = Device.cpu(2);
  }

  @AfterAll
  static void close() {
    device.close();
  }

  private static Path write(String name, List<String> lines) throws IOException {
    return Files.write(folder.resolve(name), lines);
  }

  private static FineTuner tuner(Task task, Path model, Path train, Path valid) {
    return FineTuner.of(task, model)
        .train(train)
        .validation(valid)
        .device(device)
        .learningRate(1e-3)
        .batch(16)
        .seed(1);
  }

  private static double best(FineTuner.Outcome outcome) {
    return outcome.best().metrics().values().iterator().next();
  }

  private static String conll(List<String> templates, Random random) {
    StringBuilder lines = new StringBuilder();
    String template = Made.any(templates, random);
    if (templates == SEEN && random.nextBoolean()) {
      template += " and " + Made.any(templates, random);
    }
    for (String word : template.split(" ", -1)) {
      switch (word) {
        case "{N}" -> {
          lines.append(Made.any(Made.NAMES, random)).append(" B-PER\n");
          if (random.nextInt(3) == 0) {
            lines.append(Made.any(Made.FAMILIES, random)).append(" I-PER\n");
          }
        }
        case "{P}" -> lines.append(Made.any(Made.PLACES, random)).append(" B-LOC\n");
        default -> lines.append(word).append(" O\n");
      }
    }
    return lines.toString();
  }

  @Test
  void aSmallBertFindsNamesAndPlacesInTemplatesThatItHasNotSeen() throws IOException {
    Random random = new Random(1);
    List<String> train = new ArrayList<>();
    List<String> valid = new ArrayList<>();
    for (int i = 0; i < 600; i++) {
      train.add(conll(SEEN, random));
    }
    for (int i = 0; i < 150; i++) {
      valid.add(conll(HELD, random));
    }
    List<String> sentences = new ArrayList<>();
    for (String lines : train) {
      sentences.add(lines.replaceAll(" (O|[BI]-\\w+)\n", " "));
    }
    Path model = Made.pretrained(folder.resolve("bert-tag"), sentences, 64, 40, 300);
    Path out = folder.resolve("tagger");
    FineTuner.Outcome outcome =
        tuner(Task.tag(), model, write("tag.conll", train), write("held.conll", valid))
            .epochs(6)
            .out(out)
            .run();
    assertEquals(List.of("O", "B-LOC", "B-PER", "I-PER"), outcome.labels());
    assertTrue(best(outcome) > 0.95, "entity F1 " + best(outcome));
    try (Predictor predictor = Predictor.load(out, device, DType.F32)) {
      List<Sample> samples =
          predictor.task().readLines(Path.of("lines"), "clara lives in cairo.\n");
      Prediction told = predictor.predict(samples).get(0);
      assertEquals(List.of("clara", "lives", "in", "cairo", "."), samples.get(0).texts());
      assertEquals(List.of("B-PER", "O", "O", "B-LOC", "O"), told.values());
    }
  }

  private static String opinion(Random random, List<String> frames, boolean turned) {
    boolean good = random.nextBoolean();
    boolean negated = turned && random.nextBoolean();
    String word =
        Made.any(good ? List.of("good", "fine", "great") : List.of("bad", "awful"), random);
    String frame = Made.any(frames, random).replace("{W}", (negated ? "not " : "so ") + word);
    return (good != negated ? "positive" : "negative") + ",\"" + frame + "\"";
  }

  private static List<String> csv(String header, int count, Supplier<String> row) {
    List<String> lines = new ArrayList<>();
    lines.add(header);
    for (int i = 0; i < count; i++) {
      lines.add(row.get());
    }
    return lines;
  }

  private static final List<String> FRAMES =
      List.of("the film was {W}", "i found it {W} , really", "{W} , this book", "a {W} day it is");
  private static final List<String> OTHERS = List.of("this film , it was {W}", "the book is {W}");

  @Test
  void aSmallBertTellsOpinionsThatNegationTurnsRound() throws IOException {
    Random random = new Random(2);
    List<String> train = csv("label,text", 600, () -> opinion(random, FRAMES, true));
    List<String> valid = csv("label,text", 150, () -> opinion(random, OTHERS, true));
    Path model = Made.pretrained(folder.resolve("bert-classify"), train, 64, 32, 300);
    FineTuner.Outcome outcome =
        tuner(Task.classify(), model, write("c.csv", train), write("ch.csv", valid))
            .epochs(6)
            .run();
    assertEquals(List.of("negative", "positive"), outcome.labels());
    assertTrue(best(outcome) > 0.95, "accuracy " + best(outcome));
  }

  @Test
  void gptsTellThemToo() throws IOException {
    Random random = new Random(3);
    List<String> train = csv("label,text", 600, () -> opinion(random, FRAMES, false));
    List<String> valid = csv("label,text", 150, () -> opinion(random, OTHERS, false));
    Path data = write("g.csv", train);
    Path held = write("gh.csv", valid);
    for (Family family : List.of(Family.GPT1, Family.GPT2)) {
      Path model =
          Made.gpt(folder.resolve("model-" + family), String.join(" ", train), family, 64, 40);
      Path out = folder.resolve("tuned-" + family);
      FineTuner.Outcome outcome =
          tuner(Task.classify(), model, data, held).epochs(6).out(out).run();
      assertTrue(best(outcome) > 0.95, family + " accuracy " + best(outcome));
      try (Predictor predictor = Predictor.load(out, device, DType.F32)) {
        assertEquals(
            outcome.predictions(),
            predictor.predict(predictor.task().read(held, false)),
            "" + family);
      }
    }
  }

  @Test
  void severalLabelsOfAText() throws IOException {
    Random random = new Random(4);
    Supplier<String> row =
        () -> {
          String name = random.nextBoolean() ? Made.any(Made.NAMES, random) : "nobody";
          String place = random.nextBoolean() ? Made.any(Made.PLACES, random) : "nowhere";
          List<String> labels = new ArrayList<>();
          if (!name.equals("nobody")) {
            labels.add("\"person\"");
          }
          if (!place.equals("nowhere")) {
            labels.add("\"place\"");
          }
          return "{\"text\": \"" + name + " was in " + place + "\", \"labels\": " + labels + "}";
        };
    List<String> train = new ArrayList<>();
    for (int i = 0; i < 400; i++) {
      train.add(row.get());
    }
    Path model = Made.bert(folder.resolve("bert-many"), String.join(" ", train), 32, 24);
    Path data = write("many.jsonl", train);
    FineTuner.Outcome outcome = tuner(Task.classify(), model, data, data).epochs(6).run();
    assertEquals("micro_f1", outcome.best().metrics().keySet().iterator().next());
    assertTrue(best(outcome) > 0.95, "micro F1 " + best(outcome));
  }

  private static String question(Random random, int number) {
    boolean none = random.nextInt(4) == 0;
    String name = Made.any(Made.NAMES, random);
    String place = Made.any(Made.PLACES, random);
    String context =
        none
            ? "we know that " + name + " works at home"
            : random.nextBoolean()
                ? name + " lives in " + place + " and works at home"
                : "we know that " + name + " lives in " + place;
    return String.format(
        "{\"id\": \"%d\", \"question\": \"where does %s live\", \"context\": \"%s\", \"answers\":"
            + " {\"text\": [%s], \"answer_start\": [%s]}}",
        number,
        name,
        context,
        none ? "" : "\"" + place + "\"",
        none ? "" : context.indexOf(" in " + place) + 4);
  }

  @Test
  void answersAndNone() throws IOException {
    Random random = new Random(5);
    List<String> train = new ArrayList<>();
    for (int i = 0; i < 700; i++) {
      train.add(question(random, i));
    }
    Path model = Made.pretrained(folder.resolve("bert-qa"), train, 64, 48, 300);
    FineTuner.Outcome outcome =
        tuner(
                Task.answer(),
                model,
                write("qa.jsonl", train.subList(0, 550)),
                write("qah.jsonl", train.subList(550, 700)))
            .epochs(6)
            .run();
    assertTrue(best(outcome) > 0.9, "F1 " + best(outcome));
  }

  @Test
  void choices() throws IOException {
    Random random = new Random(6);
    Supplier<String> row =
        () -> {
          boolean person = random.nextBoolean();
          int right = random.nextInt(2);
          String name = Made.any(Made.NAMES, random);
          String place = Made.any(Made.PLACES, random);
          return (person ? "who is it" : "where is it")
              + ","
              + (person == (right == 0) ? name : place)
              + ","
              + (person == (right == 0) ? place : name)
              + ","
              + right;
        };
    List<String> train = csv("prompt,choice0,choice1,label", 500, row);
    List<String> valid = csv("prompt,choice0,choice1,label", 100, row);
    Path model = Made.bert(folder.resolve("bert-choice"), String.join(" ", train), 32, 24);
    FineTuner.Outcome outcome =
        tuner(Task.choice(), model, write("ch.csv", train), write("chh.csv", valid))
            .epochs(8)
            .run();
    assertTrue(best(outcome) > 0.9, "accuracy " + best(outcome));
  }

  @Test
  void similarities() throws IOException {
    Random random = new Random(7);
    Supplier<String> row =
        () -> {
          String a = Made.any(Made.NAMES, random);
          String b = random.nextBoolean() ? a : Made.any(Made.NAMES, random);
          return a + " is here," + b + " is here," + (a.equals(b) ? 1 : 0);
        };
    List<String> train = csv("sentence1,sentence2,score", 800, row);
    List<String> valid = csv("sentence1,sentence2,score", 100, row);
    Path model = Made.bert(folder.resolve("bert-similar"), String.join(" ", train), 64, 24);
    FineTuner.Outcome outcome =
        tuner(Task.similarity(), model, write("s.csv", train), write("sh.csv", valid))
            .epochs(12)
            .run();
    assertTrue(best(outcome) > 0.8, "Pearson " + best(outcome));
  }

  @Test
  void rankings() throws IOException {
    Random random = new Random(8);
    List<String> train = new ArrayList<>(List.of("query\tdocument\tlabel"));
    List<String> valid = new ArrayList<>(List.of("query\tdocument\tlabel"));
    for (int i = 0; i < 300; i++) {
      boolean person = random.nextBoolean();
      String query = (person ? "a person" : "a place") + " of number " + i;
      for (int j = 0; j < 4; j++) {
        String document = Made.any((j == 2) == person ? Made.NAMES : Made.PLACES, random);
        (i < 270 ? train : valid).add(query + "\t" + document + "\t" + (j == 2 ? 1 : 0));
      }
    }
    Path model = Made.pretrained(folder.resolve("bert-rank"), train, 64, 24, 200);
    FineTuner.Outcome outcome =
        tuner(Task.rank(), model, write("r.tsv", train), write("rh.tsv", valid)).epochs(10).run();
    assertTrue(best(outcome) > 0.9, "MRR " + best(outcome));
  }

  @Test
  void retrieval() throws IOException {
    Random random = new Random(11);
    List<String> fillers = List.of("where", "is", "look", "for", "please", "now", "who", "has");
    Supplier<String> row =
        () -> {
          int name = random.nextInt(Made.NAMES.size());
          String place = Made.PLACES.get(name % Made.PLACES.size());
          StringBuilder query = new StringBuilder(Made.any(fillers, random));
          query.append(' ').append(Made.any(fillers, random));
          query.insert(random.nextBoolean() ? 0 : query.length(), " " + Made.NAMES.get(name) + " ");
          return query + "," + Made.NAMES.get(name) + " in " + place + ",nobody in " + place;
        };
    List<String> train = csv("query,positive,negative", 300, row);
    List<String> valid = csv("query,positive,negative", 60, row);
    Path model = Made.bert(folder.resolve("bert-retrieve"), String.join(" ", train), 32, 24);
    Path out = folder.resolve("retriever");
    FineTuner.Outcome outcome =
        tuner(Task.retrieve(), model, write("re.csv", train), write("reh.csv", valid))
            .epochs(8)
            .out(out)
            .run();
    assertTrue(best(outcome) > 0.9, "MRR " + best(outcome));
    try (Predictor predictor = Predictor.load(out, device, DType.F32)) {
      List<Double> vector =
          predictor.predict(predictor.task().readLines(Path.of("-"), "emma")).get(0).scores();
      assertEquals(1, vector.stream().mapToDouble(x -> x * x).sum(), 1e-9);
    }
  }

  @Test
  void texts() throws IOException {
    Random random = new Random(9);
    Supplier<String> row =
        () -> {
          int name = random.nextInt(Made.PLACES.size());
          return Made.NAMES.get(name) + " lives in " + Made.PLACES.get(name);
        };
    List<String> train = csv("text", 300, row);
    List<String> valid = csv("text", 50, row);
    Path model = Made.gpt(folder.resolve("gpt-lm"), String.join(" ", train), Family.GPT2, 32, 32);
    Path out = folder.resolve("lm");
    FineTuner.Outcome outcome =
        tuner(Task.languageModel(), model, write("l.csv", train), write("lh.csv", valid))
            .epochs(10)
            .out(out)
            .run();
    // A name is drawn from eight, and all else follows from it: 8 to the power of one over the
    // tokens.
    assertTrue(best(outcome) < 2.2, "perplexity " + best(outcome));
    try (Predictor predictor = Predictor.load(out, device, DType.F32)) {
      List<Prediction> told =
          predictor.predict(predictor.task().read(folder.resolve("lh.csv"), false));
      assertEquals(outcome.predictions(), told);
    }
  }

  @Test
  void translations() throws IOException {
    Random random = new Random(10);
    List<String> words = List.of("one", "two", "three", "four", "five");
    List<String> others = List.of("eins", "zwei", "drei", "vier", "funf");
    Supplier<String> row =
        () -> {
          StringBuilder source = new StringBuilder();
          StringBuilder target = new StringBuilder();
          for (int i = 4 + random.nextInt(3); i > 0; i--) {
            int word = random.nextInt(words.size());
            source.append(words.get(word)).append(' ');
            target.append(others.get(word)).append(' ');
          }
          return source.toString().strip() + "\t" + target.toString().strip();
        };
    List<String> train = csv("source\ttarget", 500, row);
    List<String> valid = csv("source\ttarget", 40, row);
    Path model = Files.createDirectories(folder.resolve("marian"));
    Tokenizer tokens = WordTokenizer.trainBpe(String.join(" ", train), 60);
    tokens.save(model);
    TransformerConfig config =
        TransformerConfig.of(tokens.size() + 2, 24, 32, 2, 4)
            .withTokens(tokens.size() + 1, tokens.size(), tokens.size() + 1)
            .withDropout(0);
    try (TransformerModel made = new TransformerModel(config, device, DType.F32).initialize(4)) {
      ModelFiles.save(made, model);
    }
    FineTuner.Outcome outcome =
        tuner(Task.translate(), model, write("t.tsv", train), write("th.tsv", valid))
            .learningRate(3e-3)
            .epochs(12)
            .evaluateEvery(200)
            .run();
    assertTrue(best(outcome) > 80, "BLEU " + best(outcome));
  }
}
