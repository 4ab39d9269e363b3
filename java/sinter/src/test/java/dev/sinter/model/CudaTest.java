package dev.sinter.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.generate.Batch;
import dev.sinter.generate.BeamSearch;
import dev.sinter.generate.Beams;
import dev.sinter.generate.Completion;
import dev.sinter.generate.Engine;
import dev.sinter.generate.EngineSettings;
import dev.sinter.generate.Processors;
import dev.sinter.generate.Request;
import dev.sinter.generate.Sampling;
import dev.sinter.generate.Speculation;
import dev.sinter.generate.Token;
import dev.sinter.generate.Translator;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.DeviceMemoryException;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Recompute;
import dev.sinter.graph.WeightFormat;
import dev.sinter.model.GptConfig.Family;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.IntBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIf;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * The CUDA backend from Java, beside the CPU's. It runs on the host, where tests/emulation stands
 * in for CUDA; with the system property {@code sinter.gpu} on the GPU that is there. {@code
 * sinter.isa} names the kernels: {@code sm_80} are those that every GPU has.
 */
@EnabledIf("hasBackend")
class CudaTest {
  private static final String LIBRARY = "dev.sinter.cuda.library";
  private static final GptConfig TINY = GptConfig.of(61, 64, 24, 2, 3);
  private static final Path EMULATED =
      Path.of(System.getProperty("sinter.emulation", "."), "libsinter_cuda_emulated.so");

  static boolean hasBackend() {
    return onGpu() || EMULATED.toFile().exists();
  }

  private static boolean onGpu() {
    return System.getProperty("sinter.gpu") != null;
  }

  @BeforeAll
  static void takeTheEmulatedBackend() {
    if (!onGpu()) {
      System.setProperty(LIBRARY, EMULATED.toString());
    }
  }

  @AfterAll
  static void giveItBack() {
    System.clearProperty(LIBRARY);
  }

  private static Device cuda() {
    return Device.cuda(0, System.getProperty("sinter.isa"));
  }

  /** A trained model's losses, and the tokens that it then decodes. */
  private record Life(float[] losses, int[] tokens) {}

  private static Life live(Device device, DType dtype, float dropout, float temperature) {
    GptConfig config = TINY.withDropout(dropout);
    try (LanguageModel model = LanguageModel.create(config, device, dtype, 7)) {
      float[] losses = train(model, 20);
      return new Life(losses, decode(model, temperature, 50));
    }
  }

  private static float[] train(LanguageModel model, int steps) {
    try (TrainingGraph graph = model.trainingGraph(2, 17, 2, Recompute.NONE, 5)) {
      int[] text = new Random(3).ints(4 * 18, 0, 61).toArray();
      float[] losses = new float[steps];
      for (int step = 0; step < steps; step++) {
        float rate = 3e-3f * (steps - step) / steps;
        var settings = new Parameters.AdamW(rate, 0.9f, 0.99f, 1e-8f, 0.1f, 1);
        var update = new Parameters.Update(settings, step + 1);
        for (int micro = 0; micro < 2; micro++) {
          for (int row = 0; row < 2; row++) {
            int from = (2 * micro + row) * 18;
            graph.tokens().position(row * 17).put(text, from, 17);
            graph.targets().position(row * 17).put(text, from + 1, 17);
          }
          losses[step] += graph.run(2L * step + micro, micro > 0, micro > 0 ? update : null) / 2;
        }
        assertTrue(update.taken() && model.parameters().lastNorm() > 0);
      }
      return losses;
    }
  }

  private static int[] decode(LanguageModel model, float temperature, int count) {
    try (Decoder decoder = model.decoder(1, 64)) {
      decoder.sampler().set(1.1f, temperature, temperature == 0 ? 0 : 20, 0.95f, 0);
      decoder.sampler().seed(11);
      int[] fed = {3, 1, 4, 1, 5};
      int[] tokens = new int[count];
      for (int i = 0; i < count; i++) {
        tokens[i] = decoder.next(fed, i)[0];
        decoder.sampler().remember(0, tokens[i]);
        fed = new int[] {tokens[i]};
      }
      return tokens;
    }
  }

