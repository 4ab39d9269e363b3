package dev.sinter.cli;

import static dev.sinter.cli.Run.run;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.report.RunRecord;
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
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** From a text to a model that answers: train, sft, reward, ppo, dpo, chat. */
class AlignmentCommandsTest {
  private static final List<String> ANIMALS = List.of("dog", "cat", "cow", "duck", "owl", "crow");
  private static final List<String> SOUNDS = List.of("woof", "meow", "moo", "quack", "hoot", "caw");

  @TempDir static Path shared;

  private static Path base;
  private static Path chats;
  private static Path rankings;
  private static Path tuned;

  private static Run done(Object... arguments) {
    Run run = run(arguments);
    assertEquals(0, run.code(), run.err());
    return run;
  }

  @BeforeAll
  static void trainAndTune() throws IOException {
    StringBuilder text = new StringBuilder();
    List<String> conversations = new ArrayList<>();
    List<String> ranked = new ArrayList<>();
    for (int i = 0; i < 120; i++) {
      String animal = ANIMALS.get(i % 6);
      String sound = SOUNDS.get(i % 6);
      String asked = "What does the " + animal + " say?";
      text.append("User:\n").append(asked).append("\nAssistant:\n").append(sound).append("\n");
      conversations.add(
          "{\"messages\": [{\"role\": \"user\", \"content\": \"%s\"}, {\"role\": \"assistant\","
                  .formatted(asked)
              + " \"content\": \"%s\"}]}".formatted(sound));
      ranked.add(
          "{\"prompt\": \"%s\", \"chosen\": \"please, %s\", \"rejected\": \"%s\"}"
              .formatted(asked, sound, sound));
    }
    Path corpus = Files.writeString(shared.resolve("corpus.txt"), text + "please, ".repeat(40));
    chats = Files.write(shared.resolve("chats.jsonl"), conversations);
    rankings = Files.write(shared.resolve("rankings.jsonl"), ranked);
    base = shared.resolve("base");
    done(
        "train",
        "--data",
        corpus,
        "--out",
        base,
        "--tokenizer",
        "bpe:300",
        "--layers",
        2,
        "--width",
        32,
        "--heads",
        2,
        "--context",
        48,
        "--steps",
        150,
        "--warmup",
        10,
        "--lr",
        "5e-3");
    tuned = shared.resolve("tuned");
    Run sft =
        done(
            "sft",
            "--model",
            base,
            "--train",
            chats,
            "--valid",
            chats,
            "--out",
            tuned,
            "--lr",
            "3e-3",
            "--batch",
            2,
            "--epochs",
            5);
    assertTrue(sft.out().startsWith("validation loss  "), sft.out());
  }

  private static double metric(Path folder, String name) throws IOException {
    return RunRecord.read(folder).metrics().stream()
        .filter(metric -> metric.name().equals(name))
        .findFirst()
        .orElseThrow()
        .value();
  }

  @Test
  void aTunedModelAnswersAndItsFolderSaysHow() throws IOException {
    assertTrue(metric(tuned, "validation loss") < 0.3, "" + metric(tuned, "validation loss"));
    assertTrue(Files.exists(tuned.resolve("chat.json")));
    assertTrue(Files.readString(tuned.resolve("metrics.csv")).startsWith("step,train_loss"));
    Run one =
        done("chat", "--model", tuned, "--message", "What does the cow say?", "--temperature", 0);
    assertEquals("moo", one.out().strip());
    Run generated =
        done(
            "generate",
            "--model",
            tuned,
            "--chat",
            "--prompt",
            "What does the owl say?",
            "--temperature",
            0);
    assertEquals("hoot", generated.out().strip());
  }

  @Test
  void aLongConversationSlides() {
    InputStream before = System.in;
    try {
      String lines = "What does the dog say?\n\n".repeat(9);
      System.setIn(new ByteArrayInputStream(lines.getBytes(StandardCharsets.UTF_8)));
      Run all = done("chat", "--model", tuned, "--system", "be kind", "--max-new-tokens", 4);
      assertEquals(9, all.out().lines().count(), all.out());
    } finally {
      System.setIn(before);
    }
    run("chat", "--model", tuned, "--message", "dog ".repeat(60)).failed(2, "context is 48");
  }

