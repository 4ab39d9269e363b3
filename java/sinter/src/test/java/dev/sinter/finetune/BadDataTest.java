package dev.sinter.finetune;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.sinter.graph.Device;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** What is wrong with data is said with file, line and column, and nothing is written. */
class BadDataTest {
  private static final String GOOD = "text,label\nfine,a\nbad,b\n";
  private static final String SQUAD =
      "{\"data\": [{\"paragraphs\": [{\"context\": \"anna lives in berlin\", \"qas\": [{\"id\":"
          + " \"1\", \"question\": \"where\", \"answers\": [{\"text\": \"berlin\","
          + " \"answer_start\": %s}]}]}]}]}";

  @TempDir static Path shared;
  @TempDir Path folder;

  private static Device device;
  private static Path bert;

  @BeforeAll
  static void make() throws IOException {
    device = Device.cpu(1);
    bert = Made.bert(shared.resolve("bert"), "fine bad anna lives in berlin where", 16, 24);
  }

  @AfterAll
  static void close() {
    device.close();
  }

  private static Arguments row(String task, String name, String data, String message) {
    return Arguments.of(task, name, data, message);
  }

  static List<Arguments> rows() {
    return List.of(
        row(
            "classify",
            "t.csv",
            "text,lable\nfine,a\n",
            "t.csv: line 2: there is no column label or labels or target or class; there are"
                + " \"text\", \"lable\""),
        row(
            "classify",
            "t.csv",
            "text,label\nfine,a\n,b\n",
            "t.csv: line 3, column text: is empty"),
        row(
            "classify",
            "t.csv",
            "text,label\nfine,a\nbad,\n",
            "t.csv: line 3, column label: is empty"),
        row(
            "classify",
            "t.csv",
            "text,label\nfine,a\n\"bad,b\n",
            "t.csv: line 3: a quote in this row is never closed, or text follows a closing one; a"
                + " quote within a quoted field is doubled"),
        row(
            "classify",
            "t.csv",
            "text,label\nfine,a,b\n",
            "t.csv: line 2: 3 fields; the header has 2"),
        row("classify", "t.csv", "", "t.csv: there is no text in it"),
        row("classify", "t.csv", "text,label\n", "t.csv: has no rows"),
        row(
            "classify",
            "t.csv",
            "text,label\nfine,a\nbad,a\n",
            "t.csv: column label: all rows have the same label; a classifier needs two or more"),
        row(
            "classify",
            "t.jsonl",
            "{\"text\": \"fine\", \"label\": \"a\"}\n{\"text\": \"bad\", label}\n",
            "t.jsonl: line 2: no JSON: Unexpected character ('l' (code 108)): was expecting"
                + " double-quote to start field name"),
        row(
            "classify",
            "t.txt",
            "fine a\n",
            "t.txt: its name ends in none of .csv, .tsv, .jsonl, .ndjson and .json"),
        row(
            "tag",
            "t.jsonl",
            "{\"tokens\": [\"anna\", \"lives\"], \"tags\": [\"B-PER\"]}\n",
            "t.jsonl: line 1, column tags: 1 tags for 2 tokens"),
        row(
            "tag",
            "t.jsonl",
            "{\"tokens\": [\"anna\", \"\"], \"tags\": [\"B-PER\", \"O\"]}\n",
            "t.jsonl: line 1, column tokens: a token is empty"),
        row("tag", "t.conll", "anna B-PER\nlives\n", "t.conll: line 2: 1 columns; 2 are wanted"),
        row(
            "tag",
            "t.conll",
            "anna\n",
            "t.conll: line 1: one column; a token and its tag are wanted"),
        row("tag", "t.conll", "anna O\n", "t.conll: all tags are \"O\""),
        row("tag", "t.conll", "\n\n", "t.conll: has no sentences"),
        row(
            "qa",
            "t.json",
            SQUAD.formatted("3"),
            "t.json: column data[0].paragraphs[0].qas[0].answers[0].answer_start: \"berlin\" is not"
                + " in the context at 3"),
        row(
            "qa",
            "t.json",
            "{\"data\": [{}]}",
            "t.json: column data[0].paragraphs: is missing, or no array"),
        row(
            "qa",
            "t.jsonl",
            "{\"question\": \"where\", \"context\": \"in berlin\", \"answers\": {\"text\":"
                + " [\"berlin\"], \"answer_start\": [2]}}",
            "t.jsonl: line 1, column answers.answer_start: \"berlin\" is not in the context at 2"),
        row(
            "choice",
            "t.jsonl",
            "{\"prompt\": \"a\", \"choices\": [\"b\", \"c\"], \"label\": 2}",
            "t.jsonl: line 1, column label: \"2\" is none of the 2 choices; numbers count from 0"),
        row(
            "choice",
            "t.jsonl",
            "{\"prompt\": \"a\", \"choices\": [\"b\", \"c\"], \"label\": 1}\n"
                + "{\"prompt\": \"a\", \"choices\": [\"b\", \"c\", \"d\"], \"label\": 1}",
            "t.jsonl: line 2: 3 choices; the first row of the training data has 2"),
        row(
            "similarity",
            "t.csv",
            "sentence1,sentence2,score\nfine,bad,much\n",
            "t.csv: line 2, column score: \"much\" is no number"),
        row(
            "rank",
            "t.csv",
            "query,document,label\nfine,bad,0.5\n",
            "t.csv: line 2, column label: \"0.5\" is no whole number"),
        row(
            "retrieve",
            "t.csv",
            "query,text\nfine,bad\n",
            "t.csv: line 2: there is no column positive or document or passage or answer; there are"
                + " \"query\", \"text\""),
        row(
            "translate",
            "t.txt",
            "a\tb\nc\n",
            "t.txt: line 2: is not a source, a tab and its target"));
  }

