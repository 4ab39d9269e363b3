package dev.sinter.generate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.WeightFormat;
import dev.sinter.model.FrozenModel;
import dev.sinter.model.GptConfig;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.LoadedAdapter;
import dev.sinter.model.LoraConfig;
import dev.sinter.model.PeftFiles;
import dev.sinter.model.RandomAdapters;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The engine over models of weights and layers. */
class EngineModelTest {
  private static final int VOCABULARY = 61;
  private static final int CONTEXT = 48;

  private static Device device;
  private static LanguageModel model;

  @BeforeAll
  static void makeAModel() {
    device = Device.cpu(2);
    model = model(CONTEXT, 7);
  }

  @AfterAll
  static void closeIt() {
    model.close();
    device.close();
  }

  private static LanguageModel model(int context, int seed) {
    return LanguageModel.create(
        GptConfig.of(VOCABULARY, context, 24, 2, 3), device, DType.F32, seed);
  }

  private static FrozenModel frozen(LanguageModel model, WeightFormat format) {
    return FrozenModel.of(model, format);
  }

  private static List<Integer> ids(Completion completion) {
    return completion.tokens().stream().map(Token::id).toList();
  }

  private static List<Request> mixed(int count) {
    Random random = new Random(5);
    List<Request> all = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      Sampling sampling =
          Sampling.defaults()
              .withSeed(i)
              .withTemperature(i % 3 * 0.6)
              .withTopK(i % 4 * 7)
              .withTopP(i % 5 == 0 ? 0.9 : 1)
              .withMinP(i % 7 == 0 ? 0.02 : 0)
              .withRepetitionPenalty(i % 2 == 0 ? 1 : 1.3)
              .withEndTokens(Set.of(3))
              .withMaxNewTokens(1 + random.nextInt(25));
      int[] prompt = random.ints(1 + random.nextInt(CONTEXT - 1), 0, VOCABULARY).toArray();
      all.add(
          Request.of(prompt, i % 6 == 5 ? sampling.with(Processors.noRepeatNgram(2)) : sampling));
    }
    return all;
  }

  /** Logits of the trained model's own decoder differ in their last bits, and so do few choices. */
  @Test
  void itWritesWhatTheModelWritesByItself() {
    try (FrozenModel frozen = frozen(model, WeightFormat.F32);
        Engine engine = Engine.of(frozen, null, EngineSettings.defaults())) {
      List<Request> requests = mixed(60);
      List<CompletableFuture<Completion>> all = requests.stream().map(engine::submit).toList();
      int same = 0;
      for (int i = 0; i < all.size(); i++) {
        Request request = requests.get(i);
        try (TokenStream stream =
            new TokenStream(model, null, request.ids(), request.sampling(), () -> {})) {
          stream.forEach(token -> {});
          Completion one = all.get(i).join();
          if (ids(stream.completion()).equals(ids(one))) {
            assertEquals(stream.completion().score(), one.score(), 1e-2);
            assertEquals(stream.completion().finishReason(), one.finishReason());
            same++;
          }
        }
      }
      assertTrue(same >= 57, same + " of 60");
    }
  }

  @ParameterizedTest
  @EnumSource(WeightFormat.class)
  void companyChunksPagesAndSpeculationChangeNoBit(WeightFormat format) {
    EngineSettings settings = EngineSettings.defaults().withQueue(100);
    try (LanguageModel other = model(CONTEXT + 5, 8);
        FrozenModel frozen = frozen(model, format);
        FrozenModel draft = frozen(other, WeightFormat.Q4);
        FrozenModel close = frozen(model, WeightFormat.BF16);
        Engine alone =
            Engine.of(frozen, null, settings.withSlots(1).withPageSize(48).withPages(1));
        Engine small =
            Engine.of(
                frozen, null, settings.withSlots(5).withPageSize(3).withPages(40).withChunk(7));
        Engine looking =
            Engine.of(frozen, null, settings.withSpeculation(Speculation.promptLookup(2, 5)));
        Engine drafting =
            Engine.of(frozen, null, settings.withSpeculation(Speculation.draft(close, 4)));
        Engine guessing =
            Engine.of(frozen, null, settings.withSpeculation(Speculation.draft(draft, 3)))) {
      List<Request> requests = mixed(40);
      List<Completion> expected =
          requests.stream().map(request -> alone.submit(request).join()).toList();
      for (Engine engine : List.of(small, looking, drafting, guessing)) {
        List<CompletableFuture<Completion>> all = requests.stream().map(engine::submit).toList();
        for (int i = 0; i < all.size(); i++) {
          assertEquals(expected.get(i).tokens(), all.get(i).join().tokens());
          assertEquals(expected.get(i).finishReason(), all.get(i).join().finishReason());
        }
        assertEquals(0, engine.stats().usedPages());
      }
      assertTrue(small.stats().preempted() > 0, small.stats().toString());
      assertTrue(drafting.stats().acceptedTokens() > 0, drafting.stats().toString());
    }
  }

  @Test
  void aThousandRequestsFromManyThreads() {
    EngineSettings settings =
        EngineSettings.defaults().withSlots(8).withPages(60).withPageSize(4).withQueue(16);
    try (FrozenModel frozen = frozen(model, WeightFormat.Q8);
        Engine alone = Engine.of(frozen, null, settings.withSlots(1).withQueue(64))) {
      Stress.run(
          Engine.of(frozen, null, settings),
          VOCABULARY,
          CONTEXT - 1,
          List.of(),
          request -> alone.submit(request.withSpeculation(Speculation.none())).join());
    }
  }

  private static final List<String> NAMES = List.of("a", "b", "c", "d", "e", "f", "g", "h");

  private static Engine withAdapters(Engine engine, FrozenModel frozen) {
    for (String name : NAMES) {
      engine.loadAdapter(RandomAdapters.of(frozen, name, 1 + NAMES.indexOf(name)));
    }
    return engine;
  }

  /** An engine that has one adapter, one request after the other. */
  private static Completion alone(FrozenModel frozen, Request request) {
    try (Engine engine =
        Engine.of(frozen, null, EngineSettings.defaults().withSlots(1).withPageSize(48))) {
      request
          .adapter()
          .ifPresent(
              name -> engine.loadAdapter(RandomAdapters.of(frozen, name, 1 + NAMES.indexOf(name))));
      return engine.submit(request).join();
    }
  }

  @ParameterizedTest
  @EnumSource(WeightFormat.class)
  void companyWithOtherAdaptersChangesNoBit(WeightFormat format) {
    EngineSettings settings = EngineSettings.defaults().withQueue(100);
    try (FrozenModel frozen = frozen(model, format);
        FrozenModel close = frozen(model, WeightFormat.BF16);
        Engine small =
            Engine.of(
                frozen, null, settings.withSlots(5).withPageSize(3).withPages(40).withChunk(7));
        Engine looking =
            Engine.of(frozen, null, settings.withSpeculation(Speculation.promptLookup(2, 5)));
        Engine drafting =
            Engine.of(frozen, null, settings.withSpeculation(Speculation.draft(close, 4)))) {
      List<Request> requests = new ArrayList<>();
      for (Request request : mixed(40)) {
        int which = requests.size() % (NAMES.size() + 1);
        requests.add(which == NAMES.size() ? request : request.withAdapter(NAMES.get(which)));
      }
      List<Completion> expected = requests.stream().map(request -> alone(frozen, request)).toList();
      for (Engine engine : List.of(small, looking, drafting)) {
        withAdapters(engine, frozen);
        List<Completion> all = engine.complete(requests);
        for (int i = 0; i < all.size(); i++) {
          assertEquals(expected.get(i).tokens(), all.get(i).tokens(), "request " + i);
        }
        assertEquals(0, engine.stats().usedPages());
      }
      assertTrue(small.stats().preempted() > 0, small.stats().toString());
    }
  }

  @Test
  void aThousandRequestsWithAdaptersFromManyThreads() {
    EngineSettings settings =
        EngineSettings.defaults().withSlots(8).withPages(60).withPageSize(4).withQueue(16);
    try (FrozenModel frozen = frozen(model, WeightFormat.Q8);
        Engine alone =
            withAdapters(Engine.of(frozen, null, settings.withSlots(1).withQueue(64)), frozen)) {
      Stress.run(
          withAdapters(Engine.of(frozen, null, settings), frozen),
          VOCABULARY,
          CONTEXT - 1,
          NAMES,
          request -> alone.submit(request.withSpeculation(Speculation.none())).join());
    }
  }

  @Test
  void adaptersAreReadWhileRequestsRun(@TempDir Path folder) throws IOException {
    try (FrozenModel frozen = frozen(model, WeightFormat.F32);
        LanguageModel adapted = model.adapted(LoraConfig.of(2), 1);
        Engine engine = Engine.of(frozen, null, EngineSettings.defaults().withQueue(400))) {
      PeftFiles.save(adapted, folder);
      List<Request> requests = mixed(200);
      List<CompletableFuture<Completion>> all = requests.stream().map(engine::submit).toList();
      int during = 0;
      for (int i = 0; i < 10; i++) {
        during += all.get(all.size() - 1).isDone() ? 0 : 1;
        engine.loadAdapter(LoadedAdapter.read("a" + i, folder, frozen));
      }
      assertTrue(during > 1, "all was done before");
      // B is zero at first: each adapter changes nothing.
      for (int i = 0; i < all.size(); i++) {
        Request request = requests.get(i).withAdapter("a" + i % 10);
        assertEquals(all.get(i).join().tokens(), engine.submit(request).join().tokens());
      }
    }
  }

  @Test
  void anAdapterOfAnotherBaseIsRefusedAndTheEngineGoesOn() {
    try (LanguageModel other =
            LanguageModel.create(
                GptConfig.of(VOCABULARY, CONTEXT, 36, 2, 3), device, DType.F32, 1);
        FrozenModel frozen = frozen(model, WeightFormat.F32);
        FrozenModel foreign = frozen(other, WeightFormat.F32);
        Engine engine = Engine.of(frozen, null, EngineSettings.defaults())) {
      LoadedAdapter wrong = RandomAdapters.of(foreign, "wrong", 2);
      String message =
          assertThrows(IllegalArgumentException.class, () -> engine.loadAdapter(wrong))
              .getMessage();
      assertTrue(message.startsWith("adapter wrong changes"), message);
      assertEquals(List.of(), engine.adapters());
      engine.loadAdapter(RandomAdapters.of(frozen, "right", 2));
      Request request = mixed(1).get(0).withAdapter("right");
      assertTrue(engine.submit(request).join().tokens().size() > 0);
    }
  }

  @Test
  void aDraftOfAnotherVocabularyIsRefused() {
    try (LanguageModel other =
            LanguageModel.create(
                GptConfig.of(VOCABULARY + 1, CONTEXT, 24, 2, 3), device, DType.F32, 1);
        LanguageModel shorter = model(CONTEXT - 1, 1);
        FrozenModel frozen = frozen(model, WeightFormat.F32);
        FrozenModel foreign = frozen(other, WeightFormat.F32);
        FrozenModel brief = frozen(shorter, WeightFormat.F32)) {
      for (FrozenModel wrong : List.of(foreign, brief)) {
        EngineSettings settings =
            EngineSettings.defaults().withSpeculation(Speculation.draft(wrong, 2));
        assertThrows(IllegalArgumentException.class, () -> Engine.of(frozen, null, settings));
      }
    }
  }
}
