package dev.sinter.align;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.align.Message.Role;
import dev.sinter.align.Ppo.Iteration;
import dev.sinter.data.DataException;
import dev.sinter.data.Tokens;
import dev.sinter.generate.Completion;
import dev.sinter.generate.Engine;
import dev.sinter.generate.EngineSettings;
import dev.sinter.generate.Request;
import dev.sinter.generate.Sampling;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.Recompute;
import dev.sinter.graph.WeightFormat;
import dev.sinter.model.EvaluationGraph;
import dev.sinter.model.FrozenModel;
import dev.sinter.model.GptConfig;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.LoraConfig;
import dev.sinter.model.PackedGraph;
import dev.sinter.text.BpeTokenizer;
import dev.sinter.train.AdamW;
import dev.sinter.train.Schedule;
import dev.sinter.train.Step;
import java.io.IOException;
import java.nio.FloatBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIf;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What trainings compute, on models too small to learn much. */
class TrainersTest {
  private static final Device DEVICE = Device.cpu(2);
  private static final Chat CHAT =
      new Chat(
          BpeTokenizer.train("User: hello there. Assistant: hello, how are you? be kind.", 270),
          ChatTemplate.plain());
  private static final int CONTEXT = 48;
  private static final String LIBRARY = "dev.sinter.cuda.library";
  private static final Path EMULATED =
      Path.of(System.getProperty("sinter.emulation", "."), "libsinter_cuda_emulated.so");
  private static final AdamW ADAM = AdamW.of(Schedule.constant(1e-2)).withWeightDecay(0);

  @TempDir private Path folder;

  @AfterAll
  static void close() {
    DEVICE.close();
  }

  static boolean hasBackend() {
    return EMULATED.toFile().exists();
  }

  private static LanguageModel model() {
    return model(DEVICE, DType.F32, 0);
  }

  private static LanguageModel model(Device device, DType dtype, float dropout) {
    GptConfig config = GptConfig.of(CHAT.tokenizer().size(), CONTEXT, 16, 2, 2);
    return LanguageModel.create(config.withDropout(dropout), device, dtype, 3);
  }

  private static Conversation conversation(String asked, String answer) {
    return Conversation.asking(asked).then(Role.ASSISTANT, answer);
  }

  private static final List<Conversation> CONVERSATIONS =
      List.of(
          conversation("hello", "hello, you"),
          conversation("be", "kind"),
          conversation("how", "you are").then(Role.USER, "be").then(Role.ASSISTANT, "kin"),
          conversation("there", ""));

  private static final List<Ranking> RANKINGS =
      List.of(
          new Ranking(Conversation.asking("hello"), List.of("kind", "be", "a"), List.of(0, 1, 1)),
          Ranking.of(Conversation.asking("be"), "kind", "be"),
          Ranking.of(Conversation.asking("how are"), "kind", "you"));

  @Test
  void packedConversationsHaveTheLossThatTheyHaveAlone() {
    List<Example> examples = CONVERSATIONS.stream().map(CHAT::example).toList();
    int length = 100;
    List<List<Example>> rows = Packing.rows(examples, length);
    assertTrue(rows.size() < examples.size());
    try (LanguageModel model = model();
        PackedGraph packed = model.packedGraph(rows.size(), length, 1, Recompute.NONE, 0);
        Likelihoods alone = Likelihoods.of(model, 1, CONTEXT, 1)) {
      SupervisedTuning.fill(packed, rows, length);
      double sum = 0;
      int learned = 0;
      for (Example example : examples) {
        alone.forward(List.of(example), 0);
        double[] all = alone.logProbabilities(0);
        sum -= Arrays.stream(all).sum();
        learned += all.length;
      }
      assertEquals(sum / learned, packed.run(0, false), 1e-5);
    }
  }

  @Test
  void packingKeepsEveryExampleOnceAndWithinItsRow() {
    List<Example> examples = new ArrayList<>();
    for (int i = 0; i < 500; i++) {
      examples.add(new Example(new int[2 + i * 37 % 31], new boolean[2 + i * 37 % 31]));
    }
    List<List<Example>> rows = Packing.rows(examples, 32);
    assertEquals(500, rows.stream().mapToInt(List::size).sum());
    assertEquals(500, rows.stream().flatMap(List::stream).distinct().count());
    int used = 0;
    for (List<Example> row : rows) {
      int positions = row.stream().mapToInt(Example::positions).sum();
      assertTrue(positions <= 32);
      used += positions;
    }
    assertTrue(used > 0.9 * 32 * rows.size(), used + " of " + 32 * rows.size());
  }