  @ParameterizedTest
  @CsvSource({"0.0", "0.2"})
  void trainsAndDecodesAsTheCpuDoes(float dropout) {
    try (Device cpu = Device.cpu();
        Device cuda = cuda()) {
      Life expected = live(cpu, DType.F32, dropout, 0);
      Life actual = live(cuda, DType.F32, dropout, 0);
      for (int i = 0; i < expected.losses.length; i++) {
        assertEquals(expected.losses[i], actual.losses[i], 1e-4f * expected.losses[i], "step " + i);
      }
      assertArrayEquals(expected.tokens, actual.tokens);
      assertTrue(actual.losses[19] < actual.losses[0]);
    }
  }

  static Stream<AdapterConfig> adapters() {
    Targets all = Targets.of("c_attn", "c_fc", "c_proj");
    return Stream.of(
        LoraConfig.of(3).withTargets(all),
        AdaLoraConfig.of(3, 2, 20).withTargets(all),
        BottleneckConfig.of(5));
  }

  @ParameterizedTest
  @MethodSource("adapters")
  void adaptersTrainAsOnTheCpu(AdapterConfig config) {
    float[][] losses = new float[4][];
    try (Device cpu = Device.cpu();
        Device cuda = cuda()) {
      for (int i = 0; i < 4; i++) {
        Device device = i % 2 == 0 ? cpu : cuda;
        try (LanguageModel base = LanguageModel.create(TINY, device, DType.F32, 7);
            FrozenModel packed = FrozenModel.of(base, WeightFormat.F32);
            LanguageModel model =
                i < 2 ? base.adapted(config, 5) : LanguageModel.over(packed, config, 5)) {
          losses[i] = train(model, 6);
        }
      }
    }
    for (int step = 0; step < 6; step++) {
      assertEquals(losses[0][step], losses[1][step], 1e-4f * losses[0][step], "step " + step);
      assertEquals(losses[2][step], losses[3][step], 1e-4f * losses[2][step], "step " + step);
    }
  }

  @Test
  void everyInstructionSetTrainsAlike() {
    // Sizes that kernels of sm_90a take as well.
    GptConfig config = GptConfig.of(61, 64, 128, 1, 2);
    List<float[]> losses = new ArrayList<>();
    for (String isa : new String[] {"sm_80", null}) {
      try (Device device = Device.cuda(0, isa);
          LanguageModel model = LanguageModel.create(config, device, DType.BF16, 7)) {
        losses.add(train(model, 5));
      }
    }
    for (int step = 0; step < 5; step++) {
      assertEquals(losses.get(0)[step], losses.get(1)[step], 1e-2f * losses.get(0)[step]);
    }
  }

  @Test
  void anUnknownInstructionSetIsRefused() {
    assertThrows(IllegalArgumentException.class, () -> Device.cuda(0, "sm_123"));
    assertThrows(IllegalArgumentException.class, () -> Device.of("gpu", 0, "sm_80"));
    try (Device device = Device.of("auto", 0, "sm_80")) {
      assertEquals("sm_80", device.isa());
    }
    try (Device device = Device.of("auto", 1, "baseline")) {
      assertEquals("baseline", device.isa());
    }
  }

