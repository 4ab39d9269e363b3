package dev.sinter.cli;

import static dev.sinter.cli.Run.run;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.sinter.evaluate.ChoiceScorer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Every task of {@code eval} on small files: its numbers, its table, its complaints. */
class EvalCommandTest {
  @TempDir static Path shared;

  private static Path model;

  @TempDir Path folder;

  /** Runs a task for people and for programs; returns what a program reads. */
  private static JsonNode eval(String task, Object... options) throws IOException {
    List<Object> words = new ArrayList<>(List.of("eval", "--task", task));
    words.addAll(List.of(options));
    Run table = run(words.toArray());
    assertEquals(0, table.code(), table.err());
    words.add("--json");
    Run json = run(words.toArray());
    assertEquals(0, json.code(), json.err());
    assertEquals(1, json.out().lines().count());
    JsonNode root = new ObjectMapper().readTree(json.out());
    assertEquals(task, root.get("task").textValue());
    return root;
  }

  private static void fails(int code, String says, Object... options) {
    List<Object> words = new ArrayList<>(List.of("eval"));
    words.addAll(List.of(options));
    Run run = run(words.toArray());
    assertEquals(code, run.code(), run.out());
    List<String> lines = run.err().lines().filter(line -> line.startsWith("sinter: ")).toList();
    assertEquals(1, lines.size(), run.err());
    assertTrue(lines.get(0).contains(says), lines.get(0));
  }

  private Path file(String name, String... lines) throws IOException {
    return Files.writeString(folder.resolve(name), String.join("\n", lines) + "\n");
  }

  @BeforeAll
  static void trainASmallModel() throws IOException {
    Path text =
        Files.writeString(shared.resolve("text"), "the cat sat on the mat. ".repeat(60) + "\n");
    model = shared.resolve("model");
    Run run =
        run(
            "train",
            "--layers",
            1,
            "--heads",
            2,
            "--width",
            16,
            "--context",
            16,
            "--batch",
            4,
            "--lr",
            "1e-2",
            "--warmup",
            5,
            "--steps",
            80,
            "--data",
            text,
            "--out",
            model);
    assertEquals(0, run.code(), run.err());
  }

  @Test
  void lossIsPerTokenAndPerplexityPerWordAndByteToo() throws IOException {
    Path text = file("text", "the cat sat", "on the mat.");
    JsonNode result = eval("lm", "--model", model, "--data", text);
    double loss = result.get("loss").doubleValue() * result.get("tokens").intValue();
    JsonNode perplexity = result.get("perplexity");
    // The first character is given, not predicted; the rest has six words.
    assertEquals(6, result.get("words").intValue());
    assertEquals(23, result.get("bytes").intValue());
    assertEquals(Math.exp(loss / 23), perplexity.get("byte").doubleValue(), 1e-9);
    assertEquals(Math.exp(loss / 6), perplexity.get("word").doubleValue(), 1e-6);
  }

  @Test
  void aModelChoosesTheEndingThatItHasLearnt() throws IOException {
    Path items =
        file(
            "items",
            "{\"ctx\": \"the cat\", \"endings\": [\"mat sat\", \"sat on\"], \"label\": 1}",
            "{\"ctx\": \"on the\", \"endings\": [\"mat. the\", \"nommmehe\"], \"label\": \"0\"}");
    JsonNode result = eval("choice", "--model", model, "--data", items);
    assertEquals(1, result.get("accuracy").doubleValue());
    assertEquals(2, result.get("questions").intValue());
    JsonNode one = eval("choice", "--model", model, "--data", items, "--limit", 1);
    assertEquals(1, one.get("questions").intValue());
  }

  @Test
  void theHarnessPutsTheActivityFirstAndTakesMarkupOut() throws IOException {
    Path items =
        file(
            "items",
            "{\"activity_label\": \"Sitting\", \"ctx_a\": \"a [x] b [title] c\", \"ctx_b\": \"the"
                + " CAT\", \"endings\": [\" [step] sat \", \"on\"], \"label\": 0}");
    List<ChoiceScorer.Item> read = EvalFiles.choices(items, true, 0);
    assertEquals(
        List.of(new ChoiceScorer.Item("Sitting: a b. c The cat", List.of(" sat", "on"), 0)), read);
  }