  @Test
  void tuningLearnsAnswersAndTheirEndsAlone() {
    try (LanguageModel model = model()) {
      SupervisedTuning tuning = new SupervisedTuning(model, CHAT, CONVERSATIONS, 2, 64, 5);
      assertEquals(4, tuning.conversations());
      double before = tuning.evaluate(CONVERSATIONS);
      List<Step> steps = new ArrayList<>();
      tuning.run(ADAM, 60, steps::add);
      assertTrue(tuning.evaluate(CONVERSATIONS) < before / 4);
      assertTrue(steps.get(59).loss() < before / 4);
      // What was asked has not been learned: it is as unlikely as ever.
      int[] asked = CHAT.tokenizer().encode("hello");
      boolean[] learned = new boolean[asked.length];
      Arrays.fill(learned, true);
      try (Likelihoods likelihoods = Likelihoods.of(model, 1, CONTEXT, 1)) {
        likelihoods.forward(List.of(new Example(asked, learned)), 0);
        double mean = -Arrays.stream(likelihoods.logProbabilities(0)).average().orElseThrow();
        assertTrue(mean > 3, "" + mean);
      }
    }
  }

  @Test
  void anAdapterIsTunedAndItsBaseStaysAsItIs() {
    try (LanguageModel base = model();
        LanguageModel adapted = base.adapted(LoraConfig.of(4), 1)) {
      SupervisedTuning before = new SupervisedTuning(base, CHAT, CONVERSATIONS, 2, 64, 5);
      SupervisedTuning tuning = new SupervisedTuning(adapted, CHAT, CONVERSATIONS, 2, 64, 5);
      double loss = before.evaluate(CONVERSATIONS);
      assertEquals(loss, tuning.evaluate(CONVERSATIONS), 1e-6);
      tuning.run(ADAM, 60, step -> {});
      double after = tuning.evaluate(CONVERSATIONS);
      assertTrue(after < 0.8 * loss, after + " after " + loss);
      assertEquals(loss, before.evaluate(CONVERSATIONS));
      try (RewardModel reward = reward(base)) {
        Exception e =
            assertThrows(
                IllegalArgumentException.class, () -> new Ppo(adapted, reward, CONVERSATIONS, 8));
        assertTrue(e.getMessage().contains("merge"), e.getMessage());
      }
    }
  }

  @Test
  void whatIsTooLongIsLeftOut() {
    try (LanguageModel model = model()) {
      List<Conversation> more = new ArrayList<>(CONVERSATIONS);
      more.add(conversation("hello", "hello ".repeat(CONTEXT)));
      SupervisedTuning tuning = new SupervisedTuning(model, CHAT, more, 2, 64, 5);
      assertEquals(1, tuning.tooLong());
      Exception e =
          assertThrows(
              IllegalArgumentException.class,
              () -> new SupervisedTuning(model, CHAT, more.subList(4, 5), 2, 64, 5));
      assertTrue(e.getMessage().contains("length"), e.getMessage());
    }
  }

  @ParameterizedTest
  @ValueSource(doubles = {1, 0.7, 2.5})
  void logProbabilitiesAreThoseOfTheSampledTemperature(double temperature) {
    Example example = CHAT.example(CONVERSATIONS.get(0));
    try (LanguageModel model = model();
        Likelihoods training = Likelihoods.training(model, 2, CONTEXT, temperature, 0);
        Likelihoods frozen = Likelihoods.of(model, 2, CONTEXT, temperature);
        EvaluationGraph logits = model.logitsGraph(1, example.positions())) {
      training.forward(List.of(example), 0);
      frozen.forward(List.of(example), 0);
      for (int i = 0; i < example.positions(); i++) {
        logits.tokens().put(i, example.tokens()[i]);
      }
      FloatBuffer all = logits.run();
      int vocabulary = model.config().vocabulary();
      double[] expected = new double[example.learned()];
      int next = 0;
      for (int i = 0; i < example.positions(); i++) {
        if (example.answers()[i + 1]) {
          double sum = 0;
          for (int j = 0; j < vocabulary; j++) {
            sum += Math.exp(all.get(i * vocabulary + j) / temperature);
          }
          double own = all.get(i * vocabulary + example.tokens()[i + 1]) / temperature;
          expected[next++] = own - Math.log(sum);
        }
      }
      assertArrayEquals(expected, frozen.logProbabilities(0), 1e-5);
      assertArrayEquals(expected, training.logProbabilities(0), 1e-5);
    }
  }