  @Test
  void bf16LossesAreTheCpusToItsDigits() {
    try (Device cpu = Device.cpu();
        Device cuda = cuda()) {
      Life expected = live(cpu, DType.BF16, 0, 0);
      Life actual = live(cuda, DType.BF16, 0, 0);
      for (int i = 0; i < expected.losses.length; i++) {
        assertEquals(expected.losses[i], actual.losses[i], 1e-2f * expected.losses[i], "step " + i);
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"F32", "BF16"})
  void aSeedGivesTheSameBits(DType dtype) {
    try (Device cuda = cuda()) {
      Life first = live(cuda, dtype, 0.1f, 1);
      Life second = live(cuda, dtype, 0.1f, 1);
      assertArrayEquals(first.losses, second.losses);
      assertArrayEquals(first.tokens, second.tokens);
    }
  }

  @Test
  void sequencesPartWays() {
    try (Device cuda = cuda()) {
      DecoderTest.assertSequencesPartOn(cuda);
    }
  }

  /** A cache of which several blocks read a part each, and leave word for the next call. */
  @Test
  void aLongCacheDecodesAsOnTheCpu() {
    GptConfig config = TINY.withContext(2048);
    float[][][] logits = new float[2][5][61];
    try (Device cpu = Device.cpu();
        Device cuda = cuda()) {
      Device[] devices = {cpu, cuda};
      for (int i = 0; i < 2; i++) {
        try (LanguageModel model = LanguageModel.create(config, devices[i], DType.F32, 7);
            Decoder decoder = model.decoder(1, 2048)) {
          int[] fed = new Random(3).ints(600, 0, 61).toArray();
          for (int step = 0; step < 5; step++) {
            decoder.lastLogits(fed, new float[][] {logits[i][step]});
            fed = new int[] {step};
          }
        }
      }
    }
    for (int step = 0; step < 5; step++) {
      assertArrayEquals(logits[0][step], logits[1][step], 1e-5f, "step " + step);
    }
  }

  @ParameterizedTest
  @EnumSource(Family.class)
  void pagesAreReadAsOnTheCpu(Family family) {
    try (Device cuda = cuda()) {
      PagedDecoderTest.assertLogitsAreTheModels(cuda, family);
    }
  }

  @ParameterizedTest
  @EnumSource(Family.class)
  void packedSequencesHaveTheGradientsThatTheyHaveAlone(Family family) {
    try (Device cuda = cuda()) {
      PackedGraphTest.assertPackedAsAlone(cuda, family);
    }
  }

  @ParameterizedTest
  @EnumSource(WeightFormat.class)
  void packedWeightsAreThoseOfTheCpu(WeightFormat format) throws IOException {
    try (Device cpu = Device.cpu();
        Device cuda = cuda()) {
      FrozenModelTest.assertPackedAlike(cpu, cuda, format);
    }
  }

  @ParameterizedTest
  @CsvSource({"F32, 1e-5", "BF16, 0.02", "Q8, 0.05", "Q4, 0.05"})
  void packedLogitsAreThoseOfTheWeightsAsNumbers(WeightFormat format, float tolerance) {
    try (Device cuda = cuda()) {
      PagedDecoderTest.assertLogitsAreThoseOfTheNumbers(cuda, format, tolerance);
    }
  }

  @ParameterizedTest
  @EnumSource(WeightFormat.class)
  void rowsAreTheSameInCompany(WeightFormat format) {
    try (Device cuda = cuda()) {
      PagedDecoderTest.assertRowsAreTheSameInCompany(cuda, format);
    }
  }

  /**
   * At batch 1 the number of kernels decides: a layer is two products with a norm in front,
   * attention and two products that add; then come embedding, logits and choice.
   */
  @ParameterizedTest
  @EnumSource(Family.class)
  void aDecodedTokenIsFiveKernelsALayerAndThreeMore(Family family) {
    GptConfig config = TINY.withFamily(family, family == Family.GPT3 ? 7 : 0);
    for (DType dtype : DType.values()) {
      if (dtype == DType.I32) {
        continue;
      }
      try (Device cuda = Device.cuda(0);
          LanguageModel model = LanguageModel.create(config, cuda, dtype, 7);
          Decoder decoder = model.decoder(1, 64)) {
        for (int i = 0; i < 3; i++) {
          decoder.next(new int[] {i}, i);
        }
        assertEquals(5 * config.layers() + 3, decoder.kernels());
        for (WeightFormat format : WeightFormat.values()) {
          try (FrozenModel frozen = FrozenModel.of(model, format)) {
            assertEquals(
                5 * config.layers() + 3, PagedDecoderTest.kernelsOfAToken(frozen), format.name());
          }
        }
      }
    }
  }

  @Test
  void everyRowChoosesItsOwnWay() {
    try (Device cuda = cuda()) {
      PagedDecoderTest.assertEveryRowChoosesItsOwnWay(cuda);
    }
  }

  @Test
  void hostAndDeviceChooseTheSameAndBeamsAreTheCpus() {
    List<int[]> prompts = List.of(new int[] {3}, new int[] {1, 4, 1, 5, 9}, new int[] {2, 6});
    Sampling drawn = Sampling.defaults().withTopK(30).withTopP(0.95).withMaxNewTokens(8);
    Sampling greedy = Sampling.greedy().withMaxNewTokens(6);
    try (Device cpu = Device.cpu();
        Device cuda = cuda();
        LanguageModel expected = LanguageModel.create(TINY, cpu, DType.F32, 7);
        LanguageModel actual = LanguageModel.create(TINY, cuda, DType.F32, 7)) {
      Sampling onHost = drawn.with((scores, sequence) -> {});
      assertEquals(
          ids(Batch.complete(actual, null, prompts, onHost)),
          ids(Batch.complete(actual, null, prompts, drawn)));
      Beams beams = Beams.of(3).withReturned(3);
      assertEquals(
          ids(BeamSearch.complete(expected, null, prompts.get(1), greedy, beams)),
          ids(BeamSearch.complete(actual, null, prompts.get(1), greedy, beams)));
    }
  }

  private static List<List<Integer>> ids(List<Completion> completions) {
    return completions.stream().map(one -> one.tokens().stream().map(Token::id).toList()).toList();
  }

  @Test
  void settingsThatChangeBetweenTokensAreSeenByARecording() {
    try (Device cuda = cuda();
        LanguageModel model = LanguageModel.create(TINY, cuda, DType.F32, 7)) {
      int[] greedy = decode(model, 0, 12);
      int[] drawn = decode(model, 5, 12);
      assertNotEquals(Arrays.toString(greedy), Arrays.toString(drawn));
      try (Decoder decoder = model.decoder(1, 64)) {
        decoder.sampler().set(1, 5, 0, 1, 0);
        int[] prompt = {3, 1, 4, 1, 5};
        for (int i = 0; i < 4; i++) { // recorded with a high temperature
          decoder.next(i == 0 ? prompt : new int[] {2}, i);
        }
        decoder.reset();
        decoder.sampler().set(1.1f, 0, 0, 0.95f, 0);
        int[] fed = prompt;
        for (int i = 0; i < 12; i++) {
          int token = decoder.next(fed, i)[0];
          assertEquals(greedy[i], token, "token " + i);
          decoder.sampler().remember(0, token);
          fed = new int[] {token};
        }
      }
    }
  }

  @Test
  void memoryThatTheGpuDoesNotHaveLeavesItUsable() {
    try (Device cuda = cuda()) {
      GptConfig large = GptConfig.of(1 << 20, 1024, 8192, 8, 64); // 60 GiB
      if (cuda.memory().total() < 50L << 30) {
        assertThrows(
            DeviceMemoryException.class, () -> new LanguageModel(large, cuda, DType.F32).close());
      }
      try (LanguageModel model = LanguageModel.create(TINY, cuda, DType.F32, 7)) {
        assertEquals(12, decode(model, 0, 12).length);
      }
    }
  }

  private static Path family(String name) {
    try {
      return Path.of(CudaTest.class.getResource("families/" + name).toURI());
    } catch (URISyntaxException e) {
      throw new AssertionError(e);
    }
  }

  /** The losses of some steps on made-up batches, and for an encoder-decoder a translation. */
  private static float[] train(String name, Device device) throws IOException {
    try (Model model = ModelFiles.loadAny(family(name), device, DType.F32)) {
      float[] losses = new float[4];
      Random random = new Random(5);
      try (AutoCloseable graph = graph(model)) {
        fill(graph, random);
        for (int step = 0; step < losses.length; step++) {
          losses[step] =
              graph instanceof TaskGraph task
                  ? task.run(step, false)
                  : graph instanceof TransformerGraph pairs
                      ? pairs.run(step, false)
                      : ((TrainingGraph) graph).run(step, false);
          model.parameters().gradientNorm();
          model
              .parameters()
              .update(new Parameters.AdamW(1e-3f, 0.9f, 0.99f, 1e-8f, 0.1f, 1), step + 1);
        }
      } catch (Exception e) {
        throw new AssertionError(e);
      }
      return losses;
    }
  }

  private static AutoCloseable graph(Model model) {
    if (model instanceof TaskModel task) {
      int masked = task.head().isMasked() ? 5 : 0;
      return task.trainingGraph(4, 11, masked, 1, Recompute.NONE, 1);
    }
    if (model instanceof TransformerModel pairs) {
      return pairs.trainingGraph(3, 9, 5, 0.1f, 1, Recompute.NONE, 1);
    }
    return ((LanguageModel) model).trainingGraph(2, 11, 1, Recompute.NONE, 1);
  }

  private static void fill(AutoCloseable graph, Random random) {
    if (graph instanceof TaskGraph task) {
      fill(task.tokens(), random, 41);
      task.lengths().put(1, 3).put(2, 10);
      if (task.isMasked()) {
        for (int i = 0; i < 4; i++) {
          task.maskedRows().put(i, 3 + 11 * i);
          task.targets().put(i, 7 + i);
        }
      } else if (task.hasNumbers()) {
        task.numbers().put(0, 0.5f).put(1, 1);
      } else {
        fill(task.targets(), random, 2);
      }
    } else if (graph instanceof TransformerGraph pairs) {
      fill(pairs.sources(), random, 40);
      pairs.sourceLengths().put(1, 4);
      fill(pairs.targets(), random, 40);
      pairs.targets().put(4, -100);
    } else if (graph instanceof TrainingGraph text) {
      fill(text.tokens(), random, 41);
      fill(text.targets(), random, 41);
    }
  }

  private static void fill(IntBuffer buffer, Random random, int bound) {
    for (int i = 0; i < buffer.capacity(); i++) {
      buffer.put(i, random.nextInt(bound));
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "gpt1",
        "gpt3-3",
        "gpt2-sequence",
        "bert-pretraining",
        "bert-several",
        "bert-regression",
        "bert-tokens",
        "bert-span",
        "bert-choice",
        "marian"
      })
  void everyFamilyAndHeadTrainsAsOnTheCpu(String name) throws IOException {
    try (Device cpu = Device.cpu();
        Device cuda = cuda()) {
      float[] expected = train(name, cpu);
      assertTrue(expected[3] < expected[0], "it learns");
      assertArrayEquals(expected, train(name, cuda), 1e-4f * expected[0]);
    }
  }

  @Test
  void translatesAsTheCpuDoes() throws IOException {
    try (Device cpu = Device.cpu();
        Device cuda = cuda()) {
      int[][] found = new int[2][];
      Device[] devices = {cpu, cuda};
      for (int i = 0; i < 2; i++) {
        try (TransformerModel model =
                ModelFiles.loadTransformer(family("marian"), devices[i], DType.F32);
            Translator translator = new Translator(model, Beams.of(3), 11, 10)) {
          Sampling sampling = Sampling.greedy().withMaxNewTokens(9);
          translator.translate(new int[] {9, 3}, sampling);
          found[i] = translator.translate(new int[] {5, 6, 7, 8, 31, 2}, sampling).get(0).ids();
        }
      }
      assertArrayEquals(found[0], found[1]);
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = WeightFormat.class,
      names = {"F32", "Q4"})
  void rowsHaveAdaptersOfTheirOwn(WeightFormat format) {
    try (Device cuda = cuda()) {
      PagedAdaptersTest.assertCompanyChangesNoBit(cuda, Family.GPT2, format);
    }
  }

  @Test
  void adaptersMayBeLoadedBetweenSteps() {
    try (Device cuda = cuda()) {
      PagedAdaptersTest.assertOthersMayBeLoaded(cuda);
    }
  }

  /** Company, chunks, shared pages and guesses change no token. */
  @ParameterizedTest
  @EnumSource(
      value = WeightFormat.class,
      names = {"F32", "Q4"})
  void anEngineServesFromAGpu(WeightFormat format) {
    List<Request> requests = new ArrayList<>();
    for (int i = 0; i < 6; i++) {
      int[] prompt = new Random(i % 4).ints(9 + 6 * (i % 4), 0, 61).toArray();
      Sampling sampling =
          Sampling.defaults().withSeed(i).withTemperature(i % 2).withTopK(9).withMaxNewTokens(12);
      requests.add(
          Request.of(prompt, i == 3 ? sampling.with(Processors.noRepeatNgram(2)) : sampling));
    }
    EngineSettings settings = EngineSettings.defaults().withPageSize(8).withChunk(11);
    try (Device cuda = cuda();
        LanguageModel model = LanguageModel.create(TINY, cuda, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, format)) {
      List<Completion> together;
      try (Engine engine =
          Engine.of(frozen, null, settings.withSpeculation(Speculation.promptLookup(2, 3)))) {
        together = engine.complete(requests);
      }
      for (int i = 0; i < requests.size(); i++) {
        try (Engine engine = Engine.of(frozen, null, EngineSettings.defaults())) {
          Completion alone = engine.complete(List.of(requests.get(i))).get(0);
          assertEquals(12, alone.tokens().size());
          assertEquals(12, together.get(i).tokens().size());
          for (int at = 0; at < 12; at++) {
            Token one = together.get(i).tokens().get(at);
            assertEquals(alone.tokens().get(at).id(), one.id());
            // Sums of a row's exponentials begin where its memory is aligned.
            assertEquals(alone.tokens().get(at).logprob(), one.logprob(), 1e-5);
          }
        }
      }
    }
  }
}