  @Test
  void bleuPrintsSacreBleusLine() throws IOException {
    Path hypotheses = file("hypotheses", "the cat sat on the mat.", "Hello there, world!");
    Path one = file("one", "the cat sat on a mat.", "Hello, world!");
    Path two = file("two", "a cat sat on the mat", "Hello there world!");
    Run run = run("eval", "--task", "bleu", "--predictions", hypotheses, "--references", one, two);
    // sacrebleu one two -i hypotheses -f text
    assertTrue(
        run.out().startsWith("BLEU|nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:sinter-"),
        run.out());
    assertTrue(
        run.out()
            .strip()
            .endsWith(
                " = 71.3 91.7/90.0/62.5/50.0"
                    + " (BP = 1.000 ratio = 1.091 hyp_len = 12 ref_len = 11)"),
        run.out());
    JsonNode result = eval("bleu", "--predictions", hypotheses, "--references", one, two);
    assertEquals(71.25674706929493, result.get("bleu").doubleValue(), 1e-9);
    JsonNode same = eval("match", "--predictions", one, "--references", two, one, hypotheses);
    assertEquals(1, same.get("exact_match").doubleValue());
  }

  @Test
  void squadReadsItsJson() throws IOException {
    Path questions =
        file(
            "questions",
            "{\"data\": [{\"paragraphs\": [{\"qas\": [",
            "{\"id\": \"1\", \"answers\": [{\"text\": \"the black cat\"}]},",
            "{\"id\": \"2\", \"answers\": [], \"is_impossible\": true},",
            "{\"id\": \"3\", \"answers\": [{\"text\": \"x\"}]}]}]}]}");
    Path answers = file("answers", "{\"1\": \"Cat.\", \"2\": \"\"}");
    JsonNode result = eval("squad", "--predictions", answers, "--references", questions);
    assertEquals(1 / 3.0, result.get("all").get("exact").doubleValue(), 1e-12);
    assertEquals(1 / 3.0, result.get("answerable").get("f1").doubleValue(), 1e-12);
    assertEquals(1, result.get("unanswerable").get("questions").intValue());
    assertEquals(1, result.get("missing").intValue());
    fails(
        1,
        "answers: data is missing",
        "--task",
        "squad",
        "--predictions",
        answers,
        "--references",
        answers);
  }

  @Test
  void nerReadsOneFileOrTwo() throws IOException {
    Path both = file("both", "EU B-ORG B-ORG", "in O O", "", "", "Ann I-PER B-PER", "B I-PER O");
    Path gold = file("gold", "EU NNP B-ORG", "in IN O", "", "Ann NNP I-PER", "B NNP I-PER");
    Path predicted = file("predicted", "EU B-ORG", "in O", "", "Ann B-PER", "B O");
    JsonNode result = eval("ner", "--predictions", both);
    assertEquals(result, eval("ner", "--predictions", predicted, "--references", gold));
    assertEquals(0.5, result.get("entities").get("micro").get("f1").doubleValue());
    assertEquals(0.5, result.get("tags").get("accuracy").doubleValue());
    assertEquals(1 / 3.0, result.get("tags").get("accuracy_without_o").doubleValue(), 1e-12);
    JsonNode strict = eval("ner", "--predictions", both, "--scheme", "iob2");
    assertEquals(1, strict.get("entities").get("micro").get("recall").doubleValue());
  }