  @Test
  void theEngineSamplesWithTheProbabilitiesThatTrainingSees() {
    int[] prompt = CHAT.prompt(Conversation.asking("hello"));
    try (LanguageModel model = model();
        FrozenModel frozen = FrozenModel.of(model, WeightFormat.F32);
        Engine engine = Engine.of(frozen, null, EngineSettings.defaults().withSlots(1));
        Likelihoods likelihoods = Likelihoods.of(model, 1, CONTEXT, 1)) {
      Sampling sampling = Sampling.defaults().withMaxNewTokens(12).withSeed(4);
      Completion answer = engine.complete(List.of(Request.of(prompt, sampling))).get(0);
      int[] tokens = Arrays.copyOf(prompt, prompt.length + answer.tokens().size());
      boolean[] answers = new boolean[tokens.length];
      double[] sampled = new double[answer.tokens().size()];
      for (int i = 0; i < sampled.length; i++) {
        tokens[prompt.length + i] = answer.tokens().get(i).id();
        answers[prompt.length + i] = true;
        sampled[i] = answer.tokens().get(i).logprob();
      }
      likelihoods.forward(List.of(new Example(tokens, answers)), 0);
      assertArrayEquals(sampled, likelihoods.logProbabilities(0), 1e-5);
    }
  }

  private static RewardModel reward(LanguageModel model) {
    return RewardModel.of(Copies.rewardOf(model, 7), CHAT);
  }

  @Test
  void aRewardModelLearnsRankingsAndScoresZeroOnAverage() throws IOException {
    try (LanguageModel model = model();
        RewardModel reward = reward(model)) {
      RewardTrainer trainer = new RewardTrainer(reward, RANKINGS, 2, CONTEXT, 1);
      List<Step> steps = new ArrayList<>();
      trainer.run(ADAM, 40, steps::add);
      RewardTrainer.Result result = RewardTrainer.evaluate(reward, RANKINGS);
      assertEquals(4, result.pairs());
      assertEquals(1, result.accuracy());
      assertTrue(result.loss() < 0.1 && steps.get(39).loss() < 0.2, "" + result);
      double sum = 0;
      for (Ranking ranking : RANKINGS) {
        sum += Arrays.stream(reward.score(ranking.prompt(), ranking.responses())).sum();
      }
      assertEquals(0, sum, 1e-4);

      reward.center(CONVERSATIONS);
      double mean = 0;
      for (Conversation one : CONVERSATIONS) {
        mean += reward.score(List.of(CHAT.example(one).throughLastAnswer()))[0];
      }
      assertEquals(0, mean, 1e-4);

      reward.save(folder);
      try (RewardModel again = RewardModel.load(folder, DEVICE, DType.F32)) {
        Conversation asked = Conversation.asking("hello");
        assertEquals(reward.shift(), again.shift());
        assertArrayEquals(
            reward.score(asked, List.of("kind", "a")), again.score(asked, List.of("kind", "a")));
      }
      Files.writeString(folder.resolve(RewardModel.FILE), "{\"shift\": \"x\"}");
      Exception e =
          assertThrows(
              DataException.class, () -> RewardModel.load(folder, DEVICE, DType.F32).close());
      assertTrue(e.getMessage().contains("reward.json: column shift"), e.getMessage());
    }
  }

  @Test
  void aPromptCountsTheSameHoweverManyResponsesItHas() {
    // Two prompts with the same pair; one has it twice more. The loss is the mean over prompts.
    Ranking pair = Ranking.of(Conversation.asking("be"), "kind", "be");
    Ranking more = new Ranking(pair.prompt(), List.of("kind", "kind", "be"), List.of(0, 0, 1));
    try (LanguageModel model = model();
        RewardModel reward = reward(model)) {
      double one = RewardTrainer.evaluate(reward, List.of(pair)).loss();
      List<Step> steps = new ArrayList<>();
      new RewardTrainer(reward, List.of(pair, more), 2, CONTEXT, 1).run(ADAM, 1, steps::add);
      assertEquals(one, steps.get(0).loss(), 1e-6);
    }
  }

  @Test
  void preferencesBeginAtChanceAndAreLearned() {
    try (LanguageModel model = model()) {
      Dpo dpo = new Dpo(model, CHAT, RANKINGS, RANKINGS, 2, CONTEXT, 0.1, 0, 1);
      assertEquals(4, dpo.pairs());
      Dpo.Result before = dpo.evaluate();
      assertEquals(Math.log(2), before.loss(), 1e-6);
      assertEquals(0, before.margin(), 1e-5);
      List<Step> steps = new ArrayList<>();
      dpo.run(AdamW.of(Schedule.constant(1e-3)).withWeightDecay(0), 30, steps::add);
      assertEquals(Math.log(2), steps.get(0).loss(), 1e-6);
      Dpo.Result after = dpo.evaluate();
      assertEquals(1, after.accuracy());
      assertTrue(after.loss() < 0.4 && after.margin() > 0.5, "" + after);
    }
  }