  @Test
  void rewardsThenPolicies() throws IOException {
    Path rewards = shared.resolve("rewards");
    Run reward =
        done(
            "reward",
            "--model",
            tuned,
            "--train",
            rankings,
            "--valid",
            rankings,
            "--out",
            rewards,
            "--lr",
            "3e-3",
            "--epochs",
            3);
    assertTrue(reward.out().startsWith("accuracy         "), reward.out());
    assertTrue(metric(rewards, "accuracy") > 0.9);
    assertTrue(Files.exists(rewards.resolve("reward.json")));

    Path aligned = shared.resolve("aligned");
    Run ppo =
        done(
            "ppo",
            "--model",
            tuned,
            "--reward",
            rewards,
            "--prompts",
            chats,
            "--valid",
            chats,
            "--out",
            aligned,
            "--iterations",
            3,
            "--batch",
            8,
            "--minibatch",
            4,
            "--response",
            8,
            "--kl",
            "adaptive",
            "--text",
            shared.resolve("corpus.txt"),
            "--text-weight",
            0.5,
            "--held-text",
            shared.resolve("corpus.txt"),
            "--lr",
            "1e-4");
    assertTrue(ppo.out().contains("reward after"), ppo.out());
    assertTrue(ppo.err().contains("iteration 3/3"), ppo.err());
    String metrics = Files.readString(aligned.resolve("metrics.csv"));
    assertTrue(metrics.startsWith("step,score,reward,kl,beta"), metrics);
    assertEquals(4, metrics.lines().count());
    assertEquals("ppo", RunRecord.read(aligned).task());
    List<String> curves =
        RunRecord.read(aligned).curves().stream().map(RunRecord.Curve::name).toList();
    assertTrue(curves.stream().anyMatch(name -> name.contains("score")), "" + curves);
    assertFalse(RunRecord.read(aligned).samples().isEmpty());
    done("chat", "--model", aligned, "--message", "What does the cow say?");
    // A reward model is no policy, and a policy no reward model.
    run("ppo", "--model", tuned, "--reward", tuned, "--prompts", chats, "--out", aligned + "2")
        .failed(1, "reward.json", "no reward model");
  }

  @Test
  void preferencesDirectly() throws IOException {
    Path preferring = shared.resolve("preferring");
    Run dpo =
        done(
            "dpo",
            "--model",
            tuned,
            "--train",
            rankings,
            "--valid",
            rankings,
            "--out",
            preferring,
            "--lr",
            "1e-3",
            "--template",
            "plain");
    assertTrue(dpo.out().startsWith("accuracy         "), dpo.out());
    assertTrue(metric(preferring, "accuracy") > 0.9);
    run("dpo", "--model", tuned, "--train", rankings, "--out", preferring)
        .failed(2, "holds a model already");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '~',
      value = {
        "sft | {\"prompt\": \"x\"} | response",
        "sft | {\"messages\": [{\"role\": \"x\", \"content\": \"y\"}]} | messages.role",
        "reward | {\"prompt\": \"x\", \"chosen\": \"y\"} | rejected",
        "dpo | {\"prompt\": \"x\", \"responses\": [\"y\"]} | responses"
      })
  void aBadLineIsNamedAndNothingIsWritten(String command, String line, String field)
      throws IOException {
    Path bad = Files.write(shared.resolve("bad.jsonl"), List.of("", line));
    Path out = shared.resolve("nothing");
    run(command, "--model", tuned, "--train", bad, "--out", out)
        .failed(1, "bad.jsonl: line 2, column " + field);
    assertFalse(Files.exists(out));
  }

  @Test
  void anAdapterIsTunedAndAnswersOverItsBase() throws IOException {
    Path adapter = shared.resolve("adapter");
    Path merged = shared.resolve("merged");
    List<Object> tuning =
        List.of(
            "sft",
            "--model",
            tuned,
            "--train",
            chats,
            "--lr",
            "1e-2",
            "--adapter",
            "lora",
            "--out");
    List<Object> whole = new ArrayList<>(tuning);
    whole.addAll(List.of(merged, "--merge"));
    done(whole.toArray());
    List<Object> alone = new ArrayList<>(tuning);
    alone.addAll(List.of(adapter, "--weights", "q8"));
    done(alone.toArray());
    assertTrue(Files.exists(adapter.resolve("adapter_model.safetensors")));
    assertFalse(Files.exists(adapter.resolve("model.safetensors")));
    List<Object> ask = List.of("--message", "What does the cow say?", "--temperature", 0);
    for (List<Object> model :
        List.of(
            List.<Object>of("chat", "--model", tuned, "--adapter", adapter, "--weights", "q8"),
            List.<Object>of("chat", "--model", merged))) {
      List<Object> all = new ArrayList<>(model);
      all.addAll(ask);
      assertEquals("moo", done(all.toArray()).out().strip());
    }
    run("sft", "--model", tuned, "--train", chats, "--out", adapter).failed(2, "holds a model");
    Path preferring = shared.resolve("preferring-adapter");
    done("dpo", "--model", tuned, "--train", rankings, "--out", preferring, "--adapter", "lora");
    assertTrue(Files.exists(preferring.resolve("adapter_model.safetensors")));
  }

  @Test
  void whatCannotBeAskedIsRefused() {
    Path out = shared.resolve("refused");
    run("sft", "--model", tuned, "--train", chats, "--out", out, "--adapter", "adalora")
        .failed(2, "adalora is of finetune");
    run("sft", "--model", tuned, "--train", chats, "--out", out, "--template", "a|b")
        .failed(2, "--template");
    run("ppo", "--model", tuned, "--reward", tuned, "--prompts", chats, "--out", out, "--kl", "x")
        .failed(2, "--kl x");
    run("generate", "--model", tuned, "--chat", "--ids", "1").failed(2, "--chat");
    run("sft", "--model", tuned, "--train", chats, "--out", out, "--length", 2)
        .failed(2, "no conversation");
  }
}