  @Test
  void classesAndNumbersReadOneFileOrTwo() throws IOException {
    Path both = file("both", "yes\tyes", "no\tyes", "no\tno");
    JsonNode result = eval("classify", "--predictions", both);
    assertEquals(0.5, result.get("matthews").doubleValue(), 1e-12);
    assertEquals("[[1,1],[0,1]]", result.get("confusion").get("counts").toString());
    assertEquals(
        result,
        eval(
            "classify",
            "--predictions",
            file("predicted", "yes", "yes", "no"),
            "--references",
            file("gold", "yes", "no", "no")));
    JsonNode correlation = eval("correlate", "--predictions", file("numbers", "1\t2", "3\t4"));
    assertEquals(1, correlation.get("spearman").doubleValue(), 1e-12);
    Path constant = file("constant", "1\t2", "1\t4");
    assertTrue(eval("correlate", "--predictions", constant).get("pearson").isNull());
  }

  @Test
  void rankingsAreOfThreeColumnsOrTrecs() throws IOException {
    Path run = file("run", "q Q0 a 1 0.5 x", "q Q0 b 2 0.4 x");
    Path judged = file("judged", "q 0 b 2", "q 0 a 0", "r 0 a 1");
    JsonNode result = eval("rank", "--predictions", run, "--references", judged, "--k", 5);
    assertEquals(0.25, result.get("mrr").doubleValue());
    assertEquals(1, result.get("missing").intValue());
    Path table = file("table", "q\ta\t0.5", "q\tb\t0.4");
    Path relevance = file("relevance", "q\tb\t2", "q\ta\t0", "r\ta\t1");
    assertEquals(result, eval("rank", "--predictions", table, "--references", relevance, "--k", 5));
  }

  @Test
  void optionsThatAreMissingOrOfAnotherTask() throws IOException {
    Path file = file("file", "a");
    fails(2, "--model", "--data", file);
    fails(2, "--references", "--task", "bleu", "--predictions", file);
    fails(2, "--k", "--task", "match", "--k", 3, "--predictions", file, "--references", file);
    fails(2, "--model", "--task", "bleu", "--model", model, "--predictions", file);
    fails(2, "one file", "--task", "rank", "--predictions", file, "--references", file, file);
    fails(2, "nonsense", "--task", "nonsense");
    fails(2, "--k", "--task", "rank", "--k", 0, "--predictions", file, "--references", file);
  }

  @Test
  void filesThatAreNotWhatTheyShouldBe() throws IOException {
    Path two = file("two", "a", "b");
    Path three = file("three", "a", "", "b");
    String p = "--predictions";
    String r = "--references";
    fails(1, "three: has 3 lines", "--task", "bleu", p, two, r, three);
    fails(1, "there is no", "--task", "bleu", p, two, r, folder.resolve("none"));
    fails(1, "three: line 2: is blank", "--task", "classify", p, three);
    fails(1, "two: line 1: 1 fields", "--task", "classify", p, two);
    fails(1, "words: line 2: \"x\"", "--task", "correlate", p, file("words", "1\t2", "1\tx"));
    fails(1, "tags: line 3: tag \"PER\"", "--task", "ner", p, file("tags", "O O", "", "O PER"));
    fails(1, "two: line 1: one column", "--task", "ner", p, file("two", "O"));
    fails(
        1,
        "longer: line 3",
        "--task",
        "ner",
        p,
        file("longer", "O", "", "O", "O"),
        r,
        file("shorter", "O", "", "O"));
    Path judged = file("judged", "q a 1");
    fails(1, "rank: line 1: 2 fields", "--task", "rank", p, file("rank", "q a"), r, judged);
    fails(
        1,
        "line 2: document \"a\"",
        "--task",
        "rank",
        p,
        file("again", "q a 1", "q a 2"),
        r,
        judged);
    fails(1, "whole number", "--task", "rank", p, judged, r, file("half", "q a 0.5"));
    fails(1, "json: line 2: no JSON", "--task", "squad", p, two, r, file("json", "{\"a\":"));
    Path items = file("items", "{\"ctx\": \"a\", \"endings\": [\"b\"], \"label\": 1}");
    fails(1, "items: line 1: label 1", "--task", "choice", "--model", model, "--data", items);
    Path broken = file("broken", "{\"ctx\": \"a\", \"endings\": [\"b\"], \"label\": 0}", "{");
    fails(1, "broken: line 2: no JSON", "--task", "choice", "--model", model, "--data", broken);
  }
}
