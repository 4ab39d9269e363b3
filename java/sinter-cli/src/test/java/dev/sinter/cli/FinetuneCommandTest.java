package dev.sinter.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.model.BertConfig;
import dev.sinter.model.Head;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.TaskModel;
import dev.sinter.model.TransformerConfig;
import dev.sinter.model.TransformerModel;
import dev.sinter.text.Tokenizer;
import dev.sinter.text.WordTokenizer;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** From a pre-trained folder through finetune to what predict prints, for each task. */
class FinetuneCommandTest {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final String WORDS =
      "anna boris lives in berlin cairo a fine film bad where is who one two eins zwei";

  @TempDir static Path folder;

  private static Path bert;
  private static Path gpt;
  private static Path marian;

  @BeforeAll
  static void make() throws IOException {
    bert = Files.createDirectories(folder.resolve("bert"));
    marian = Files.createDirectories(folder.resolve("marian"));
    Tokenizer words = WordTokenizer.trainWordPiece(WORDS, 200, true);
    words.save(bert);
    Tokenizer pieces = WordTokenizer.trainBpe(WORDS, 100);
    pieces.save(marian);
    TransformerConfig config =
        TransformerConfig.of(pieces.size() + 2, 24, 16, 1, 2)
            .withTokens(pieces.size() + 1, pieces.size(), pieces.size() + 1);
    try (Device device = Device.cpu(1);
        TaskModel model =
            new TaskModel(
                    BertConfig.of(words.size(), 32, 16, 2, 2), Head.masked(), device, DType.F32)
                .initialize(1);
        TransformerModel both = new TransformerModel(config, device, DType.F32).initialize(1)) {
      ModelFiles.save(model, List.of(), bert);
      ModelFiles.save(both, marian);
    }
    gpt = folder.resolve("gpt");
    Path text = Files.writeString(folder.resolve("text.txt"), (WORDS + "\n").repeat(20));
    done(
        Run.run(
            "train",
            "--data",
            text,
            "--out",
            gpt,
            "--tokenizer",
            "bpe:300",
            "--layers",
            1,
            "--heads",
            2,
            "--width",
            16,
            "--context",
            16,
            "--steps",
            2,
            "--batch",
            2));
  }

  private static Path write(String name, String... lines) throws IOException {
    return Files.write(folder.resolve(name), List.of(lines));
  }

  private static String done(Run run) {
    assertEquals(0, run.code(), run.err());
    return run.out();
  }

  private static Run tune(String task, Path model, Path data, Path out, Object... more) {
    List<Object> all =
        new ArrayList<>(
            List.of(
                "finetune",
                "--task",
                task,
                "--model",
                model,
                "--train",
                data,
                "--valid",
                data,
                "--out",
                out,
                "--epochs",
                2,
                "--batch",
                4,
                "--lr",
                "1e-3",
                "--device",
                "cpu"));
    all.addAll(List.of(more));
    return Run.run(all.toArray());
  }

  private static List<JsonNode> predict(Path model, Object input) throws IOException {
    List<JsonNode> lines = new ArrayList<>();
    for (String line :
        done(Run.run("predict", "--model", model, "--input", input)).lines().toList()) {
      lines.add(JSON.readTree(line));
    }
    return lines;
  }

  private static JsonNode from(Path model, String text) throws IOException {
    InputStream before = System.in;
    System.setIn(new ByteArrayInputStream(text.getBytes(StandardCharsets.UTF_8)));
    try {
      return predict(model, "-").get(0);
    } finally {
      System.setIn(before);
    }
  }

  @Test
  void classesFromCsvToJsonAndText() throws IOException {
    Path data = write("c.csv", "text,label", "a fine film,good", "a bad film,\"so, so\"");
    Path out = folder.resolve("classifier");
    Run run = tune("classify", bert, data, out, "--class-weights", "balanced", "--freeze", "0");
    assertTrue(done(run).startsWith("accuracy "), run.out());
    assertTrue(run.err().contains("step 2/2"), run.err());
    for (String name :
        List.of("config.json", "model.safetensors", "tokenizer.json", "task.json", "metrics.csv")) {
      assertTrue(Files.exists(out.resolve(name)), name);
    }
    String report = done(Run.run("report", out));
    for (String part : List.of("accuracy", "precision", "so, so")) {
      assertTrue(report.contains(part), report);
    }
    assertTrue(Files.readString(out.resolve("report.json")).contains("a bad film"));
    List<JsonNode> told = predict(out, data);
    assertEquals(2, told.size());
    double sum = 0;
    for (JsonNode share : told.get(0).get("probabilities")) {
      sum += share.doubleValue();
    }
    assertEquals(1, sum, 1e-9);
    String label = told.get(0).get("label").textValue();
    assertTrue(List.of("good", "so, so").contains(label), label);
    assertEquals(label, from(out, "a fine film\n").get("label").textValue());
    assertEquals(label, from(out, "{\"text\": \"a fine film\"}\n").get("label").textValue());
    String text = done(Run.run("predict", "--model", out, "--input", data, "--text"));
    assertEquals(label, text.lines().findFirst().get());
  }