  @ParameterizedTest
  @MethodSource("rows")
  void isToldWithItsPlace(String task, String name, String data, String message)
      throws IOException {
    Path file = Files.writeString(folder.resolve(name), data);
    Path out = folder.resolve("out");
    IOException e =
        assertThrows(
            IOException.class,
            () -> FineTuner.of(Task.named(task), bert).train(file).device(device).out(out).run());
    assertEquals(folder + "/" + message, e.getMessage());
    assertFalse(Files.exists(out));
  }

  private FineTuner tuner(Path train) {
    return FineTuner.of(Task.classify(), bert)
        .train(train)
        .device(device)
        .out(folder.resolve("out"));
  }

  private void fails(String message, FineTuner tuner) {
    IOException e = assertThrows(IOException.class, tuner::run);
    assertEquals(folder + "/" + message, e.getMessage());
    assertFalse(Files.exists(folder.resolve("out")));
  }

  @Test
  void aLabelThatTrainingHasNot() throws IOException {
    Path train = Files.writeString(folder.resolve("t.csv"), GOOD);
    Path valid = Files.writeString(folder.resolve("v.csv"), "text,label\nfine,a\nfine,c\n");
    fails(
        "v.csv: line 3, column label: \"c\" is none of the labels of the training data: \"a\","
            + " \"b\"",
        tuner(train).validation(valid));
  }

  @Test
  void aLabelThatWasNotNamedAndOneWithoutAnExample() throws IOException {
    Path train = Files.writeString(folder.resolve("t.csv"), GOOD);
    fails(
        "t.csv: line 3, column label: \"b\" is none of the labels that were named: \"a\", \"c\"",
        tuner(train).labels(List.of("a", "c")));
    fails(
        "t.csv: column label: no row has the label \"c\"; add examples, or leave it out of the"
            + " labels",
        tuner(train).labels(List.of("a", "b", "c")));
  }

  @Test
  void severalLabelsWhereTrainingHasOne() throws IOException {
    Path train = Files.writeString(folder.resolve("t.csv"), GOOD);
    Path valid =
        Files.writeString(
            folder.resolve("v.jsonl"), "{\"text\": \"fine\", \"label\": [\"a\", \"b\"]}");
    fails(
        "v.jsonl: line 1, column label: 2 labels; the training data have one a row",
        tuner(train).validation(valid));
  }

  @Test
  void settingsThatDoNotFit() throws IOException {
    Path train = Files.writeString(folder.resolve("t.csv"), GOOD);
    assertEquals(
        "no class c",
        assertThrows(
                IllegalArgumentException.class, tuner(train).classWeights(Map.of("c", 2.0))::run)
            .getMessage());
    assertEquals(
        "frozen 0-2; embeddings, and layers from 0 to 1, as embeddings,0-1",
        assertThrows(IllegalArgumentException.class, tuner(train).freeze("embeddings,0-2")::run)
            .getMessage());
    assertFalse(Files.exists(folder.resolve("out")));
    Path out = Files.createDirectories(folder.resolve("out"));
    Files.writeString(out.resolve("model.safetensors"), "");
    assertEquals(
        out + ": holds a model already; name another folder, or remove it",
        assertThrows(IllegalArgumentException.class, tuner(train)::run).getMessage());
  }

  @Test
  void aDamagedTaskFile() throws IOException {
    Path copy = Files.createDirectories(folder.resolve("copy"));
    try (var files = Files.list(bert)) {
      for (Path file : files.toList()) {
        Files.copy(file, copy.resolve(file.getFileName()));
      }
    }
    for (String text :
        List.of("{", "[]", "{}", "null", "{\"task\": \"fly\"}", "{\"task\": 7, \"x\": 1}")) {
      Path file = Files.writeString(copy.resolve("task.json"), text);
      IOException e =
          assertThrows(
              IOException.class,
              () -> Predictor.load(copy, device, dev.sinter.graph.DType.F32).close());
      assertEquals(0, e.getMessage().indexOf(file.toString()), e.getMessage());
    }
  }
}