  private static List<Iteration> ppo(LanguageModel model, double temperature, KlControl control) {
    return ppo(model, temperature, control, 3);
  }

  private static List<Iteration> ppo(
      LanguageModel model, double temperature, KlControl control, int iterations) {
    List<Iteration> curve = new ArrayList<>();
    Tokens text = Tokens.of(CHAT.tokenizer().encode("hello there, be kind. ".repeat(20)));
    try (RewardModel reward = reward(model);
        Ppo ppo =
            new Ppo(model, reward, CONVERSATIONS, 8)
                .batch(12, 4, 3)
                .temperature(temperature)
                .kl(control)
                .whitenRewards(temperature != 1)
                .optimizers(Ppo.adamW(1e-3), Ppo.adamW(1e-3))
                .pretraining(text, 2, 0.1)
                .heldText(text)
                .iterations(iterations)
                .seed(9)
                .onIteration(curve::add)) {
      ppo.run();
    }
    return curve;
  }

  @ParameterizedTest
  @CsvSource({"1, 0", "0.7, 0", "1.3, 6"})
  void theFirstMinibatchHasRatiosOfExactlyOne(double temperature, double target) {
    try (LanguageModel model = model()) {
      List<Iteration> curve = ppo(model, temperature, new KlControl(0.2, target, 100));
      for (Iteration one : curve) {
        assertEquals(0, one.firstRatio(), "" + one);
        assertTrue(Double.isFinite(one.policyLoss()) && Double.isFinite(one.textLoss()));
        assertTrue(one.heldTextLoss() > 0 && one.entropy() > 0 && one.length() <= 8);
      }
      assertEquals(0, curve.get(0).kl(), 1e-5);
      assertNotEquals(0, curve.get(2).kl(), 1e-6);
      assertTrue(curve.get(2).approximateKl() > 0);
      assertEquals(target == 0, curve.get(2).beta() == 0.2);
    }
  }

  @Test
  void theyHaveInBf16Too() {
    try (LanguageModel model = model(DEVICE, DType.BF16, 0.1f)) {
      ppo(model, 1, KlControl.fixed(0.1)).forEach(one -> assertEquals(0, one.firstRatio()));
    }
  }

  @Test
  @EnabledIf("hasBackend")
  void theyHaveOnAGpuToo() {
    System.setProperty(LIBRARY, EMULATED.toString());
    try (Device cuda = Device.cuda(0);
        LanguageModel model = model(cuda, DType.F32, 0.1f)) {
      ppo(model, 0.7, KlControl.fixed(0.1), 1).forEach(one -> assertEquals(0, one.firstRatio()));
    } finally {
      System.clearProperty(LIBRARY);
    }
  }

  @Test
  void theSameSeedGivesTheSameBits() {
    try (LanguageModel model = model()) {
      List<Iteration> one = ppo(model, 1, KlControl.fixed(0.1));
      List<Iteration> other = ppo(model, 1, KlControl.fixed(0.1));
      for (int i = 0; i < one.size(); i++) {
        assertEquals(one.get(i).score(), other.get(i).score());
        assertEquals(one.get(i).policyLoss(), other.get(i).policyLoss());
        assertEquals(one.get(i).valueLoss(), other.get(i).valueLoss());
        assertEquals(one.get(i).heldTextLoss(), other.get(i).heldTextLoss());
      }
    }
  }

  @Test
  void theReferenceStaysAsItIs() {
    try (LanguageModel model = model();
        Likelihoods likelihoods = Likelihoods.of(model, 1, CONTEXT, 1)) {
      List<Example> examples = List.of(CHAT.example(CONVERSATIONS.get(0)));
      likelihoods.forward(examples, 0);
      double[] before = likelihoods.logProbabilities(0);
      ppo(model, 1, KlControl.fixed(0));
      likelihoods.forward(examples, 0);
      assertArrayEquals(before, likelihoods.logProbabilities(0));
    }
  }

  @Test
  void modelsThatDoNotGoTogetherAreRefused() {
    GptConfig other = GptConfig.of(CHAT.tokenizer().size() + 8, CONTEXT, 16, 1, 2);
    try (LanguageModel model = model();
        RewardModel reward = reward(model);
        LanguageModel larger = LanguageModel.create(other, DEVICE, DType.F32, 1)) {
      Exception e =
          assertThrows(
              IllegalArgumentException.class, () -> new Ppo(larger, reward, CONVERSATIONS, 8));
      assertTrue(e.getMessage().contains("vocabulary"), e.getMessage());
      Exception room =
          assertThrows(
              IllegalArgumentException.class, () -> new Ppo(model, reward, CONVERSATIONS, CONTEXT));
      assertTrue(room.getMessage().contains("no prompt"), room.getMessage());
    }
  }
}