  @Test
  void eachTaskIsTunedAndPredicts() throws IOException {
    Path tags = write("t.conll", "anna B-PER", "lives O", "", "berlin B-LOC");
    Path tagger = folder.resolve("tagger");
    done(tune("tag", bert, tags, tagger));
    assertEquals(3, from(tagger, "anna lives.").get("tags").size());
    assertEquals(2, predict(tagger, tags).get(0).get("tokens").size());

    Path questions =
        write(
            "q.json",
            "{\"data\": [{\"paragraphs\": [{\"context\": \"anna lives in berlin\", \"qas\":"
                + " [{\"id\": \"7\", \"question\": \"where\", \"answers\": [{\"text\": \"berlin\","
                + " \"answer_start\": 14}]}]}]}]}");
    Path reader = folder.resolve("reader");
    done(tune("qa", bert, questions, reader));
    JsonNode answer = predict(reader, questions).get(0);
    assertEquals("7", answer.get("id").textValue());
    String text = answer.get("answer").textValue();
    int start = answer.get("start").intValue();
    assertEquals(text, "anna lives in berlin".substring(start, answer.get("end").intValue()));

    Path choices =
        write(
            "ch.jsonl",
            "{\"prompt\": \"who is\", \"choices\": [\"anna\", \"cairo\"], \"label\": 0}");
    Path chooser = folder.resolve("chooser");
    done(tune("choice", bert, choices, chooser));
    assertEquals(3, from(chooser, "who is\tanna\tcairo\tberlin").get("probabilities").size());

    Path pairs = write("s.tsv", "sentence1\tsentence2\tscore", "anna\tanna\t1.5", "anna\tcairo\t0");
    Path similar = folder.resolve("similar");
    done(tune("similarity", bert, pairs, similar));
    assertTrue(from(similar, "anna\tboris").get("score").isNumber());

    Path ranks = write("r.csv", "query,document,label", "who,anna,1", "who,cairo,0");
    Path ranker = folder.resolve("ranker");
    assertTrue(done(tune("rank", bert, ranks, ranker)).startsWith("mrr@10 "));
    assertTrue(from(ranker, "who\tanna").get("score").doubleValue() < 1);

    Path retrieved = write("re.csv", "query,positive", "who,anna", "where,cairo");
    Path retriever = folder.resolve("retriever");
    done(tune("retrieve", bert, retrieved, retriever));
    assertEquals(16, from(retriever, "who is").get("vector").size());

    Path texts = write("lm.jsonl", "{\"text\": \"anna lives in berlin\"}");
    Path lm = folder.resolve("lm");
    assertTrue(done(tune("lm", gpt, texts, lm)).startsWith("perplexity "));
    assertTrue(from(lm, "anna lives in cairo").get("perplexity").doubleValue() > 1);

    Path translations = write("tr.txt", "one two\teins zwei", "two\tzwei");
    Path translator = folder.resolve("translator");
    assertTrue(done(tune("translate", marian, translations, translator)).startsWith("bleu "));
    assertTrue(from(translator, "one").get("translation").isTextual());
  }

  @Test
  void anAdapterIsTunedAndMerged() throws IOException {
    Path data = write("a.csv", "text,label", "a fine film,good", "a bad film,bad");
    Path out = folder.resolve("adapter");
    done(tune("classify", bert, data, out, "--adapter", "lora", "--rank", 2));
    Path whole = folder.resolve("whole");
    done(Run.run("merge", "--adapter", out, "--out", whole));
    List<JsonNode> before = predict(out, data);
    List<JsonNode> after = predict(whole, data);
    for (int i = 0; i < before.size(); i++) {
      assertEquals(before.get(i).get("label"), after.get(i).get("label"));
      assertEquals(
          before.get(i).get("score").asDouble(), after.get(i).get("score").asDouble(), 1e-5);
    }
    Run again = Run.run("merge", "--adapter", out, "--out", whole);
    assertEquals(2, again.code());
    assertTrue(again.err().contains(whole + ": holds a model already"), again.err());
    Run none = Run.run("merge", "--adapter", whole, "--out", folder.resolve("nothing"));
    assertEquals(2, none.code());
    assertTrue(none.err().contains("holds no adapter"), none.err());
    Run mixed = tune("classify", bert, data, folder.resolve("nothing"), "--rank", 2);
    assertEquals(2, mixed.code());
    Run wrong = tune("classify", bert, data, folder.resolve("nothing"), "--adapter", "dora");
    assertEquals(2, wrong.code());
    assertTrue(wrong.err().contains("lora, adalora or bottleneck"), wrong.err());
    assertFalse(Files.exists(folder.resolve("nothing")));
  }

  @Test
  void whatIsWrongIsOneLineAndNothingIsWritten() throws IOException {
    Path data = write("bad.csv", "text,label", "a film,good", "a film,");
    Path out = folder.resolve("bad");
    tune("classify", bert, data, out).failed(1, data + ": line 3, column label: is empty");
    tune("fly", bert, data, out).failed(2, "no task is called fly", "classify");
    tune("classify", bert, data, out, "--epochs", 0).failed(2, "epochs");
    Path good = write("good.csv", "text,label", "a film,good", "bad,bad");
    tune("classify", bert, good, out, "--freeze", "0-9").failed(2, "layers from 0 to 1");
    tune("classify", bert, good, out, "--class-weights", "good=much").failed(2, "good=much");
    tune("lm", bert, good, out).failed(1, "bert");
    tune("qa", gpt, write("q.jsonl", "{}"), out).failed(1, "context");
    Run.run("predict", "--model", bert, "--input", good).failed(1, "config.json", "fine-tune");
    Run.run("predict", "--model", folder.resolve("none"), "--input", good).failed(1, "none");
    assertFalse(Files.exists(out));
  }
}
